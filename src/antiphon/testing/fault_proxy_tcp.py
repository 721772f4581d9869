"""A proxy between the adapter and the agent that knows nothing of what it carries: it cuts, stalls
and loses connections, at a moment or after so many bytes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType

_NO_LINGER = struct.pack("ii", 1, 0)


class TcpProxy:
    """Listens on `port` and passes on to `upstream_port` of this machine; an async context
    manager. `connections` counts those that were opened, `cuts` those that were cut."""

    def __init__(self, upstream_port: int):
        self.upstream_port = upstream_port
        self.port = 0
        self.connections = 0
        self.cuts = 0
        self.cut_after: int | None = None
        """Every connection is reset after so many bytes from upstream; None: never."""
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> TcpProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._flowing.set()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Resets every connection (RST, both sides)."""
        for writer in self._open:
            self.cuts += 1
            _reset(writer)

    def stall(self) -> None:
        """Nothing flows from now on; connections stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        """Ends a stall."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            _reset(writer)
            return
        ends = (writer, up_writer)
        self._open.update(ends)
        try:
            pipes = [
                asyncio.ensure_future(self._pipe(reader, up_writer, None)),
                asyncio.ensure_future(self._pipe(up_reader, writer, self.cut_after)),
            ]
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for pipe in pipes:
                pipe.cancel()
            await asyncio.wait(pipes)
        finally:
            self._open.difference_update(ends)
            for end in ends:
                _reset(end)

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None
    ) -> None:
        passed = 0
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                await self._flowing.wait()
                if most is not None and passed + len(data) >= most:
                    writer.write(data[: most - passed])
                    await writer.drain()
                    self.cuts += 1
                    return
                passed += len(data)
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes at once, so that the other end gets a reset instead of an end."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
