"""A program that keeps an engine busy with windows, through the Python API: `python -m benchmarks.gpu_feeder`.

Joins the engine of the runtime directory that the settings name. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

import numpy as np

from engine.manager import OptimizedModelServingManager


async def feed(options: argparse.Namespace) -> dict[str, object]:
    """`options.at_once` windows under way for `options.seconds`, no two alike."""
    answered, errors, numbers = 0, 0, iter(range(1 << 30))
    async with OptimizedModelServingManager() as manager:
        began = time.monotonic()

        async def caller(sound: np.ndarray) -> None:
            nonlocal answered, errors
            while time.monotonic() < began + options.seconds:
                sound[:4] = np.frombuffer(next(numbers).to_bytes(8, "little"), np.int16)
                result = await manager.predict_async(options.deployment, sound)
                answered, errors = answered + ("error" not in result), errors + ("error" in result)

        random = np.random.default_rng()
        sounds = (3_000 * random.standard_normal((options.at_once, options.frames))).astype(np.int16)
        await asyncio.gather(*map(caller, sounds))
        return {"windows_per_s": answered / (time.monotonic() - began), "errors": errors}


def main() -> int:
    print(json.dumps(asyncio.run(feed(parse_arguments()))))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_feeder")
    parser.add_argument("deployment")
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
