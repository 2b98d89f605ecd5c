"""A process with stores, to be killed. Attaches, then does what it reads from its standard input.

`count N` counts N look-ups that were hits, and says how many all processes have counted; `share` says what it is lent
of Redis; `fork` has a child do the same counting, and says so when that one is gone.
"""

from __future__ import annotations

import os
import sys

from engine.client import EngineClient
from engine.config import load_settings
from engine.stores.process_stores import ProcessStores


def main(runtime_dir: str) -> None:
    settings = load_settings()
    stores = ProcessStores.open(settings)
    client = EngineClient.attach(runtime_dir=runtime_dir, wait_s=60, settings=settings)
    client.machines.follow(stores.meet)
    stores.row.set("redis.initialized", 1)
    print("attached", flush=True)
    for line in sys.stdin:
        verb, _, value = line.strip().partition(" ")
        machine = client.machine()
        assert machine is not None
        if verb == "count":
            stores.row.add("l1.hits", int(value))
            print(machine.process_totals()["l1.hits"], flush=True)
        elif verb == "share":
            share = stores.row.share("redis")
            stores.row.hold("redis", share)
            print(share, flush=True)
        elif verb == "fork":
            child = os.fork()
            if child == 0:
                stores.row.add("l1.hits", int(value))
                stores.close()
                os._exit(0)
            os.waitpid(child, 0)
            print("gone", flush=True)
    stores.close()
    client.close()


if __name__ == "__main__":
    main(sys.argv[1])
