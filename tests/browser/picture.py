"""The picture of the page in README: `python -m tests.browser.picture`, two minutes and a half.

It starts an engine with the demo model, keeps it busy with recordings made here, some of them again and again, and
takes the page as it is then. `--state-dir`: one in which trials of faster forms have been made, so that they show.
"""

from __future__ import annotations

import argparse
import io
import math
import threading
import time
from pathlib import Path

import soundfile
from playwright.sync_api import sync_playwright

from engine.models.sound_parts import SAMPLE_RATE_HZ
from engine.models.synthesise import synthesise
from tests.browser.browser_page import CHROMIUM, FLAGS, WIDE
from tests.serving.servers import as_environment
from tests.support.http import Connection
from tests.support.server import ROOT, ServerProcess, free_port

PICTURE = ROOT / "benchmarks" / "dashboard.png"
CLIENTS = 3
LASTS_S = 135.0  # the chart is two minutes wide
HEIGHT = 960
TRIALS_S = 1000  # enough for every form; a state directory of trials under another limit has none of this one
KINDS = ("amphibian_call", "bird_song", "mammal_call")
_WAVE_S = 40.0  # of the load, which comes and goes


def recordings() -> list[bytes]:
    """WAV files of 8 s."""
    return [_wav(kind, seed) for seed in range(8) for kind in KINDS]


def _wav(kind: str, seed: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, synthesise(kind, seed), SAMPLE_RATE_HZ, "PCM_16", format="WAV")
    return file.getvalue()


def keep_busy(server: ServerProcess, number: int, bodies: list[bytes], enough: threading.Event) -> None:
    """Every fourth request is one of those that were sent before; the others differ in their last sample."""
    with Connection(server.address) as connection:
        for count in range(10**9):
            if enough.wait(0.015 * (1.5 + math.sin(2 * math.pi * (time.monotonic() / _WAVE_S + number / 9)))):
                return
            body = bodies[count % len(bodies)]
            fresh = body[:-4] + (number << 24 | count).to_bytes(4, "little")
            headers = {"Content-Type": "audio/wav"}
            connection.request("POST", "/api/optimized/predict", fresh if count % 4 else body, headers)


def take(folder: Path, into: Path, scheme: str) -> None:
    """One picture. Two cores are enough."""
    port = free_port()
    settings = {"status_port": port, "cache_l1_mb": 16, "state_dir": folder, "tuning": "on", "trial_limit_s": TRIALS_S}
    server = ServerProcess(["serve"], module="frontend.cli.main", environment=as_environment(settings), ready="/ready")
    with server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        window = browser.new_context(
            viewport={"width": WIDE, "height": HEIGHT}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page = window.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        enough, bodies = threading.Event(), recordings()
        arguments = [(server, number, bodies, enough) for number in range(CLIENTS)]
        threads = [threading.Thread(target=keep_busy, args=each) for each in arguments]
        for thread in threads:
            thread.start()
        page.wait_for_timeout(1000 * LASTS_S)
        page.screenshot(path=into)
        enough.set()
        for thread in threads:
            thread.join()
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--into", type=Path, default=PICTURE)
    parser.add_argument("--scheme", choices=("light", "dark"), default="dark")
    given = parser.parse_args()
    take(given.state_dir.resolve(), given.into, given.scheme)
