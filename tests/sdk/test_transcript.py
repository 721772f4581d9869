"""What the agent's archive of a thread tells a surface of what was said."""

from __future__ import annotations

import pytest

from antiphon.agent.archive import KIND, VERSION, Archive, PastRun, PastStep, encode
from antiphon.agent_api.messages import InputPart
from antiphon.core.ids import RunId, UserId
from antiphon.core.model import Said
from antiphon.sdk.transcript import Exchanged, authors, read


def step(number: int, text: str) -> PastStep:
    return PastStep(number, True, text, None, None, 1, ())


def test_what_the_agent_writes_is_read() -> None:
    run = PastRun(
        run_id="t1.1",
        status="cancelled",
        attempt=1,
        body_hash="x",
        input=(InputPart("Hello", "@ada:x"), InputPart("there", "@bob:x")),
        settings=None,
        error=None,
        created_ms=5,
        ended_ms=6,
        steps=(step(0, "First."), step(1, ""), step(2, "Then.")),
    )
    found = read(encode(Archive(KIND, VERSION, (run,), ())))
    ada, bob = Said(UserId("@ada:x"), "Hello"), Said(UserId("@bob:x"), "there")
    assert found == (Exchanged(RunId("t1.1"), (ada, bob), "First.\n\nThen.", "cancelled", 5),)
    assert authors(found) == {"@ada:x", "@bob:x"}


@pytest.mark.parametrize(
    "archive", [None, b"", b"{", b"[]", b"\xff", b'{"runs": 1}', b'{"runs": [1]}', b"[" * 5_000]
)
def test_what_can_not_be_read_is_nothing(archive: bytes | None) -> None:
    assert read(archive) == ()
