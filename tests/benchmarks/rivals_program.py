"""Compares one server with others that fail in ways of their own, all in this interpreter's environment.

A program, not a module of tests: whoever ends a server ends all processes below its own. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.processes import adopt_orphans, descendants
from benchmarks.rivals import programs, running
from benchmarks.rivals.contender import Contender, Launch, Site
from benchmarks.rivals.environments import Environments
from benchmarks.rivals.results import Results
from benchmarks.rivals.rounds import Comparison
from benchmarks.rivals.sizes import ROUTE
from benchmarks.workloads import WORKLOADS

# serves, keeps a child that ignores TERM in a session of its own, and ignores it too
_STUBBORN = """
import http.server, os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'[{"label": "class_0", "score": 1}, {"label": "class_1", "score": 0}, {"label": "class_2", "score": 0}]'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Here(Environments):
    """The environment that this runs in, under every name but one."""

    def python(self, name: str) -> Path:
        return Path(sys.executable)

    def missing(self, name: str) -> str:
        return "not installed: no such thing" if name == "bentoml" else ""


def ends(site: Site) -> Launch:
    return Launch([site.python, "-c", "raise SystemExit('out of luck')"])


def stubborn(site: Site) -> Launch:
    return Launch([site.python, "-c", _STUBBORN, str(site.ports[0])])


def unprepared(site: Site) -> Launch:
    return Launch([], before=([site.python, "-c", "raise SystemExit('no archive')"],))


def main(file: Path) -> int:
    adopt_orphans()
    running.STOP_S = 1.0
    there = [
        Contender("flask", programs.flask, "inline", ROUTE),
        Contender("mosec", ends, "ends at once", ROUTE),
        Contender("triton", stubborn, "says the same to everybody", ROUTE),
        Contender("bentoml", ends, "is not there", ROUTE),
        Contender("torchserve", unprepared, "cannot prepare its files", ROUTE),
    ]
    results = Results({}, {each.name: each.configured for each in there}, [])
    comparison = Comparison(results, Here(Path(os.devnull)), seconds=1, concurrencies=[2, 4], file=file)
    comparison.run(there, [WORKLOADS["tiny"]], rounds=1)
    print(json.dumps({"left": descendants()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
