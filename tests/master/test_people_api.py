"""People, roles, settings, rules, usage and the log of changes over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.core.chat_settings import SETTINGS
from antiphon.master.scopes import SCOPES
from antiphon.testing.master import Client, Master, running_master

ADA = "/users/@ada:x"

SCOPED: tuple[tuple[str, str, str, Any], ...] = (
    ("chats", "GET", "/chats", None),
    ("chats", "POST", "/chats", {"place": {"account": "@b:x", "room": "!r:x"}}),
    ("chats", "GET", "/threads/0123456789abcdef", None),
    ("users", "GET", "/users", None),
    ("users", "PUT", ADA, {"name": "x"}),
    ("users", "GET", "/roles", None),
    ("erase", "DELETE", ADA, None),
    ("export", "GET", ADA + "/export", None),
    ("settings", "GET", "/rules", None),
    ("settings", "GET", "/settings/declared", None),
    ("settings", "GET", "/resolve?room=!r:x&user_id=@a:x", None),
    ("usage", "GET", "/usage", None),
    ("usage", "POST", "/usage", {"entries": []}),
    ("audit", "GET", "/audit", None),
)


@pytest.fixture
async def master(tmp_path: Path, store_url: str) -> AsyncIterator[Master]:
    async with running_master(tmp_path, database=store_url) as running:
        yield running


@pytest.fixture
async def client(master: Master) -> Client:
    return await master.client()


async def test_a_person_is_made_replaced_and_changed_by_version(client: Client) -> None:
    assert (await client("GET", ADA)).code == "unknown_user"
    assert (await client("PUT", ADA, {"name": "Ada"}, match='"1"')).status == 412
    made = await client("PUT", ADA, {"name": "Ada", "role": "admin"})
    assert (made.status, made.json["role"]) == (201, "admin")
    assert (await client("PUT", ADA, {"name": "Eve"})).status == 428
    changed = await client("PATCH", ADA, {"role": None}, match=made.etag)
    assert (changed.json["name"], changed.json["role"]) == ("Ada", None)
    assert (await client("PATCH", ADA, {"name": "Eve"}, match=made.etag)).code == "stale"
    replaced = await client("PUT", ADA, {"name": "A. L."}, match=changed.etag)
    assert (replaced.status, replaced.json["name"]) == (200, "A. L.")
    assert (await client("GET", ADA)).etag == replaced.etag


async def test_an_id_may_hold_whatever_an_id_may_hold(client: Client) -> None:
    """Slashes, percent signs, questions, spaces in names of other scripts: each its own person."""
    ids = ["@a%2Fb:x", "@a%252Fb:x", "@a%3Fb:x", "@%D0%B0:x", "@a:x", "@A:x", "@a:x%3A8448"]
    for number, one in enumerate(ids):
        got = await client("PUT", f"/users/{one}", {"name": str(number)})
        assert got.status == 201, got.raw
    names = {(await client("GET", f"/users/{one}")).json["name"] for one in ids}
    assert names == {str(number) for number in range(len(ids))}
    listed = (await client("GET", "/users")).json["items"]
    assert {"@a/b:x", "@a%2Fb:x"} <= {one["user_id"] for one in listed}


async def test_a_role_that_changes_is_another_version_of_the_person(client: Client) -> None:
    """So that nobody overwrites it by what they read before."""
    made = await client("PUT", ADA, {"name": "Ada"})
    given = await client("PUT", "/roles?pattern=@ada:x", {"role": "blocked", "by": "@op:x"})
    assert given.json == {"pattern": "@ada:x", "role": "blocked", "version": 1}
    assert (await client("PATCH", ADA, {"role": "admin"}, match=made.etag)).status == 412
    assert (await client("GET", ADA)).json["role"] == "blocked"
    taken = await client("DELETE", "/roles?pattern=@ada:x&by=@op:x")
    assert taken.json["role"] is None
    assert (await client("GET", "/roles")).json == {"items": []}
    assert (await client("PUT", "/roles?pattern=ada", {"role": "user", "by": "x"})).code == (
        "bad_pattern"
    )


async def test_settings_are_checked_layered_and_unset(client: Client) -> None:
    """The narrower scope wins; a wrong value is told what is allowed and changes nothing."""

    async def put(path: str, value: Any) -> Any:
        return await client("PUT", f"/settings/{path}", {"value": value, "by": "@op:x"})

    await put("surface/model", "wide")
    await put("room/model?subject=!r:x", "room")
    await put("user/model?subject=@ada:x", "user")
    await put("room/tools?subject=!r:x", ["clock", "notes"])
    resolve = "/resolve?room=!r:x&user_id="
    assert (await client("GET", resolve + "@ada:x")).json["model"] == "user"
    assert (await client("GET", resolve + "@bob:x")).json == {
        "model": "room",
        "tools": ["clock", "notes"],
    }
    assert (await client("GET", "/users/@bob:x")).status == 200
    for path, value, code in [
        ("room/model?subject=!r:x", "", "bad_value"),
        ("room/streaming?subject=!r:x", "yes", "bad_value"),
        ("room/max_output_tokens?subject=!r:x", 0, "bad_value"),
        ("room/max_output_tokens?subject=!r:x", 10**30, "bad_value"),
        ("room/modell?subject=!r:x", "a", "unknown_setting"),
        ("user/isolation?subject=@ada:x", "room", "bad_scope"),
        ("room/model", "a", "bad_scope"),
        ("surface/model?subject=!r:x", "a", "bad_scope"),
        ("galaxy/model", "a", "bad_value"),
    ]:
        got = await put(path, value)
        assert (got.status, got.code) == (422, code), (path, value, got.raw)
    assert (await client("GET", "/settings?scope=room&subject=!r:x")).json["items"] == [
        {"key": "model", "value": "room", "version": 1},
        {"key": "tools", "value": ["clock", "notes"], "version": 1},
    ]
    unset = await client("DELETE", "/settings/user/model?subject=@ada:x&by=@ada:x")
    assert unset.json == {"key": "model", "value": None, "version": 0}
    assert (await client("GET", resolve + "@ada:x")).json["model"] == "room"


async def test_the_version_of_a_setting_may_be_meant(client: Client) -> None:
    path, body = "/settings/surface/language", {"value": "Latin", "by": "@op:x"}
    assert (await client("PUT", path, body, match='"0"')).status == 200
    assert (await client("PUT", path, {**body, "value": "Greek"}, match='"0"')).status == 412
    assert (await client("PUT", path, {**body, "value": "Greek"}, match='"1"')).status == 200


async def test_every_setting_is_declared(client: Client) -> None:
    items = (await client("GET", "/settings/declared")).json["items"]
    assert [one["key"] for one in items] == list(SETTINGS)


async def test_what_every_surface_has_only_an_operator_sets(master: Master) -> None:
    """Or the token of a control plane that has but one surface."""
    path, body = "/settings/platform/model", {"value": "m", "by": "@op:x"}
    surface = await master.client()
    assert (await surface("PUT", path, body)).code == "forbidden"
    operator = await master.operator()
    assert (await operator("PUT", path, body)).code == "surface_needed"
    assert (await operator("PUT", f"{path}?surface=matrix", body)).status == 200
    given = master.with_token("given-token-of-the-tests")
    assert (await given("PUT", path, body)).status == 200
    for name in ("matrix", "terminal"):
        other = await master.client(name)
        assert (await other("GET", "/resolve?room=!r:x&user_id=@a:x")).json == {"model": "m"}


async def test_rules_are_told_as_soon_as_they_change(master: Master, client: Client) -> None:
    """To every surface its own; those that wait for nothing get the same ones after their wait."""
    first = (await client("GET", "/rules")).json
    waiting = asyncio.create_task(client("GET", f"/rules?after={first['version']}&wait=20"))
    stranger = await master.client("terminal")
    theirs = (await stranger("GET", "/rules")).json
    quiet = asyncio.create_task(stranger("GET", f"/rules?after={theirs['version']}&wait=0.5"))
    await client("PUT", "/roles?pattern=@*:x", {"role": "user", "by": "@op:x"})
    async with asyncio.timeout(5):
        told = (await waiting).json
    assert told["version"] != first["version"]
    assert told["grants"] == [{"pattern": "@*:x", "role": "user"}]
    assert (await quiet).json == theirs


async def test_a_stop_ends_those_who_wait(tmp_path: Path) -> None:
    async with running_master(tmp_path) as master:
        client = await master.client()
        version = (await client("GET", "/rules")).json["version"]
        waiting = asyncio.create_task(client("GET", f"/rules?after={version}&wait=30"))
        await asyncio.sleep(0.2)
        # Leaving the block stops the service; the client's session is closed only then.
        master.stop.set()
        async with asyncio.timeout(5):
            assert (await waiting).json["version"] == version


async def test_what_runs_used_is_counted_once_and_summed_by_day(client: Client) -> None:
    entries = [
        {"run_id": f"r{n}", "user_id": "@ada:x", "room": "!r:x", "at_ms": n * 43_200_000}
        | {"input_tokens": 10, "output_tokens": 1, "seconds": 0.5}
        for n in range(3)
    ]
    for _ in range(2):
        assert (await client("POST", "/usage", {"entries": entries})).json == {"taken": 3}
    total = (await client("GET", "/usage?by=day&user_id=@ada:x")).json
    assert (total["turns"], total["input_tokens"], total["seconds"]) == (3, 30, 1.5)
    assert [(day["day"], day["turns"]) for day in total["days"]] == [
        ("1970-01-01", 2),
        ("1970-01-02", 1),
    ]
    assert (await client("GET", "/usage?room=!other:x")).json["turns"] == 0
    wrong = [{**entries[0], "run_id": "new", "input_tokens": -1}]
    assert (await client("POST", "/usage", {"entries": wrong})).status == 422
    half = [{**entries[0], "run_id": "new"}, {**entries[0], "at_ms": 10**18}]
    assert (await client("POST", "/usage", {"entries": half})).status == 422
    assert (await client("GET", "/usage")).json["turns"] == 3


async def test_the_log_says_who_changed_what_and_never_what_was_written(master: Master) -> None:
    surface, operator = await master.client(), await master.operator()
    await surface(
        "PUT", "/settings/surface/system_prompt", {"value": "Be a pirate.", "by": "@op:x"}
    )
    await surface("PUT", ADA, {"name": "Secret Name"})
    assert (await surface("GET", "/audit")).code == "forbidden"
    lines = (await operator("GET", "/audit?limit=200")).json["items"]
    seen = {(line["action"], line["actor"]) for line in lines}
    assert ("setting.set", "@op:x") in seen
    assert any(action == "user.made" and actor.startswith("token:") for action, actor in seen)
    assert ("token.made", "command") in seen
    assert "pirate" not in str(lines)
    assert "Secret Name" not in str(lines)
    assert [line["seq"] for line in lines] == sorted((one["seq"] for one in lines), reverse=True)
    here = (await operator("GET", "/audit?surface=terminal")).json["items"]
    assert here == []


async def test_a_token_may_only_what_its_scopes_say(tmp_path: Path) -> None:
    async with running_master(tmp_path) as master:
        for scope, method, path, body in SCOPED:
            others = tuple(one for one in SCOPES if one != scope)
            got = await (await master.client("matrix", others))(method, path, body)
            assert (got.status, got.code) == (403, "forbidden"), path
            alone = await master.client("matrix", (scope,))
            assert (await alone(method, path, body)).status < 400, path


async def test_many_settings_at_once_all_arrive(client: Client) -> None:
    """None is lost, none is done by half."""
    gate = asyncio.Semaphore(100)

    async def put(number: int) -> int:
        async with gate:
            room = f"!{number % 150}:x"
            got = await client(
                "PUT",
                f"/settings/room/language?subject={room}",
                {"value": f"L{number}", "by": "@op:x"},
                key=f"n{number}",
            )
            return got.status

    statuses = await asyncio.gather(*(put(number) for number in range(300)))
    assert set(statuses) == {200}
    rules = (await client("GET", "/rules")).json
    assert len(rules["settings"]) == 150
