"""What the person who asked, or the operator, is told. Text only."""

from __future__ import annotations

BROKE_OFF = "The model broke off in the middle of its answer. Ask again."
NO_SENSE = "The model's server answered with something that makes no sense. Ask again."
EMPTY = "The model gave an empty answer. Ask again."
FILTERED = "The model's provider refused to answer that (content filter)."
NO_ROOM = (
    "The model used up all its tokens before it began to answer. Ask for something shorter, or the "
    "operator can raise `[agent] max_output_tokens`."
)
REFUSED_KEY = (
    "The model's server refused the agent's key. The operator must set `[agent] api_key` "
    "(or ANTIPHON_AGENT__API_KEY) to a valid one."
)


def unknown_name(model: str) -> str:
    """The sentence for a model that the server does not know."""
    return (
        f"The model's server knows no model {model!r}, or its address is wrong. The operator must "
        "check `[agent] model` and `base_url`."
    )
