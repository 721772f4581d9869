"""The fakes of the agent's side: `FakePlatform` (in memory) for tests of surfaces."""

from antiphon.testing.platform import FakePlatform

__all__ = ["FakePlatform"]
