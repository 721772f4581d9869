"""One request to the control plane: where it goes, and what each failure becomes."""

from __future__ import annotations

import pytest

from antiphon.errors import MasterRefusedError, MasterUnreachableError, PlatformError, SettingsError
from antiphon.sdk.remote_address import master_token, master_url
from antiphon.sdk.remote_api import request_key
from antiphon.sdk.remote_http import Http, RefusedError
from antiphon.testing.fault_proxy import FaultProxy, Rule
from antiphon.testing.homeserver_faults import Fault

TOKEN = "a-token-of-the-tests-0123456789"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8770", "http://127.0.0.1:8770"),
        ("https://plane.example.org/", "https://plane.example.org"),
        ("https://example.org/antiphon/", "https://example.org/antiphon"),
    ],
)
def test_an_address_is_taken_as_it_is_meant(text: str, url: str) -> None:
    assert master_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        *("ws://127.0.0.1:1", "127.0.0.1:8770", "http://", "http://x:0", "http://x:99999"),
        *("http://me:secret@x", "http://x?surface=a", "http://x#y", "http://a b", "http://[x"),
    ],
)
def test_what_is_no_address_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        master_url(text)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("token", ["", "with space", "line\nbreak", "ümlaut"])
def test_what_can_be_no_token_is_refused_without_it(token: str) -> None:
    with pytest.raises(SettingsError) as caught:
        master_token(token)
    assert not token or token not in caught.value.message


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, b"", MasterRefusedError, "master_refused"),
        (403, b'{"error": {"code": "forbidden", "message": "No."}}', RefusedError, "forbidden"),
        (404, b'{"error": {"code": "unknown_chat", "message": "x"}}', RefusedError, "unknown_chat"),
        (412, b'{"error": {"code": "stale", "message": "x"}}', RefusedError, "stale"),
        (404, b"<html>", MasterUnreachableError, "master_unreachable"),
        (409, b'{"error": "no object"}', MasterUnreachableError, "master_unreachable"),
        (429, b"", MasterUnreachableError, "master_unreachable"),
        (500, b"{}", MasterUnreachableError, "master_unreachable"),
        (302, b"", MasterUnreachableError, "master_unreachable"),
        (200, b"<html>", MasterUnreachableError, "master_unreachable"),
        (200, b'{"half', MasterUnreachableError, "master_unreachable"),
    ],
)
async def test_each_answer_is_an_error_of_ours_and_never_holds_the_token(
    status: int, body: bytes, kind: type[PlatformError], code: str
) -> None:
    rule = Rule(("other",), Fault(taken=False, status=status, body=body))
    async with (
        FaultProxy("http://127.0.0.1:9", rules=[rule]) as proxy,
        Http(proxy.url, TOKEN) as http,
    ):
        with pytest.raises(PlatformError) as caught:
            await http.ask("GET", "/rules", timeout_s=5)
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert TOKEN not in caught.value.message
    assert TOKEN not in repr(http)
    assert caught.value.retryable is (kind is MasterUnreachableError)


async def test_text_that_is_none_is_a_wrong_value_and_not_a_network_that_is_away() -> None:
    """A lone surrogate, as broken clients send them."""
    async with Http("http://127.0.0.1:9", TOKEN) as http:
        with pytest.raises(PlatformError) as caught:
            await http.ask("POST", "/chats", body={"place": "\ud800"}, timeout_s=5)
    assert caught.value.code == "bad_value"


def test_a_request_has_one_name_on_the_wire() -> None:
    """As it is, where a header can hold it; else by its hash, as long as it may be."""
    assert request_key("t5bsqw3c7n2x.1") == "t5bsqw3c7n2x.1"
    named = {request_key(text) for text in ("with space", "a" * 129, "ü", "line\nbreak")}
    assert len(named) == 4
    assert all(len(key) <= 128 and key.isascii() and " " not in key for key in named)
