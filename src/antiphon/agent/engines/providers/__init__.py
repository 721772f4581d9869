"""Models of other people: any OpenAI-compatible server, and the providers that pydantic-ai
brings. Importing this package does not import pydantic-ai; the engine does, when first needed."""

from antiphon.agent.engines.providers.engine import ProviderEngine

__all__ = ["ProviderEngine"]
