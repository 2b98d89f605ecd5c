"""When the doorbell really rings: at once from any thread, once for a few from the loop's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

from engine.client.reactor import LoopReactor, ThreadReactor
from engine.client.turn_bell import MOST_HELD, TurnBell


def rings(bell: TurnBell) -> int:
    """How often it rang since the last look."""
    try:
        return os.eventfd_read(bell.fileno())
    except BlockingIOError:
        return 0


def new_bell() -> TurnBell:
    return TurnBell(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))


def test_without_a_loop_every_ring_is_heard_at_once() -> None:
    bell, reactor = new_bell(), ThreadReactor()
    bell.ring()
    bell.follow(reactor)
    bell.ring()
    assert rings(bell) == 2
    reactor.close()
    bell.close()


def test_one_ring_for_what_a_turn_of_the_loop_offers() -> None:
    async def turn() -> None:
        bell = new_bell()
        bell.follow(LoopReactor(asyncio.get_running_loop()))
        for _ in range(MOST_HELD - 1):
            bell.ring()
        assert rings(bell) == 0
        await asyncio.sleep(0)
        assert rings(bell) == 1
        bell.close()

    asyncio.run(turn())


def test_a_long_turn_rings_in_between() -> None:
    async def turn() -> None:
        bell = new_bell()
        bell.follow(LoopReactor(asyncio.get_running_loop()))
        for _ in range(3 * MOST_HELD):
            bell.ring()
        assert rings(bell) == 3
        await asyncio.sleep(0)
        assert rings(bell) == 0
        bell.close()

    asyncio.run(turn())


def test_another_thread_does_not_wait_for_the_loop() -> None:
    async def turn() -> None:
        bell = new_bell()
        bell.follow(LoopReactor(asyncio.get_running_loop()))
        other = threading.Thread(target=bell.ring)
        other.start()
        other.join()
        assert rings(bell) == 1
        bell.close()

    asyncio.run(turn())


def test_a_ring_that_was_due_is_made_up_for_when_another_reactor_drives() -> None:
    async def turn() -> None:
        bell, thread = new_bell(), ThreadReactor()
        bell.follow(LoopReactor(asyncio.get_running_loop()))
        bell.ring()
        bell.follow(thread)
        assert rings(bell) == 1
        thread.close()
        bell.close()
        await asyncio.sleep(0)  # what was due on the loop must not touch the closed bell

    asyncio.run(turn())


def test_a_ring_that_is_due_on_a_loop_that_stands_still_holds_back_no_later_one() -> None:
    bell = new_bell()

    def last_callback() -> None:
        bell.follow(LoopReactor(loop))
        bell.ring()
        loop.stop()  # before the end of the turn for which the ring waits

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.call_soon(last_callback)
        loop.run_forever()
        assert rings(bell) == 0
        bell.ring()
        assert rings(bell) == 1
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert rings(bell) == 1  # late, and heard
    bell.close()


def test_a_callback_that_raises_after_its_offer_takes_no_ring_with_it() -> None:
    async def turn() -> None:
        errors: list[object] = []
        loop, bell = asyncio.get_running_loop(), new_bell()
        loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
        bell.follow(LoopReactor(loop))

        def offer_and_raise() -> None:
            bell.ring()
            raise ValueError

        loop.call_soon(offer_and_raise)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rings(bell) == 1
        assert [type(error) for error in errors] == [ValueError]
        bell.close()

    asyncio.run(turn())
