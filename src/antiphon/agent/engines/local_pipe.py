"""What the agent and the child process that holds the local model say to each other: one JSON
line each. A leaf: the child imports nothing of Antiphon but this."""

from __future__ import annotations

from typing import Literal

import msgspec


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """Parent to child: answer `messages` (role and text, oldest first). `id` counts up."""

    id: int
    messages: tuple[tuple[str, str], ...]
    max_tokens: int


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Parent to child: nobody waits for the answer `id`."""

    id: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Child to parent: the model is loaded, in so many seconds."""

    seconds: float


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """Child to parent: the model can't be loaded; the child ends."""

    reason: str


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Child to parent: more of the answer `id`."""

    id: int
    text: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Child to parent: the answer `id` is whole (or was cancelled)."""

    id: int
    finish: Literal["stop", "length"]
    input_tokens: int
    output_tokens: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Child to parent: there is no answer `id`. `too_long`: the question alone does not fit."""

    id: int
    reason: str
    too_long: bool = False


Order = Generate | Cancel
Report = Ready | Broken | Text | Done | Failed

_ENCODER = msgspec.json.Encoder()
_ORDERS: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_REPORTS: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


def line(message: Order | Report) -> bytes:
    """The message as one line."""
    return _ENCODER.encode(message) + b"\n"


def order(data: bytes) -> Order:
    """What the parent said. Raises msgspec.DecodeError."""
    return _ORDERS.decode(data)


def report(data: bytes) -> Report:
    """What the child said. Raises msgspec.DecodeError."""
    return _REPORTS.decode(data)
