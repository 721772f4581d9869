"""The homeserver as anybody sees it: reachable, how fast, which versions, what time it has there.
No login is needed for any of it."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import msgspec

from antiphon.adapter.matrix.doctor.finding import Finding, failure, ok, warning
from antiphon.adapter.matrix.transport import json_body
from antiphon.adapter.matrix.transport.address import is_server_name
from antiphon.adapter.matrix.transport.http import Http
from antiphon.clock import Clock
from antiphon.errors import HomeserverError, HomeserverUnreachableError

NEEDED = (1, 3)
"""The specification's version that brought the newest request that we make (`/v1/…/relations`)."""

ASKED = 3
"""How often it is asked, for the middle one's time."""

ANSWER_S = 8.0
SLOW_S = 1.0
SKEW_WARNING_S = 30.0
SKEW_FAILURE_S = 300.0

VERSIONS = "/_matrix/client/versions"
FEDERATION_VERSION = "/_matrix/federation/v1/version"
SYNAPSE_VERSION = "/_synapse/admin/v1/server_version"

_VERSION = re.compile(r"v(\d{1,4})\.(\d{1,4})")
_PLAIN = re.compile(r"[^\w.+() =,/-]")


class Seen(msgspec.Struct, frozen=True):
    """What the homeserver says of itself. `software` is empty where it does not; `skew_s` is how
    far its clock is ahead of ours, None where it sent no time."""

    base_url: str
    discovered: bool
    latency_s: float
    versions: tuple[str, ...]
    software: str
    skew_s: float | None

    @property
    def is_synapse(self) -> bool:
        """Whether it says that it is Synapse."""
        return self.software.startswith("Synapse")


async def look(http: Http, clock: Clock) -> Seen:
    """Asks it. Raises SettingsError (address), HomeserverError."""
    base = await http.base_url()
    took: list[float] = []
    skew: float | None = None
    raw = b""
    for _ in range(ASKED):
        sent_ms, began = clock.now_ms(), clock.monotonic()
        status, headers, raw = await http.look(
            "say which versions it speaks", VERSIONS, timeout_s=ANSWER_S
        )
        took.append(clock.monotonic() - began)
        if status != 200:
            raise HomeserverUnreachableError(
                f"At {base} something answers with HTTP {status}, which is no homeserver."
            )
        skew = skew_s(headers, sent_ms, clock.now_ms())
        if took[0] > SLOW_S:
            break
    return Seen(
        base_url=base,
        discovered=is_server_name(http.homeserver),
        latency_s=statistics.median(took),
        versions=_versions(raw, base),
        software=await _software(http),
        skew_s=skew,
    )


def skew_s(headers: Mapping[str, str], sent_ms: int, received_ms: int) -> float | None:
    """How many seconds the other side's clock is ahead, by its Date header (whole seconds, cut
    off, so that half a second is added); None where it sends none that can be read."""
    try:
        there = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except ValueError:
        return None
    return there + 0.5 - (sent_ms + received_ms) / 2000


def homeserver(seen: Seen) -> Finding:
    """Reached; is it fast enough, and does it speak what we need?"""
    address = seen.base_url + (" (by .well-known)" if seen.discovered else "")
    known = [(int(m[1]), int(m[2])) for v in seen.versions if (m := _VERSION.fullmatch(v))]
    needed = f"v{NEEDED[0]}.{NEEDED[1]}"
    newest = "v{}.{}".format(*max(known)) if known else "no version of Matrix that we know"
    detail = (
        f"answers in {seen.latency_s * 1000:.0f} ms at {address}: "
        f"{seen.software or 'software unknown'}, speaks {newest}"
    )
    if not known or max(known) < NEEDED:
        return failure(
            "homeserver",
            f"{detail}, and {needed} is needed",
            "Upgrade the homeserver, or set [matrix] homeserver to another one.",
        )
    if seen.latency_s > SLOW_S:
        return warning(
            "homeserver",
            detail,
            "Answers will come slowly: look at the homeserver's load and at the network between.",
        )
    return ok("homeserver", detail)


def clock(seen: Seen) -> Finding:
    """Whether both machines have the same time."""
    if seen.skew_s is None:
        return ok("clock", "the homeserver does not say what time it has")
    off = abs(seen.skew_s)
    if off < SKEW_WARNING_S:
        return ok("clock", "same time as the homeserver's")
    which = "behind" if seen.skew_s > 0 else "ahead of"
    detail = f"this machine's clock is {_duration(off)} {which} the homeserver's"
    todo = "Set the clock of the one that is wrong: `sudo timedatectl set-ntp true`."
    if off < SKEW_FAILURE_S:
        return warning("clock", detail, todo)
    return failure("clock", detail, todo)


async def _software(http: Http) -> str:
    """Name and version, from wherever it tells them without a login; empty where nowhere."""
    for path, names in (
        (FEDERATION_VERSION, ("server", "name")),
        (SYNAPSE_VERSION, ()),
    ):
        try:
            status, _, raw = await http.look("say which software it is", path, timeout_s=3.0)
            answer = json_body.decode(raw) if status == 200 else None
        except (HomeserverError, json_body.NotJsonError):
            continue
        if not isinstance(answer, dict):
            continue
        server = answer.get(names[0]) if names else answer
        if not isinstance(server, dict):
            continue
        name = server.get("name") if names else "Synapse"
        version = server.get("version" if names else "server_version")
        if isinstance(name, str) and isinstance(version, str):
            return _PLAIN.sub("", f"{name} {version.partition(' ')[0]}")[:100]
    return ""


def _versions(raw: bytes, base: str) -> tuple[str, ...]:
    try:
        answer = json_body.decode(raw)
    except json_body.NotJsonError:
        answer = None
    versions = answer.get("versions") if isinstance(answer, dict) else None
    if not isinstance(versions, list):
        raise HomeserverUnreachableError(
            f"At {base} something answers that is no homeserver: it names no versions."
        )
    return tuple(version for version in versions if isinstance(version, str))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
