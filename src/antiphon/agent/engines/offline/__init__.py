"""The offline assistant: no language model, real tools."""

from antiphon.agent.engines.offline.engine import OfflineEngine

__all__ = ["OfflineEngine"]
