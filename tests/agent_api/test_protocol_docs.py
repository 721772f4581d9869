"""docs/protocol.md shows every message, and every example in it is one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from antiphon.agent_api.answer import Answer
from antiphon.agent_api.frames import FRAME_TYPES, UnknownEvent, decode_frame
from antiphon.agent_api.messages import (
    MAX_ARCHIVE_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_INPUT_CHARS,
    Attach,
    ErrorCode,
    RunErrorCode,
    RunStart,
)
from antiphon.agent_api.protocol import ClientProtocol, Delivered
from antiphon.agent_api.verbs import VERB_TYPES, decode_verb

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "protocol.md").read_text(encoding="utf-8")


def blocks(info: str) -> list[str]:
    """The lines of all fenced blocks of this kind."""
    found = re.findall(rf"^```{info}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


SESSION = [line.split(" ", 1) for line in blocks("session")]
VERBS = blocks("json verb") + [data for side, data in SESSION if side == ">"]
FRAMES = blocks("json frame") + [data for side, data in SESSION if side == "<"]


@pytest.mark.parametrize("line", VERBS, ids=lambda line: str(json.loads(line)["id"]))
def test_every_verb_shown_is_one(line: str) -> None:
    """It decodes as the agent decodes it, which knows no other fields."""
    decode_verb(line)


@pytest.mark.parametrize("line", FRAMES, ids=lambda line: str(json.loads(line)["type"]))
def test_every_frame_shown_is_one(line: str) -> None:
    """It decodes, and has no field that the type does not have."""
    frame = decode_frame(line)
    assert frame is not None
    assert not isinstance(frame, UnknownEvent)
    shown: dict[str, Any] = json.loads(line)
    assert set(shown) <= {"type", *frame.__struct_fields__}
    # Events are sent with all their fields.
    if "seq" in shown:
        assert set(shown) == {"type", *frame.__struct_fields__}


def test_every_type_and_code_is_shown() -> None:
    """Nothing of messages.py is left out."""
    shown = {json.loads(line)["type"] for line in VERBS + FRAMES}
    assert shown == VERB_TYPES | FRAME_TYPES
    for code in [*ErrorCode, *RunErrorCode]:
        assert f"`{code}`" in TEXT, code


def test_the_limits_shown_are_the_limits() -> None:
    """Numbers in the table are the constants'."""
    for limit in (MAX_FRAME_BYTES, MAX_CHUNK_BYTES, MAX_ARCHIVE_BYTES):
        assert f"{limit:,} bytes" in TEXT
    assert f"{MAX_INPUT_CHARS:,} characters" in TEXT


def test_links_lead_somewhere() -> None:
    """Every relative link names a file."""
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (DOCS / target).is_file(), target


def test_the_session_shown_is_what_the_client_does() -> None:
    """Played against the protocol core, the client says what stands there, and gets the answer."""
    protocol, key, answer = ClientProtocol(), 0, Answer("t5kq.0")
    ids: dict[str, str] = {}
    said: list[Any] = []
    protocol.connected()
    for side, data in SESSION:
        if side == ">":
            verb = decode_verb(data)
            if isinstance(verb, RunStart):
                key = protocol.start(verb)
            elif not isinstance(verb, Attach):
                protocol.unfollow(key)
            said += [decode_verb(frame) for frame in protocol.outgoing()]
            mine = said.pop(0)
            ids[verb.id] = mine.id
            assert type(mine) is type(verb)
            assert getattr(mine, "cursor", None) == getattr(verb, "cursor", None)
        elif side == "<":
            frame = json.loads(data)
            if "id" in frame:
                frame["id"] = ids[frame["id"]]
            for item in protocol.receive(json.dumps(frame)):
                if isinstance(item, Delivered):
                    answer.apply(item.event)
        else:
            protocol.disconnected()
            protocol.connected()
    assert (answer.text, answer.status) == ("I look.\n\nIt is noon.", "success")
    assert protocol.is_idle
