"""Redis over TLS: whom to trust comes from the address, and everything else is as without."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.held_port import HeldPort
from tests.services.proxy import Proxy
from tests.services.redis_server import RedisServer
from tests.stores.redis_parts import fetched, names, pool_of, stored
from tests.support.wait import wait_for

SELF_SIGNED = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself; its key lies beside it as `key.pem`."""
    folder = tmp_path_factory.mktemp("tls")
    made = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", *SELF_SIGNED.split(), *made], cwd=folder, check=True, capture_output=True, timeout=30.0)
    return folder / "cert.pem"


@pytest.fixture(scope="module")
def tls_port(certificate: Path) -> Iterator[int]:
    """Where a server speaks TLS."""
    with HeldPort() as port:
        files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate.with_name("key.pem"))]
        arguments = ["--tls-port", str(port.number), *files, "--tls-ca-cert-file", str(certificate)]
        with RedisServer([*arguments, "--tls-auth-clients", "no"]):
            yield port.number


def test_a_server_that_is_trusted_is_used(tls_port: int, certificate: Path) -> None:
    with pool_of(f"rediss://127.0.0.1:{tls_port}?ssl_ca_certs={certificate}") as pool:
        assert stored(pool, names(3), b"x" * 100_000) == 3
        assert fetched(pool, names(3)) == [b"x" * 100_000] * 3


def test_one_that_nobody_vouches_for_is_not(tls_port: int) -> None:
    with pool_of(f"rediss://127.0.0.1:{tls_port}", ready=False) as pool:
        wait_for(lambda: "certificate" in pool.trouble.lower(), "why")
        assert not pool.usable
    with pool_of(f"rediss://127.0.0.1:{tls_port}?ssl_cert_reqs=none") as pool:
        assert stored(pool, names(1)) == 1


def test_its_silence_keeps_nobody_waiting_and_heals(tls_port: int) -> None:
    with Proxy(tls_port) as proxy, pool_of(f"rediss://127.0.0.1:{proxy.port}?ssl_cert_reqs=none") as pool:
        proxy.deafen()
        assert fetched(pool, names(1)) == [None]
        wait_for(lambda: not pool.usable, "it is seen")
        proxy.come_back()
        wait_for(lambda: stored(pool, names(1)) == 1, "it is used again", timeout_s=5.0)
        proxy.drip(0.03)
        wait_for(lambda: not pool.usable, "it is seen")
        proxy.come_back()
        wait_for(lambda: fetched(pool, names(1)) == [b"value"], "it is used again", timeout_s=5.0)
