"""A request passes the functions that the READMEs name, in that order, over all processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import pytest

from benchmarks.counting import Call, CallOrder
from benchmarks.counting_site.sitecustomize import FOLDER_VARIABLE
from benchmarks.workloads import WORKLOADS
from tests.serving.servers import as_environment, processes_of
from tests.support.server import ROOT, ServerProcess
from tests.support.way import PACKAGES, Step, way_of

SITE = ROOT / "benchmarks" / "counting_site"
FEW = {"model_pool_size": 1, "model_warmup_requests": 1, "max_batch_size": 2, "cache_l1_mb": 16}


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Call]]:
    """What a frontend and an instance called for one request on the fast lane."""
    folder, workload = tmp_path_factory.mktemp("order"), WORKLOADS["tiny"]
    environment = {**workload.environment(folder), **as_environment(FEW), FOLDER_VARIABLE: str(folder)}
    with ServerProcess(
        ["serve"], module="frontend.cli.main", environment=environment, import_paths=[SITE], ready="/ready"
    ) as server, server.connect() as connection:
        order = CallOrder(folder, [*server.workers(), *processes_of(server, "engine.instance")], ROOT)
        wav = {"Content-Type": "audio/wav"}
        for end in (b"\1\0", b"\2\0"):  # the first one opens what is opened once; none of them is in the cache
            body = workload.bodies[0][:-2] + end
            assert connection.request("POST", "/api/optimized/predict", body, wav).status == 200
        with order.running():
            assert connection.request("POST", "/api/optimized/predict", workload.bodies[0], wav).status == 200
        yield order.collect()


def first_missing(way: Sequence[Step], calls: Sequence[Call]) -> Step | None:
    """The first step that no call after those of the steps before it takes."""
    left = iter(calls)
    for step in way:
        name = step.function if sys.version_info >= (3, 11) else step.function.rpartition(".")[2]  # see counting_site
        if not any(call.place.startswith(f"{step.file}:") and call.name == name for call in left):
            return step
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_a_request_takes_the_way_that_is_told(package: str, calls: list[Call]) -> None:
    assert first_missing(way_of(package), calls) is None


@pytest.mark.parametrize("package", PACKAGES)
def test_a_way_in_another_order_is_not_taken(package: str, calls: list[Call]) -> None:
    assert first_missing(way_of(package)[::-1], calls) is not None
