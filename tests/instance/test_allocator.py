"""Memory that a batch has used is there for the next one: counted in page faults, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

BATCHES = 5
LARGE_BYTES = 48 * 1024 * 1024  # twice in a batch: more than glibc ever keeps by itself
SMALLER_BYTES = 2 * 1024 * 1024  # glibc keeps these in the heap once one has been freed
PAGE_BYTES = 4096

PROGRAM = f"""
import json, os, resource
import torch
from engine.instance.allocator import keep_freed_memory, large_blocks_apart

torch.set_num_threads(1)

def faults():
    def batch():
        return (torch.ones({LARGE_BYTES} // 4) * 2.0).sum()

    for _ in range(10):
        batch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({BATCHES}):
        batch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def place():
    for _ in range(10):
        block = torch.ones({SMALLER_BYTES} // 4)
        at = block.data_ptr()
        del block
    parts = [line.split()[0].split("-") for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")]
    return "in the heap" if any(int(first, 16) <= at < int(beyond, 16) for first, beyond in parts) else "outside"

def found_by_a_child(prepare, look):  # each is as this one was: torch alone takes a second to import
    reading, writing = os.pipe()
    if os.fork() == 0:
        assert prepare()
        os.write(writing, json.dumps(look()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        found = json.load(said)
    os.wait()
    return found

print(json.dumps({{
    "faults, kept": found_by_a_child(keep_freed_memory, faults),
    "faults, given back": found_by_a_child(lambda: True, faults),
    "place, left alone": found_by_a_child(lambda: True, place),
    "place, apart": found_by_a_child(large_blocks_apart, place),
}}))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, int | str]:
    """How many faults some batches took, and where the last of some blocks of SMALLER_BYTES lay."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=100)
    told: dict[str, int | str] = json.loads(done.stdout)
    return told


def test_freed_memory_is_kept_for_the_next_batch(found: dict[str, int]) -> None:
    assert found["faults, kept"] < LARGE_BYTES // PAGE_BYTES // 10
    # what it is good for
    assert found["faults, given back"] > BATCHES * LARGE_BYTES // PAGE_BYTES // 2


def test_large_blocks_lie_outside_the_heap_until_then(found: dict[str, str]) -> None:
    assert found["place, left alone"] == "in the heap"  # where glibc puts them once one has been freed
    assert found["place, apart"] == "outside"
