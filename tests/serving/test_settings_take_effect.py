"""Settings govern the running server: each one is set to something unusual and seen to do what it says."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import log
from pathlib import Path

import pytest

from engine.config import cores_of
from engine.core.batching import buckets
from tests.conformance import sounds
from tests.conformance.wire import Address
from tests.serving.models import FRAMES_UNIT, Run, runs_in, watched
from tests.serving.servers import ROUTES, address_of, rows_of, server, version_of
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

OPTIMIZED, LEGACY = ROUTES
CORES = cores_of().count
IN_THE_FILE = {
    "sample_rate_hz": 8000, "segment_s": 0.5, "overlap_s": 0.25, "segmentation": "fixed", "peak_normalise": False,
    "min_window_s": 0.1,
    "top_k": 3, "max_duration_s": 3.0, "max_segments": 10, "max_upload_bytes": 100_000, "max_decoded_bytes": 150_000,
    "db_min_connections": 7, "db_max_connections": 21, "redis_min_connections": 2, "redis_max_connections": 16,
    "http_max_connections": 99,
}  # fmt: skip
TUNED = {
    "model_factory": "tests.serving.models:noted", "model_pool_size": 2, "model_warmup_requests": 7,
    "max_batch_size": 3, "batch_timeout_ms": 5000, "devices": "cpu", "instance_threads": 1, "workers": 2,
    "lane_slots": 6, "top_k": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Tuned:
    """A server whose every setting is unusual."""

    process: ServerProcess
    address: Address
    warmed: list[Run]  # what its models had run before the first request
    notes: Path
    predict_log: Path


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    """Half of the settings come from a file, half from the environment; `top_k` from both."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "config.json").write_text(json.dumps({"optimized_serving": IN_THE_FILE, "theirs": {"port": 1}}))
    others = {
        "NIGHTSCAN_CONFIG": str(folder / "config.json"),
        "PREDICT_LOG_FILE": str(folder / "predict.log"),
        "API_CORS_ORIGINS": "https://app.example",
        **watched(folder),
    }
    with server(TUNED, **others) as process:
        wait_for(lambda: version_of(process)["ready"] == version_of(process)["pool_size"], "all instances serve")
        notes = folder / "notes"
        yield Tuned(process, address_of(process), runs_in(notes), notes, folder / "predict.log")


def test_the_pool_has_as_many_instances_as_asked_for_and_cores_allow(tuned: Tuned) -> None:
    version = version_of(tuned.process)
    assert version["pool_size_wanted"] == 2 and version["pool_size"] == version["ready"] == min(2, CORES)
    assert len({run.pid for run in tuned.warmed}) == min(2, CORES)


def test_every_batch_size_is_run_before_the_first_request_and_again_while_nobody_waits(tuned: Tuned) -> None:
    beside = 4  # a look at zeros when it is loaded, a reference answer, and three looks at single outputs

    def runs_of(pid: int, runs: list[Run]) -> Counter[int]:
        return Counter(run.batch_size for run in runs if run.pid == pid)

    for pid in {run.pid for run in tuned.warmed}:
        warm = runs_of(pid, tuned.warmed)
        assert set(warm) == set(buckets(3)) and warm[1] >= 1 + beside
        wait_for(lambda: min(runs_of(pid, runs_in(tuned.notes)).values()) >= 7, "all are repeated")  # noqa: B023


def test_no_batch_is_larger_and_full_ones_are_made(tuned: Tuned) -> None:
    def largest() -> int:
        answer = tuned.address.upload(OPTIMIZED, sounds.wav(sounds.tone(2.5)))  # nine windows
        return int(answer.value["batch_size"])

    wait_for(lambda: largest() == 3, "a full batch")
    assert max(run.batch_size for run in runs_in(tuned.notes)) == 3


def test_a_lone_request_does_not_wait_for_company(tuned: Tuned) -> None:
    begin = time.monotonic()
    assert tuned.address.upload(OPTIMIZED, sounds.wav(sounds.tone(0.5))).status == 200
    assert time.monotonic() - begin < 2, "batch_timeout_ms is a bound on waiting, here five seconds"


def test_devices_and_their_threads(tuned: Tuned) -> None:
    assert {each["device"] for each in version_of(tuned.process)["instances"]} == {"cpu"}
    stats = tuned.address.get("/api/optimized/stats").value
    assert stats["model_pools"]["wildlife_detector_optimized"]["device"] == "cpu"
    assert {run.torch_threads for run in tuned.warmed} == {1}


