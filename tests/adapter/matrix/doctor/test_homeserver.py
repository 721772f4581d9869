"""What the doctor sees of the homeserver without a login: versions, latency, time."""

from __future__ import annotations

from email.utils import formatdate

import msgspec
import pytest

from antiphon.adapter.matrix.doctor import homeserver as check
from antiphon.adapter.matrix.doctor.homeserver import Seen, skew_s
from antiphon.adapter.matrix.transport import address
from antiphon.adapter.matrix.transport.http import Http
from antiphon.clock import Clock, SystemClock
from antiphon.errors import HomeserverUnreachableError
from antiphon.testing.clock import FakeClock
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import answer, error, html, lost_response

FINE = Seen(
    base_url="https://x.org",
    discovered=False,
    latency_s=0.01,
    versions=("r0.6.1", "v1.3"),
    software="Synapse 1.163.2",
    skew_s=0.0,
)


def seen(**more: object) -> Seen:
    return msgspec.structs.replace(FINE, **more)


async def look(server: FakeHomeserver, clock: Clock | None = None) -> Seen:
    async with Http(server.url, None) as http:
        return await check.look(http, clock or SystemClock())


async def test_it_says_where_what_and_how_fast(homeserver: FakeHomeserver) -> None:
    found = await look(homeserver)
    assert found.base_url == homeserver.url
    assert found.versions == ("v1.11", "v1.12")
    assert (found.software, found.is_synapse) == ("Fake 1.0", False)
    assert 0 < found.latency_s < 5
    assert found.skew_s is not None
    assert abs(found.skew_s) < 5


async def test_without_federation_synapse_names_itself_by_its_own_api(
    homeserver: FakeHomeserver,
) -> None:
    homeserver.fail("federation_version", error(404, "M_UNRECOGNIZED"))
    homeserver.fail("synapse_version", answer(b'{"server_version": "1.163.2 (b=main)"}'))
    found = await look(homeserver)
    assert (found.software, found.is_synapse) == ("Synapse 1.163.2", True)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"server": 7}', b'{"server": {}}', b"<html>"])
async def test_software_that_does_not_say_its_name_is_unknown(
    homeserver: FakeHomeserver, body: bytes
) -> None:
    homeserver.fail("federation_version", answer(body))
    found = await look(homeserver)
    assert found.software == ""


async def test_a_name_can_not_paint_the_terminal(homeserver: FakeHomeserver) -> None:
    body = msgspec.json.encode({"server": {"name": "Evil\x1b[31m\n", "version": "1\x07"}})
    homeserver.fail("federation_version", answer(body))
    assert (await look(homeserver)).software == "Evil31m 1"


async def test_what_is_no_homeserver_is_an_error(homeserver: FakeHomeserver) -> None:
    for fault in (html(502), html(200), answer(b"{}"), lost_response()):
        homeserver.faults.clear()
        homeserver.fail("versions", fault, 3)
        with pytest.raises(HomeserverUnreachableError):
            await look(homeserver)


@pytest.mark.parametrize(
    ("versions", "level"),
    [
        (("r0.6.1",), "failure"),
        ((), "failure"),
        (("v1.2",), "failure"),
        (("v1.3",), "ok"),
        (("v1.2", "v1.15", "x"), "ok"),
        (("v2.0",), "ok"),
    ],
)
def test_versions_that_are_too_old_are_a_failure(versions: tuple[str, ...], level: str) -> None:
    found = check.homeserver(seen(versions=versions))
    assert found.level == level
    assert ("Upgrade" in found.todo) == (level == "failure")


@pytest.mark.parametrize(("latency", "level"), [(1.0, "ok"), (1.1, "warning")])
def test_a_slow_homeserver_is_a_warning(latency: float, level: str) -> None:
    assert check.homeserver(seen(latency_s=latency)).level == level


def test_a_discovered_address_is_said() -> None:
    found = check.homeserver(seen(discovered=True))
    assert "https://x.org (by .well-known)" in found.detail


async def test_a_bare_name_is_discovered(
    homeserver: FakeHomeserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `.well-known` says is where everything else is asked."""

    async def found(self: Http) -> str:
        return address.discovered(
            "example.org",
            200,
            msgspec.json.encode({"m.homeserver": {"base_url": homeserver.url}}),
        )

    monkeypatch.setattr(Http, "base_url", found)
    async with Http("example.org", None) as http:
        told = await look_with(http)
    assert (told.base_url, told.discovered) == (homeserver.url, True)


async def look_with(http: Http) -> Seen:
    return await check.look(http, SystemClock())


# --- the clock --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew", "level"),
    [
        (0.0, "ok"),
        (29.9, "ok"),
        (-29.9, "ok"),
        (30.0, "warning"),
        (-30.0, "warning"),
        (299.9, "warning"),
        (300.0, "failure"),
        (-300.0, "failure"),
        (None, "ok"),
    ],
)
def test_another_time_is_a_warning_and_quite_another_a_failure(
    skew: float | None, level: str
) -> None:
    found = check.clock(seen(skew_s=skew))
    assert found.level == level
    assert ("timedatectl" in found.todo) == (level != "ok")
    if level != "ok" and skew is not None:
        assert ("behind" in found.detail) == (skew > 0)


def test_the_skew_is_taken_from_the_middle_of_the_request() -> None:
    """The Date header has whole seconds, cut off: it stands for the middle of its second."""
    at = 1_700_000_000
    headers = {"Date": formatdate(at, usegmt=True)}
    assert skew_s(headers, at * 1000, at * 1000 + 1000) == 0.0
    assert skew_s(headers, (at - 60) * 1000, (at - 60) * 1000 + 1000) == 60.0
    assert skew_s({}, 0, 0) is None
    assert skew_s({"Date": "yesterday"}, 0, 0) is None


async def test_a_clock_that_is_wrong_is_seen(homeserver: FakeHomeserver) -> None:
    clock = FakeClock(SystemClock().now_ms() + 3_600_000)
    found = await look(homeserver, clock)
    assert found.skew_s is not None
    assert -3610 < found.skew_s < -3590
