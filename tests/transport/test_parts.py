"""The small parts of the transport, each by itself."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from engine.errors import InternalError
from frontend.server.crowd import Crowd
from frontend.server.thread_pool import ThreadPool
from frontend.server.trusted_proxies import TrustedProxies, plain_address
from frontend.server.wire import head, refusal, text_head
from tests.support.wait import wait_for


@pytest.mark.parametrize(
    "forwarded, client",
    [
        ("203.0.113.9", "203.0.113.9"),
        ("10.9.9.9, 203.0.113.9", "203.0.113.9"),  # the first one is only what the caller says of itself
        ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("203.0.113.9:4711, 10.0.0.1", "203.0.113.9"),
        ("[2001:db8::9]:4711, 10.0.0.1", "2001:db8::9"),
        ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("nonsense, 10.0.0.1", "10.0.0.1"),  # nobody can tell who stands behind that proxy
        ("203.0.113.9, unknown", ""),
        ("203.0.113.9, " + "9" * 60_000, ""),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.0.0.1", "203.0.113.9"),
        ("203.0.113.9, [::FFFF:10.0.0.1]:80", "203.0.113.9"),
        ("fe80::1%eth0, 10.0.0.1", "fe80::1%eth0"),
        ("2001:DB8:0::9, 10.0.0.1", "2001:db8::9"),
        (", ,", ""),
        ("", ""),
    ],
)
def test_the_nearest_address_that_no_trusted_proxy_has_is_the_client(forwarded: str, client: str) -> None:
    assert TrustedProxies(["10.0.0.0/8", "unix-name"]).client_of(forwarded) == client


def test_trust_is_by_address_and_network() -> None:
    trusted = TrustedProxies(["127.0.0.1", "2001:db8::/32", "nonsense"])
    assert "127.0.0.1" in trusted and "2001:db8:1::1" in trusted
    assert "127.0.0.2" not in trusted and "nonsense" not in trusted and "x" * 100_000 not in trusted
    assert "192.0.2.1" in TrustedProxies(["*"]) and "127.0.0.1" not in TrustedProxies([])


@pytest.mark.parametrize(
    "listed, peer",
    [
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("::ffff:10.0.0.0/104", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fe80::/10", "fe80::1%eth0"),
        ("::1", "0:0:0:0:0:0:0:1"),
    ],
)
def test_trust_is_in_the_address_and_not_in_how_it_is_written(listed: str, peer: str) -> None:
    assert peer in TrustedProxies([listed])
    assert TrustedProxies([listed]).caller(peer, "192.0.2.7") == "192.0.2.7"
    assert TrustedProxies(["192.0.2.0/24"]).caller(peer, "192.0.2.7") == plain_address(peer)


def test_a_network_that_only_holds_the_mapped_addresses_is_not_taken_for_all_of_ipv4() -> None:
    assert "10.0.0.1" not in TrustedProxies(["::/8"]) and "10.0.0.1" in TrustedProxies(["::ffff:0:0/96"])


@pytest.mark.parametrize(
    "field",
    [(b"x", b"a\r\nb: c"), (b"x\nb", b"c"), (b"x", b"a\rb"), (b"x", b"a\0b"), (b"x", b"\n")],
)
def test_a_header_with_a_line_break_is_refused(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(InternalError):
        head(200, [(b"ok", b"1"), field])


def test_a_head_is_what_was_asked_for() -> None:
    made = text_head(429, [("Retry-After", "1")], b"date: now\r\n", b"")
    assert made == b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\ndate: now\r\n\r\n"
    assert text_head(299, []).startswith(b"HTTP/1.1 299 \r\n")
    assert refusal(503, "no", "CODE", retry_after_s=2).count(b"\r\n\r\n") == 1
    with pytest.raises(InternalError):
        text_head(200, [("X-Name", "\u2603")])


def test_the_emptiest_frontend_goes_first() -> None:
    crowd = Crowd()
    assert not crowd.has_emptier(1, 5)  # alone
    crowd.write(1, 5)
    crowd.write(2, 3)
    assert crowd.has_emptier(1, 5)
    assert not crowd.has_emptier(2, 3)
    crowd.write(2, 5)
    assert not crowd.has_emptier(1, 5)  # a tie keeps nobody waiting
    crowd.write(2, 0)
    crowd.leave(2)
    assert not crowd.has_emptier(1, 5)


def test_a_pool_has_no_more_threads_than_it_may_and_starts_them_on_demand() -> None:
    async def use() -> None:
        loop_thread = threading.get_ident()
        assert await pool.submit(threading.get_ident) != loop_thread
        assert len(threads()) == 1
        inside = [pool.submit(lambda: both.wait(10)) for _ in range(2)]
        assert sorted(await asyncio.gather(*inside)) == [0, 1]
        await asyncio.gather(*(pool.submit(threading.get_ident) for _ in range(20)))
        assert len(threads()) == 2

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("tested")]

    both = threading.Barrier(2)
    pool = ThreadPool(2, name="tested")
    asyncio.run(use())
    pool.close()
    assert threads() == []


@pytest.mark.parametrize("raised", [ValueError("x"), StopIteration(), SystemExit(3)])
def test_what_a_call_raises_reaches_who_waits(raised: BaseException) -> None:
    def fail() -> None:
        raise raised

    async def use() -> None:
        try:
            await pool.submit(fail)
        except BaseException as error:
            caught.append(error)
        assert await pool.submit(lambda: "the thread lives on") == "the thread lives on"

    caught: list[BaseException] = []
    pool = ThreadPool(1, name="tested")
    asyncio.run(use())
    pool.close()
    [error] = caught
    assert error is raised or isinstance(error, RuntimeError)


@pytest.mark.parametrize("fails", [False, True])
def test_a_thread_that_waits_keeps_nothing_of_its_last_job(fails: bool) -> None:
    """An upload of a hundred megabytes would stay until the next one comes."""

    class Upload:
        def read(self) -> None:
            if fails:
                raise ValueError("no sound")

    async def use() -> None:
        upload = Upload()
        kept.append(weakref.ref(upload))
        future = pool.submit(upload.read)
        del upload
        await asyncio.wait([future])
        assert isinstance(future.exception(), ValueError) is fails

    kept: list[weakref.ref[Upload]] = []
    pool = ThreadPool(1, name="tested")
    gc.disable()
    try:
        asyncio.run(use())
        wait_for(lambda: kept[0]() is None, "the job to be gone")
    finally:
        gc.enable()
        pool.close()


def test_work_of_a_cancelled_waiter_is_not_begun() -> None:
    async def use() -> None:
        held = pool.submit(lambda: go.wait(10))
        never = pool.submit(lambda: begun.append(1))
        never.cancel()
        go.set()
        await held
        await pool.submit(int)

    go, begun = threading.Event(), list[int]()
    pool = ThreadPool(1, name="tested")
    asyncio.run(use())
    pool.close()
    assert begun == []
