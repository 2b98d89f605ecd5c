"""gunicorn's logger, with lines of ours: JSON unless standard error is a terminal, repeats as a count.

Who gives gunicorn a log configuration of his own (`logconfig`, `logconfig_dict`, `logconfig_json`) has that instead.
"""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from engine.config import load_settings
from engine.observe.log import LineHandler
from engine.observe.log_line import JsonLine
from frontend.server.server_log import ACCESS_LOG, SERVER_LOG, log_access, may_log

_OURS = ("engine", "frontend")  # not the root: how another application logs is for that one to say
_STANDARD_ERROR = "-"


class GunicornLog(Logger):  # type: ignore[misc]
    """`logger_class` of gunicorn; made in the master, and inherited by its workers."""

    def setup(self, cfg: Any) -> None:
        """Also when the configuration is read again."""
        super().setup(cfg)
        self.is_ours = not (cfg.logconfig or cfg.logconfig_dict or cfg.logconfig_json)
        if not self.is_ours:
            return
        for name in (*_OURS, SERVER_LOG.name, ACCESS_LOG.name):
            _write_as(logging.getLogger(name), self.error_log)
        settings = load_settings()
        wanted = settings.access_log
        if cfg.accesslog is not None:
            ACCESS_LOG.handlers = self.access_log.handlers
            wanted = "all"
        may_log(wanted)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Of a request that one of gunicorn's own workers has answered."""
        if not self.is_ours:
            super().access(resp, req, environ, request_time)
            return
        status = int(str(resp.status).split(None, 1)[0])
        named = [value for name, value in resp.headers if name.lower() == "x-request-id"]
        log_access(
            environ.get("REQUEST_METHOD", ""), environ.get("PATH_INFO", ""), status, next(iter(named), ""),
            environ.get("REMOTE_ADDR", ""), request_time.total_seconds() * 1e3,
        )  # fmt: skip

    def _compute_access_log_enabled(self) -> bool:
        return True  # whether it is wanted, `log_access` knows

    def _set_handler(self, log: logging.Logger, output: str, fmt: logging.Formatter, stream: Any = None) -> None:
        """gunicorn calls it for either of its logs that has somewhere to go; again when all is set up anew."""
        if output != _STANDARD_ERROR:
            super()._set_handler(log, output, JsonLine(), stream)
            return
        before = self._get_gunicorn_handler(log)
        if before is not None:
            log.removeHandler(before)
        handler = LineHandler(stream or sys.stderr)
        handler.__dict__["_gunicorn"] = True  # by which it is found when all is set up anew
        log.addHandler(handler)


def _write_as(log: logging.Logger, target: logging.Logger) -> None:
    log.handlers = target.handlers
    log.setLevel(target.level)
    log.propagate = False
