"""Whatever a file is made for and however many items come: each item gets the answer that it would get alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ConfigError
from engine.models.catalogue import load_model
from engine.models.onnx_shape import Hearing, OnnxValue, declared_frames, is_waveform, waveform_hearing
from engine.spec import Activation
from tests.models.onnx_files import save, spec_of, waves

SIZES = st.integers(1, 5)


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(2, 40), classes=SIZES, before=st.integers(0, 2), after=st.integers(0, 2),
    fixed=st.none() | SIZES, items=st.lists(st.integers(1, 11), min_size=1, max_size=4),
    kind=st.sampled_from([TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE]), backwards=st.booleans(),
)  # fmt: skip
def test_an_item_s_answer_depends_on_nothing_but_the_item(
    tmp_path_factory: pytest.TempPathFactory, frames: int, classes: int, before: int, after: int, fixed: int | None,
    items: list[int], kind: int, backwards: bool,
) -> None:  # fmt: skip
    weights = np.random.default_rng(frames).standard_normal((frames, classes)).astype(np.float32)
    batch = fixed or "batch"
    nodes = [
        helper.make_node("Cast", ["given"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["wide"], ["x"]), helper.make_node("MatMul", ["x", "w"], ["logits"]),
    ]  # fmt: skip
    shape = [batch, *[1] * before, frames, *[1] * after]
    graph = helper.make_graph(
        nodes, "any", [helper.make_tensor_value_info("given", kind, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = save(model, tmp_path_factory.getbasetemp() / "any.onnx")
    loaded = load_model(spec_of(path, sample_rate_hz=frames, segment_s=1.0, activation=Activation.SIGMOID))
    assert loaded.description.input_shape == (frames,) and loaded.description.classes == classes
    for count in items:
        sound = torch.from_numpy(waves(count, frames))
        sound = sound.flip(1) if backwards else sound
        with torch.inference_mode():
            together = loaded.module(sound)
            alone = torch.cat([loaded.module(one.unsqueeze(0)) for one in sound])
        assert together.shape == (count, classes) and torch.allclose(together, alone, atol=1e-5)
        rounded = sound.numpy().astype(helper.tensor_dtype_to_np_dtype(kind)).astype(np.float32)
        assert np.abs(together.numpy() - rounded @ weights).max() < 1e-4


NUMBER = st.none() | st.integers(1, 400_000)


@given(
    sizes=st.lists(st.sampled_from([1, None, 4, 48_000, 176_400]), min_size=1, max_size=4),
    rate_hz=NUMBER, segment_s=st.none() | st.floats(0.01, 600),
)  # fmt: skip
def test_what_is_heard_is_as_long_as_rate_and_length_say(
    sizes: list[int | None], rate_hz: int | None, segment_s: float | None
) -> None:
    declared = OnnxValue("x", "float", (None, *sizes))
    if not is_waveform(declared):
        assert sum(size != 1 for size in sizes) != 1
        return
    frames = declared_frames(declared)
    try:
        heard = waveform_hearing(declared, frames, rate_hz, segment_s, where="x.onnx")
    except ConfigError:
        return
    assert heard == Hearing((round(heard.sample_rate_hz * heard.segment_s),), heard.sample_rate_hz, heard.segment_s)
    assert frames in (None, *heard.shape)
    assert rate_hz in (None, heard.sample_rate_hz) and segment_s in (None, heard.segment_s)
