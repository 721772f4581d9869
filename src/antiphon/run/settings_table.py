"""The table of settings as rows, for the documentation and for `antiphon init`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from antiphon.settings import SECTIONS, Secret, is_secret, variable_name

_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


class Row(msgspec.Struct, frozen=True):
    """One setting. `kind` says in words what its value is; `default` is the value itself."""

    section: str
    name: str
    variable: str
    kind: str
    default: Any
    help: str
    secret: bool


def rows(section: str) -> Iterator[Row]:
    """The settings of a section, in the table's order."""
    struct = SECTIONS[section]
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        kind, text = _unwrapped(hints[field.name])
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield Row(
            section=section,
            name=field.name,
            variable=variable_name(section, field.name),
            kind=_kind(kind),
            default=default,
            help=text,
            secret=is_secret(kind),
        )


def toml_value(value: Any) -> str:
    """A setting's value as TOML."""
    match value:
        case Secret():
            return toml_value(value.reveal())
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            # JSON's escapes are TOML's too, but for DEL, which TOML wants escaped.
            return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
        case tuple() | list():
            return "[" + ", ".join(toml_value(item) for item in value) + "]"
        case dict():
            pairs = (f"{toml_value(str(key))} = {toml_value(item)}" for key, item in value.items())
            return "{ " + ", ".join(pairs) + " }" if value else "{}"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _unwrapped(hint: Any) -> tuple[Any, str]:
    if get_origin(hint) is not Annotated:
        return hint, ""
    kind, *extras = get_args(hint)
    texts = [meta.description for meta in extras if isinstance(meta, Meta) and meta.description]
    return kind, texts[-1] if texts else ""


def _kind(hint: Any) -> str:
    if hint is Secret:
        return "secret text"
    if hint == dict[str, Secret]:
        return "table of secret texts"
    if hint == tuple[str, ...]:
        return "list of texts"
    if get_origin(hint) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(hint))
    return _KINDS[hint]
