"""`cache_implementation`: any object with the two methods, sync or async, fast, slow or broken, under both managers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.manager import OptimizedModelServingManager, SyncModelServingManager
from engine.manager.results import PUBLISHED_KEYS
from tests.manager.conftest import OPTIONS, Deploy, clean_settings
from tests.manager.models import echo
from tests.manager.test_predict import audio


class SyncCache:
    """A dictionary."""

    def __init__(self) -> None:
        self.kept: dict[bytes, dict[str, Any]] = {}

    def get_prediction(self, audio_data: Any) -> dict[str, Any] | None:
        return self.kept.get(audio_data.tobytes())

    def cache_prediction(self, audio_data: Any, result: dict[str, Any]) -> None:
        self.kept[audio_data.tobytes()] = result


class AsyncCache:
    """The same in coroutines that do give way."""

    def __init__(self) -> None:
        self.inner = SyncCache()

    async def get_prediction(self, audio_data: Any) -> dict[str, Any] | None:
        await asyncio.sleep(0)
        return self.inner.get_prediction(audio_data)

    async def cache_prediction(self, audio_data: Any, result: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.inner.cache_prediction(audio_data, result)


class BrokenCache:
    """Fails at everything."""

    def get_prediction(self, audio_data: Any) -> None:
        raise OSError("no cache today")

    async def cache_prediction(self, audio_data: Any, result: dict[str, Any]) -> None:
        raise OSError("no cache today")


class DeafCache:
    """Never answers."""

    async def get_prediction(self, audio_data: Any) -> None:
        await asyncio.Event().wait()

    async def cache_prediction(self, audio_data: Any, result: dict[str, Any]) -> None:
        await asyncio.Event().wait()


class Asker:
    """Both managers under one name."""

    def __init__(self, manager: SyncModelServingManager, asynchronous: bool) -> None:
        self._manager = manager
        self._asynchronous = asynchronous

    def predict(self, request_id: str, timeout: float = 30.0, *, deployment: str = "m") -> dict[str, Any]:
        if not self._asynchronous:
            return self._manager.predict(deployment, audio(0, 1), request_id, timeout=timeout)
        both = OptimizedModelServingManager(core=self._manager.core)
        return asyncio.run(both.predict_async(deployment, audio(0, 1), request_id, timeout=timeout))


@pytest.fixture(scope="module")
def models(engine_dir: Path) -> Iterator[None]:
    """Two whose answers to one sound differ, for all tests here."""
    with SyncModelServingManager(clean_settings(engine_dir)) as made:
        for deployment_id, scale in (("m", 1.0), ("n", -1.0)):
            assert made.deploy_optimized_model(deployment_id, echo(scale), **OPTIONS)
        yield
        for deployment_id in ("m", "n"):
            assert made.undeploy_optimized_model(deployment_id)


@pytest.fixture(params=["sync", "async"])
def asker(request: pytest.FixtureRequest, models: None, manager: SyncModelServingManager) -> Asker:
    return Asker(manager, request.param == "async")


@pytest.mark.parametrize("cache", [SyncCache(), AsyncCache()], ids=["sync-cache", "async-cache"])
def test_the_second_time_comes_from_the_cache(manager: SyncModelServingManager, asker: Asker, cache: Any) -> None:
    getattr(cache, "inner", cache).kept.clear()
    manager.cache_implementation = cache
    before = manager.get_optimization_stats()["performance_metrics"]["m"]
    fresh, cached = asker.predict("r1"), asker.predict("r2")
    assert (fresh["cache_hit"], cached["cache_hit"]) == (False, True)
    assert (fresh["request_id"], cached["request_id"]) == ("r1", "r2")
    assert fresh["top_predictions"] == cached["top_predictions"]
    after = manager.get_optimization_stats()["performance_metrics"]["m"]
    assert after["cache_hits"] - before["cache_hits"] == 1 and after["cache_misses"] - before["cache_misses"] == 1
    assert after["successful_requests"] - before["successful_requests"] == 2


def test_a_broken_cache_is_a_miss(manager: SyncModelServingManager, asker: Asker) -> None:
    manager.cache_implementation = BrokenCache()
    assert [asker.predict(f"r{k}")["cache_hit"] for k in range(2)] == [False, False]


def test_a_deaf_cache_costs_no_more_than_the_timeout(manager: SyncModelServingManager, asker: Asker) -> None:
    manager.cache_implementation = DeafCache()
    assert asker.predict("r", timeout=0.1)["error"] == "Request timeout"


class CustomCache:
    """As it was published: it finds nothing and keeps nothing."""

    async def get_prediction(self, audio_data):  # type: ignore[no-untyped-def]
        pass

    async def cache_prediction(self, audio_data, result):  # type: ignore[no-untyped-def]
        pass


def test_the_published_cache_does_no_harm(manager: SyncModelServingManager, asker: Asker) -> None:
    manager.cache_implementation = CustomCache()
    results = [asker.predict(f"r{k}") for k in range(2)]
    assert [(set(result), result["cache_hit"]) for result in results] == [(set(PUBLISHED_KEYS), False)] * 2


@pytest.mark.parametrize("cache", [SyncCache, AsyncCache])
def test_what_it_keeps_of_another_deployment_is_a_miss(
    manager: SyncModelServingManager, asker: Asker, cache: Callable[[], Any]
) -> None:
    manager.cache_implementation = cache()
    for request_id in ("r1", "r2"):  # it knows the sound alone, so that each answer replaces the other's
        of_m, of_n = asker.predict(request_id), asker.predict(request_id, deployment="n")
        assert (of_m["predicted_class"], of_m["cache_hit"]) == (1, False)
        assert (of_n["predicted_class"], of_n["cache_hit"]) == (0, False)
    assert asker.predict("r3", deployment="n")["cache_hit"], "its own is a hit"


def test_what_it_keeps_of_another_version_or_of_a_model_that_is_gone_is_a_miss(
    manager: SyncModelServingManager, deploy: Deploy
) -> None:
    deploy("v", echo())
    askers = [Asker(manager, asynchronous) for asynchronous in (False, True)]
    caches = [SyncCache(), AsyncCache()]

    def twice() -> list[tuple[int, bool]]:
        found = []
        for asker, cache in zip(askers, caches):
            manager.cache_implementation = cache
            found += [asker.predict(f"r{k}", deployment="v") for k in range(2)]
        return [(result["predicted_class"], result["cache_hit"]) for result in found]

    assert twice() == [(1, False), (1, True)] * 2
    deploy("v", echo(-1.0))
    assert twice() == [(0, False), (0, True)] * 2
    deploy("v", echo())
    assert twice() == [(1, False), (1, True)] * 2, "the first version is there again, what was kept of it is not"
    assert manager.undeploy_optimized_model("v")
    assert all("error" in asker.predict("r", deployment="v") for asker in askers)
    deploy("v", echo())


class OddCache:
    """Answers whatever it is told to."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        self._answer = answer
        self._kept: dict[str, Any] | None = None

    def get_prediction(self, audio_data: Any) -> Any:
        return None if self._kept is None else self._answer(self._kept)

    def cache_prediction(self, audio_data: Any, result: dict[str, Any]) -> None:
        self._kept = result


