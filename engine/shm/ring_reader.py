"""Reads each answered request of the machine once: what is new in all rings since the last look, and what was missed.

How far it has come stands in the rows, so that a successor goes on there. One reader: the supervisor.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import LAST_PLACES, ProcessWord
from engine.shm.request_ring import UNFINISHED, payload_at


class NewRequests(NamedTuple):
    """What one look has found."""

    payloads: list[bytes]  # see `request_record.unpack_request`; of each process in the order of its answers
    lost: int  # written over before anybody looked, or begun by a process that was killed


class RingReader:
    """Of one segment, which is its caller's. Not thread-safe."""

    def __init__(self, machine: MachineSegment) -> None:
        self._machine = machine
        self._unfinished: set[tuple[int, int]] = set()  # row and number of what was half written at the last look

    def read(self) -> NewRequests:
        """All that is new."""
        payloads: list[bytes] = []
        lost = 0
        before, self._unfinished = self._unfinished, set()
        for row in range(self._machine.geometry.rows):
            words = self._machine.row(row)
            if words[ProcessWord.REQUESTS] != words[ProcessWord.REQUESTS_READ]:
                lost += self._read_row(row, words, before, payloads)
        return NewRequests(payloads, lost)

    def _read_row(self, row: int, words: memoryview, before: set[tuple[int, int]], payloads: list[bytes]) -> int:
        """Adds what is new to `payloads`; how many are lost."""
        end, read = words[ProcessWord.REQUESTS], words[ProcessWord.REQUESTS_READ]
        ring = self._machine.ring(row)
        first = max(end - LAST_PLACES, min(read, end))
        lost = max(0, first - read)
        for number in range(first, end):
            payload = payload_at(ring, number)
            if payload is UNFINISHED and (row, number) not in before:
                self._unfinished.add((row, number))
                end = number  # and all behind it at the next look; by then its writer has finished it, or is dead
                break
            if isinstance(payload, bytes):
                payloads.append(payload)
            else:
                lost += 1
        words[ProcessWord.REQUESTS_READ] = end
        return lost
