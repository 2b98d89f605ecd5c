"""The steps of trials one by one, in this process: files for the runtimes, speeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from engine.errors import BrokenError, FormUnavailable, ProtocolError
from engine.forms import ModelForm
from engine.models.catalogue import LoadedModel, load_model
from engine.models.quiet_onnxruntime import onnxruntime
from engine.runtimes.make import make_runtime
from engine.runtimes.split import split
from engine.spec import ModelSource, ModelSpec
from engine.trials.exporting import export
from engine.trials.priority import Share
from engine.trials.quantising import quantise
from engine.trials.sounds import make_sounds
from engine.trials.speed import Compute, Floats, speeds
from engine.trials.stage_request import StageKind, StageReport, StageRequest
from engine.trials.stored_sounds import sounds_from, sounds_to_json
from engine.tuning.artefacts import EXPORTED
from tests.models.onnx_files import linear, save, waves
from tests.trials.conftest import MAX_BATCH, order_of


def request_of(kind: StageKind, work: Path, form: str = "", **fields: object) -> StageRequest:
    order = order_of("small", work, version="abc")
    return StageRequest(kind=kind, order=order, work=str(work), form=form, **fields)  # type: ignore[arg-type]


def loaded_onnx(model: onnx.ModelProto, path: Path) -> LoadedModel:
    save(model, path)
    return load_model(ModelSpec(
        source=ModelSource.CHECKPOINT, location=str(path), sample_rate_hz=4, segment_s=1.0, labels=("a", "b", "c"),
    ))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the small model exported, and sounds."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def small(work: Path) -> LoadedModel:
    loaded = load_model(ModelSpec(source=ModelSource.FACTORY, location="tests.trials.models:small"))
    export(loaded, request_of(StageKind.EXPORT, work))
    return loaded


def test_the_exported_network_takes_any_batch_and_answers_the_same(small: LoadedModel, work: Path) -> None:
    session = onnxruntime.InferenceSession(str(work / EXPORTED))
    for items in (1, 2, 7):
        sound = torch.rand(items, 4000) - 0.5
        with torch.inference_mode():
            wanted = small.module(sound).numpy()
            front, _ = split(small.module, small.description.input_shape)
            images = sound if front is None else front(sound)
        assert session.run(None, {"input": images.numpy()})[0] == pytest.approx(wanted, abs=1e-4)


def test_a_network_that_depends_on_numbers_cannot_be_exported(tmp_path: Path) -> None:
    loaded = load_model(ModelSpec(source=ModelSource.FACTORY, location="tests.trials.models:for_one_item"))
    with pytest.raises(Exception, match="(?i)data-dependent|export"):
        export(loaded, request_of(StageKind.EXPORT, tmp_path))
    assert not (tmp_path / EXPORTED).exists()


def test_int8_keeps_the_edges_only_where_it_is_to(small: LoadedModel, work: Path) -> None:
    sounds = sounds_to_json(make_sounds(small.description, work))
    quantised = {}
    for form in ("openvino-int8", "openvino-int8-edges_fp32"):
        quantise(small, request_of(StageKind.QUANTISE, work, form, sounds=sounds))
        name = "int8_edges_fp32.onnx" if "edges" in form else "int8.onnx"
        nodes = onnx.load(work / name).graph.node
        given = {each.output[0]: each.op_type for each in nodes}
        weighted = [node for node in nodes if node.op_type in ("Conv", "Gemm", "MatMul")]
        quantised[form] = [given.get(node.input[0]) == "DequantizeLinear" for node in weighted]
    assert all(quantised["openvino-int8"])
    assert not quantised["openvino-int8-edges_fp32"][0] and not quantised["openvino-int8-edges_fp32"][-1]
    assert all(quantised["openvino-int8-edges_fp32"][1:-1])
    assert not (work / "folded.onnx").exists()


def test_sounds_are_the_same_in_every_stage(small: LoadedModel, work: Path) -> None:
    made = make_sounds(small.description, work)
    again = sounds_from(sounds_to_json(made))
    for ours, theirs in ((made.gate, again.gate), (made.calibration, again.calibration)):
        assert np.array_equal(ours.batch(range(3)), theirs.batch(range(3)))


def test_a_model_from_an_onnx_file_is_that_file(tmp_path: Path) -> None:
    another = helper.make_node("Neg", ["logits"], ["other"])
    model = linear(nodes=[another], outputs={"other": ("batch", 3), "logits": ("batch", 3)})
    path = tmp_path / "served.onnx"
    save(model, path)
    loaded = load_model(ModelSpec(
        source=ModelSource.CHECKPOINT, location=str(path), sample_rate_hz=4, segment_s=1.0, onnx_output="logits",
    ))
    export(loaded, request_of(StageKind.EXPORT, tmp_path))
    session = onnxruntime.InferenceSession(str(tmp_path / EXPORTED))
    assert [each.name for each in session.get_outputs()] == ["logits"]
    with torch.inference_mode():
        wanted = loaded.module(torch.from_numpy(waves(5))).numpy()
    assert session.run(None, {"x": waves(5)})[0] == pytest.approx(wanted, abs=1e-6)


def test_of_a_model_of_spectrograms_the_file_is_the_network(tmp_path: Path) -> None:
    pooled = helper.make_node("GlobalMaxPool", ["image"], ["pooled"])
    flat = helper.make_node("Flatten", ["pooled"], ["x"])
    save(linear(inputs=[("image", ("n", 4, 8, 8))], nodes_before=[pooled, flat], notes={"mel": '{"n_mels": 16}'}),
         tmp_path / "served.onnx")  # fmt: skip
    loaded = load_model(ModelSpec(
        source=ModelSource.CHECKPOINT, location=str(tmp_path / "served.onnx"), sample_rate_hz=8000, segment_s=0.5,
    ))
    export(loaded, request_of(StageKind.EXPORT, tmp_path))
    sound = torch.rand(3, 4000) - 0.5
    with torch.inference_mode():
        wanted = loaded.module(sound)
        for name in ("onnxruntime-fp32", "openvino-fp32"):
            runtime = make_runtime(ModelForm.named(name), loaded, tmp_path, threads=1)
            found = runtime(sound)
            assert isinstance(found, torch.Tensor) and (found - wanted).abs().max() < 1e-4
        with pytest.raises(FormUnavailable, match="torch computes no torch-bf16 of an ONNX file"):
            make_runtime(ModelForm.named("torch-bf16"), loaded, tmp_path, threads=1)
        runtime.let_go()
        with pytest.raises(BrokenError, match="has been let go of"):
            loaded.module(sound)


@pytest.mark.parametrize("model", [
    linear(shape=(2, 4), outputs={"logits": (2, 3)}),
    linear(inputs=[("given", (1, 1, 4))], nodes_before=[helper.make_node("Flatten", ["given"], ["x"])],
           outputs={"logits": (1, 3)}),
    linear(kind=onnx.TensorProto.FLOAT16),
    linear(inputs=[("given", ("n", 4, 1))], kinds={"given": onnx.TensorProto.DOUBLE}, nodes_before=[
        helper.make_node("Flatten", ["given"], ["flat"]), helper.make_node("Cast", ["flat"], ["x"], to=1)]),
], ids=["fixed batch", "fixed batch of waveforms among ones", "half precision", "double among ones"])  # fmt: skip
def test_a_file_of_another_form_is_made_to_fit(tmp_path: Path, model: onnx.ModelProto) -> None:
    loaded = loaded_onnx(model, tmp_path / "served.onnx")
    within = 2e-3 if model.graph.initializer[0].data_type == onnx.TensorProto.FLOAT16 else 1e-4
    export(loaded, request_of(StageKind.EXPORT, tmp_path))
    onnx.checker.check_model(str(tmp_path / EXPORTED), full_check=True)
    for name in ("onnxruntime-fp32", "openvino-fp32"):
        runtime = make_runtime(ModelForm.named(name), loaded, tmp_path, threads=1)
        for items in (1, 2, 5):
            with torch.inference_mode():
                batch = torch.from_numpy(waves(items))
                found, wanted = runtime(batch), loaded.module(batch)
            assert isinstance(found, torch.Tensor) and found.dtype is torch.float32
            assert (found - wanted).abs().max() < within


def test_speeds_are_told_by_batch_size_and_hopeless_forms_are_not_waited_for() -> None:
    calls: list[tuple[str, int]] = []

    def busy(name: str, loops: int) -> Compute:
        def compute(batch: Floats) -> object:
            calls.append((name, len(batch)))
            return [sum(range(loops)) for _ in range(len(batch))]

        return compute

    def windows(size: int) -> Floats:
        return np.zeros((size, 3), np.float32)

    forms = {"eager": busy("eager", 40_000), "fast": busy("fast", 10_000)}
    found = speeds(forms, windows, max_batch=MAX_BATCH, threads=1)
    assert sorted(found["eager"]) == sorted(found["fast"]) == [1, 2, 4]
    assert all(2.0 < found["fast"][size] / found["eager"][size] < 8.0 for size in (1, 2, 4))
    forms = {"eager": busy("eager", 5_000), "slow": busy("slow", 50_000)}
    found = speeds(forms, windows, max_batch=MAX_BATCH, threads=1)
    assert sorted(found["slow"]) == [1] and {size for name, size in calls if name == "slow"} == {1}


def test_requests_and_reports_come_over_as_they_were(tmp_path: Path) -> None:
    request = request_of(StageKind.MEASURE, tmp_path, "torch-bf16", share=Share.SMALL, worth_items_per_s=3.5)
    again = StageRequest.from_bytes(request.to_bytes())
    assert StageRequest.from_bytes(again.to_bytes()) == again
    assert (again.kind, again.share, again.order.terms) == (request.kind, request.share, request.order.terms)
    with pytest.raises(ProtocolError):
        StageRequest.from_bytes(b"{}")
    report = StageReport(values={"a": [1]}, seconds=2.0)
    assert StageReport.from_bytes(report.to_bytes(), 2.0) == report
    for nonsense in (b"", b"[]", b'{"failed": ""}', ModelForm().name.encode()):
        assert StageReport.from_bytes(nonsense, 1.0) is None
