"""Whatever changes windows, probabilities or refusals changes the key of the cache; what only words an answer does not.

Each setting, parameter and fact of a model is on one of two lists, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.config import Settings
from engine.spec import Activation, ModelDescription
from frontend.predict.cutter import Cutter
from frontend.predict.dialect import Dialect
from frontend.predict.parameters import Parameters
from frontend.routes.legacy import LegacyDialect
from frontend.routes.optimized import OptimizedDialect
from frontend.server.message import HttpRequest

SETTINGS = Settings()
MODEL = ModelDescription(
    model_version="v1", input_shape=(8000,), classes=2, labels=("owl", "fox"), sample_rate_hz=8000, segment_s=1.0,
    peak_normalise=True, device="cpu",
)  # fmt: skip
PARAMETERS = Parameters()

OTHER_PARAMETERS: dict[str, Any] = {"deployment": "bats", "segmentation": "silence", "overlap_s": 0.25}
WORDING_PARAMETERS = {"top_k", "min_confidence", "priority"}
OTHER_MODELS: dict[str, Any] = {
    "model_version": "v2", "input_shape": (4000,), "classes": 3, "sample_rate_hz": 16000, "peak_normalise": False,
    "activation": Activation.SIGMOID,
}  # fmt: skip
WORDING_MODELS = {
    "labels", "device", "segment_s",  # the length of a window is in its input shape
    "form", "tuning_key",  # what it is computed in is in its version
}  # fmt: skip
OTHER_SETTINGS: dict[str, Any] = {
    "segmentation": "silence", "min_window_s": 0.5, "max_segments": 7, "max_decoded_bytes": 1 << 20,
}  # fmt: skip
OF_THE_LEGACY_ROUTE: dict[str, Any] = {"max_duration_s": 60.0}
BY_PARAMETERS = {"overlap_s"}  # the routes' parameters begin with it
# What a loaded model says of itself: its description counts, wherever it has it from.
BY_THE_MODEL = {
    "sample_rate_hz", "segment_s", "peak_normalise", "resize_antialias", "activation", "model_path", "csv_dir",
    "model_factory", "model_labels", "onnx_output",
}  # fmt: skip


def digest(
    settings: Settings = SETTINGS,
    parameters: Parameters = PARAMETERS,
    model: ModelDescription = MODEL,
    dialect: type[Dialect] = OptimizedDialect,
) -> bytes:
    return Cutter(dialect(settings), settings).scope_digest(parameters, model)  # type: ignore[call-arg]


def names_of(kind: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def test_every_parameter_is_on_one_of_the_lists() -> None:
    assert names_of(Parameters) == set(OTHER_PARAMETERS) | WORDING_PARAMETERS
    assert names_of(ModelDescription) == set(OTHER_MODELS) | WORDING_MODELS
    assert not (set(OTHER_SETTINGS) | set(OF_THE_LEGACY_ROUTE) | BY_PARAMETERS | BY_THE_MODEL) - names_of(Settings)


@pytest.mark.parametrize("name", OTHER_PARAMETERS)
def test_a_parameter_that_shapes_windows_changes_the_key(name: str) -> None:
    assert digest(parameters=dataclasses.replace(PARAMETERS, **{name: OTHER_PARAMETERS[name]})) != digest()


def test_a_parameter_that_words_the_answer_does_not() -> None:
    assert digest(parameters=Parameters(top_k=1, min_confidence=0.9, priority=-5)) == digest()


@pytest.mark.parametrize("name", OTHER_MODELS)
def test_another_model_changes_the_key(name: str) -> None:
    assert digest(model=dataclasses.replace(MODEL, **{name: OTHER_MODELS[name]})) != digest()


def test_another_device_or_other_labels_do_not() -> None:
    assert digest(model=dataclasses.replace(MODEL, device="cuda:0", labels=("Eule", "Fuchs"))) == digest()


@pytest.mark.parametrize("name", OTHER_SETTINGS)
@pytest.mark.parametrize("dialect", [OptimizedDialect, LegacyDialect])
def test_a_setting_that_shapes_windows_changes_the_key(name: str, dialect: type[Dialect]) -> None:
    before = dataclasses.replace(SETTINGS, segmentation="fixed")
    assert digest(dataclasses.replace(before, **{name: OTHER_SETTINGS[name]}), dialect=dialect) != digest(
        before, dialect=dialect
    )


def test_the_longest_recording_of_the_original_route_is_that_route_s_alone() -> None:
    other = dataclasses.replace(SETTINGS, **OF_THE_LEGACY_ROUTE)
    assert digest(other, dialect=LegacyDialect) != digest(dialect=LegacyDialect)
    assert digest(other) == digest()


def test_the_routes_have_keys_of_their_own_even_where_they_cut_alike() -> None:
    settings = dataclasses.replace(SETTINGS, segmentation="fixed")
    assert digest(settings) != digest(settings, dialect=LegacyDialect)


def test_the_segmentation_counts_whoever_says_it() -> None:
    by_caller = digest(parameters=Parameters(segmentation="silence"))
    assert by_caller == digest(dataclasses.replace(SETTINGS, segmentation="silence"))
    assert digest(parameters=Parameters(segmentation="fixed")) == digest()


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
@pytest.mark.parametrize("segmentation", ["fixed", "silence"])
def test_no_other_setting_is_read_where_windows_are_made(form: str, segmentation: str) -> None:
    class Watched:
        def __getattr__(self, name: str) -> Any:
            assert name in OTHER_SETTINGS, f"{name} shapes windows, and is no part of the key"
            return getattr(SETTINGS, name)

    cutter = Cutter(OptimizedDialect(SETTINGS), Watched())  # type: ignore[arg-type]
    parameters = Parameters(segmentation=segmentation)
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(1).uniform(-1, 1, 20_000), 8000, "PCM_16", format=form)
    request = HttpRequest("POST", "/", "", {}, b"", "")
    recording = cutter.recording(request, memoryview(file.getvalue()), parameters, MODEL, False)
    assert recording is not None and cutter.windows(recording, parameters, MODEL)
    assert cutter.scope(parameters, MODEL).segmentation == segmentation


def test_a_key_is_of_the_model_that_serves_now() -> None:
    cutter = Cutter(OptimizedDialect(SETTINGS), SETTINGS)
    first = cutter.scope_digest(PARAMETERS, MODEL)
    assert cutter.scope_digest(PARAMETERS, dataclasses.replace(MODEL, model_version="v2")) != first
    assert cutter.scope_digest(PARAMETERS, MODEL) == first


def test_callers_that_name_many_overlaps_fill_no_memory() -> None:
    cutter = Cutter(OptimizedDialect(SETTINGS), SETTINGS)
    for number in range(2000):
        cutter.scope_digest(Parameters(overlap_s=number / 1e4), MODEL)
    assert len(cutter._digests) <= 256
