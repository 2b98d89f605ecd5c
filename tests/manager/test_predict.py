"""Predictions through the Python API: the published answers and the published failures."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from engine.errors import ConfigError
from engine.manager import OptimizedModelServingManager, SyncModelServingManager
from engine.spec import ModelSource, ModelSpec
from tests.client.stage import wait_until
from tests.manager.conftest import OPTIONS, Deploy
from tests.manager.models import FRAMES, HELD, broken, echo, gated, softmax
from tests.models.onnx_files import WEIGHTS, linear, save, waves

SUCCESS_KEYS = {
    "top_predictions", "predicted_class", "predicted_label", "confidence", "inference_method", "request_id",
    "batch_size", "latency", "cache_hit",
}  # fmt: skip


def audio(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    made = np.zeros(FRAMES, np.float32)
    made[: len(numbers)] = numbers
    return made


def held(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    made = audio(*numbers)
    made[-1] = HELD
    return made


def leased(manager: SyncModelServingManager, deployment_id: str) -> int:
    attachment = manager.core.client.attachment(deployment_id)
    assert attachment is not None
    return attachment.statistics().leased


def test_the_published_answer(manager: SyncModelServingManager, deploy: Deploy) -> None:
    deploy("m", echo(), labels=("frog", "bird", "bat", "fox"))
    result = manager.predict("m", audio(0, 3, 1, 2), request_id="req_001")
    assert set(result) == SUCCESS_KEYS
    assert [each["class_index"] for each in result["top_predictions"]] == [1, 3, 2, 0]
    assert [each["label"] for each in result["top_predictions"]] == ["bird", "fox", "bat", "frog"]
    found = [each["probability"] for each in result["top_predictions"]]
    assert found == pytest.approx(sorted(softmax([0, 3, 1, 2]), reverse=True), abs=1e-6)
    assert (result["predicted_class"], result["predicted_label"], result["confidence"]) == (1, "bird", found[0])
    assert (result["inference_method"], result["request_id"], result["cache_hit"]) == ("batch", "req_001", False)
    assert result["batch_size"] == 1 and result["latency"] > 0


def test_a_multi_label_model_judges_each_class_by_itself(manager: SyncModelServingManager, deploy: Deploy) -> None:
    deploy("m", echo(), activation="sigmoid")
    result = manager.predict("m", audio(4, 3, -4, -5))
    found = {each["class_index"]: each["probability"] for each in result["top_predictions"]}
    assert found == pytest.approx({0: 0.982, 1: 0.953, 2: 0.018, 3: 0.0067}, abs=1e-3)
    with pytest.raises(ConfigError, match="activation='tanh': must be one of softmax, sigmoid, none"):
        manager.deploy_optimized_model("m", echo(), activation="tanh")


def test_kinds_of_arrays(manager: SyncModelServingManager, deploy: Deploy) -> None:
    deploy("m", echo())
    as_double = manager.predict("m", [0.0, 0.5, 0.0], "r")
    as_samples = manager.predict("m", np.array([0, 16384, 0], np.int16), "r")
    assert as_double["top_predictions"] == as_samples["top_predictions"]
    for wrong in (np.zeros(FRAMES + 1), np.zeros((2, 4)), np.zeros(0), "no numbers", [[1], [1, 2]]):
        refused = manager.predict("m", wrong, "r")
        assert (refused["code"], refused["request_id"]) == ("INVALID_FIELD", "r")


class Unwritable:
    """Something that can be turned into nothing."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __array__(self, *_: object, **__: object) -> object:
        raise RuntimeError("no array")


