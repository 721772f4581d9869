"""A deterministic OpenAI-compatible model server, for tests (in process, port 0) and measurements
(`python -m antiphon.testing.model_server`). What it answers is `model_script`'s; here is the wire.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from antiphon.testing.model_script import Fault, Script, script


class SeenRequest:
    """One request as the server saw it; `ended` is set when it was answered or given up."""

    def __init__(self, body: dict[str, Any], headers: dict[str, str], peer: object):
        self.body = body
        self.headers = headers
        self.peer = peer
        """Address of the client's end: the same for two requests over one connection."""
        self.words_sent = 0
        self.disconnected = False
        self.started = asyncio.Event()
        """Set when the first word (or the headers of a hang) went out."""
        self.ended = asyncio.Event()

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.body.get("messages", []))


class ModelServer:
    """`async with ModelServer() as server:` serves `server.url` (ending in `/v1`) until the end.

    `words` and `gap` (seconds before each word) are defaults of every answer. With `api_key`, any
    other key is refused; with `models`, any other name is unknown. `log` gets a JSON line for each
    request."""

    def __init__(
        self,
        *,
        words: int = 20,
        gap: float = 0.0,
        port: int = 0,
        log: Path | None = None,
        api_key: str | None = None,
        models: tuple[str, ...] | None = None,
    ):
        self.words = words
        self.gap = gap
        self.api_key = api_key
        self.models = models
        self.model_status: int | None = None
        """What `GET /models/NAME` answers instead of the model, without a reason."""
        self.requests: list[SeenRequest] = []
        self.keys: list[str] = []
        """The key of every request of any kind, refused ones included."""
        self.resume = asyncio.Event()
        """Set it to let hanging requests go on."""
        self._faults: deque[Fault] = deque()
        self._log = log
        self._port = port
        self._runner: web.AppRunner | None = None
        self.url = ""

    def fail(self, *faults: str) -> None:
        """The next requests go wrong, one by one: `500`, `disconnect@3`, …; see `model_script`."""
        self._faults.extend(Fault.parse(fault) for fault in faults)

    async def __aenter__(self) -> ModelServer:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._list)
        # No Responses API here: only its key is looked at.
        app.router.add_post("/v1/responses", self._list)
        app.router.add_get("/v1/models/{name}", self._model)
        # Without handler_cancellation a handler would never learn that its client has gone.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.resume.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        if refused := self._refused(request, None):
            return refused
        names = self.models or ("fake",)
        return web.json_response({"object": "list", "data": [_described(name) for name in names]})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if self.model_status is not None:
            return web.Response(status=self.model_status)
        return self._refused(request, name) or web.json_response(_described(name))

    def _refused(self, request: web.Request, model: str | None) -> web.Response | None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.keys.append(key)
        if self.api_key is not None and key != self.api_key:
            return _error(401, "invalid_api_key", f"Incorrect API key provided: {key}.")
        if self.models is not None and model is not None and model not in self.models:
            return _error(404, "model_not_found", f"The model `{model}` does not exist.")
        return None

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        peer = request.transport.get_extra_info("peername") if request.transport else None
        seen = SeenRequest(body, dict(request.headers), peer)
        self.requests.append(seen)
        play = script(body, self.words)
        fault = self._faults.popleft() if self._faults else play.fault
        if self._log is not None:
            self._write_log(request, body, play)
        try:
            if refused := self._refused(request, body.get("model")):
                return refused
            if fault is not None and fault.kind.isdigit():
                return _error(int(fault.kind), "injected", "An injected fault.")
            if fault is not None and fault.kind == "html":
                return web.Response(text="<html>Bad gateway</html>", content_type="text/html")
            if not body.get("stream"):
                return await self._whole(body, play)
            return await _Stream(self, request, seen, play, fault).run()
        except asyncio.CancelledError:
            seen.disconnected = True
            raise
        finally:
            seen.ended.set()

    async def _whole(self, body: dict[str, Any], play: Script) -> web.Response:
        await asyncio.sleep(self.gap_of(play) * len(play.words))
        message = {"role": "assistant", "content": " ".join(play.words)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        base = _base(body, "chat.completion")
        return web.json_response({**base, "choices": [choice], "usage": _usage(play)})

    def gap_of(self, play: Script) -> float:
        return self.gap if play.gap is None else play.gap

    def _write_log(self, request: web.Request, body: dict[str, Any], play: Script) -> None:
        line = {
            "t": time.time(),
            "stream": bool(body.get("stream")),
            "head": play.words[:3],
            "n_messages": len(body.get("messages", [])),
            "tools": len(body.get("tools") or []),
            "bytes": request.content_length,
        }
        assert self._log is not None
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class _Stream:
    """One streamed answer on its way out."""

    def __init__(
        self,
        server: ModelServer,
        request: web.Request,
        seen: SeenRequest,
        play: Script,
        fault: Fault | None,
    ):
        self._server = server
        self._request = request
        self._seen = seen
        self._play = play
        self._fault = fault
        self._base = _base(seen.body, "chat.completion.chunk")
        self._response = web.StreamResponse(headers={"content-type": "text/event-stream"})

    async def run(self) -> web.StreamResponse:
        """Plays the script to its end, or until the client has gone."""
        try:
            return await self._run()
        except ConnectionError:
            self._seen.disconnected = True
            return self._response

    async def _run(self) -> web.StreamResponse:
        fault = self._fault
        await self._response.prepare(self._request)
        await self._delta({"role": "assistant", "content": ""})
        if fault is not None and fault.kind == "empty":
            return await self._finish("stop")
        gap = self._server.gap_of(self._play)
        for word in self._play.thinking:
            await asyncio.sleep(gap)
            await self._delta({"reasoning_content": word + " "})
        for word in self._play.words:
            if await self._went_wrong():
                return self._response
            await asyncio.sleep(gap)
            await self._delta({"content": word + " "})
            self._seen.words_sent += 1
            self._seen.started.set()
        if await self._went_wrong(at_end=True):
            return self._response
        await self._calls()
        return await self._finish("tool_calls" if self._play.calls else "stop")

    async def _went_wrong(self, *, at_end: bool = False) -> bool:
        """Whether the answer is over because of the fault, which has now been played."""
        fault = self._fault
        if fault is None or (fault.after > self._seen.words_sent and not at_end):
            return False
        self._fault = None
        self._seen.started.set()
        if fault.kind == "disconnect":
            assert self._request.transport is not None
            self._request.transport.abort()
            return True
        if fault.kind == "malformed":
            await self._response.write(b'data: {"choices": [{"delta": {"content": \n\n')
        elif fault.kind == "hang":
            await self._server.resume.wait()
        elif fault.kind == "cut":
            await self._response.write_eof()
            return True
        return False

    async def _calls(self) -> None:
        for index, call in enumerate(self._play.calls):
            half = len(call.args) // 2
            head = {"name": call.name, "arguments": call.args[:half]}
            start = {"index": index, "id": f"call_{index}", "type": "function", "function": head}
            await self._delta({"tool_calls": [start]})
            rest = {"index": index, "function": {"arguments": call.args[half:]}}
            await self._delta({"tool_calls": [rest]})

    async def _finish(self, reason: str) -> web.StreamResponse:
        await self._delta({}, reason)
        await self._send({**self._base, "choices": [], "usage": _usage(self._play)})
        await self._response.write(b"data: [DONE]\n\n")
        return self._response

    async def _delta(self, delta: dict[str, Any], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        await self._send({**self._base, "choices": [choice]})

    async def _send(self, chunk: dict[str, Any]) -> None:
        await self._response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


def _base(body: dict[str, Any], kind: str) -> dict[str, Any]:
    now = time.time()
    key = hashlib.sha256(str(now).encode()).hexdigest()[:12]
    model = body.get("model", "fake")
    return {"id": f"chatcmpl-{key}", "object": kind, "created": int(now), "model": model}


def _usage(play: Script) -> dict[str, int]:
    words = len(play.words)
    return {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": 10 + words}


def _described(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "owned_by": "lab", "context_window": 128_000}


def _error(status: int, code: str, message: str) -> web.Response:
    error = {"message": message, "type": "injected", "code": code}
    headers = {"Retry-After": "0"} if status == 429 else {}
    return web.json_response({"error": error}, status=status, headers=headers)


async def _serve(arguments: argparse.Namespace) -> None:
    server = ModelServer(
        words=arguments.words, gap=arguments.gap, port=arguments.port, log=arguments.log
    )
    async with server:
        print(server.url, flush=True)  # noqa: T201 - a program: the address is its output
        await asyncio.Event().wait()


def main() -> None:
    """Serves until it is interrupted; prints its address."""
    parser = argparse.ArgumentParser(description="A deterministic OpenAI-compatible model server.")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--words", type=int, default=100, help="words of each answer")
    parser.add_argument("--gap", type=float, default=0.02, help="seconds before each word")
    parser.add_argument("--log", type=Path, default=None, help="file for a JSON line per request")
    try:
        asyncio.run(_serve(parser.parse_args()))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
