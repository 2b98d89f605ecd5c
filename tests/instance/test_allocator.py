"""Memory that a batch has used is there for the next one: counted in page faults, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

BATCHES = 5
LARGE_BYTES = 48 * 1024 * 1024  # twice in a batch: more than glibc ever keeps by itself
SMALLER_BYTES = 2 * 1024 * 1024  # glibc keeps these in the heap once one has been freed
PAGE_BYTES = 4096

PROGRAM = f"""
import resource, sys
import torch
from engine.instance.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
items = int(sys.argv[2]) // 4
torch.set_num_threads(1)

def batch():
    return (torch.ones(items) * 2.0).sum()

for _ in range(10):
    batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({BATCHES}):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, size_bytes: int) -> int:
    command = [sys.executable, "-c", PROGRAM, how, str(size_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


PLACE = f"""
import sys
import torch
from engine.instance.allocator import large_blocks_apart

if sys.argv[1] == "apart":
    assert large_blocks_apart()
torch.set_num_threads(1)
for _ in range(10):
    block = torch.ones({SMALLER_BYTES} // 4)
    at = block.data_ptr()
    del block
[heap] = [line.split()[0] for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")]
first, beyond = (int(part, 16) for part in heap.split("-"))
print("in the heap" if first <= at < beyond else "outside")
"""


def placed(how: str) -> str:
    """Where the last of some blocks of SMALLER_BYTES lay."""
    done = subprocess.run([sys.executable, "-c", PLACE, how], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_freed_memory_is_kept_for_the_next_batch() -> None:
    assert faults("kept", LARGE_BYTES) < LARGE_BYTES // PAGE_BYTES // 10
    assert faults("given back", LARGE_BYTES) > BATCHES * LARGE_BYTES // PAGE_BYTES // 2  # what it is good for


def test_large_blocks_lie_outside_the_heap_until_then() -> None:
    assert placed("left alone") == "in the heap"  # where glibc puts them once one has been freed
    assert placed("apart") == "outside"
