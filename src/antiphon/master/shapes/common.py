"""Texts, ids, numbers and pages as all requests and answers have them."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from antiphon.master.calls import Asked
from antiphon.master.front import SLASH

# No control characters: an id is shown in logs and on terminals. `\u` forms: the pattern stands in
# the OpenAPI too, whose dialect of regular expressions is JavaScript's.
PLAIN = r"^[^\u0000-\u001F\u007F]+$"
WITHOUT_NUL = r"^[^\u0000]*$"

FAR_MS = (1 << 53) - 1
"""The latest time, and the largest count: what every reader of JSON keeps exactly."""


def _slashes(value: Any) -> Any:
    return value.replace(SLASH, "/") if isinstance(value, str) else value


def integral(value: Any) -> Any:
    """JSON has one kind of number: 5.0 is the whole number 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[str, Field(min_length=1, max_length=512, pattern=PLAIN)]
InPath = Annotated[Id, BeforeValidator(_slashes)]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ThreadKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,128}$")]
Title = Annotated[str, Field(max_length=200, pattern=r"^[^\u0000-\u001F\u007F]*$")]
Count = Annotated[int, Field(ge=0, le=FAR_MS), BeforeValidator(integral)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]

M = TypeVar("M", bound=BaseModel)


class Taken(BaseModel):
    """What a request carries: nothing that is not known, no number as text."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Given(BaseModel):
    """What an answer carries."""

    model_config = ConfigDict(extra="forbid", json_schema_mode_override="serialization")


class PageAsked(Asked):
    """One page of a list."""

    cursor: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,1000}$",
        description="`next_cursor` of the page before.",
    )
    limit: int = Field(50, ge=1, le=200, description="Most items.")


class Page(Given, Generic[M]):
    """A page of a list. `next_cursor` is null on the last one."""

    items: list[M]
    next_cursor: str | None


class ErrorBody(Given):
    """What went wrong: `code` for programs, `message` for people."""

    code: str = Field(examples=["stale"])
    message: str
    details: dict[str, Any] | None = None


class Envelope(Given):
    """The answer to every request that is refused or fails."""

    error: ErrorBody
