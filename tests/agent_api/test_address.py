"""Reading the agent's address and token."""

import pytest

from antiphon.agent_api.address import agent_token, agent_url
from antiphon.errors import SettingsError


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("ws://127.0.0.1:8765/agent_ws/", "ws://127.0.0.1:8765/agent_ws/"),
        ("http://agent:8765", "ws://agent:8765/agent_ws/"),
        ("https://example.org/", "wss://example.org/agent_ws/"),
        ("wss://example.org/behind/a/proxy/", "wss://example.org/behind/a/proxy/"),
        ("ws://[::1]:8765", "ws://[::1]:8765/agent_ws/"),
    ],
)
def test_an_address_is_completed(written: str, read: str) -> None:
    """http(s) means ws(s), and a missing path is the protocol's."""
    assert agent_url(written) == read


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "no address"),
        ("127.0.0.1:8765", "begins with ws"),
        ("ftp://x", "begins with ws"),
        ("ws://", "names no server"),
        ("ws://x:0/", "names no server"),
        ("ws://x:99999/", "can't be read"),
        ("ws://[::1", "can't be read"),
        ("ws://a b/", "names no server"),
        ("ws://me:s3cret@x/", "ANTIPHON_AGENT__TOKEN"),
        ("ws://x/agent_ws/?token=1", "ends after its path"),
    ],
)
def test_a_wrong_address_is_refused_with_what_to_write(written: str, says: str) -> None:
    """The sentence names the problem and never a secret."""
    with pytest.raises(SettingsError, match=says) as caught:
        agent_url(written)
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("token", ["", "with space", "line\nbreak", "ümlaut"])
def test_a_token_that_fits_no_header_is_refused_unseen(token: str) -> None:
    """It could not be sent; the message does not show it."""
    with pytest.raises(SettingsError, match="ANTIPHON_AGENT__TOKEN") as caught:
        agent_token(token)
    assert not token or token not in caught.value.message
