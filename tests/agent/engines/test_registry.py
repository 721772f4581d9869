"""Which models may be asked for, and that engines cost nothing until they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from antiphon.agent.engines.local import LocalEngine
from antiphon.agent.engines.names import ModelName, parse
from antiphon.agent.engines.offline import OfflineEngine
from antiphon.agent.engines.port import EngineError
from antiphon.agent.engines.providers import ProviderEngine, address
from antiphon.agent.engines.registry import Registry, make_registry
from antiphon.errors import SettingsError
from antiphon.settings import AgentSettings, Secret
from antiphon.testing.model_server import ModelServer


def registry(model: str, folder: Path, *models: str, **fields: Any) -> Registry:
    return make_registry(AgentSettings(model=model, models=models, **fields), folder)


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


def test_what_the_operator_lists_may_be_asked_for(tmp_path: Path) -> None:
    """The default first, `offline` always, each once; one engine for each provider."""
    found = registry("openai:gpt-x", tmp_path, "openai:gpt-y", " local", "openai:gpt-x")
    assert found.allowed() == ("openai:gpt-x", "openai:gpt-y", "local", "offline")
    engine, model = found.resolve("openai:gpt-y")
    assert (engine, model) == (found.resolve(None)[0], "gpt-y")
    assert isinstance(found.resolve("local")[0], LocalEngine)
    with pytest.raises(EngineError, match="It has: openai:gpt-x, openai:gpt-y, local, offline"):
        found.resolve("openai:gpt-z")


def test_each_local_model_is_an_engine_of_its_own(tmp_path: Path) -> None:
    """One child process has one model in memory."""
    found = registry("local", tmp_path, "local:/models/a.gguf")
    assert found.resolve("local")[0] is not found.resolve("local:/models/a.gguf")[0]
    assert found.resolve("local:/models/a.gguf")[0].capabilities("").description == "a.gguf"


@pytest.mark.parametrize("text", ["", "gpt-4", "offline:x", "local:", "openai:", "../x:y"])
def test_a_wrong_name_in_the_list_is_refused_with_what_is_allowed(
    text: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"\[agent\] models: .*openai:NAME"):
        registry("offline", tmp_path, "openai:gpt-x", text)


@pytest.mark.parametrize(
    ("default", "models", "says"),
    [
        ("offline", ("local:/nowhere/x.gguf",), r"\[agent\] models: local:/nowhere/x\.gguf: can't"),
        ("offline", ("openai:gpt-x",), r"models: openai:gpt-x: .*api_key"),
        ("offline", ("nobody:x",), "models: nobody:x: there is no provider 'nobody'"),
        ("deepseek:x", ("openai:gpt-x",), "are for deepseek:… alone.*OPENAI_API_KEY"),
    ],
)
async def test_every_listed_model_is_looked_at_at_the_start(
    default: str,
    models: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What can't work is told by its name and with what to do."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = registry(default, tmp_path, *models, api_key=Secret("k" if ":" in default else ""))
    with pytest.raises(SettingsError, match=says):
        await found.check()
    await found.close()


async def test_a_listed_model_that_the_server_does_not_know_is_refused(tmp_path: Path) -> None:
    """One that can't be reached now may come later, and what will never work is said first."""
    async with ModelServer(models=("fake", "other")) as server:
        found = registry("openai:fake", tmp_path, "openai:other", base_url=server.url)
        await found.check()
        await found.close()
        found = registry("openai:fake", tmp_path, "openai:nope", base_url=server.url)
        with pytest.raises(SettingsError, match=r"models: openai:nope: .*no model 'nope'"):
            await found.check()
        await found.close()
        away = server.url
    found = registry("openai:fake", tmp_path, "openai:other", base_url=away)
    with pytest.raises(EngineError, match="can't be reached"):
        await found.check()
    await found.close()
    found = registry("openai:fake", tmp_path, "local:/nowhere/x", base_url=away)
    with pytest.raises(SettingsError, match="/nowhere/x"):
        await found.check()
    await found.close()


async def test_the_key_goes_to_the_provider_that_it_is_for_and_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`api_key` and `base_url` are for the first provider that is named: another one's server is
    never sent that key."""
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
    found = registry(
        "offline",
        tmp_path,
        "mistral:small",
        "openai:gpt-x",
        api_key=Secret("for-mistral"),
        base_url="http://mistral.test/v1",
    )
    seen = {
        name: found.resolve(name)[0]._settings  # type: ignore[attr-defined]
        for name in ("mistral:small", "openai:gpt-x")
    }
    assert seen["mistral:small"].api_key.reveal() == "for-mistral"
    assert seen["openai:gpt-x"].api_key.reveal() == ""
    where = address.find(seen["openai:gpt-x"])
    assert (where.is_openai, where.key.reveal()) == (True, "of-the-environment")


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
