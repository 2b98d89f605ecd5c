"""A gunicorn configuration whose exit hook leaves a trace in the log."""

from __future__ import annotations

from typing import Any


def worker_exit(server: Any, worker: Any) -> None:
    worker.log.info("worker_exit hook ran in %s", worker.pid)
