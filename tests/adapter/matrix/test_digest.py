"""What a sync batch says of rooms: where our stay in a room begins."""

from __future__ import annotations

import pytest

from antiphon.adapter.matrix.digest import arrival_index, digest
from antiphon.adapter.matrix.transport.events import Event, StrippedEvent
from antiphon.adapter.matrix.transport.sync_response import JoinedRoom, SyncResponse
from antiphon.core.ids import UserId

ME = UserId("@bot:hs")


def member(membership: str, previous: str | None = None, who: str = ME) -> Event:
    unsigned = {} if previous is None else {"prev_content": {"membership": previous}}
    content = {"membership": membership}
    return Event("$m", "m.room.member", "@ada:hs", content, 0, who, unsigned)


def said(event_id: str = "$s") -> Event:
    return Event(event_id, "m.room.message", "@ada:hs", {"msgtype": "m.text", "body": "x"}, 0)


@pytest.mark.parametrize(
    ("events", "index"),
    [
        ([said(), member("invite"), said(), member("join", "invite"), said()], 1),
        ([said(), member("join"), said()], 1),
        ([member("join", "leave"), said(), member("leave", "join"), said()], 0),
        ([member("join"), member("leave"), said(), member("invite"), member("join", "invite")], 3),
        ([said(), said()], None),
        ([said(), member("join", "join"), said()], None),
        ([member("join", None, "@bob:hs"), said()], None),
        ([member("leave"), said(), member("join", "leave")], 2),
    ],
    ids=[
        "since the invite that led to the join",
        "since the join",
        "the join before a kick",
        "the latest stay",
        "not in sight",
        "a new profile is no arrival",
        "somebody else",
        "not what was said while kicked",
    ],
)
def test_our_stay_begins(events: list[Event], index: int | None) -> None:
    assert arrival_index(events, ME) == index


def test_a_batch_names_invites_with_their_inviter_and_rooms_that_were_left() -> None:
    invite = StrippedEvent("m.room.member", "@ada:hs", ME, {"membership": "invite"})
    encryption = Event("$c", "m.room.encryption", "@ada:hs", {}, 0, "")
    response = SyncResponse(
        next_batch="n",
        joined={"!a": JoinedRoom((said(),), True, "p", (encryption,))},
        invited={"!b": (invite,), "!c": ()},
        left={},
        to_device=(),
        problems=(),
    )
    batch = digest(response, "s", ME)
    assert [(i.room_id, i.inviter) for i in batch.invites] == [("!b", "@ada:hs"), ("!c", None)]
    assert batch.rooms[0].encrypted
    assert batch.rooms[0].limited
