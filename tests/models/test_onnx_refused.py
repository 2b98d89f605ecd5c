"""What is wrong with an ONNX file is told in one line that says what to do, and nothing in it is run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from engine.errors import ConfigError
from engine.models.catalogue import load_model
from engine.models.foreign import UndecodableWeights
from engine.models.onnx_bytes import external_files, is_onnx
from engine.models.outputs import UnusableOutput
from tests.models.onnx_files import HEARING, linear, save, spec_of

NEWEST = onnx.defs.onnx_opset_version()


def node(kind: str, output: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs) or ["logits"], [output], **attributes)


def refusal(path: Path, /, kind: type[ConfigError] = ConfigError, **fields: Any) -> str:
    """The one line that says why."""
    with pytest.raises(kind) as refused:
        load_model(spec_of(path, **fields))
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- the bytes --------------------------------------------------------------------------------------------------------

WHOLE = linear(notes=HEARING).SerializeToString()


@pytest.mark.parametrize(("content", "why"), [
    (b"", r"x\.onnx is empty: copy it again"),
    (WHOLE[: len(WHOLE) // 2], "is no whole ONNX file, cut short or damaged: copy or export it again"),
    (WHOLE[:-1], "is no whole ONNX file, cut short or damaged"),
    (b"\x00" * 1000, "is no whole ONNX file"),
    (b"PK\x03\x04" + bytes(100), "is no whole ONNX file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "pointer of git-lfs .* git lfs pull"),
], ids=["empty", "half", "a byte short", "zeros", "an archive", "a pointer"])
def test_a_file_that_is_not_whole(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    assert re.search(why, refusal(tmp_path / "x.onnx", UndecodableWeights))


def test_a_missing_file(tmp_path: Path) -> None:
    assert "there is no model file at" in refusal(tmp_path / "x.onnx")


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), end=st.integers(0, len(WHOLE)))
def test_no_damage_is_worse_than_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, end: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes((WHOLE[:at] + bytes([byte]) + WHOLE[at + 1:])[: end or None])
    try:
        load_model(spec_of(path, sample_rate_hz=4, segment_s=1.0))
    except ConfigError:
        pass


def test_a_deeply_nested_file_is_read_without_end_of_the_stack(tmp_path: Path) -> None:
    graph = b""
    for _ in range(20_000):  # graph > node > attribute > graph
        for tag in (0x32, 0x2A, 0x0A):
            graph = bytes([tag]) + varint(len(graph)) + graph
    (tmp_path / "x.onnx").write_bytes(b"\x08\x08\x3a" + varint(len(graph)) + graph)
    assert is_onnx(tmp_path / "x.onnx") and external_files(tmp_path / "x.onnx") == ()
    refusal(tmp_path / "x.onnx", UndecodableWeights)


def varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found, number = found + bytes([number & 0x7F | 0x80]), number >> 7
    return found + bytes([number])


# --- weights in other files -------------------------------------------------------------------------------------------


def with_weights_at(path: Path, location: str) -> Path:
    model = linear(notes=HEARING)
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    return save(model, path)


@pytest.mark.parametrize(("location", "why"), [
    ("weights.bin", "keeps weights in weights.bin, which is not beside it: copy that too"),
    ("../weights.bin", "keeps weights at ../weights.bin, outside its folder"),
    ("/etc/passwd", "keeps weights at /etc/passwd, outside its folder"),
    ("", "keeps weights"),
])
def test_weights_that_are_not_beside_the_file(tmp_path: Path, location: str, why: str) -> None:
    assert why in refusal(with_weights_at(tmp_path / "x.onnx", location), UndecodableWeights)


def test_weights_beside_the_file_that_are_cut_short(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"short")
    assert "ONNX Runtime does not take" in refusal(with_weights_at(tmp_path / "x.onnx", "weights.bin"))


def test_weights_in_a_subgraph_and_in_a_function_are_found(tmp_path: Path) -> None:
    inner = with_weights_at(tmp_path / "inner.onnx", "inner.bin")
    graph = onnx.load(str(inner), load_external_data=False).graph
    branching = helper.make_node("If", ["c"], ["z"], then_branch=graph, else_branch=graph)
    constant = helper.make_node("Constant", [], ["k"], value=graph.initializer[0])
    model = linear(nodes=[branching])
    model.functions.append(helper.make_function("own", "f", [], ["k"], [constant], model.opset_import))
    model.functions[0].node[0].attribute[0].t.external_data[0].value = "function.bin"
    assert external_files(save(model, tmp_path / "x.onnx")) == ("function.bin", "inner.bin")


# --- what a runtime does not take -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "why"), [
    (linear(nodes=[node("Zork", "y")], outputs={"y": ("n", 3)}), "No Op registered for Zork"),
    (linear(nodes=[node("Zork", "y", domain="my.own")], outputs={"y": ("n", 3)}), "Zork.*my.own"),
    (linear(opset=NEWEST + 30), f"Opset {NEWEST + 30} is under development .* till opset"),
    (linear(ir_version=99), "Unsupported model IR version: 99, max supported IR version"),
], ids=["unknown operator", "custom operator", "newer opset", "newer format"])
def test_what_onnx_runtime_does_not_know(tmp_path: Path, model: onnx.ModelProto, why: str) -> None:
    told = refusal(save(model, tmp_path / "x.onnx"), UndecodableWeights)
    assert re.search(rf"ONNX Runtime does not take .*{why}", told)
    assert "onnxruntime_src" not in told and "[ONNXRuntimeError]" not in told


def test_without_onnx_runtime_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("onnx_file", "onnx_session", "quiet_onnxruntime"):
        monkeypatch.delitem(sys.modules, f"engine.models.{name}", raising=False)
    told = refusal(save(linear(), tmp_path / "x.onnx"))
    assert "needs onnxruntime, which is not installed: pip install onnxruntime" in told


# --- inputs -----------------------------------------------------------------------------------------------------------

ADD = helper.make_node("Add", ["x", "z"], ["both"])


@pytest.mark.parametrize(("model", "fields", "why"), [
    (linear(inputs=[("x", ("n", 4)), ("z", ("n", 4))], nodes=[ADD]), {},
     r"has 2 inputs \(x float\[\?, 4\], z float\[\?, 4\]\), and one is filled"),
    (linear(inputs=[("i", ("n", 4))], kinds={"i": TensorProto.INT16},
            nodes_before=[helper.make_node("Cast", ["i"], ["x"], to=1)]), {}, r"i int16\[\?, 4\], takes no floats"),
    (linear(shape=(4,), outputs={"logits": (3,)}), {}, r"x float\[4\], has no batch"),
    (linear(shape=("n", "time")), {}, r"x float\[\?, \?\], leaves the number of frames open: set sample_rate_hz"),
    (linear(shape=("n", "time")), {"sample_rate_hz": 4}, "leaves the number of frames open"),
    (linear(), {}, "hears 4 frames and nothing says at what rate: set sample_rate_hz"),
    (linear(), {"sample_rate_hz": 4, "segment_s": 2.0}, "hears 4 frames, and sample_rate_hz=4 with .*=2 makes 8"),
    (linear(shape=("n", 3, "h", "w")), {}, r"x float\[\?, 3, \?, \?\], leaves sizes of an item open: set input_shape"),
    (linear(notes=HEARING), {"input_shape": (5,)}, "hears 5 frames, and sample_rate_hz=4 with segment_s=1 makes 4"),
    (linear(notes=HEARING), {"resize_antialias": True}, "resize_antialias concerns"),
    (linear(notes={"mel": '{"n_mels": 32}'}), {}, r"names mel settings .* x float\[\?, 4\], takes no spectrogram"),
    (linear(shape=("n", 3, 4, 4), notes={"mel": '{"mels": 32}'}), {}, "unknown mel settings mels; known are"),
    (linear(shape=("n", 3, 4, 4), notes={"mel": "by hand"}), {}, "says mel='by hand' in its metadata"),
    (linear(notes={**HEARING, "labels": "a,b"}), {}, "3 classes but the model itself gives 2 labels"),
    (linear(notes={"sample_rate": "high"}), {}, "says sample_rate='high' in its metadata, which is no sample_rate_hz"),
], ids=lambda value: "" if not isinstance(value, str) else value[:40])  # fmt: skip
def test_an_input_that_nothing_can_be_given_to(
    tmp_path: Path, model: onnx.ModelProto, fields: dict[str, Any], why: str
) -> None:
    path = save(model, tmp_path / "x.onnx")
    assert re.search(why, refusal(path, **fields))


def test_time_that_is_left_open_is_what_is_set(tmp_path: Path) -> None:
    path = save(linear(shape=("n", "time")), tmp_path / "x.onnx")
    assert load_model(spec_of(path, sample_rate_hz=8, segment_s=0.5)).description.input_shape == (4,)
    assert load_model(spec_of(save(linear(shape=("n", "time"), notes=HEARING), path))).description.input_shape == (4,)


def test_a_batch_that_is_fixed_inside_is_told_as_any_other_model_s(tmp_path: Path) -> None:
    to = helper.make_tensor("to", TensorProto.INT64, [2], [1, 3])
    model = linear(nodes=[node("Reshape", "y", "logits", "to")], outputs={"y": ("n", 3)}, more=[to], notes=HEARING)
    assert "the first dimension is the batch and must be free" in refusal(save(model, tmp_path / "x.onnx"))


# --- outputs ----------------------------------------------------------------------------------------------------------

TWO = {"logits": ("n", 3), "again": ("n", 3)}


@pytest.mark.parametrize(("model", "fields", "why"), [
    (linear(nodes=[node("Identity", "again")], outputs=TWO, notes=HEARING), {},
     r"several outputs .*: set onnx_output to its name; they are logits float\[\?, 3\], again float\[\?, 3\]"),
    (linear(notes=HEARING), {"onnx_output": "scores"}, r"has no output scores; its outputs are logits float\[\?, 3\]"),
    (linear(nodes=[node("ReduceMax", "y", axes=[1], keepdims=0)], outputs={"y": ("n",)}, notes=HEARING), {},
     r"no output .*\(y float\[\?\]\) can be .*: keep the dimension of the batch"),
    (linear(nodes=[node("Unsqueeze", "y", "logits", "axes")], outputs={"y": ("n", 1, 3)}, notes=HEARING,
            more=[helper.make_tensor("axes", TensorProto.INT64, [1], [1])]), {}, "take the mean or the maximum over"),
    (linear(nodes=[node("ArgMax", "y", axis=1)], outputs={"y": ("n", 1)}, kinds={"y": TensorProto.INT64},
            notes=HEARING), {"onnx_output": "y"}, r"output y int64\[\?, 1\] of .* is not the one with"),
], ids=["several", "another name", "without classes", "over time", "no floats"])  # fmt: skip
def test_an_output_that_cannot_be_the_classes(
    tmp_path: Path, model: onnx.ModelProto, fields: dict[str, Any], why: str
) -> None:
    path = save(model, tmp_path / "x.onnx")
    assert re.search(why, refusal(path, **fields))


def test_maps_of_probabilities_are_refused_with_how_to_get_numbers(tmp_path: Path) -> None:
    zipped = helper.make_node("ZipMap", ["logits"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    model = linear(nodes=[zipped], notes=HEARING)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    del model.graph.output[:]
    mapped = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    model.graph.output.append(helper.make_value_info("y", helper.make_sequence_type_proto(mapped)))
    assert "zipmap=False" in refusal(save(model, tmp_path / "x.onnx"), UnusableOutput)
