"""`cache_implementation`: any object with the two methods, sync or async, fast, slow or broken, under both managers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.manager import OptimizedModelServingManager, SyncModelServingManager
from tests.manager.conftest import Deploy
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

    def predict(self, request_id: str, timeout: float = 30.0) -> dict[str, Any]:
        if not self._asynchronous:
            return self._manager.predict("m", audio(0, 1), request_id, timeout=timeout)
        both = OptimizedModelServingManager(core=self._manager.core)
        return asyncio.run(both.predict_async("m", audio(0, 1), request_id, timeout=timeout))


@pytest.fixture(params=["sync", "async"])
def asker(request: pytest.FixtureRequest, manager: SyncModelServingManager, deploy: Deploy) -> Asker:
    deploy("m", echo())
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
