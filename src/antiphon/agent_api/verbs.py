"""Verb frames as bytes: encoding for clients, decoding with the right refusal for the agent.
Pure functions; what is encoded here is what `decode_verb` accepts."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.agent_api.messages import (
    MAX_FRAME_BYTES,
    MAX_INPUT_CHARS,
    AnyVerb,
    ErrorCode,
    RunStart,
)
from antiphon.errors import AgentProtocolError


class BadVerbError(AgentProtocolError):
    """A frame is no verb that may be sent. `code` is `bad_frame`, `unknown_type`,
    `frame_too_large` or `input_too_large`; `verb_id` is the frame's id where it could be read."""

    def __init__(self, code: ErrorCode, message: str, verb_id: str | None = None):
        super().__init__(message, code=code.value)
        self.verb_id = verb_id


class _Head(msgspec.Struct):
    """As much of a frame as can be read when the rest is wrong."""

    type: Any = None
    id: Any = None


VERB_TYPES = frozenset(struct.__struct_config__.tag for struct in AnyVerb.__args__)

_decoder: msgspec.json.Decoder[AnyVerb] = msgspec.json.Decoder(AnyVerb)
_head_decoder = msgspec.json.Decoder(_Head)
_encoder = msgspec.json.Encoder()


def encode_verb(verb: AnyVerb) -> bytes:
    """The frame of `verb`. Raises BadVerbError where the agent would have to refuse it."""
    try:
        frame = _encoder.encode(verb)
    except UnicodeEncodeError as error:
        message = "The text has half a character (a lone surrogate) in it, which can't be sent."
        raise BadVerbError(ErrorCode.BAD_FRAME, message, verb.id) from error
    decode_verb(frame)
    return frame


def decode_verb(data: bytes | str) -> AnyVerb:
    """The verb in a frame. Raises BadVerbError, ready to be answered as an `error` frame."""
    raw = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    if len(raw) > MAX_FRAME_BYTES:
        raise BadVerbError(
            ErrorCode.FRAME_TOO_LARGE,
            f"A frame may have {MAX_FRAME_BYTES} bytes; this one has {len(raw)}.",
        )
    try:
        verb = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(raw, error) from error
    if isinstance(verb, RunStart):
        chars = sum(len(part.text) for part in verb.input)
        if chars > MAX_INPUT_CHARS:
            raise BadVerbError(
                ErrorCode.INPUT_TOO_LARGE,
                f"A question may have {MAX_INPUT_CHARS} characters; this one has {chars}.",
                verb.id,
            )
    return verb


def _refusal(raw: bytes, error: Exception) -> BadVerbError:
    try:
        head = _head_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return BadVerbError(ErrorCode.BAD_FRAME, "The frame is no JSON object.")
    readable = isinstance(head.id, str) and 1 <= len(head.id) <= 128
    verb_id = head.id if readable else None
    if isinstance(head.type, str) and head.type not in VERB_TYPES:
        known = ", ".join(sorted(str(tag) for tag in VERB_TYPES))
        message = f"There is no verb of type {head.type[:64]!r}. Known: {known}."
        return BadVerbError(ErrorCode.UNKNOWN_TYPE, message, verb_id)
    return BadVerbError(ErrorCode.BAD_FRAME, f"The frame is wrong: {error}.", verb_id)
