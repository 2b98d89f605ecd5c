"""The beginning and the end of an ASGI application: it may prepare itself before the first request, and clean up."""

from __future__ import annotations

import asyncio

from frontend.server.server_log import SERVER_LOG
from frontend.server.transport_state import Message, TransportState


class Lifespan:
    """One run of the application with a scope of type `lifespan`. An application that knows none is served all the
    same: the protocol has no other way to say so than to raise.
    """

    def __init__(self, state: TransportState) -> None:
        self._state = state
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()
        self._failed = False
        self._task: asyncio.Task[None] | None = None  # held, or else it might be collected while it waits

    async def startup(self) -> bool:
        """Returns whether the application is ready; why not is in the log."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._messages.put_nowait({"type": "lifespan.startup"})
        await self._begun.wait()
        if not self._failed:
            SERVER_LOG.info("Application startup complete.")
        return not self._failed

    async def shutdown(self) -> None:
        """Returns once the application has cleaned up."""
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        await self._ended.wait()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state.app_state}
        try:
            ended = await asyncio.gather(self._live(scope), return_exceptions=True)
            if isinstance(ended[0], Exception):
                self._say(ended[0])
        finally:
            self._begun.set()
            self._ended.set()

    async def _live(self, scope: Message) -> None:
        await self._state.app(scope, self._messages.get, self._take)

    def _say(self, error: Exception) -> None:
        if self._begun.is_set():
            SERVER_LOG.error("The application's lifespan failed", exc_info=error)
        else:
            SERVER_LOG.info("The application has no lifespan: %r", error)

    async def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind.endswith(".failed"):
            SERVER_LOG.error("%s: %s", kind, message.get("message", ""))
            self._failed = True
        (self._begun if kind.startswith("lifespan.startup.") else self._ended).set()
