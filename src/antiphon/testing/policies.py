"""Policies for tests of what the journal takes in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from antiphon.adapter.matrix.journal.ruling import Known
from antiphon.adapter.matrix.policy import Policy, access_of
from antiphon.core.rules import Rules
from antiphon.settings import MatrixSettings


def policy_of(
    allow: Iterable[str], rules: Rules | None = None, *, fresh: bool = True, **settings: Any
) -> Policy:
    """The policy of these settings and rules (default: nothing is set)."""
    made = Policy(access_of(MatrixSettings(allow=tuple(allow), **settings)))
    made.apply(Known(rules or Rules("1"), 0), fresh=fresh)
    return made
