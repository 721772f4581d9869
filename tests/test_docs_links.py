"""The documentation is true of the tree: links, paths, tests, names and headings in it exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from antiphon.core.model import TurnState

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "antiphon"
PAGES = tuple(sorted([ROOT / "README.md", *DOCS.rglob("*.md")]))
RECORDS = tuple(sorted((DOCS / "decisions").glob("*.md")))

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+/?|[\w-]+\.(?:py|md)")
_TOP = ("src/", "tests/", "docs/", "bench/", "scripts/", ".ci/")
_MODULE = re.compile(r"antiphon(?:\.[A-Za-z_]\w*)+")


def links(page: str) -> list[str]:
    """Targets of relative links, with their anchors."""
    found = _LINK.findall(_FENCE.sub("", page))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: str) -> set[str]:
    """What can stand behind `#` in a link to this page."""
    heads = re.findall(r"^#{1,6} (.+)$", _FENCE.sub("", page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", head).strip().lower() for head in heads)
    return {head.replace(" ", "-") for head in plain}


def paths(page: str) -> list[str]:
    """File paths that stand as code, with `::name` behind those of tests."""
    found = []
    for code in _CODE.findall(_FENCE.sub("", page)):
        path = code.partition("::")[0]
        if path.startswith(_TOP) or (_PATH.fullmatch(path) and _is_ours(path)):
            found.append(code)
    return found


def _is_ours(path: str) -> bool:
    """Whether a path means a file of the source tree, and not one on somebody's machine."""
    first = path.split("/")[0]
    return path.endswith((".py", ".md")) or (first not in (".", "..") and (SOURCE / first).is_dir())


def exists(path: str) -> bool:
    """Whether a path of the documentation leads to something, from the root or `src/antiphon/`."""
    return any((base / path).exists() for base in (ROOT, SOURCE))


@cache
def names_in(file: Path) -> frozenset[str]:
    """Functions, classes and module-level names that a Python file defines."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return frozenset(found)


def module_exists(dotted: str) -> bool:
    """Whether `antiphon.a.b` is a module, or a name that the module `antiphon.a` defines."""
    parts = dotted.split(".")[1:]
    for path in (SOURCE.joinpath(*parts), SOURCE.joinpath(*parts).with_suffix(".py")):
        if path.exists():
            return True
    owner = SOURCE.joinpath(*parts[:-1])
    file = owner / "__init__.py" if owner.is_dir() else owner.with_suffix(".py")
    return file.is_file() and parts[-1] in names_in(file)


def _id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """To a file or folder, and where it names a heading, to one that is there."""
    lost = []
    for target in links(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (
            anchor and file.suffix == ".md" and anchor not in anchors(file.read_text("utf-8"))
        ):
            lost.append(target)
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=_id)
def test_every_path_module_and_test_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    lost = []
    for code in paths(text):
        path, _, name = code.partition("::")
        if not exists(path) or (name and name not in names_in(ROOT / path)):
            lost.append(code)
    for code in _CODE.findall(_FENCE.sub("", text)):
        if _MODULE.fullmatch(code) and code != "antiphon.toml" and not module_exists(code):
            lost.append(code)
    assert not lost


@pytest.mark.parametrize("record", RECORDS, ids=_id)
def test_a_decision_record_has_its_parts(record: Path) -> None:
    """A title with its number, then context, decision and consequences, in this order."""
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"# {record.name[:4]}: ")
    parts = ("Context", "Decision", "Consequences")
    found = [re.search(rf"^(?:\*\*{part}\.\*\*|## {part}\b)", text, re.MULTILINE) for part in parts]
    assert all(found), parts
    assert sorted(match.start() for match in found if match) == [m.start() for m in found if m]


def test_records_are_numbered_on_without_a_gap_and_all_are_in_the_index() -> None:
    numbers = [int(record.name[:4]) for record in RECORDS]
    assert numbers == list(range(1, len(RECORDS) + 1))
    index = links((DOCS / "README.md").read_text(encoding="utf-8"))
    assert {f"decisions/{record.name}" for record in RECORDS} <= set(index)


def test_every_page_is_in_the_index() -> None:
    index = {
        (DOCS / target.partition("#")[0]).resolve()
        for target in links((DOCS / "README.md").read_text(encoding="utf-8"))
    }
    assert {page for page in PAGES if page != DOCS / "README.md"} <= index


def test_the_types_that_the_glossary_names_exist() -> None:
    """A type stands in brackets behind the word that it is the type of."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    types = set(re.findall(r"\(`([A-Z]\w+)`\)", text))
    assert types
    defined = set().union(*(names_in(file) for file in SOURCE.rglob("*.py")))
    assert types <= defined, types - defined


def test_the_glossary_has_every_word_once_and_every_state_of_a_turn() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    words = [
        word
        for row in re.findall(r"^\| (\*\*.+?\*\*) \|", text, re.MULTILINE)
        for word in re.findall(r"\*\*(.+?)\*\*", row)
    ]
    assert len(words) == len(set(words))
    assert {str(state) for state in TurnState} <= set(words)


# --- the checker itself -----------------------------------------------------------------------


def test_what_is_wrong_is_found() -> None:
    assert links("[a](b.md) [c](https://x.example) [d](#e)\n```\n[f](g)\n```") == ["b.md", "#e"]
    assert anchors("# A `b`: c\n## Two words") == {"a-b-c", "two-words"}
    page = "`core/no.py`, `tests/no.py::test_x`, `/health`, `m.notice`, `antiphon.toml`, `a/b.db`"
    assert paths(page) == ["core/no.py", "tests/no.py::test_x"]
    assert exists("core/ids.py")
    assert not exists("core/no.py")
    assert module_exists("antiphon.core.ids.run_id")
    assert module_exists("antiphon.agent_api.messages")
    assert not module_exists("antiphon.core.ids.no_such_name")
