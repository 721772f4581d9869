"""Who keeps users and chats in the tests of the adapter: its own state, and a control plane."""

from __future__ import annotations

import pytest

from antiphon.testing.remote_worlds import KEPT


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.slow if kind == "remote" else ()) for kind in KEPT]
)
def kept(request: pytest.FixtureRequest) -> str:
    """For `remote_worlds.kept_by`, where the second kind need not be in every run."""
    return str(request.param)
