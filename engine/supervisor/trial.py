"""One process that tries forms of a model: started, heard, and ended when it takes too long.

It lies below everything that serves, and nothing depends on how it ends. It gets its order on a descriptor, tells news
in lines on its standard output, and leaves a result on disk. It is the head of a session and of a group, so that all
that it starts can be ended with it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Sequence

from engine.config import without_secrets
from engine.launch.identity import send_signal
from engine.messages import sealed_memfd
from engine.supervisor.children import Child, describe_exit, reap, spawn
from engine.supervisor.loop import Loop, Timer
from engine.tuning.order import TrialNews, TrialOrder

_MOST_BYTES = 1 << 20  # of news, of all trials of a model together: a few lines for each candidate
_LONGEST_TEXT = 500  # characters of a reason
_LEAVE_WITHIN_S = 2.0  # told to end; it takes what it has begun off the disk


class Trial:
    """From `start` to its one `on_end`, which is told why there is no result; empty: there is one."""

    def __init__(
        self,
        loop: Loop,
        *,
        limit_s: float,
        on_news: Callable[[TrialNews], object],
        on_end: Callable[[str], object],
    ) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._on_news = on_news
        self._on_end = on_end
        self._child: Child | None = None
        self._news_fd = -1
        self._heard = bytearray()  # the beginning of a line
        self._bytes = 0  # heard so far
        self._failure = ""  # what we ended it for, else what it said last of a failure of its own
        self._is_ordered = False  # that it ends
        self._timer: Timer | None = None

    def start(self, command: Sequence[str], order: TrialOrder, factory_fd: int | None) -> None:
        """Raises OSError, and then nothing is left."""
        with contextlib.ExitStack() as stack:
            order_fd = sealed_memfd("trials", order.to_bytes())
            stack.callback(os.close, order_fd)
            self._news_fd, writer = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, writer)
            arguments = ["--order", str(order_fd), "--parent", str(os.getpid())]
            arguments += [] if factory_fd is None else ["--factory", str(factory_fd)]
            kept = [order_fd] if factory_fd is None else [order_fd, factory_fd]
            with contextlib.ExitStack() as undo:
                undo.callback(self._stop_listening)
                environment = without_secrets(os.environ)  # a model is somebody else's code
                os.set_blocking(self._news_fd, False)
                self._loop.watch(self._news_fd, self._hear)
                child = spawn([*command, *arguments], environment, stdout=writer, kept=kept)
                undo.callback(child.end)
                self._loop.watch(child.pidfd, self._died)
                self._child = child
                undo.pop_all()
        self._timer = self._loop.call_after(self._limit_s, self._take_too_long)

    @property
    def pid(self) -> int:
        """0 once it has ended."""
        return 0 if self._child is None else self._child.identity.pid

    @property
    def pidfd(self) -> int:
        """-1 once it has ended."""
        return -1 if self._child is None else self._child.pidfd

    def end(self, reason: str) -> None:
        """Has it end; `on_end` is told `reason` once it and all that it has started are dead. Idempotent."""
        if self._is_ordered or self._child is None:
            return
        self._failure, self._is_ordered = reason, True
        if self._timer is not None:
            self._timer.cancel()
        send_signal(self._child.pidfd, signal.SIGTERM)
        self._timer = self._loop.call_after(_LEAVE_WITHIN_S, self.kill)

    def kill(self) -> None:
        """At once, and all of its group. Nobody else can have that number before its head is waited for."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.identity.pid, signal.SIGKILL)

    def _take_too_long(self) -> None:
        self.end(f"trials did not end within {self._limit_s:g} s, several times trial_limit_s")

    # --- what it says -----------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        try:
            piece = os.read(self._news_fd, 1 << 16)
        except BlockingIOError:
            return
        self._bytes += len(piece)
        if not piece:
            self._stop_listening()
        elif self._bytes > _MOST_BYTES:
            self.end(f"trials printed more than {_MOST_BYTES >> 20} MB")
            self._stop_listening()  # not before: it would live to see that nobody listens
        else:
            *lines, rest = (bytes(self._heard) + piece).split(b"\n")
            self._heard = bytearray(rest)
            for line in lines:
                self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        news = TrialNews.from_line(line)
        if news is None or not all(isinstance(each, str) for each in (news.state, news.candidate, news.text)):
            return  # a model may print what it likes
        if news.state == "failed" and not news.candidate and not self._is_ordered:
            self._failure = " ".join(news.text.split())[:_LONGEST_TEXT]
        self._on_news(news)

    def _stop_listening(self) -> None:
        if self._news_fd >= 0:
            self._loop.unwatch(self._news_fd)
            os.close(self._news_fd)
            self._news_fd = -1

    # --- its end ----------------------------------------------------------------------------------------------------

    def _died(self) -> None:
        child = self._child
        if child is None:
            return
        self.kill()  # what it has left behind
        if self._timer is not None:
            self._timer.cancel()
        if self._news_fd >= 0:
            self._hear()
            self._stop_listening()
        status = reap(child.pidfd)
        self._child = None
        self._loop.unwatch(child.pidfd)
        os.close(child.pidfd)
        self._loop.attempt(functools.partial(self._on_end, self._reason(status)))

    def _reason(self, status: int | None) -> str:
        if self._failure or status == 0:
            return self._failure
        return f"the process that tries forms {describe_exit(status)}{_guess(status)}"


def _guess(status: int | None) -> str:
    return ", by nobody here; the kernel does that when memory is short" if status == -signal.SIGKILL else ""