class UnreadableDict(dict[str, Any]):
    """One whose values cannot be had."""

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)


@pytest.mark.parametrize(
    "answer",
    [
        lambda kept: "a text",
        lambda kept: [kept],
        lambda kept: {},
        lambda kept: {name: value for name, value in kept.items() if name != "model_version"},
        lambda kept: {name: value for name, value in kept.items() if name != "confidence"},
        lambda kept: {**kept, "deployment_id": "another"},
        lambda kept: {**kept, "model_version": None},
        lambda kept: {**kept, "top_predictions": None},
        lambda kept: {**kept, "top_predictions": ["owl"]},
        UnreadableDict,
    ],
)
def test_a_strange_answer_is_a_miss(manager: SyncModelServingManager, asker: Asker, answer: Any) -> None:
    manager.cache_implementation = OddCache(answer)
    results = [asker.predict(f"r{k}") for k in range(2)]
    assert [(result["predicted_class"], result["cache_hit"]) for result in results] == [(1, False)] * 2


class CancelledCache:
    """As when a client of its own has been cancelled."""

    async def get_prediction(self, audio_data: Any) -> None:
        raise asyncio.CancelledError()

    cache_prediction = get_prediction  # which is given too much, and fails by that


class Nothing:
    """Has no such methods at all."""


@pytest.mark.parametrize("cache", [CancelledCache(), Nothing()], ids=["cancelled", "no methods"])
def test_whatever_it_raises_is_a_miss(manager: SyncModelServingManager, asker: Asker, cache: Any) -> None:
    manager.cache_implementation = cache
    assert [asker.predict(f"r{k}")["cache_hit"] for k in range(2)] == [False, False]


def test_what_a_caller_does_with_its_answer_does_not_reach_the_cache(
    manager: SyncModelServingManager, asker: Asker
) -> None:
    manager.cache_implementation = SyncCache()
    for request_id in ("r1", "r2"):
        result = asker.predict(request_id)
        result["top_predictions"][0]["label"] = "changed"
        result["top_predictions"].clear()
    assert asker.predict("r3")["top_predictions"][0]["label"] != "changed"


class LoopBoundCache(AsyncCache):
    """As the clients of servers are: of the event loop that it was first used in."""

    def __init__(self) -> None:
        super().__init__()
        self.loops: set[int] = set()

    async def get_prediction(self, audio_data: Any) -> dict[str, Any] | None:
        self.loops.add(id(asyncio.get_running_loop()))
        assert len(self.loops) == 1, "attached to a different loop"
        return await super().get_prediction(audio_data)


def test_an_async_cache_has_one_loop_for_all_callers_that_have_none(
    models: None, manager: SyncModelServingManager
) -> None:
    manager.cache_implementation = cache = LoopBoundCache()

    def predict(request_id: str) -> bool:
        return bool(manager.predict("m", audio(0, 1), request_id)["cache_hit"])

    async def in_a_loop() -> bool:  # as in a notebook, whose loop runs while it calls what blocks
        return predict("r3")

    with ThreadPoolExecutor(2) as threads:
        assert not predict("r0") and all(threads.map(predict, ["r1", "r2"])) and asyncio.run(in_a_loop())
    assert len(cache.loops) == 1


def test_a_deaf_cache_of_one_caller_holds_up_no_other(models: None, manager: SyncModelServingManager) -> None:
    manager.cache_implementation = DeafCache()
    with ThreadPoolExecutor(1) as threads:
        patient = threads.submit(manager.predict, "m", audio(0, 1), "r1", timeout=1.5)
        assert manager.predict("m", audio(0, 1), "r2", timeout=0.1)["error"] == "Request timeout"
        assert not patient.done()
        assert patient.result()["error"] == "Request timeout"
