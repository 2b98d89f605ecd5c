"""A real nginx in front of a server, with the files that we ship; only addresses and paths are changed."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.wire import Address
from tests.support.wait import wait_for

DEPLOY = Path(__file__).resolve().parents[2] / "frontend" / "deploy"
SITES = ("site-keeps-api.conf", "site-strips-api.conf", "site-strips-path.conf")
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
_START_S = 10.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert isinstance(port, int)
        return port


def _changed(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text, f"{old!r} is not in the file that we ship"
        text = text.replace(old, new)
    return text


@dataclass(frozen=True)
class Site:
    """What nginx is told: everything else is in the files that we ship."""

    name: str
    page_port: int = 8002
    clients_rate: str = "100r/s"


def _write_prefix(prefix: Path, site: Site, port: int, upstream: Address) -> None:
    """All that nginx reads and writes lies under `prefix`, which its workers, nobody's processes, must get into."""
    prefix.chmod(0o755)
    local = ("/etc/nginx/nightscan/", f"{prefix}/")
    main = _changed(
        (DEPLOY / "nginx.conf").read_text(),
        ("worker_processes auto;", "worker_processes 1;\ndaemon off;"),
        ("/run/nginx.pid", f"{prefix}/nginx.pid"),
        ("/var/log/nginx/", f"{prefix}/"),
        ("127.0.0.1:8001", f"127.0.0.1:{upstream.port}"),
        ("rate=100r/s", f"rate={site.clients_rate}"),
        ("site-keeps-api.conf;\n", f"{site.name};\n"),
        local,
        ("include /etc/nginx/mime.types;", f"client_body_temp_path {prefix}/b;\n    proxy_temp_path {prefix}/p;"),
    )
    listen = ("listen 80;", f"listen 127.0.0.1:{port};")
    (prefix / site.name).write_text(_changed((DEPLOY / site.name).read_text(), listen, local))
    for name in ("nginx-proxy.conf", "nginx-answers.conf"):
        shutil.copyfile(DEPLOY / name, prefix / name)
    page = ("127.0.0.1:8002", f"127.0.0.1:{site.page_port}")
    (prefix / "nginx-page.conf").write_text(_changed((DEPLOY / "nginx-page.conf").read_text(), page, local))
    (prefix / "nginx.conf").write_text(main)  # last: a reload finds the rest complete


class Nginx:
    """A running one, in front of `upstream`."""

    def __init__(self, prefix: Path, site: Site, upstream: Address) -> None:
        assert NGINX, "nginx is not installed; tests/run installs it"
        self.address = Address(free_port())
        self._prefix = prefix
        self._site = site
        self._command = [NGINX, "-p", str(prefix), "-e", str(prefix / "error.log"), "-c", str(prefix / "nginx.conf")]
        _write_prefix(prefix, site, self.address.port, upstream)
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE)

    @property
    def errors(self) -> str:
        """Its log of what is not as it should be."""
        return (self._prefix / "error.log").read_text()

    def test_configuration(self) -> str:
        """`nginx -t`: what it says."""
        done = subprocess.run([*self._command, "-t"], capture_output=True, text=True, timeout=_START_S, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def reload(self, upstream: Address) -> None:
        """Another upstream, by a new configuration; returns once no worker serves by the old one."""
        _write_prefix(self._prefix, self._site, self.address.port, upstream)
        before = self._workers()
        self._process.send_signal(signal.SIGHUP)
        wait_for(lambda: not before & self._workers(), "nginx serves by the new configuration alone")

    def _workers(self) -> set[str]:
        return set(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split())

    def wait_until_listening(self) -> None:
        def listens() -> bool:
            try:
                with self.address.connection():
                    return True
            except OSError:
                return self._process.poll() is not None

        wait_for(listens, "nginx listens", timeout_s=_START_S)

    def end(self) -> None:
        self._process.terminate()
        _, complaints = self._process.communicate(timeout=_START_S)
        assert self._process.returncode == 0, complaints.decode()


@contextmanager
def running_nginx(prefix: Path, site: Site, upstream: Address) -> Iterator[Nginx]:
    """nginx with `site` in front of `upstream`, until the block ends."""
    process = Nginx(prefix, site, upstream)
    try:
        process.wait_until_listening()
        yield process
    finally:
        process.end()


@contextmanager
def nginx(prefix: Path, site: str, upstream: Address) -> Iterator[Address]:
    """The same, by where it listens."""
    with running_nginx(prefix, Site(site), upstream) as process:
        yield process.address
