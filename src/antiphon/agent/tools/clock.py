"""The tool `clock`: date and time in a time zone. Reads the clock of the thread's port only."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec
from msgspec import Meta

from antiphon.agent.tools.arguments import declare, read
from antiphon.agent.tools.port import Tool, ToolContext, ToolRefusedError

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


class ClockArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `clock` takes."""

    zone: Annotated[
        str,
        Meta(
            max_length=64,
            description="IANA time zone such as Europe/Berlin, or the city of one; default UTC.",
        ),
    ] = "UTC"


async def _run(raw: dict[str, Any], context: ToolContext) -> str:
    zone = find_zone(read(ClockArguments, raw).zone)
    moment = datetime.fromtimestamp(context.thread.now_ms() / 1000, zone)
    return describe(moment)


def describe(moment: datetime) -> str:
    """`Sunday, 22 November 2026, 10:41:22 UTC (2026-11-22T10:41:22+00:00)`, in English whatever
    the machine's locale is."""
    day = _DAYS[moment.weekday()]
    month = _MONTHS[moment.month - 1]
    return (
        f"{day}, {moment.day} {month} {moment.year}, {moment:%H:%M:%S} {moment.tzname()} "
        f"({moment.isoformat(timespec='seconds')})"
    )


def find_zone(name: str) -> ZoneInfo:
    """The zone that `name` says: an IANA name, or the city at the end of one, in any case.

    Raises ToolRefusedError for a name that is neither."""
    wanted = name.strip().replace(" ", "_")
    try:
        return ZoneInfo(wanted)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    for zone in sorted(available_timezones()):
        if wanted.lower() in (zone.lower(), zone.lower().rsplit("/", 1)[-1]):
            return ZoneInfo(zone)
    raise ToolRefusedError(
        f"There is no time zone {name!r} here. Give an IANA name such as Europe/Berlin, or UTC."
    )


CLOCK = Tool(
    spec=declare("clock", "The current date and time.", ClockArguments),
    run=_run,
    repeatable=True,
)
