"""A real nginx in front of a server, with the files that we ship; only addresses and paths are changed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.wire import Address

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


def _write_prefix(prefix: Path, site: str, port: int, upstream: Address) -> None:
    """All that nginx reads and writes lies under `prefix`, which its workers, nobody's processes, must get into."""
    prefix.chmod(0o755)
    local = ("/etc/nginx/nightscan/", f"{prefix}/")
    main = _changed(
        (DEPLOY / "nginx.conf").read_text(),
        ("worker_processes auto;", "worker_processes 1;\ndaemon off;"),
        ("/run/nginx.pid", f"{prefix}/nginx.pid"),
        ("/var/log/nginx/", f"{prefix}/"),
        ("127.0.0.1:8001", f"127.0.0.1:{upstream.port}"),
        ("site-keeps-api.conf;\n", f"{site};\n"),
        local,
        ("include /etc/nginx/mime.types;", f"client_body_temp_path {prefix}/b;\n    proxy_temp_path {prefix}/p;"),
    )
    (prefix / "nginx.conf").write_text(main)
    listen = ("listen 80;", f"listen 127.0.0.1:{port};")
    (prefix / site).write_text(_changed((DEPLOY / site).read_text(), listen, local))
    (prefix / "nginx-proxy.conf").write_text((DEPLOY / "nginx-proxy.conf").read_text())


@contextmanager
def nginx(prefix: Path, site: str, upstream: Address) -> Iterator[Address]:
    """nginx with `site` in front of `upstream`, until the block ends."""
    assert NGINX, "nginx is not installed; tests/run installs it"
    front = Address(free_port())
    _write_prefix(prefix, site, front.port, upstream)
    command = [NGINX, "-p", str(prefix), "-e", str(prefix / "error.log"), "-c", str(prefix / "nginx.conf")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        _wait_until_listening(front, process)
        yield front
    finally:
        process.terminate()
        _, complaints = process.communicate(timeout=_START_S)
        assert process.returncode == 0, complaints.decode()


def _wait_until_listening(front: Address, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + _START_S
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            with front.connection():
                return
        except OSError:
            time.sleep(0.02)
    process.kill()
    raise AssertionError(f"nginx does not listen: {process.communicate()[1].decode()}")
