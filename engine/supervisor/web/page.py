"""The files of the page, as they lie in the package: read once, so that no disk is asked while somebody waits."""

from __future__ import annotations

import logging
from pathlib import Path

from engine.supervisor.web.answer import TEXT, StatusAnswer

FOLDER = Path(__file__).resolve().parents[2] / "dashboard"
MOST_BYTES = 2 * 1024 * 1024  # of all files together
INDEX = "index.html"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}
_NO_PAGE = b"This installation has no page; /status has all that it would show.\n"

_log = logging.getLogger(__name__)


class PageFiles:
    """Path of a request -> file. What has another suffix, or lies deeper, is none of the page."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Nothing is wrong with a folder that is not there: then there is no page."""
        self._files: dict[str, StatusAnswer] = {}
        try:
            self._read(folder)
        except OSError as error:
            _log.warning("the page of the status server cannot be read: %s", error)

    def get(self, path: str) -> StatusAnswer | None:
        """The file of that path; None: there is none."""
        if path == "/":
            return self._files.get(INDEX) or StatusAnswer(200, _NO_PAGE, TEXT)
        return self._files.get(path.removeprefix("/"))

    def _read(self, folder: Path) -> None:
        """Raises OSError."""
        room = MOST_BYTES
        for file in sorted(folder.iterdir()) if folder.is_dir() else []:
            if file.suffix in _TYPES and file.is_file():
                content = file.read_bytes()
                room -= len(content)
                if room < 0:
                    _log.warning("%s and what comes after it is left out of the page: it is too large", file.name)
                    return
                self._files[file.name] = StatusAnswer(200, content, _TYPES[file.suffix])
