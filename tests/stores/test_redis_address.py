"""What `redis_url` may say, and what it may not change."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import Settings, load_settings
from engine.errors import ConfigError
from engine.stores.redis_address import RedisNode, parsed, redis_address

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url, nodes",
    [
        ("redis://host", [("host", 6379)]),
        ("redis://", [("localhost", 6379)]),
        ("redis://host:7000/3", [("host", 7000)]),
        ("redis://a:1,b:2,c", [("a", 1), ("b", 2), ("c", 6379)]),
        ("redis://[::1]:7000,[fe80::2]", [("::1", 7000), ("fe80::2", 6379)]),
        ("unix:///run/redis.sock", [("/run/redis.sock", 0)]),
        ("unix://user:word@/run/redis%20one.sock?db=2", [("/run/redis one.sock", 0)]),
    ],
)
def test_servers_are_named_by_host_port_and_path(url: str, nodes: list[tuple[str, int]]) -> None:
    assert list(parsed(url).nodes) == [RedisNode(*node) for node in nodes]


def test_credentials_and_database_may_stand_before_the_host_or_in_the_query() -> None:
    address = parsed("redis://us%40er:p%3Ass@host/4")
    assert (address.username, address.password, address.database) == ("us@er", "p:ss", 4)
    assert parsed("redis://:word@host").username == ""
    address = parsed("redis://host?username=user&password=word&db=5")
    assert (address.username, address.password, address.database) == ("user", "word", 5)


def test_tls_has_only_what_says_whom_to_trust() -> None:
    address = parsed("rediss://host?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required&ssl_ciphers=NULL")
    assert address.tls == {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "required"}
    assert parsed("redis://host?ssl_ca_certs=/ca.pem").tls is None


def test_a_query_changes_no_bound(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        address = parsed(f"redis://host?max_connections=100&socket_timeout=30&protocol=3&x={SECRET}")
    assert address == parsed("redis://host")
    assert "4 parameters are ignored" in caplog.text and SECRET not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@host",
        f"redis+sentinel://user:{SECRET}@host",
        f"redis://user:{SECRET}@host:0",
        f"redis://user:{SECRET}@host:65536",
        f"redis://user:{SECRET}@host:port",
        f"redis://user:{SECRET}@host:-1",
        f"redis://user:{SECRET}@host:" + "9" * 5000,
        f"redis://user:{SECRET}@[::1",
        f"redis://user:{SECRET}@host/first",
        f"redis://user:{SECRET}@host/-1",
        f"redis://user:{SECRET}@a,b/1",
        f"rediss://user:{SECRET}@host?ssl_cert_reqs=perhaps",
        f"unix://user:{SECRET}@relative/path",
        f"unix://user:{SECRET}@",
        f"redis://user:{SECRET}#@host:port",
        f"redis://user:pass?{SECRET}@host:port",
    ],
)
def test_what_is_no_address_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parsed(url)
    assert SECRET not in str(refused.value)


def test_nothing_but_a_refusal_comes_of_any_text() -> None:
    @given(st.sampled_from(["redis://", "rediss://", "unix://"]), st.text(max_size=60))
    def check(scheme: str, rest: str) -> None:
        try:
            address = parsed(scheme + rest)
        except ConfigError:
            return
        assert address.nodes and SECRET not in repr(address)

    check()


def test_a_password_is_not_in_the_repr() -> None:
    assert SECRET not in repr(parsed(f"redis://{SECRET}:{SECRET}@host"))


def test_a_variable_that_others_use_is_ignored_with_one_line_where_a_setting_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = f"redis://:{SECRET}@host:port"
    with caplog.at_level(logging.WARNING):
        assert redis_address(load_settings({"REDIS_URL": wrong})) is None
    assert len(caplog.records) == 1 and SECRET not in caplog.text
    with pytest.raises(ConfigError):
        redis_address(Settings(redis_url=wrong))
    assert redis_address(Settings()) is None
    right = redis_address(load_settings({"REDIS_URL": "redis://host:7"}))
    assert right is not None and right.nodes == (RedisNode("host", 7),)
