"""A TCP proxy between a client and a real server: slows, goes deaf, drips, cuts, refuses, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any

from tests.services.held_port import HeldPort

CHUNK_BYTES = 65536
CALL_S = 10.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing resets the connection


class Proxy:
    """`with Proxy(server.port) as proxy:` passes `proxy.port` on to 127.0.0.1:`target_port`, at first unchanged.

    One thread with an event loop of its own; every method may be called from any thread, and has taken effect when
    it returns. A target that refuses looks to the client like a connection that is closed at once.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._held = HeldPort()
        self.port = self._held.number
        # Written by the test's thread, read by the loop's: single words, so that nothing is half seen.
        self._delay_s = 0.0
        self._drip_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._hearing = asyncio.Event()
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.come_back()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.refuse()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CALL_S)
            self._held.close()
        assert not self._thread.is_alive(), "the proxy's loop did not end"

    # --- faults -----------------------------------------------------------------------------------------------------

    def slow(self, delay_s: float) -> None:
        """Every piece of data, either way, is passed on only `delay_s` later."""
        self._delay_s = delay_s

    def drip(self, every_s: float) -> None:
        """What the server says arrives byte by byte, one every `every_s` seconds; 0.0: as it comes."""
        self._drip_s = every_s

    def deafen(self) -> None:
        """Takes connections and data, and passes nothing on until it comes back: the peer is silent."""
        self._call(self._set_hearing(False))

    def cut(self) -> None:
        """Resets every connection there is; new ones are welcome."""
        self._call(self._cut())

    def refuse(self) -> None:
        """Resets every connection and listens no more: new ones are refused."""
        self._call(self._close())

    def come_back(self) -> None:
        """No fault any more: listens, hears, passes on at once, what it held back too."""
        self._delay_s = self._drip_s = 0.0
        self._call(self._open())

    @property
    def connections(self) -> int:
        """How many there are just now."""
        return len(self._links)

    # --- the loop's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _call(self, act: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(CALL_S)

    async def _set_hearing(self, hearing: bool) -> None:
        (self._hearing.set if hearing else self._hearing.clear)()

    async def _open(self) -> None:
        self._hearing.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _close(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._cut()

    def _accept(self, listener: socket.socket) -> None:
        """Not by asyncio's server, nor its `sock_accept`: stopped while they accept, they forget a connection."""
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # whoever came has left
            peer, _ = listener.accept()
            peer.setblocking(False)
            task = self._loop.create_task(self._link(peer))
            self._links[task] = []
            task.add_done_callback(functools.partial(self._end, peer))

    def _end(self, peer: socket.socket, task: asyncio.Task[None]) -> None:
        writers = self._links.pop(task)
        for writer in writers:
            writer.close()
        if not writers:  # ended before it began
            peer.close()

    async def _cut(self) -> None:
        links = dict(self._links)
        for task, writers in links.items():
            for writer in writers:
                with contextlib.suppress(OSError):  # it has been closed meanwhile
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _link(self, peer: socket.socket) -> None:
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(OSError, asyncio.CancelledError):  # a fault; or a client or a server that left
            reader, writer = await asyncio.open_connection(sock=peer, limit=CHUNK_BYTES)
            self._links[task].append(writer)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._links[task].append(far_writer)
            await self._pass_on(reader, writer, far_reader, far_writer)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.ensure_future(self._pump(reader, far_writer, drips=False)),
            asyncio.ensure_future(self._pump(far_reader, writer, drips=True)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, drips: bool) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._hearing.wait()
            if drips and self._drip_s:
                await self._write_dripping(data, writer)
            else:
                writer.write(data)
                await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def _write_dripping(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        for at in range(len(data)):
            writer.write(data[at : at + 1])
            await writer.drain()
            if self._drip_s:  # it may have come back meanwhile
                await asyncio.sleep(self._drip_s)
