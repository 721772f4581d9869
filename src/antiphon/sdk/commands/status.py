"""`!status`: how it stands, for administrators."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from antiphon.core.limits import in_words
from antiphon.sdk.commands.values import Asker, Kit, Reply
from antiphon.sdk.commands.words import code, counted

CONFLICTS_SHOWN = 5


async def status(kit: Kit, asker: Asker, arguments: Sequence[str]) -> Reply:
    """`!status`."""
    agent = await kit.platform.check()
    state = await kit.platform.state_health()
    rules = await kit.platform.rules()
    up = in_words(int((kit.clock.monotonic() - kit.began) * 1000))
    kept = "by a control plane" if state.remote else "here"
    lines = [
        f"- Antiphon {_version()}, up for {up}.",
        f"- Agent: {_ok(agent.ok)}. {_plain(agent.detail)}",
        f"- Chats and settings, kept {kept}: {_ok(state.ok)}. {_plain(state.detail)}",
    ]
    if state.waiting:
        wait = "waits" if state.waiting == 1 else "wait"
        lines.append(
            f"- {counted(state.waiting, 'change')} {wait} to be told to the control plane."
        )
    if state.conflicts:
        lines.append(f"- {counted(len(state.conflicts), 'change')} it did not take as made:")
        lines += [f"  - {_plain(one)}" for one in state.conflicts[-CONFLICTS_SHOWN:]]
    if not rules.fresh:
        lines.append(
            "- Roles that were given while running do not count now: they may be out of date. "
            "Blocks and the settings file do."
        )
    lines += [f"- {line}" for line in kit.more_status()]
    return Reply("\n".join(lines))


def _ok(ok: bool) -> str:
    return "ok" if ok else "NOT OK"


def _plain(sentence: str) -> str:
    """What other parts say, addresses and all, as text that formats nothing."""
    return code(sentence, 300)


def _version() -> str:
    try:
        return version("antiphon")
    except PackageNotFoundError:
        return "(not installed as a package)"
