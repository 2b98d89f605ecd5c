"""The devices that break servers do what their names say."""

from __future__ import annotations

import socket
import time

import pytest
import redis

from tests.services.proxy import Proxy
from tests.services.redis_server import RedisServer


def ask(port: int, word: bytes = b"PING\r\n", *, patience_s: float = 10.0) -> bytes:
    """The first line of what the server behind `port` says; b"" when it hangs up. TimeoutError when it is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as link:
        link.sendall(word)
        with link.makefile("rb") as said:
            return said.readline()


def test_a_frozen_server_keeps_its_connections_and_answers_once_thawed(redis_server: RedisServer) -> None:
    redis_server.freeze()
    try:
        with pytest.raises(TimeoutError):
            ask(redis_server.port, patience_s=0.2)
    finally:
        redis_server.thaw()
    assert ask(redis_server.port) == b"+PONG\r\n"


def test_a_killed_server_refuses_and_comes_back_empty_on_its_port(redis_server: RedisServer) -> None:
    redis_server.command("SET", "key", "value")
    redis_server.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(redis_server.port)
    redis_server.start()
    assert redis_server.command("GET", "key") is None


def test_a_server_says_what_it_refuses(redis_server: RedisServer) -> None:
    with pytest.raises(redis.ResponseError):
        redis_server.command("NONSENSE")
    assert redis_server.connections() == []


def test_a_slow_proxy_delays_and_a_dripping_one_sends_byte_by_byte(proxy: Proxy) -> None:
    proxy.slow(0.2)
    began = time.monotonic()
    assert ask(proxy.port) == b"+PONG\r\n"
    assert time.monotonic() - began >= 0.4  # the question and the answer
    proxy.come_back()
    proxy.drip(0.02)
    began = time.monotonic()
    assert ask(proxy.port) == b"+PONG\r\n"
    assert time.monotonic() - began >= 0.02 * len("+PONG\r")


def test_a_deaf_proxy_is_silent_and_passes_on_what_it_held_back(proxy: Proxy) -> None:
    proxy.deafen()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.2) as link:
        link.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            link.recv(1)
        proxy.come_back()
        link.settimeout(10.0)
        assert link.recv(1) == b"+"


def test_a_proxy_cuts_refuses_and_comes_back(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10.0) as link:
        link.sendall(b"PING\r\n")
        assert link.recv(7) == b"+PONG\r\n"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            link.recv(1)
    assert proxy.connections == 0
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ask(proxy.port)
    proxy.come_back()
    assert ask(proxy.port) == b"+PONG\r\n"
