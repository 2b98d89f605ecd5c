"""A frontend in a process of its own, to be killed. Attaches, then does what it reads from its standard input.

`hold N` submits N items that nobody waits for and says `held`; `ask X` prints the answer to one item.
"""

from __future__ import annotations

import sys

import numpy as np

from engine.client import EngineClient, Item
from engine.clock import Deadline
from engine.config import load_settings
from engine.spec import DEFAULT_DEPLOYMENT_ID


def item(value: float) -> Item:
    payload = np.zeros(8, np.float32)
    payload[0] = value
    return Item(payload)


def main(runtime_dir: str) -> None:
    client = EngineClient.attach(runtime_dir=runtime_dir, wait_s=60, settings=load_settings({}))
    print("attached", flush=True)
    for line in sys.stdin:
        verb, _, value = line.strip().partition(" ")
        if verb == "hold":
            for number in range(int(value)):
                client.submit(
                    DEFAULT_DEPLOYMENT_ID, [item(number)], request_id=f"held-{number}", deadline=Deadline.after_s(60)
                )
            print("held", flush=True)
        else:
            ticket = client.submit(
                DEFAULT_DEPLOYMENT_ID, [item(float(value))], request_id="asked", deadline=Deadline.after_s(60)
            )
            print(*ticket.wait()[0].probabilities.tolist(), flush=True)
    client.close()


if __name__ == "__main__":
    main(sys.argv[1])
