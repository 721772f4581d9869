"""What each token may: a surface's its own threads, the control plane's only to erase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.agent.auth import Grant, Tokens
from antiphon.agent_api.messages import AnyVerb, AuthorErase, Detach, ModelsList, ThreadDelete
from antiphon.errors import AgentProtocolError, SettingsError
from antiphon.settings import AgentSettings, Secret
from antiphon.testing.agent_service import THREAD, raw_client, running_agent
from antiphon.testing.engine import Act, Rule, Script, ScriptedEngine, say

MINE, THEIRS, ERASE = "token-of-matrix", "token-of-the-terminal", "token-that-erases"
ANNA = "@anna:example.org"
SETTINGS: dict[str, Any] = {
    "token": Secret(""),
    "tokens": {"matrix": Secret(MINE), "terminal": Secret(THEIRS)},
    "erase_token": Secret(ERASE),
}
MARK = "CANARY"
SLOW = Rule(((Act(text="half "), Act(gate="g")),), when="slow")
SCRIPT = Script((SLOW, say(f"{MARK} for you")))
ASKED = [{"text": "hello", "author": ANNA}]
SHA = "0" * 64


def test_the_erasing_token_is_nobodys_surface() -> None:
    tokens = Tokens(AgentSettings(**SETTINGS))
    assert tokens.grant(f"Bearer {ERASE}") == Grant(None)
    assert tokens.grant(f"Bearer {MINE}") == Grant("matrix")
    assert tokens.grant(f"Basic {ERASE}") is None
    assert tokens.grant("Bearer ") is None


def test_without_the_setting_there_is_none() -> None:
    """An empty token grants nothing."""
    tokens = Tokens(AgentSettings(token=Secret(MINE)))
    assert tokens.grant("Bearer ") is None
    assert tokens.grant("Bearer") is None
    assert tokens.grant(f"Bearer {MINE}") == Grant("default")


@pytest.mark.parametrize(
    "fields",
    [
        {"token": Secret(MINE), "erase_token": Secret(MINE)},
        {**SETTINGS, "erase_token": Secret(THEIRS)},
    ],
)
def test_a_surfaces_token_can_not_be_the_erasing_one(fields: dict[str, Any]) -> None:
    """The sentence shows no token."""
    with pytest.raises(SettingsError, match="erase_token") as caught:
        Tokens(AgentSettings(**fields))
    assert MINE not in caught.value.message
    assert THEIRS not in caught.value.message


def test_the_erasing_token_alone_is_no_token_for_a_surface() -> None:
    with pytest.raises(SettingsError, match="ANTIPHON_AGENT__TOKEN"):
        Tokens(AgentSettings(erase_token=Secret(ERASE)))


@pytest.mark.parametrize(
    ("grant", "verb", "surface"),
    [
        (Grant("matrix"), Detach("v1", THREAD), "matrix"),
        (Grant("matrix"), ThreadDelete("v1", THREAD), "matrix"),
        (Grant("matrix"), ThreadDelete("v1", THREAD, "matrix"), "matrix"),
        (Grant("matrix"), ModelsList("v1"), "matrix"),
        (Grant(None), ThreadDelete("v1", THREAD, "terminal"), "terminal"),
        (Grant(None), AuthorErase("v1", THREAD, author=ANNA, surface="matrix"), "matrix"),
    ],
)
def test_whose_thread_a_verb_is_about(grant: Grant, verb: AnyVerb, surface: str) -> None:
    assert grant.surface_of(verb) == surface


@pytest.mark.parametrize(
    ("grant", "verb"),
    [
        (Grant("matrix"), ThreadDelete("v1", THREAD, "terminal")),
        (Grant("matrix"), ThreadDelete("v1", THREAD, "Matrix")),
        (Grant("matrix"), AuthorErase("v1", THREAD, author=ANNA, surface="terminal")),
        (Grant(None), ThreadDelete("v1", THREAD)),
        (Grant(None), AuthorErase("v1", THREAD, author=ANNA)),
        (Grant(None), Detach("v1", THREAD)),
        (Grant(None), ModelsList("v1")),
    ],
)
def test_what_is_forbidden(grant: Grant, verb: AnyVerb) -> None:
    with pytest.raises(AgentProtocolError) as caught:
        grant.surface_of(verb)
    assert caught.value.code == "forbidden"


VERBS: list[tuple[str, dict[str, Any]]] = [
    ("models.list", {"thread_id": None}),
    ("attach", {"thread_id": THREAD}),
    ("attach", {"thread_id": THREAD, "run_id": "r1"}),
    ("detach", {"thread_id": THREAD}),
    ("run.start", {"thread_id": THREAD, "run_id": "r1", "input": ASKED}),
    ("run.start", {"thread_id": THREAD, "run_id": "r9", "input": ASKED}),
    ("run.cancel", {"thread_id": THREAD, "run_id": "r1"}),
    ("run.withdraw", {"thread_id": THREAD, "run_id": "r1"}),
    (
        "approval.resolve",
        {
            "thread_id": THREAD,
            "approval_id": "a1",
            "args_hash": "x",
            "decision": "approve",
            "decider": ANNA,
        },
    ),
    ("thread.export", {"thread_id": THREAD}),
    (
        "thread.import",
        {"thread_id": THREAD, "total": 1, "digest": SHA, "offset": 0, "data": "YQ=="},
    ),
    ("thread.delete", {"thread_id": THREAD}),
    ("author.erase", {"thread_id": THREAD, "author": ANNA}),
]
"""Everything that there is, but erasing with the surface named."""


async def test_the_erasing_token_can_read_write_and_start_nothing(tmp_path: Path) -> None:
    """`forbidden` for a thread that there is and for one that there is not; a surface in a verb
    that takes none is a wrong field; nothing has changed."""
    engine = ScriptedEngine(SCRIPT)
    async with (
        running_agent(tmp_path, engine, **SETTINGS) as agent,
        raw_client(agent.url, MINE) as client,
        raw_client(agent.url, ERASE) as master,
    ):
        await client.run("r1", "hello")
        for kind, fields in VERBS:
            for thread_id in (THREAD, "thread-that-never-was-here"):
                sent = fields | {"thread_id": thread_id if fields["thread_id"] else None}
                refused = await master.ask(kind, **sent)
                assert refused["code"] == "forbidden", kind
                assert MARK not in str(refused)
            if kind not in ("thread.delete", "author.erase"):
                named = await master.ask(kind, **fields, surface="matrix")
                assert named["code"] == "bad_frame", kind
        assert not master.aside
        await client.ask("attach", run_id="r1")
        assert (await client.until("snapshot"))[-1]["texts"] == [f"{MARK} for you"]
        assert len(engine.requests) == 1


async def test_the_erasing_token_erases_in_the_surface_that_it_names(tmp_path: Path) -> None:
    """The same thread id of the other surface stays; an open run of it goes on."""
    engine = ScriptedEngine(SCRIPT)
    async with (
        running_agent(tmp_path, engine, **SETTINGS) as agent,
        raw_client(agent.url, MINE) as mine,
        raw_client(agent.url, THEIRS) as theirs,
        raw_client(agent.url, ERASE) as master,
    ):
        for client in (mine, theirs):
            assert (await client.ask("run.start", run_id="r1", input=ASKED))["type"] == "ok"
            await client.end()
        await mine.start("r2", "slow")
        await engine.reached("g")
        erase = {"author": ANNA, "surface": "terminal"}
        assert (await master.ask("author.erase", **erase))["erased"] == 1
        assert (await theirs.ask("thread.export"))["code"] == "not_found"
        assert (await mine.ask("thread.export"))["type"] == "thread.archive"
        assert (await master.ask("thread.delete", surface="terminal"))["type"] == "ok"
        assert (await theirs.ask("attach"))["code"] == "thread_gone"
        assert (await master.ask("author.erase", **erase))["code"] == "thread_gone"
        unknown = await master.ask("author.erase", author=ANNA, surface="nobody-has-this-name")
        assert unknown["erased"] == 0
        assert engine.running == 1
        engine.open("g")
        assert (await mine.end())[-1]["outcome"] == "success"


@pytest.mark.parametrize("surface", ["terminal", "matrix\u200b", "nobody", "MATRIX"])
async def test_a_surfaces_token_can_not_touch_anothers_threads(
    tmp_path: Path, surface: str
) -> None:
    """`forbidden`, whether there is such a surface and such a thread or not, in the same words."""
    engine = ScriptedEngine(SCRIPT)
    async with (
        running_agent(tmp_path, engine, **SETTINGS) as agent,
        raw_client(agent.url, MINE) as mine,
        raw_client(agent.url, THEIRS) as theirs,
    ):
        await theirs.ask("run.start", run_id="r1", input=ASKED)
        await theirs.end()
        for kind, fields in (("thread.delete", {}), ("author.erase", {"author": ANNA})):
            there = await mine.ask(kind, surface=surface, **fields)
            not_there = await mine.ask(
                kind, "thread-that-never-was-here", surface=surface, **fields
            )
            assert there["code"] == "forbidden"
            assert there | {"id": ""} == not_there | {"id": ""}
        assert (await mine.ask("author.erase", author=ANNA, surface="matrix"))["erased"] == 0
        assert (await mine.ask("author.erase", author=ANNA))["erased"] == 0
        await theirs.ask("attach", run_id="r1")
        assert (await theirs.until("snapshot"))[-1]["texts"] == [f"{MARK} for you"]


@pytest.mark.parametrize("surface", ["", "x" * 65, "a\x00b", 7, ["matrix"]])
async def test_a_surface_that_can_be_none_is_a_wrong_frame(tmp_path: Path, surface: object) -> None:
    """For both kinds of token; the connection lives."""
    async with (
        running_agent(tmp_path, ScriptedEngine(SCRIPT), **SETTINGS) as agent,
        raw_client(agent.url, ERASE) as master,
        raw_client(agent.url, MINE) as mine,
    ):
        for client in (master, mine):
            assert (await client.ask("thread.delete", surface=surface))["code"] == "bad_frame"
        assert (await mine.run())[-1]["type"] == "run.finished"


async def test_any_surface_is_told_the_models(tmp_path: Path) -> None:
    """Without a thread; the default among them."""
    async with (
        running_agent(tmp_path, ScriptedEngine(SCRIPT), **SETTINGS) as agent,
        raw_client(agent.url, MINE) as mine,
    ):
        told = await mine.ask("models.list", thread_id=None)
    assert told == {
        "type": "models",
        "id": told["id"],
        "default": "scripted",
        "allowed": ["scripted", "scripted:other"],
    }
