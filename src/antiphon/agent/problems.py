"""Unexpected failures: an id for the person that the log has too, and text made safe to store."""

from __future__ import annotations

import hashlib
import traceback

from antiphon import telemetry
from antiphon.clock import Chance


def report(part: str, event: str, error: BaseException, chance: Chance, **facts: object) -> str:
    """Logs an unexpected exception with its traceback (as text: a renderer that shows local
    variables would log what people wrote); returns the short id that the log line and the sentence
    for the person share."""
    number = hashlib.sha256(chance.token().encode()).hexdigest()[:4]
    telemetry.logger(part).error(
        event,
        error_id=number,
        exception="".join(traceback.format_exception(error)),
        **facts,
    )
    return number


def sentence(number: str) -> str:
    """What a person is told of it."""
    return f"Something went wrong on my side (error {number}). Please try again."


def clean(text: str) -> str:
    """`text` without what can't be stored or sent: NUL characters and lone surrogates."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode() if _has_surrogate(text) else text


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
