"""What a tool is called with: declared once as a struct, from which the schema that models see
and the check of what they send are both made. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from antiphon.agent.engines.port import ToolSpec
from antiphon.agent.tools.port import ToolRefusedError

A = TypeVar("A", bound=msgspec.Struct)


def declare(name: str, description: str, arguments: type[msgspec.Struct]) -> ToolSpec:
    """The tool as a model sees it. `arguments` is a flat struct; each field's description comes
    from its `Meta`."""
    _, components = msgspec.json.schema_components([arguments])
    schema: dict[str, Any] = dict(components[arguments.__name__])
    schema.pop("title", None)
    schema.pop("description", None)
    schema.setdefault("required", [])
    return ToolSpec(name=name, description=description, parameters=schema)


def read(arguments: type[A], raw: dict[str, Any]) -> A:
    """The arguments, checked. Raises ToolRefusedError with a sentence that a model can act on."""
    try:
        return msgspec.convert(raw, arguments)
    except msgspec.ValidationError as error:
        known = ", ".join(arguments.__struct_fields__) or "none"
        raise ToolRefusedError(f"Bad arguments: {error}. Known arguments: {known}.") from error


def bounded(text: str, limit: int) -> str:
    """`text` with at most `limit` characters; a cut is marked by `…`."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
