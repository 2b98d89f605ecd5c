"""How much memory the engine may still take: for whoever looks after it from outside."""

from __future__ import annotations

from engine.shm.memory import available_bytes


def memory_left_bytes(pid: int = 0) -> int:
    """Bytes that the process `pid` can allocate now, on this machine and within its control groups; 0: this process."""
    return available_bytes(process=str(pid) if pid else "self")
