"""An instance serves what trials have found for its model, or the model as it came, and says why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.config import load_settings
from engine.forms import EAGER
from engine.instance.forming import FormOrder, TakenForm, take_form
from engine.instance.runner import ModelRunner
from engine.instance.warmup import made_up_sound, warm_up
from engine.models.catalogue import LoadedModel
from engine.runtimes.torch_runtime import TorchRuntime
from engine.shm.batch import Payloads
from engine.tuning.folder import TuningFolder, checksums
from engine.tuning.key import TuningKey
from engine.tuning.result import CandidateResult, TuningResult
from engine.tuning.terms import TuningTerms
from tests.runtimes.conftest import FRAMES, loaded, small_module

MAX_BATCH = 4
FORMS = ("eager", "onnxruntime-fp32", "openvino-fp32", "openvino-bf16")


class Found:
    """What trials left behind for the small model."""

    def __init__(self, state_dir: Path, artefacts: Path) -> None:
        self.terms = TuningTerms.of(load_settings({"NIGHTSCAN_OPTIMIZED_SERVING__STATE_DIR": str(state_dir)}))
        self._artefacts = artefacts
        self.model = loaded(small_module())
        key = TuningKey.here(
            self.terms,
            model_version=self.model.description.model_version, device="cpu",
            threads=1,
            max_batch_size=MAX_BATCH,
        )
        self.folder = TuningFolder(self.terms, key)

    def write(self, winner: str, change: Callable[[bytes], bytes] = bytes) -> Path:
        """As trials end that chose `winner`; the path of its artefact, which `change` has had in its hands."""
        lock = self.folder.lock(limit_s=0.0)
        assert lock is not None
        self.folder.begin()
        (self.folder.work / "fp32.onnx").write_bytes(change((self._artefacts / "fp32.onnx").read_bytes()))
        self.folder.finish(
            TuningResult(
                winner=winner, speedup=1.5, candidates=tuple(CandidateResult(form=form) for form in FORMS),
                device="cpu", processor="", versions={}, finished_at_s=0.0, seconds=1.0,
                artefacts=checksums(self.folder.work, ["fp32.onnx"]),
            )
        )
        lock.release()
        return self.folder.path / "fp32.onnx"

    def start(self, told: str | None = None, tuning_key: str = "") -> tuple[ModelRunner, str]:
        """The runner of an instance, and its warning."""
        runner = ModelRunner(self.model, device="cpu", max_batch=MAX_BATCH)
        return runner, self.take(runner, told, tuning_key).warning

    def take(self, runner: ModelRunner, told: str | None = None, tuning_key: str = "") -> TakenForm:
        return take_form(runner, self.model, FormOrder(self.terms, told, 1, tuning_key))


@pytest.fixture
def found(tmp_path: Path, folder: Path) -> Found:
    return Found(tmp_path, folder)


def sounds() -> Payloads:
    return Payloads([made_up_sound((FRAMES,))] * 3, np.ones(3, dtype=np.float32))


def is_as_it_came(runner: ModelRunner, model: LoadedModel) -> bool:
    assert warm_up(runner).bucket_ms.keys() == {1, 2, 4}
    assert runner.description.model_version == model.description.model_version
    return runner.description.form == EAGER.name and isinstance(runner.runtime, TorchRuntime)


@pytest.mark.parametrize("form", ["onnxruntime-fp32", "openvino-fp32", "openvino-bf16"])
def test_what_trials_chose_is_served_and_said_in_the_version(found: Found, form: str) -> None:
    found.write(form)
    wanted = ModelRunner(loaded(small_module()), device="cpu", max_batch=MAX_BATCH).run(sounds())
    runner, warning = found.start()
    assert not warning
    assert warm_up(runner).bucket_ms.keys() == {1, 2, 4}
    assert runner.description.form == form
    assert runner.description.model_version == f"{found.model.description.model_version}+{form}"
    assert np.abs(runner.run(sounds()) - wanted).max() < (1e-4 if form.endswith("fp32") else 0.05)
    network = getattr(found.model.module, "network")
    assert sum(value.nbytes for value in network.parameters()) == 0, "nobody else holds the weights any more"


def test_what_the_choice_of_a_form_has_run_is_not_run_again_at_warm_up(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    found.write("onnxruntime-fp32")
    runner, sizes = ModelRunner(found.model, device="cpu", max_batch=MAX_BATCH), list[int]()
    taken = found.take(runner)
    run = runner.run

    def counted(payloads: Payloads) -> Any:
        sizes.append(len(payloads.samples))
        return run(payloads)

    monkeypatch.setattr(runner, "run", counted)
    warmed = warm_up(runner, met_ms=taken.met_ms)
    assert warmed.bucket_ms == taken.met_ms and warmed.bucket_ms.keys() == {1, 2, 4}
    assert sizes == [1], "the probe alone"


def test_whoever_comes_later_is_told_the_form_of_those_who_serve(found: Found) -> None:
    found.write("onnxruntime-fp32")
    assert found.start(told="openvino-fp32")[0].description.form == "openvino-fp32"
    found.model = loaded(small_module())
    runner, warning = found.start(told="eager")
    assert is_as_it_came(runner, found.model) and not warning


def test_whoever_comes_later_looks_where_the_first_one_found_its_form(found: Found) -> None:
    """A library was upgraded since, or recordings have arrived: under the name of today there is nothing."""
    found.write("onnxruntime-fp32")
    first, _ = found.start()
    found.model = loaded(small_module())
    found.terms = dataclasses.replace(found.terms, trial_limit_s=found.terms.trial_limit_s + 1)
    assert "there is no result of trials" in found.start(told="onnxruntime-fp32")[1]
    found.model = loaded(small_module())
    later, warning = found.start(told="onnxruntime-fp32", tuning_key=first.description.tuning_key)
    assert not warning and later.description == first.description


def test_a_model_that_nobody_has_tried_is_served_as_it_came_without_a_word(found: Found) -> None:
    runner, warning = found.start()
    assert is_as_it_came(runner, found.model) and not warning


def test_a_model_that_is_fastest_as_it_came_is_served_so(found: Found) -> None:
    found.write("eager")
    runner, warning = found.start()
    assert is_as_it_came(runner, found.model) and not warning


def test_with_tuning_off_nothing_is_looked_for(found: Found) -> None:
    found.write("onnxruntime-fp32")
    runner = ModelRunner(found.model, device="cpu", max_batch=MAX_BATCH)
    assert take_form(runner, found.model, FormOrder(None, None, 1)) == TakenForm()
    assert is_as_it_came(runner, found.model)


def _weights_of_noise(content: bytes) -> bytes:
    """The same network with other weights: every checksum is right."""
    model = onnx.load_from_string(content)
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.ndim == 4:
            noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
            weights.CopyFrom(numpy_helper.from_array(values + noise, weights.name))
    return bytes(model.SerializeToString())


def _never_a_number(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.ndim == 4:
            weights.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), weights.name))
    return bytes(model.SerializeToString())


def _looks_at_its_neighbours(content: bytes) -> bytes:
    """Its answers are right for one sound alone, and in a batch as far off as its sounds differ."""
    model = onnx.load_from_string(content)
    graph = model.graph
    name = graph.output[0].name
    axes = numpy_helper.from_array(np.array([0], np.int64), "test_axes")
    graph.initializer.append(axes)
    for node in graph.node:
        node.output[:] = ["test_inner" if output == name else output for output in node.output]
    graph.node.extend([
        onnx.helper.make_node("ReduceMean", ["test_inner", "test_axes"], ["test_mean"], keepdims=1),
        onnx.helper.make_node("Sub", ["test_inner", "test_mean"], ["test_off"]),
        onnx.helper.make_node("Add", ["test_inner", "test_off"], [name]),
    ])
    return bytes(model.SerializeToString())


CHANGES = [
    (_looks_at_its_neighbours, "its answers to a batch of 4 are off by"),
    (_weights_of_noise, "are off by"),
    (_never_a_number, "its answers are"),  # not finite; OpenVINO's rectifier takes that for 0
    (lambda content: content[:5000], "cannot read"),
]


@pytest.mark.parametrize("form", ["onnxruntime-fp32", "openvino-fp32"])
@pytest.mark.parametrize("change, why", CHANGES, ids=["right alone", "other weights", "not a number", "half a file"])
def test_a_form_that_does_not_answer_as_the_model_is_not_served(
    found: Found, form: str, change: Callable[[bytes], bytes], why: str
) -> None:
    found.write(form, change)
    runner, warning = found.start()
    assert is_as_it_came(runner, found.model)
    assert warning.startswith("the model is served as it came, not ") and why in warning and "\n" not in warning


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (lambda path: path.unlink(), "is not there"),
    "a bit flipped": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"), "checksum"),
    "the result cut": (lambda path: (path.parent / "result.json").write_bytes(b'{"sha256"'), "result"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_on_disk_is_not_served(found: Found, damage: str) -> None:
    change, why = DAMAGES[damage]
    change(found.write("onnxruntime-fp32"))
    runner, warning = found.start()
    assert is_as_it_came(runner, found.model) and why in warning


def test_a_form_that_is_told_and_not_there_is_said(found: Found) -> None:
    runner, warning = found.start(told="onnxruntime-fp32")
    assert is_as_it_came(runner, found.model)
    assert warning.startswith("the model is served as it came, not as onnxruntime-fp32: there is no result of trials")
