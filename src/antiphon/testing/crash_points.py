"""Which crash points there are, read from the source: the literals of `crash_point("…")`."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec

SOURCE = Path(__file__).parents[1]

COMMANDS = ("adapter/matrix/backup/", "adapter/matrix/reset/", "agent/erasing.py")
"""Modules that no service runs by itself, only because a person asks (paths as in
`Point.modules`)."""
CONTROL_PLANE = ("master/", "sdk/remote_")
"""Modules that run only where there is a control plane, which a campaign has not."""
CRYPTO = "adapter/matrix/crypto/"


class Point(msgspec.Struct, frozen=True):
    """One name, and the modules in which it stands (paths below `src/antiphon/`)."""

    name: str
    modules: tuple[str, ...]

    @property
    def processes(self) -> tuple[str, ...]:
        """Which processes of a campaign come by: `adapter`, `agent` or both; none where only a
        command does, or the control plane, whose own tests kill it there."""
        if all(module.startswith((*COMMANDS, *CONTROL_PLANE)) for module in self.modules):
            return ()
        if all(module.startswith("agent/") for module in self.modules):
            return ("agent",)
        if all(module.startswith(("adapter/", "sdk/")) for module in self.modules):
            return ("adapter",)
        return ("adapter", "agent")

    @property
    def encrypted(self) -> bool:
        """Whether it belongs to encryption, so that it may be come to in encrypted rooms alone."""
        return all(module.startswith(CRYPTO) for module in self.modules)


def crash_points(source: Path = SOURCE) -> tuple[Point, ...]:
    """All points, by name. Raises ValueError for a call whose name is no literal."""
    found: dict[str, set[str]] = {}
    for path in sorted(source.rglob("*.py")):
        module = path.relative_to(source).as_posix()
        if module.startswith("testing/") or module == "crash.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _is_point(node.func):
                found.setdefault(_literal(node, module), set()).add(module)
    return tuple(Point(name, tuple(sorted(where))) for name, where in sorted(found.items()))


def _is_point(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name == "crash_point"


def _literal(call: ast.Call, module: str) -> str:
    match call.args:
        case [ast.Constant(value=str(name))]:
            return name
    raise ValueError(f"{module}:{call.lineno}: a crash point's name must stand there as a literal")
