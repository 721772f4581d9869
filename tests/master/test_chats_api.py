"""Chats and sessions over HTTP: made once, changed by version, nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.testing.master import Client, Master, running_master

BOT, ROOM = "@bot:x", "!room:x"
PLACE = {"account": BOT, "room": ROOM}
MINTED = {"session_id": "s-minted", "thread_id": "thread-minted-0123", "started_ms": 5}


@pytest.fixture
async def master(tmp_path: Path, store_url: str) -> AsyncIterator[Master]:
    async with running_master(tmp_path, database=store_url) as running:
        yield running


@pytest.fixture
async def client(master: Master) -> Client:
    return await master.client()


async def made(client: Client, **place: str) -> Any:
    got = await client("POST", "/chats", {"place": {**PLACE, **place}})
    assert got.status in (200, 201), got.raw
    return got.json


async def test_a_place_has_one_chat_however_often_it_is_asked_for(client: Client) -> None:
    first = await client("POST", "/chats", {"place": PLACE})
    again = await client("POST", "/chats", {"place": PLACE})
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    assert first.json["session"]["number"] == 1
    at_once = await asyncio.gather(
        *(client("POST", "/chats", {"place": {**PLACE, "room": "!other:x"}}) for _ in range(10))
    )
    assert len({got.json["chat_id"] for got in at_once}) == 1
    assert [got.status for got in at_once].count(201) == 1


async def test_under_one_key_there_is_one_change_and_one_answer(client: Client) -> None:
    """Another change under it is refused, and does nothing."""
    chat = await made(client)
    path = f"/chats/{chat['chat_id']}/sessions"
    first = await client("POST", path, {}, key="turn-1")
    again = await client("POST", path, {}, key="turn-1")
    assert (first.status, first.raw, first.etag) == (again.status, again.raw, again.etag)
    other = await client("POST", path, {"session": MINTED}, key="turn-1")
    assert (other.status, other.code) == (409, "conflict")
    both = await asyncio.gather(*(client("POST", path, {}, key="turn-2") for _ in range(8)))
    assert {got.status for got in both} == {201}
    assert len({got.raw for got in both}) == 1
    listed = (await client("GET", path)).json["items"]
    assert [one["number"] for one in listed] == [1, 2, 3]
    assert [one["current"] for one in listed] == [False, False, True]


async def test_a_session_needs_a_key(client: Client) -> None:
    chat = await made(client)
    got = await client("POST", f"/chats/{chat['chat_id']}/sessions", {})
    assert (got.status, got.code) == (422, "bad_value")


async def test_a_chat_is_changed_by_the_version_that_is_meant(client: Client) -> None:
    chat = await made(client)
    path = f"/chats/{chat['chat_id']}"
    etag = (await client("GET", path)).etag
    assert (await client("PATCH", path, {"title": "A"})).status == 428
    first = await client("PATCH", path, {"title": "A"}, match=etag)
    assert (first.status, first.json["title"]) == (200, "A")
    stale = await client("PATCH", path, {"title": "B"}, match=etag)
    assert (stale.status, stale.code) == (412, "stale")
    assert (await client("GET", path)).json["title"] == "A"


async def test_of_ten_changes_to_one_version_one_wins(client: Client) -> None:
    chat = await made(client)
    path = f"/chats/{chat['chat_id']}"
    etag = (await client("GET", path)).etag
    got = await asyncio.gather(
        *(client("PATCH", path, {"title": f"T{n}"}, match=etag) for n in range(10))
    )
    assert sorted(one.status for one in got) == [200] + [412] * 9


async def test_archive_restore_and_delete(client: Client) -> None:
    """A deleted chat's threads never come back; its place begins anew."""
    chat = await made(client)
    path = f"/chats/{chat['chat_id']}"
    await client("PATCH", path, {"archived": True}, match="*")
    assert (await client("GET", "/chats?archived=true")).json["items"][0]["archived"]
    assert (await client("POST", f"{path}/restore")).json["archived"] is False
    deleted = await client("DELETE", path)
    assert (deleted.status, deleted.raw) == (204, b"")
    assert (await client("GET", path)).code == "unknown_chat"
    thread = chat["session"]["thread_id"]
    assert (await client("GET", f"/threads/{thread}")).json == {"retired": True}
    assert (await made(client))["session"]["thread_id"] != thread


async def test_a_surface_brings_a_chat_that_it_had_to_make_itself(client: Client) -> None:
    """Once; where the place has another one meanwhile, that is told."""
    adopt = {"chat_id": "c-minted", "session": MINTED}
    body = {"place": PLACE, "adopt": adopt}
    first = await client("POST", "/chats", body)
    again = await client("POST", "/chats", body)
    assert (first.status, again.status) == (201, 200)
    assert first.json["session"]["thread_id"] == MINTED["thread_id"]
    second = {"chat_id": "c-other", "session": {**MINTED, "session_id": "s2"}}
    conflict = await client("POST", "/chats", {"place": PLACE, "adopt": second})
    assert (conflict.status, conflict.code) == (409, "conflict")
    assert conflict.json["error"]["details"]["kept"]["chat_id"] == "c-minted"
    elsewhere = {"place": {**PLACE, "room": "!o:x"}, "adopt": {**second, "session": MINTED}}
    taken = await client("POST", "/chats", elsewhere)
    assert (taken.status, taken.code) == (409, "conflict")
    assert len((await client("GET", "/chats")).json["items"]) == 1


