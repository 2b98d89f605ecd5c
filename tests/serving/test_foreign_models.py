"""Other people's models, served by naming a factory: the answers are theirs, and a wrong name costs only the model."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import torch

from benchmarks import models
from benchmarks.workloads import LABELS, WORKLOADS, Workload
from tests.conformance import sounds
from tests.conformance.wire import Address
from tests.serving.servers import (
    GUNICORN,
    ROUTES,
    Row,
    address_of,
    as_environment,
    rows_of,
    status_of,
    workload_server,
)
from tests.support.server import ServerProcess

OWN_MODEL = '''
import torch

class Parts(torch.nn.Module):
    """Which third of the window is the loudest."""

    def forward(self, waveform):
        return 6 * waveform.reshape(len(waveform), 3, -1).abs().mean(dim=2)

def make():
    return Parts()
'''


@pytest.fixture(scope="module", params=["tiny", "resnet"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Workload, Address]]:
    """A model that is not the engine's own, and a server of ours that serves it."""
    workload = WORKLOADS[request.param]
    pool = {"model_pool_size": 1, "model_warmup_requests": 1, "max_batch_size": 2}
    with workload_server(workload, tmp_path_factory.mktemp("labels"), pool) as process:
        yield workload, address_of(process)


def answer_of(workload: Workload) -> list[Row]:
    """What the model itself says to the workload's body, the likeliest three classes first."""
    samples, _ = soundfile.read(io.BytesIO(workload.bodies[0]), dtype="float32")
    module = getattr(models, workload.model)()
    with torch.inference_mode():
        scores, classes = module(torch.from_numpy(samples).unsqueeze(0)).softmax(dim=1)[0].topk(3)
    return list(zip([LABELS[index] for index in classes.tolist()], scores.tolist(), strict=True))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("form", ["raw", "multipart"])
def test_the_answer_is_that_of_the_model(served: tuple[Workload, Address], route: str, form: str) -> None:
    workload, address = served
    body = workload.bodies[0]
    answer = address.upload(route, body) if form == "multipart" else address.post(route, body, "audio/wav")
    found, expected = rows_of(answer)[:3], answer_of(workload)
    assert [label for label, _ in found] == [label for label, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-4)


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody keeps a model of their own and starts the server."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mymodel.py").write_text(OWN_MODEL)
    (folder / "labels.json").write_text(json.dumps(["early", "middle", "late"]))
    return folder


def test_a_module_and_labels_where_the_server_is_started(own_folder: Path) -> None:
    settings = {
        "model_factory": "mymodel:make", "model_labels": "labels.json", "sample_rate_hz": 8000, "segment_s": 0.3,
        "model_pool_size": 1, "model_warmup_requests": 1,
    }  # fmt: skip
    environment = as_environment(settings)
    content = sounds.wav(sounds.tone(0.1, level=0.3), sounds.tone(0.1, level=0.2), sounds.tone(0.1, level=0.9))
    with ServerProcess(GUNICORN, environment=environment, ready="/ready", directory=own_folder) as process:
        for route in ROUTES:
            labels = [label for label, _ in rows_of(address_of(process).upload(route, content))]
            assert labels == ["late", "early", "middle"]


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        ("mymodel:no_such_function", r"mymodel \(\S*mymodel\.py\) has no no_such_function"),
        ("yourmodel:make", "cannot import yourmodel for model factory yourmodel:make"),
    ],
)
def test_a_wrong_name_is_told_and_costs_only_the_model(own_folder: Path, factory: str, why: str) -> None:
    environment = as_environment({"model_factory": factory, "model_pool_size": 1, "fallback_to_original": "false"})
    with ServerProcess(GUNICORN, environment=environment, ready="/health", directory=own_folder) as process:
        address = address_of(process)
        assert address.get("/ready").status == 503
        for route, text in zip(ROUTES, ("Optimized serving not available", "Service not available")):
            answer = address.upload(route, sounds.ONE_SECOND)
            assert (answer.status, answer.value["error"]) == (503, text)
        (deployment,) = status_of(process)["deployments"]
        assert deployment["state"] == "failed" and re.match(why, deployment["reason"].splitlines()[-1])
        assert re.search(why, process.log)
        assert address.get("/api/optimized/stats").status == 200
