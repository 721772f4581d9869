"""The settings by themselves: whether they can work at all. Asks nobody."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from antiphon.adapter.matrix.doctor.finding import Finding, failure, ok, warning
from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.adapter.matrix.policy import access_of
from antiphon.adapter.matrix.transport import address
from antiphon.core.access import AllowList

INIT = "`antiphon init` asks for all that is needed and writes it."


def settings(patient: Patient) -> Finding:
    """Homeserver, account and a way to sign in. Raises SettingsError for an address that is
    none."""
    matrix = patient.matrix
    base = address.base_url(matrix.homeserver)
    if not matrix.user and not matrix.access_token:
        return failure(
            "settings",
            "No account is set.",
            f"Set [matrix] user and [matrix] password, or [matrix] access_token. {INIT}",
        )
    source = f"{patient.settings_file}" if patient.settings_file else "variables alone"
    detail = f"{matrix.user or 'the account of the access token'} at {base}, from {source}"
    if base.startswith("http://") and not _is_near(base):
        return warning(
            "settings",
            f"{detail}; the address has no TLS: passwords and messages can be read on the way",
            "Set [matrix] homeserver to the https:// address of the homeserver.",
        )
    return ok("settings", detail)


def allow(patient: Patient) -> Finding:
    """Who is answered. Raises SettingsError for a pattern that is none."""
    matrix = patient.matrix
    allowed = AllowList(matrix.allow)
    if access_of(matrix).nobody:
        return warning(
            "allow",
            "[matrix] allow is empty: nobody is answered, and every invite is declined",
            'Set [matrix] allow to who may talk, such as allow = ["@*:example.org"] for all users '
            "of one server, and start the adapter again.",
        )
    if allowed.everybody:
        return ok("allow", "everybody on every server (`*`)")
    named = dict.fromkeys(pattern.strip() for pattern in (*matrix.allow, *matrix.admins))
    return ok("allow", ", ".join(named))


def _is_near(base: str) -> bool:
    """Whether the address is on this machine or in a private network, where TLS often ends
    before."""
    host = urlsplit(base).hostname or ""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or "." not in host
    return found.is_loopback or found.is_private
