"""Server frames as bytes: encoding for the agent, decoding for clients, tolerant of what a newer
agent may add. Pure functions."""

from __future__ import annotations

import msgspec

from antiphon.agent_api.messages import (
    MAX_FRAME_BYTES,
    VERSION,
    AnyEvent,
    Error,
    Reply,
    ServerFrame,
)
from antiphon.errors import AgentProtocolError


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a type that this version does not know: it counts in the thread's order and
    means nothing."""

    type: str
    thread_id: str
    run_id: str
    attempt: int
    seq: int


Frame = Reply | Error | AnyEvent | UnknownEvent


class _Head(msgspec.Struct):
    type: str


FRAME_TYPES = frozenset(struct.__struct_config__.tag for struct in ServerFrame.__args__)

_decoder: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)
_head_decoder = msgspec.json.Decoder(_Head)
_unknown_decoder = msgspec.json.Decoder(UnknownEvent)
_encoder = msgspec.json.Encoder()


def encode_frame(frame: ServerFrame) -> bytes:
    """The bytes of an answer or event. Raises AgentProtocolError (`frame_too_large`)."""
    data = _encoder.encode(frame)
    if len(data) > MAX_FRAME_BYTES:
        raise AgentProtocolError(
            f"A frame may have {MAX_FRAME_BYTES} bytes; this one has {len(data)}.",
            code="frame_too_large",
        )
    return data


def decode_frame(data: bytes | str) -> Frame | None:
    """The frame in `data`: None for one of an unknown type that is no event (a newer agent's).

    Raises AgentProtocolError, whose sentence says what is wrong."""
    if len(data) > MAX_FRAME_BYTES:
        raise AgentProtocolError(
            f"The agent sent a frame above {MAX_FRAME_BYTES} bytes.", code="frame_too_large"
        )
    try:
        frame = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return _unknown(data, error)
    version = getattr(frame, "v", VERSION)
    if version != VERSION:
        raise AgentProtocolError(
            f"The agent speaks version {version} of the protocol, this program {VERSION}: "
            "install matching versions.",
            code="version",
        )
    return frame


def _unknown(data: bytes | str, error: Exception) -> UnknownEvent | None:
    try:
        kind = _head_decoder.decode(data).type
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise AgentProtocolError("The agent sent something that is no frame.") from error
    if kind in FRAME_TYPES:
        raise AgentProtocolError(f"The agent sent a broken frame {kind!r}: {error}.") from error
    try:
        return _unknown_decoder.decode(data)
    except msgspec.DecodeError:
        return None
