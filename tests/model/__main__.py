"""`python -m tests.model`: explore the machines, or show the shortest way to the damage without a rule."""

from __future__ import annotations

import argparse
import sys

from tests.model.bounds import LARGE, SMALL
from tests.model.dropped import DROPS
from tests.model.explore import Result, explore
from tests.model.machine import Bounds, Rules


def main() -> int:
    """Exit status 0 when all was as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--large", action="store_true", help="the large machines too: ten minutes, one GB")
    parser.add_argument(
        "--machine", nargs="+", metavar="NAME=VALUE", help="this one only: in_flight=2 instances=1 orders=1, say"
    )
    told = "the shortest way to the damage without this rule, or without each (all)"
    parser.add_argument("--drop", choices=[*DROPS, "all"], metavar="RULE", help=told)
    parser.add_argument("--most-states", type=int, default=10**9, help="give up a machine beyond this many states")
    arguments = parser.parse_args()
    if arguments.drop:
        names = list(DROPS) if arguments.drop == "all" else [arguments.drop]
        return max(_show(explore(DROPS[name].bounds, DROPS[name].rules), DROPS[name].rule) for name in names)
    machines = SMALL + LARGE if arguments.large else SMALL
    if arguments.machine:
        try:
            machines = (Bounds.parse(arguments.machine),)
        except (TypeError, ValueError) as error:
            parser.error(f"no such machine: {error}")
    results = [_told(explore(bounds, Rules(), most_states=arguments.most_states)) for bounds in machines]
    total_s = sum(result.elapsed_s for result in results)
    sys.stdout.write(f"{sum(result.states for result in results)} states, {total_s:.0f} s\n")
    return int(any(result.violation for result in results))


def _told(result: Result) -> Result:
    sys.stdout.write(f"{result}\n")
    sys.stdout.flush()
    return result


def _show(result: Result, rule: str) -> int:
    sys.stdout.write(f"without: {rule}\n{result}\n\n")
    return int(not result.violation)


if __name__ == "__main__":
    sys.exit(main())
