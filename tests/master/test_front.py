"""What every request to the control plane comes through: tokens, bounded JSON, and one envelope for
all that is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.testing.master import Client, Master, running_master


@pytest.fixture
async def master(tmp_path: Path) -> AsyncIterator[Master]:
    async with running_master(tmp_path) as running:
        yield running


@pytest.fixture
async def client(master: Master) -> Client:
    return await master.client()


async def test_health_and_the_document_are_public(master: Master) -> None:
    anybody = master.with_token("")
    health = await anybody("GET", "/health")
    assert (health.status, health.json["status"]) == (200, "ok")
    document = await anybody("GET", "/openapi.json")
    assert document.json["openapi"].startswith("3.1")
    assert document.json["paths"]["/health"]["get"]["security"] == []


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer wrong", "given"])
async def test_without_a_good_token_there_is_nothing_to_learn(master: Master, header: str) -> None:
    """The same answer for paths that there are and paths that there are not."""
    anybody = master.with_token("")
    sent = {"Authorization": header}
    known = await anybody("GET", "/users", headers=sent)
    unknown = await anybody("GET", "/nothing", headers=sent)
    assert (known.status, known.code) == (401, "unauthorized")
    assert known.raw == unknown.raw
    assert known.headers["WWW-Authenticate"].startswith("Bearer")


async def test_two_authorization_headers_are_none(master: Master, client: Client) -> None:
    async with master.session.get(
        master.url + "/nothing",
        headers=[("Authorization", f"Bearer {client.token}"), ("Authorization", "Bearer x")],
    ) as response:
        assert response.status == 401


async def test_the_token_of_the_settings_serves_the_surface_matrix(master: Master) -> None:
    given = master.with_token("given-token-of-the-tests")
    assert (await given("GET", "/nothing")).code == "unknown_path"


async def test_a_revoked_token_is_refused_within_a_second(master: Master) -> None:
    """Also one that was used a moment ago, and also where the settings still have it."""
    from antiphon.clock import SystemClock
    from antiphon.master import tokens

    token_id, token = await master.make_token("matrix", ("chats",))
    client = master.with_token(token)
    assert (await client("GET", "/nothing")).status == 404
    async with tokens.open_database(master.general, master.settings) as database:
        await tokens.revoke(database, token_id, clock=SystemClock())
    async with asyncio.timeout(5):
        while (await client("GET", "/nothing")).status != 401:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "unknown_path"),
        ("/health/", 404, "unknown_path"),
        ("/%00", 400, "bad_request"),
        ("/users/%ff", 400, "bad_request"),
        ("/users/%ef%b7%90", 400, "bad_request"),
        ("/health?x=%ff", 400, "bad_request"),
        ("/health?x=%00", 400, "bad_request"),
    ],
)
async def test_a_path_that_is_none(client: Client, path: str, status: int, code: str) -> None:
    got = await client("GET", path)
    assert (got.status, got.code) == (status, code)


async def test_another_method_is_refused_with_those_that_there_are(client: Client) -> None:
    got = await client("DELETE", "/health")
    assert (got.status, got.code, got.headers["Allow"]) == (405, "method_not_allowed", "GET")


async def test_a_body_is_bounded_json_in_utf_8(client: Client) -> None:
    kind = {"Content-Type": "application/json"}
    large = b'"' + b"x" * (256 * 1024) + b'"'
    cases = [
        (large, kind, 413),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b'{"a": "\xff"}', kind, 400),
    ]
    for data, headers, status in cases:
        got = await client("POST", "/health", data=data, headers=headers)
        assert got.status == status, got.raw
        assert set(got.json) == {"error"}


async def test_a_body_in_pieces_is_bounded_too(master: Master, client: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 10_000

    async with master.session.post(
        master.url + "/health",
        data=pieces(),
        headers={"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"},
    ) as response:
        assert response.status == 413


async def test_no_answer_may_be_kept_by_whoever_passes_it_on(client: Client) -> None:
    assert (await client("GET", "/health")).headers["Cache-Control"] == "no-store"


async def test_the_log_names_no_token_and_no_id(
    master: Master, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused tokens are told of once in a while, with how many there were."""
    from antiphon import telemetry

    telemetry.configure("debug", "json", process="master")
    for number in range(5):
        await master.with_token(f"wrong-{number}")("GET", "/users/@secret:x")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    refused = [line for line in lines if line["event"] == "token refused"]
    assert len(refused) == 1
    assert not any("wrong-" in str(line) or "@secret" in str(line) for line in lines)


async def test_a_fault_of_ours_is_one_envelope_and_a_line_in_the_log(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends one request and nothing else; the line names the route and no query."""
    from antiphon import telemetry
    from antiphon.master.routes import usage

    def broken(*_: object) -> object:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(usage, "used", broken)
    telemetry.configure("info", "json", process="master")
    got = await client("GET", "/usage?user_id=@secret:x")
    assert (got.status, got.code) == (500, "internal")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    [failed] = [line for line in lines if line["event"] == "request failed"]
    assert (failed["route"], failed["status"]) == ("/usage", 500)
    assert "a fault of ours" in str(failed["exception"])
    assert "@secret" not in str(failed)
    assert (await client("GET", "/users")).status == 200


async def test_a_database_that_fails_is_told_to_come_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antiphon.errors import DatabaseError

    def failing(*_: object, **__: object) -> object:
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr("antiphon.records.people.page", failing)
    monkeypatch.setattr("antiphon.records.ping.answers", failing)
    got = await client("GET", "/users")
    assert (got.status, got.code, got.headers["Retry-After"]) == (503, "unavailable", "2")
    sick = await client("GET", "/health")
    assert (sick.status, sick.json["status"]) == (503, "database_failed")


async def test_a_body_that_does_not_come_ends_the_request(
    master: Master, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.master.front.BODY_WITHIN_S", 0.2)
    host, _, port = master.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    )
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_no_surface_can_name_another(master: Master, client: Client) -> None:
    """Whether there is one or not."""
    await master.client("terminal")
    known, unknown = [await client("GET", f"/users?surface={s}") for s in ("terminal", "nobody")]
    assert (known.status, known.code) == (403, "forbidden")
    assert known.raw == unknown.raw
    assert (await client("GET", "/users?surface=matrix")).status == 200


async def test_what_a_query_does_not_know_is_refused(client: Client) -> None:
    got = await client("GET", "/users?limt=5")
    assert (got.status, got.code) == (422, "bad_value")
    assert got.json["error"]["details"]["wrong"][0]["where"] == "query.limt"