def test_frontends_and_their_slots(tuned: Tuned) -> None:
    assert len(tuned.process.workers()) == 2
    version = version_of(tuned.process)
    assert version["slots"]["total"] == 6 * version["lanes"]["total"]
    assert set(version["lanes"]["owners"].values()) == set(tuned.process.workers())


def test_rate_and_length_of_windows(tuned: Tuned) -> None:
    """The model tells the frames that it got: half a second at the model's rate, whatever the recording's."""
    content = sounds.wav(sounds.tone(0.5, rate_hz=16_000), rate_hz=16_000)
    found = dict(rows_of(tuned.address.upload(OPTIMIZED, content, top_k="3")))
    assert log(found["frames"] / found["zero"]) == pytest.approx(4000 / FRAMES_UNIT, abs=1e-4)


def test_no_peak_normalisation(tuned: Tuned) -> None:
    content = sounds.wav(sounds.tone(0.5, level=0.25))
    for route in ROUTES:
        answer = tuned.address.upload(route, content, top_k="3")
        found = dict(rows_of(answer))
        assert log(found["loudest"] / found["zero"]) == pytest.approx(0.25, abs=1e-3)


def test_windows_overlap_on_both_routes(tuned: Tuned) -> None:
    """`segmentation=fixed` on the original route too, which cuts on silence unless told otherwise."""
    content = sounds.wav(sounds.tone(1.25))
    starts_s = [0.0, 0.25, 0.5, 0.75]
    assert [row["start_s"] for row in tuned.address.upload(OPTIMIZED, content).value["segments"]] == starts_s
    assert [row["time"] for row in tuned.address.upload(LEGACY, content).value] == starts_s


def test_shortest_last_window(tuned: Tuned) -> None:
    for duration_s, ends_s in ((0.65, [0.5, 0.65]), (0.55, [0.5])):
        value = tuned.address.upload(OPTIMIZED, sounds.wav(sounds.tone(duration_s)), overlap_s="0").value
        assert [row["end_s"] for row in value["segments"]] == ends_s


def test_the_environment_wins_over_the_file(tuned: Tuned) -> None:
    answer = tuned.address.upload(OPTIMIZED, sounds.wav(sounds.tone(0.5)))
    assert len(answer.value["top_predictions"]) == 2


def test_longest_recording(tuned: Tuned) -> None:
    """On the original route by its duration, everywhere by the number of its windows."""
    answer = tuned.address.upload(LEGACY, sounds.wav(sounds.tone(3.1)))
    assert answer.pair == (400, {"error": "Audio file too long (max 0.05 minutes)"})
    assert tuned.address.upload(OPTIMIZED, sounds.wav(sounds.tone(2.75))).status == 200
    for route, status in zip(ROUTES, (413, 400)):
        assert tuned.address.upload(route, sounds.wav(sounds.tone(2.9))).status == status


def test_largest_upload(tuned: Tuned) -> None:
    for route, status in zip(ROUTES, (413, 400)):
        answer = tuned.address.upload(route, sounds.ONE_SECOND + bytes(100_000))
        assert answer.status == status
    assert "MB limit" in answer.value["error"]


def test_largest_recording_once_decoded(tuned: Tuned) -> None:
    content = sounds.encoded(sounds.silence(2.0, rate_hz=44_100) + 0.5, "FLAC", rate_hz=44_100)
    assert len(content) < 100_000
    answer = tuned.address.upload(OPTIMIZED, content, "night.flac")
    assert (answer.status, answer.value["code"]) == (413, "TOO_LONG")


def test_the_original_log_has_the_answer(tuned: Tuned) -> None:
    answer = tuned.address.upload(LEGACY, sounds.wav(sounds.tone(0.5)), "logged.wav")
    assert answer.body in tuned.predict_log.read_bytes().splitlines()


def test_origins_that_may_call(tuned: Tuned) -> None:
    for route in ROUTES:
        answer = tuned.address.post(route, sounds.ONE_SECOND, "audio/wav", Origin="https://app.example")
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        answer = tuned.address.post(route, sounds.ONE_SECOND, "audio/wav", Origin="https://evil.example")
        assert "access-control-allow-origin" not in answer.headers


def test_connection_pools_are_shown_as_configured(tuned: Tuned) -> None:
    pools = tuned.address.get("/api/optimized/stats").value["connection_pools"]
    shown = {pool: {name: value for name, value in found.items() if value is not None} for pool, found in pools.items()}
    nothing = {"initialized": False, "state": "not configured"}
    assert shown == {
        "database": {**nothing, "min_connections": 7, "max_connections": 21},
        "redis": {**nothing, "min_connections": 2, "max_connections": 16},
        "http": {**nothing, "max_connections": 99},
    }
