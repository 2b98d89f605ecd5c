"""Memory that a batch has used is there for the next one: counted in page faults, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

BATCHES = 5
PAGES_OF_A_BATCH = 48 * 1024 * 1024 // 4096

PROGRAM = f"""
import resource, sys
import torch
from engine.instance.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
torch.set_num_threads(1)

def batch():
    return (torch.ones(12 * 1024 * 1024) * 2.0).sum()  # 48 MB, twice: more than glibc ever keeps by itself

for _ in range(10):
    batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({BATCHES}):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


def test_freed_memory_is_kept_for_the_next_batch() -> None:
    assert faults("kept") < PAGES_OF_A_BATCH // 10
    assert faults("given back") > BATCHES * PAGES_OF_A_BATCH // 2  # what it is good for
