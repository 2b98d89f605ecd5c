"""Somebody else's server: `python -m tests.transport.prefork PORT`. A master forks workers, each serves a few requests.

As plain as such servers can be, and nothing in it knows of the engine: the standard library's WSGI server in each
worker, one request at a time, and a new worker for each that has gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import flask

from frontend import register_optimized_endpoints

WORKERS = 2
REQUESTS = 3  # of one worker

app = flask.Flask("host")
register_optimized_endpoints(app)


@app.get("/worker")
def worker() -> str:
    return str(os.getpid())


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def _work(listener: socket.socket) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server = WSGIServer(listener.getsockname(), _Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = listener.getsockname()
    server.setup_environ()
    server.set_app(app)
    for _ in range(REQUESTS):
        server.handle_request()


def main(port: int) -> None:
    """Until SIGTERM."""
    listener = socket.create_server(("127.0.0.1", port))
    workers: set[int] = set()

    def leave(number: int, frame: FrameType | None) -> None:
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    while True:
        while len(workers) < WORKERS:
            pid = os.fork()
            if pid == 0:
                try:
                    _work(listener)
                finally:
                    os._exit(0)
            workers.add(pid)
        workers.discard(os.wait()[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))
