"""Rate limits, measured gently: how many events the homeserver takes at once, seen by requests that
it refuses for another reason, so that no room ever shows one.

What is known of Synapse (1.163: read, measured): an account whose limit an administrator lifted is
limited nowhere, not in the limiter of room hierarchies either (10 at once, fixed), which costs the
account's sends nothing. A delayed event (MSC4140) is counted against `rc_message` before anything
else is looked at, and is then refused: the server does not take them, the delay is beyond every
limit, and the room does not exist.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import msgspec

from antiphon.adapter.matrix.doctor.finding import Finding, ok, warning
from antiphon.adapter.matrix.doctor.homeserver import Seen
from antiphon.adapter.matrix.transport.answers import path
from antiphon.adapter.matrix.transport.http import Http
from antiphon.clock import Chance, Clock
from antiphon.errors import MatrixApiError, RateLimitedError

HIERARCHY_BURST = 10
HIERARCHY_PER_S = 5
HIERARCHY_ASKED = 15
ROUNDS = 3
"""A slow homeserver may forget in the time that a round takes: then another one is made."""

SENDS = 12
"""Sends that are tried at once; Synapse takes 10 as it is delivered."""

DELAY = {"org.matrix.msc4140.delay": str(100 * 365 * 24 * 3600 * 1000)}
"""A hundred years, in milliseconds: no server takes that."""


TOO_LONG = "org.antiphon.doctor." + "x" * 256
"""A type of more than 255 bytes: no event can have it (specification, "Size limits")."""


class Tried(msgspec.Struct, frozen=True):
    """How sends fared that were tried at once: how many got by the limit, how long until the next
    one would (None: none was limited), and whether the homeserver counted them at all."""

    passed: int
    again_s: float | None
    counted: bool


async def limits(
    http: Http, seen: Seen, user_id: str, adapter: int | None, clock: Clock, chance: Chance
) -> Finding:
    """Measures. `http` is signed in as `user_id`; `adapter` is the process that runs on this
    account now, if any: then nothing is tried that would take sends from it. Raises what the
    homeserver's answers raise."""
    if not seen.is_synapse:
        return ok("limits", "can't be seen from outside on this homeserver; none is assumed")
    nowhere = f"!antiphon-doctor-{chance.token()}:doctor.invalid"
    if await is_lifted(http, nowhere, clock):
        return ok("limits", f"lifted for {user_id}")
    if adapter is None:
        return judged(await try_sends(http, nowhere), seen.base_url, user_id)
    wait = await limited_now(http)
    if wait is not None:
        return warning(
            "limits",
            f"the homeserver limits this account now (HTTP 429, the next send in {wait:.0f} s): "
            "answers come late and stream little",
            how_to_lift(seen.base_url, user_id),
        )
    return ok(
        "limits",
        f"not limited at this moment, and not lifted for {user_id} by itself; what rc_message of "
        f"homeserver.yaml allows was not measured, since the running adapter (process "
        f"{adapter or 'unknown'}) would miss those sends: stop it and run this again to know",
    )


async def is_lifted(http: Http, nowhere: str, clock: Clock) -> bool:
    """Whether an administrator has taken all limits from the account (or it is an application
    service's that has none)."""
    below = f"/_matrix/client/v1/rooms/{quote(nowhere, safe='')}/hierarchy"
    began, asked = clock.monotonic(), 0
    for _ in range(ROUNDS):
        waits = await asyncio.gather(
            *(_refused(http, "GET", below) for _ in range(HIERARCHY_ASKED))
        )
        if any(wait is not None for wait, _ in waits):
            return False
        asked += HIERARCHY_ASKED
        if asked > HIERARCHY_BURST + HIERARCHY_PER_S * (clock.monotonic() - began) + 1:
            return True
    return False


async def limited_now(http: Http) -> float | None:
    """Seconds until a send would go, where the account has none left now; None where it has, or
    is in no room. A type that is too long for any event is refused after the limit was looked at
    and before anything is counted (measured)."""
    answer = await http.ask("list our rooms", "GET", path("joined_rooms"))
    joined = answer.get("joined_rooms")
    if not isinstance(joined, list) or not joined:
        return None
    wait, _ = await _refused(http, "PUT", path("rooms", str(joined[0]), "send", TOO_LONG, "doctor"))
    return wait


async def try_sends(http: Http, nowhere: str) -> Tried:
    """Asks for so many sends at once, none of which can happen."""
    answers = await asyncio.gather(
        *(
            _refused(
                http,
                "PUT",
                path("rooms", nowhere, "send", "m.room.message", f"doctor{number}"),
                delayed=True,
            )
            for number in range(SENDS)
        )
    )
    waits = [wait for wait, _ in answers if wait is not None]
    said = [why for wait, why in answers if wait is None]
    return Tried(
        passed=len(said),
        again_s=max(waits) if waits else None,
        counted=bool(waits) or all("delay" in why.lower() for why in said),
    )


def judged(tried: Tried, base_url: str, user_id: str) -> Finding:
    """What that means, and how to lift the limit."""
    if tried.again_s is not None:
        taken = f"after {tried.passed} sends at once" if tried.passed else "every send"
        return warning(
            "limits",
            f"the homeserver limits {taken} (HTTP 429, the next one in {tried.again_s:.0f} s): "
            "answers come late and stream little (what was tried counts: full speed is back in "
            f"{tried.again_s * max(1, tried.passed):.0f} s)",
            how_to_lift(base_url, user_id),
        )
    if not tried.counted:
        return ok(
            "limits",
            f"not lifted for {user_id} by itself; what rc_message of homeserver.yaml allows can't "
            "be measured on this version without writing into a room",
        )
    return ok("limits", f"{tried.passed} sends at once were let through")


def how_to_lift(base_url: str, user_id: str) -> str:
    """The ways, the easiest first."""
    return (
        f"Run `antiphon matrix provision --homeserver {base_url} --user {user_id} "
        "--admin-token-file FILE`, with an administrator's access token in FILE: it lifts the "
        "limit for this account. Or by hand: `curl -X POST -H 'Authorization: Bearer ADMIN_TOKEN' "
        """-d '{"messages_per_second": 0, "burst_count": 0}' """
        f"{base_url}/_synapse/admin/v1/users/{quote(user_id, safe='')}/override_ratelimit`. "
        "Or raise rc_message in homeserver.yaml, which lifts it for everybody."
    )


async def _refused(
    http: Http, method: str, below: str, *, delayed: bool = False
) -> tuple[float | None, str]:
    """Seconds to wait where the request was limited, else None and why it was refused."""
    try:
        await http.ask_raw(
            "measure its limits",
            method,
            below,
            query=DELAY if delayed else None,
            body={} if method == "PUT" else None,
        )
    except RateLimitedError as error:
        return error.retry_after_ms / 1000, ""
    except MatrixApiError as error:
        return None, error.message
    return None, ""
