"""Asks an OpenAI-compatible server at start whether key and model are right, before the model
framework is loaded: that takes two seconds, this a few milliseconds."""

from __future__ import annotations

from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from antiphon.agent.engines.port import EngineError
from antiphon.agent.engines.providers.address import Address
from antiphon.agent.engines.providers.sentences import REFUSED_KEY, unknown_name
from antiphon.errors import SettingsError

TIMEOUT_S = 3.0
MOST_BYTES = 64_000


async def ask(address: Address, model: str) -> None:
    """`GET /models/{model}`, once.

    Raises SettingsError for a refused key or an unknown model, and EngineError when the server
    can't be reached or has a problem. A server that has no such question is taken to be fine, and
    so is a key that may not ask it."""
    try:
        base = URL(address.url)
        url = URL(f"{address.url}/models/{quote(model, safe='')}", encoded=True)
        headers = {"Authorization": f"Bearer {address.key.reveal()}"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, headers=headers, allow_redirects=False) as answer,
        ):
            status, body = answer.status, await answer.content.read(MOST_BYTES)
    except (aiohttp.InvalidURL, ValueError) as error:
        raise SettingsError("[agent] base_url is no address.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineError(
            f"The model's server at {base.host}:{base.port} can't be reached. Start it, or check "
            "`[agent] base_url`.",
            code="model_unavailable",
            retryable=True,
        ) from error
    _judge(status, body, model)


def _judge(status: int, body: bytes, model: str) -> None:
    if status == 401 and b"permission" not in body.lower():
        raise SettingsError(REFUSED_KEY)
    if status == 404 and _code(body) == "model_not_found":
        raise SettingsError(unknown_name(model))
    if status >= 500:
        raise EngineError(
            f"The model's server has a problem (HTTP {status}).",
            code="model_unavailable",
            retryable=True,
        )


def _code(body: bytes) -> object:
    """The error code in an answer in OpenAI's shape."""
    try:
        error = msgspec.json.decode(body)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return error.get("code") if isinstance(error, dict) else None
