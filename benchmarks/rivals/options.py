"""The command line of the comparison; needs nothing but the standard library."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rivals.environments import cache_folder
from benchmarks.rivals.plans import DEFAULT_SERVERS, SERVERS

WORKLOAD_NAMES = ("tiny", "resnet")
PRECISIONS = ("fp32", "auto", "bf16", "fp16", "int8")
ALL = "all"


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Ends the process with what is wrong on the command line."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/compare.py",
        description="This project's server beside others: the same models, the same recordings, answers compared.",
    )
    parser.add_argument("--install", action="store_true", help="build the environments that are missing, then compare")
    parser.add_argument("--servers", nargs="+", default=list(DEFAULT_SERVERS), choices=[*SERVERS, ALL], metavar="NAME")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOAD_NAMES), choices=WORKLOAD_NAMES)
    parser.add_argument("--precision", nargs="+", default=["fp32", "auto"], choices=PRECISIONS, help="of ours")
    parser.add_argument("--rounds", type=_positive, default=3)
    parser.add_argument("--seconds", type=_positive, default=4, help="of load in each run")
    parser.add_argument("--concurrency", nargs="+", type=_positive, default=[16], help="connections; each one")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="folder of the environments")
    parser.add_argument("--into", type=Path, help="folder for table.md, picture.svg, results.json")
    parser.add_argument("--redraw", type=Path, metavar="RESULTS", help="make table and picture of a results.json anew")
    options = parser.parse_args(arguments)
    options.cache = options.cache.absolute()
    options.into = (options.into or options.cache / "results").absolute()
    if ALL in options.servers:
        options.servers = list(SERVERS)
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
