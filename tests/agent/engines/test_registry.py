"""Which models may be asked for, and that engines cost nothing until they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.agent.engines.local import LocalEngine
from antiphon.agent.engines.names import ModelName, parse
from antiphon.agent.engines.offline import OfflineEngine
from antiphon.agent.engines.port import EngineError
from antiphon.agent.engines.providers import ProviderEngine
from antiphon.agent.engines.registry import Registry, make_registry
from antiphon.errors import SettingsError
from antiphon.settings import AgentSettings


def registry(model: str, folder: Path) -> Registry:
    return make_registry(AgentSettings(model=model), folder)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("offline", ModelName("offline", "")),
        ("local", ModelName("local", "")),
        ("local:/models/a.gguf", ModelName("local", "/models/a.gguf")),
        ("openai:gpt-x", ModelName("openai", "gpt-x")),
        (" openai-chat:org/name:tag ", ModelName("openai-chat", "org/name:tag")),
    ],
)
def test_names_are_read(text: str, name: ModelName) -> None:
    assert parse(text) == name
    assert str(name) == text.strip()


@pytest.mark.parametrize(
    "text", ["", "gpt-4", "offline:x", "local:", "openai:", ":x", "Open AI:x", "../x:y"]
)
def test_a_wrong_default_is_refused_with_what_is_allowed(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="openai:NAME"):
        registry(text, tmp_path)


def test_the_default_answers_where_no_model_is_named(tmp_path: Path) -> None:
    found = registry("openai:gpt-x", tmp_path)
    assert found.default_model() == "openai:gpt-x"
    engine, model = found.resolve(None)
    assert isinstance(engine, ProviderEngine)
    assert model == "gpt-x"
    assert found.resolve("openai:gpt-x") == (engine, "gpt-x")


def test_offline_may_always_be_asked_for(tmp_path: Path) -> None:
    engine, model = registry("local", tmp_path).resolve("offline")
    assert isinstance(engine, OfflineEngine)
    assert model == ""


def test_the_local_model_is_one_engine(tmp_path: Path) -> None:
    found = registry("local", tmp_path)
    engine, _ = found.resolve(None)
    assert isinstance(engine, LocalEngine)
    assert found.resolve("local")[0] is engine


@pytest.mark.parametrize(
    "model", ["openai:gpt-y", "local", "local:/etc/passwd", "gpt-x", "x" * 300]
)
def test_other_models_are_refused_with_what_there_is(model: str, tmp_path: Path) -> None:
    """A run can't spend the operator's key on another model, nor name a file."""
    with pytest.raises(EngineError, match="It has: openai:gpt-x, offline") as caught:
        registry("openai:gpt-x", tmp_path).resolve(model)
    assert caught.value.code == "unknown_model"
    assert len(caught.value.message) < 200


async def test_check_is_of_the_default_engine(tmp_path: Path) -> None:
    await registry("offline", tmp_path).check()
    with pytest.raises(SettingsError, match=r"/nowhere/x\.gguf"):
        await registry("local:/nowhere/x.gguf", tmp_path).check()


async def test_a_closed_registry_gives_no_engine(tmp_path: Path) -> None:
    found = registry("offline", tmp_path)
    engine, _ = found.resolve(None)
    await found.close()
    await found.close()
    with pytest.raises(EngineError, match="stopping"):
        found.resolve(None)
    assert engine is not None


def test_frameworks_are_not_imported_before_they_are_needed() -> None:
    """The framework costs a second and 87 MB: neither the registry nor an engine's making may."""
    code = (
        "import sys; from pathlib import Path\n"
        "from antiphon.settings import AgentSettings\n"
        "from antiphon.agent.engines.registry import make_registry\n"
        "for model in ('openai:x', 'local', 'offline'):\n"
        "    make_registry(AgentSettings(model=model), Path('/nowhere')).resolve(None)\n"
        "heavy = {'pydantic_ai', 'openai', 'pydantic', 'xllamacpp', 'httpx2'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