UNDERSTOOD: list[dict[str, Any]] = [
    *({"timeout": value} for value in (math.inf, 1e10, 1e12, 10**400, np.float32(20), Decimal(20), True)),
    *({"request_id": value} for value in (None, "", "\ud800", "x" * 100_000, "\0")),
    *({"priority": value} for value in (10**400, -(10**400), 0.5, True, math.inf, np.int64(3))),
    *({"user_id": value} for value in (5, "\ud800", b"x", ["a"], "x" * 100_000)),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"timeout": value}, "INVALID_FIELD") for value in (math.nan, "30", None, [1], 1j, Decimal("sNaN"), b"1")),
    *(({"timeout": value}, "DEADLINE_EXCEEDED") for value in (0, -1, -math.inf, -(10**400))),
    *(({"request_id": value}, "INVALID_FIELD") for value in (5, b"r", ["r"], Unwritable())),
    *(({"priority": value}, "INVALID_FIELD") for value in ("1", None, math.nan, 1j, [1], np.zeros(2))),
    ({"user_id": Unwritable()}, "INVALID_FIELD"),
    *(({"deployment_id": value}, "INVALID_FIELD") for value in (None, 5, ["m"])),
    ({"deployment_id": "\ud800"}, "UNKNOWN_DEPLOYMENT"),
]
NO_SOUND: list[Any] = [
    None, "0.5", b"RIFF", Path("a.wav"), {}, {1: 2}, object(), [], [[1], [1, 2]], ["a"], np.zeros(2, complex),
    np.zeros(2, "M8[s]"), np.zeros(2, "U3"), np.zeros((1, FRAMES)), np.float32(1), Unwritable(), range(FRAMES + 1),
]  # fmt: skip
SOUND: list[Any] = [
    np.ones(2 * FRAMES)[::2], np.ones(FRAMES, ">f4"), np.ones(FRAMES, ">i2"), np.ones(FRAMES, bool), [1e300] * FRAMES,
    np.full(FRAMES, np.longdouble("1e4000")), [Decimal(1)] * FRAMES, range(FRAMES),
    [None], np.full(FRAMES, math.nan), np.full(FRAMES, 3e38),
]  # fmt: skip


def predictions(
    manager: SyncModelServingManager, calls: list[dict[str, Any]], *, on_loop: bool
) -> list[dict[str, Any]]:
    """What each call returns; whatever one raises fails the test."""
    given = [{"deployment_id": "m", "audio_data": audio(0, 1), **call} for call in calls]
    if not on_loop:
        return [manager.predict(**call) for call in given]

    async def program() -> list[dict[str, Any]]:
        both = OptimizedModelServingManager(core=manager.core)
        return [await both.predict_async(**call) for call in given]

    return asyncio.run(program())


def test_predict_never_raises_whatever_it_is_given(manager: SyncModelServingManager, deploy: Deploy) -> None:
    deploy("m", echo())
    for on_loop in (False, True):
        for call, result in zip(UNDERSTOOD, predictions(manager, UNDERSTOOD, on_loop=on_loop), strict=True):
            assert result.get("predicted_class") == 1, (call, result)
            assert call.get("request_id") in (None, result["request_id"])
        refused = predictions(manager, [call for call, _ in REFUSED], on_loop=on_loop)
        for (call, code), result in zip(REFUSED, refused, strict=True):
            assert result["code"] == code and result["error"] and "request_id" in result, (call, result)
        for result in predictions(manager, [{"audio_data": sound} for sound in NO_SOUND], on_loop=on_loop):
            assert result["code"] == "INVALID_FIELD" and "audio_data" in result["error"], result
        for result in predictions(manager, [{"audio_data": sound} for sound in SOUND], on_loop=on_loop):
            assert "predicted_class" in result or result["code"] == "NON_FINITE_OUTPUT", result
    samples = [np.array([0, 16384], dtype) for dtype in ("<i2", ">i2")]
    little, big = predictions(manager, [{"audio_data": each} for each in samples], on_loop=False)
    assert little["top_predictions"] == big["top_predictions"]


def test_tensors_are_sound(manager: SyncModelServingManager, deploy: Deploy) -> None:
    deploy("m", echo())
    calls = [{"audio_data": torch.tensor([0.0, 3.0])}, {"audio_data": torch.tensor([0.0, 3.0], requires_grad=True)}]
    taken, refused = predictions(manager, calls, on_loop=False)
    assert taken["predicted_class"] == 1
    assert refused["code"] == "INVALID_FIELD" and "detach" in refused["error"]


