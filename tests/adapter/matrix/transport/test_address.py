"""What a person may write as the homeserver, and what .well-known makes of a server name."""

from __future__ import annotations

import pytest

from antiphon.adapter.matrix.transport.address import base_url, discovered, is_server_name
from antiphon.errors import SettingsError


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://matrix.example.org", "https://matrix.example.org"),
        ("https://matrix.example.org/", "https://matrix.example.org"),
        (" http://127.0.0.1:8008 ", "http://127.0.0.1:8008"),
        ("http://[::1]:8008", "http://[::1]:8008"),
        ("https://example.org/matrix/", "https://example.org/matrix"),
        ("https://example.org/_matrix/client/v3", "https://example.org"),
        ("example.org", "https://example.org"),
    ],
)
def test_what_works_is_taken(written: str, url: str) -> None:
    assert base_url(written) == url


@pytest.mark.parametrize(
    "written",
    ["", "   ", "localhost:8008", "localhost", "matrix.example.org:8448", "ftp://example.org",
     "https://", "https://:8008", "https://a b.org", "https://user:pw@example.org", "@bot:x.org",
     "https://example.org:port", "https://example.org:99999", "https://example.org/?x=1",
     "https://example.org/#/room", "//example.org", "https//example.org", "http://[::1"],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(SettingsError, match=r"https://matrix\.example\.org") as refused:
        base_url(written)
    assert "pw" not in refused.value.message


def test_only_a_bare_name_is_discovered() -> None:
    assert is_server_name("example.org")
    assert is_server_name("matrix-1.example.org")
    assert not any(map(is_server_name, ("https://example.org", "localhost", "1.2.3.4", "a.b:80")))


def test_discovery_takes_the_base_url_or_the_name_itself() -> None:
    body = b'{"m.homeserver": {"base_url": "https://matrix.example.org/"}}'
    assert discovered("example.org", 200, body) == "https://matrix.example.org"
    assert discovered("example.org", 404, b"<html>") == "https://example.org"


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>"), (200, b"[]"), (200, b'{"m.homeserver": {"base_url": "x"}}'), (500, b""),
     (200, b'{"m.homeserver": {"base_url": "ftp://x.org"}}'), (200, b'{"m.homeserver": 3}')],
)  # fmt: skip
def test_a_useless_well_known_names_the_setting_to_use(status: int, body: bytes) -> None:
    with pytest.raises(SettingsError, match="homeserver"):
        discovered("example.org", status, body)