async def test_a_chat_moves_with_its_memory_and_its_room_s_settings(client: Client) -> None:
    chat = await made(client)
    await client("PUT", "/settings/room/language?subject=!room:x", {"value": "Latin", "by": "@a:x"})
    path = f"/chats/{chat['chat_id']}/move"
    new = {**PLACE, "room": "!new:x"}
    moved = await client("POST", path, {"place": new})
    assert moved.json["place"]["room"] == "!new:x"
    assert moved.json["session"] == chat["session"]
    assert (await client("POST", path, {"place": new})).status == 200
    kept = await client("GET", "/settings?scope=room&subject=!new:x")
    assert [one["value"] for one in kept.json["items"]] == ["Latin"]
    await made(client)
    assert (await client("POST", path, {"place": PLACE})).code == "conflict"


async def test_sessions_are_renamed_archived_and_switched(client: Client) -> None:
    """Archiving the current one begins another; switching brings an archived one back."""
    chat = await made(client)
    base = f"/chats/{chat['chat_id']}/sessions"
    first = chat["session"]["session_id"]
    assert (await client("PATCH", f"{base}/{first}", {"title": "One"})).status == 428
    named = await client("PATCH", f"{base}/{first}", {"title": "One"}, key="k1")
    assert named.json["session"]["title"] == "One"
    away = await client("PATCH", f"{base}/{first}", {"archived": True}, key="k2")
    assert away.json["session"]["archived"]
    assert away.json["current"]["number"] == 2
    back = await client("PATCH", f"{base}/{first}", {"current": True}, key="k3")
    assert back.json["current"]["session_id"] == first
    assert back.json["session"]["archived"] is False
    gone = await client("DELETE", f"{base}/{first}")
    assert gone.json["session"] is None
    assert gone.json["current"]["session_id"] != first
    assert (await client("GET", f"{base}/{first}")).code == "unknown_session"


async def test_a_retired_thread_is_no_chat_s_memory_any_more(client: Client) -> None:
    chat = await made(client)
    thread = chat["session"]["thread_id"]
    assert (await client("GET", f"/threads/{thread}")).json == {"retired": False}
    for _ in range(2):
        assert (await client("POST", f"/threads/{thread}/retire")).json == {"retired": True}
    assert (await client("GET", f"/threads/{thread}")).json == {"retired": True}
    assert (await made(client))["session"]["number"] == 2


async def test_pages_show_everything_once(client: Client) -> None:
    for number in range(7):
        await made(client, room=f"!{number}:x")
    seen: list[str] = []
    path = "/chats?limit=3"
    while path:
        page = (await client("GET", path)).json
        seen += [one["chat_id"] for one in page["items"]]
        cursor = page["next_cursor"]
        path = f"/chats?limit=3&cursor={cursor}" if cursor else ""
    assert len(seen) == len(set(seen)) == 7
    assert (await client("GET", "/chats?limit=201")).status == 422
    assert (await client("GET", "/chats?cursor=nonsense")).code == "bad_cursor"
    assert [
        c["place"]["room"] for c in (await client("GET", "/chats?room=!3:x")).json["items"]
    ] == ["!3:x"]


async def test_nothing_of_another_surface_can_be_seen_or_changed(
    master: Master, client: Client
) -> None:
    """Every way to it answers byte by byte as for an id that nobody has."""
    chat = await made(client)
    chat_id, session = chat["chat_id"], chat["session"]
    stranger = await master.client("terminal")
    ways: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("PATCH", "", {"title": "mine"}),
        ("DELETE", "", None),
        ("POST", "/restore", None),
        ("POST", "/move", {"place": PLACE}),
        ("GET", "/sessions", None),
        ("POST", "/sessions", {}),
        ("GET", f"/sessions/{session['session_id']}", None),
        ("PATCH", f"/sessions/{session['session_id']}", {"current": True}),
        ("DELETE", f"/sessions/{session['session_id']}", None),
    ]
    for number, (method, rest, body) in enumerate(ways):
        foreign, unknown = [
            await stranger(method, f"/chats/{one}{rest}", body, match="*", key=f"{number}-{one}")
            for one in (chat_id, "nobody-has-this")
        ]
        assert foreign.status == 404, (method, rest)
        assert (foreign.status, foreign.raw) == (unknown.status, unknown.raw)
    retired = await stranger("POST", f"/threads/{session['thread_id']}/retire")
    assert (retired.status, retired.json) == (200, {"retired": True})
    assert (await stranger("GET", "/chats")).json["items"] == []
    assert (await client("GET", f"/chats/{chat_id}")).json == chat


async def test_a_session_of_another_chat_is_none_of_this_one(client: Client) -> None:
    mine, other = await made(client), await made(client, room="!other:x")
    foreign = other["session"]["session_id"]
    got = await client(
        "PATCH", f"/chats/{mine['chat_id']}/sessions/{foreign}", {"current": True}, key="k"
    )
    assert (got.status, got.code) == (404, "unknown_session")


@pytest.mark.parametrize(
    "place",
    [
        {"account": BOT},
        {"account": BOT, "room": ""},
        {"account": BOT, "room": "!a\0:x"},
        {"account": BOT, "room": "!a\n:x"},
        {"account": BOT, "room": "!" + "r" * 512},
        {"account": BOT, "room": ROOM, "surface": "terminal"},
        {"account": BOT, "room": 5},
    ],
)
async def test_a_place_that_is_none_makes_no_chat(client: Client, place: dict[str, Any]) -> None:
    got = await client("POST", "/chats", {"place": place})
    assert (got.status, got.code) == (422, "bad_value")
    assert (await client("GET", "/chats")).json["items"] == []


async def test_text_that_is_no_unicode_is_refused(client: Client) -> None:
    body = b'{"place": {"account": "@b:x", "room": "!a\\ud800:x"}}'
    got = await client("POST", "/chats", data=body, headers={"Content-Type": "application/json"})
    assert got.status == 422