def test_models_of_other_shapes(manager: SyncModelServingManager, deploy: Deploy) -> None:
    def create() -> object:
        import torch

        return torch.nn.Flatten()

    deploy("image", create, input_shape=(2, 3))
    image = np.arange(6, dtype=np.float64).reshape(2, 3)
    assert manager.predict("image", image, "r")["predicted_class"] == 5
    assert len(manager.predict("image", image, "r")["top_predictions"]) == 5
    assert manager.predict("image", np.zeros(6), "r")["code"] == "INVALID_FIELD"


def test_unknown_deployment(manager: SyncModelServingManager) -> None:
    assert manager.predict("nobody", audio(1), "req_9") == {
        "error": "Failed to submit request for processing",
        "request_id": "req_9",
        "code": "UNKNOWN_DEPLOYMENT",
    }
    assert not manager.undeploy_optimized_model("nobody")


def test_a_timeout_is_told_on_time(manager: SyncModelServingManager, deploy: Deploy, tmp_path: Path) -> None:
    deploy("m", gated(tmp_path / "gate"))
    answer = manager.predict("m", held(1), "req_2", timeout=0.2)
    late = {"error": "Request timeout", "code": "DEADLINE_EXCEEDED"}
    assert answer == {**late, "request_id": "req_2", "timeout": 0.2}
    assert manager.predict("m", audio(1), "req_3", timeout=0.0) == {**late, "request_id": "req_3", "timeout": 0.0}
    (tmp_path / "gate").touch()
    assert manager.predict("m", audio(1), "req_4")["predicted_class"] == 0


def test_a_full_queue(manager: SyncModelServingManager, deploy: Deploy, tmp_path: Path) -> None:
    deploy("m", gated(tmp_path / "gate"), max_batch_size=1)
    results: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda k=k: results.append(manager.predict("m", held(k), f"r{k}")))
        for k in range(20)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(results) >= 13, "those who are too many are refused")
    (tmp_path / "gate").touch()
    for thread in threads:
        thread.join()
    refused = [result for result in results if "error" in result]
    assert {(result["error"], result["code"]) for result in refused} == {
        ("Failed to submit request for processing", "QUEUE_FULL")
    }
    assert 6 <= len(results) - len(refused) <= 7 and len(results) == 20


def test_higher_priority_is_served_first(manager: SyncModelServingManager, deploy: Deploy, tmp_path: Path) -> None:
    deploy("m", gated(tmp_path / "gate"), max_batch_size=1)

    async def program() -> None:
        both = OptimizedModelServingManager(core=manager.core)

        async def one(number: int, priority: int) -> None:
            result = await both.predict_async("m", held(number), f"r{number}", None, priority)
            assert "error" not in result

        first = asyncio.create_task(one(0, 0))
        await asyncio.to_thread(wait_until, lambda: leased(manager, "m"), "the instance works")
        rest = []
        for number, priority in [(1, 0), (2, -5), (3, 7), (4, 0)]:
            rest.append(asyncio.create_task(one(number, priority)))
            await asyncio.sleep(0)
        (tmp_path / "gate").touch()
        await asyncio.gather(first, *rest)

    asyncio.run(program())
    assert (tmp_path / "gate.order").read_text().split() == ["0", "3", "1", "4", "2"]


def test_a_swap_under_load_fails_nothing(manager: SyncModelServingManager, deploy: Deploy) -> None:
    deploy("m", echo(1.0))
    stop = threading.Event()
    results: list[dict[str, Any]] = []

    def load() -> None:
        while not stop.is_set():
            results.append(manager.predict("m", audio(0, 1), "r"))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        deploy("m", echo(5.0))
        mark = len(results)
        wait_until(lambda: len(results) > mark + 20, "the new version answers")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not [result for result in results if "error" in result]
    old, new = softmax([0, 1, 0, 0])[1], softmax([0, 5, 0, 0])[1]
    confidences = [round(result["confidence"], 4) for result in results]
    assert set(confidences) == {round(old, 4), round(new, 4)} and confidences[-1] == round(new, 4)


def test_killing_the_instance_in_mid_work_loses_nothing(
    manager: SyncModelServingManager, deploy: Deploy, instance_pids: Callable[[], list[int]], tmp_path: Path
) -> None:
    deploy("m", gated(tmp_path / "gate"))
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(manager.predict("m", held(0, 2), "r")))
    thread.start()
    wait_until(lambda: leased(manager, "m"), "the instance works")
    for pid in instance_pids():
        os.kill(pid, signal.SIGKILL)
    (tmp_path / "gate").touch()
    thread.join()
    assert results[0]["predicted_class"] == 1


