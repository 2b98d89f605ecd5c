"""Ends a wait for a socket at one moment, whatever library waits.

Time-outs of sockets are for one read each: a peer that sends a byte now and then would be waited for without end.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def cut_after(connected: socket.socket, timeout_s: float) -> Iterator[None]:
    """Raises TimeoutError at the end of a block that took longer, whatever it raised or found: a head that was cut off
    reads like one that has come to its end. The connection is of no further use then.
    """
    is_cut = threading.Event()
    cutting = threading.Timer(timeout_s, _cut, (connected, is_cut))
    cutting.daemon = True
    cutting.start()
    try:
        yield
    finally:
        cutting.cancel()
        cutting.join()
        if is_cut.is_set():
            raise TimeoutError(f"not within {timeout_s:g} s")


def _cut(connected: socket.socket, is_cut: threading.Event) -> None:
    is_cut.set()
    with suppress(OSError):  # it has ended just now
        # Not SSLSocket's own, which takes the encryption away under the thread that reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
