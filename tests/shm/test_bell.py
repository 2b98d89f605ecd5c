"""Bells: hints that never block."""

from __future__ import annotations

import os
import select

from engine.shm.bell import Bell


def test_many_rings_are_one_wake() -> None:
    bell = Bell.create()
    assert not bell.drain()
    bell.ring()
    bell.ring()
    assert select.select([bell], [], [], 0)[0]
    assert bell.drain()
    assert not bell.drain()
    bell.close()
    bell.close()


def test_a_full_bell_does_not_block() -> None:
    bell = Bell.create()
    os.eventfd_write(bell.fileno(), (1 << 64) - 2)
    bell.ring()
    assert bell.drain()
    bell.close()


def test_it_is_not_inherited() -> None:
    bell = Bell.create()
    assert not os.get_inheritable(bell.fileno())
    bell.close()