def test_a_failed_deploy_says_why_and_leaves_the_old_one(manager: SyncModelServingManager, deploy: Deploy) -> None:
    deploy("m", echo())
    assert not manager.deploy_optimized_model("m", broken, **OPTIONS)
    assert "the weights are missing" in manager.deployment_error("m")
    assert "error" not in manager.predict("m", audio(1), "r")


def test_a_precision_that_cannot_be_had_is_told_to_whoever_deploys(manager: SyncModelServingManager) -> None:
    assert not manager.deploy_optimized_model("m", echo(), precision="int8", tuning="off", **OPTIONS)
    assert "precision=int8 cannot be had: tuning=off" in manager.deployment_error("m")


def test_what_is_no_model(manager: SyncModelServingManager, tmp_path: Path) -> None:
    lock = threading.Lock()
    for wrong in (7, "/no/such/file.pt", tmp_path / "none.pt", lambda: lock, ModelSpec(source=ModelSource.PICKLE)):
        with pytest.raises(ConfigError):
            manager.deploy_optimized_model("m", wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        manager.deploy_optimized_model("m", echo(), no_such_option=1)


def test_the_published_statistics(manager: SyncModelServingManager, deploy: Deploy) -> None:
    deploy("counted", echo(), pool_size=2)  # an id of its own: counters outlive a deployment
    for k in range(5):
        manager.predict("counted", audio(k), f"r{k}")
    manager.predict("counted", audio(1), "late", timeout=0.0)
    wait_until(lambda: _usage(manager) == 5, "the instances have counted what they have answered")
    stats = manager.get_optimization_stats()
    published = {"database": {"min_connections": 5, "max_connections": 20}, "redis": {"max_connections": 15}}
    for name, bounds in published.items():
        assert {"initialized": False, **bounds}.items() <= stats["connection_pools"][name].items()
    pool = stats["model_pools"]["counted"]
    assert pool["deployment_id"] == "counted" and pool["warmup_complete"] is True
    assert pool["pool_size"] == len(pool["usage_per_instance"]) and sum(pool["usage_per_instance"]) == 5
    assert pool["total_usage"] == 5 and pool["average_usage"] == 5 / pool["pool_size"]
    batches = stats["batch_processing"]["counted"]
    assert batches["total_requests"] == 5 and batches["average_batch_size"] == 5 / batches["total_batches"]
    assert batches["average_processing_time"] > 0
    performance = stats["performance_metrics"]["counted"]
    assert (performance["total_requests"], performance["successful_requests"]) == (6, 5)
    assert performance["failed_requests"] == 1 and performance["average_latency"] > 0
    assert 0 < performance["p50_latency"] <= performance["p95_latency"] <= performance["p99_latency"]
    assert set(stats["system_resources"]) >= {"memory_usage_mb", "cpu_percent", "available_memory_mb"}


def _usage(manager: SyncModelServingManager) -> int:
    return int(manager.get_optimization_stats()["model_pools"]["counted"]["total_usage"])


def test_an_onnx_file_is_a_model_too(manager: SyncModelServingManager, deploy: Deploy, tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", ["logits", "logits"], ["embedding"], axis=1)]
    model = linear(nodes=nodes, outputs={"logits": ("n", 3), "embedding": ("n", 6)})
    path = save(model, tmp_path / "x.onnx")
    options: dict[str, Any] = {"input_shape": None, "sample_rate_hz": 4, "segment_s": 1.0}
    assert not manager.deploy_optimized_model("two", path, **{**OPTIONS, **options})
    assert "set onnx_output to its name" in manager.deployment_error("two")
    deploy("m", path, onnx_output="logits", labels=("frog", "bird", "bat"), **options)
    result = manager.predict("m", waves(1)[0])
    wanted = softmax(list(waves(1)[0] @ WEIGHTS))
    found = {each["class_index"]: each["probability"] for each in result["top_predictions"]}
    assert [found[index] for index in range(3)] == pytest.approx(wanted, abs=1e-5)
