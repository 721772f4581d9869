"""Which tools there are. What a run may use is decided by its grants, not here."""

from __future__ import annotations

from antiphon.agent.tools.calculator import CALCULATOR
from antiphon.agent.tools.clock import CLOCK
from antiphon.agent.tools.notes import NOTES_ADD, NOTES_LIST
from antiphon.agent.tools.port import Tool
from antiphon.agent.tools.search import SEARCH


def default_tools() -> tuple[Tool, ...]:
    """Every tool that Antiphon brings: none reaches beyond the thread that it is called in."""
    return (CLOCK, CALCULATOR, NOTES_ADD, NOTES_LIST, SEARCH)
