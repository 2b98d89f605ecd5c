"""The optimized route: its answer, its parameters, its refusals, over both ways in."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.conformance import sounds
from tests.conformance.conftest import Served
from tests.conformance.model import LABELS
from tests.conformance.wire import Answer

PATH = "/api/optimized/predict"


def refused(answer: Answer, status: int, code: str) -> str:
    """The text of a refusal in the one form that all have."""
    value = answer.value
    assert (answer.status, value["code"]) == (status, code), value
    assert value["request_id"] == answer.headers["x-request-id"]
    assert isinstance(value["error"], str) and "Traceback" not in value["error"]
    return value["error"]


def test_the_whole_answer(served: Served) -> None:
    answer = served.address.upload(PATH, sounds.ONE_SECOND)
    value = answer.value
    assert answer.status == 200
    assert set(value) == {
        "request_id", "deployment_id", "model_version", "predicted_class", "predicted_label", "confidence",
        "top_predictions", "segments", "audio", "inference_method", "batch_size", "latency", "cache_hit",
    }  # fmt: skip
    assert value["deployment_id"] == "wildlife_detector_optimized" and value["model_version"]
    top = value["top_predictions"]
    assert len(top) == 5 and all(set(row) == {"class_index", "label", "probability"} for row in top)
    assert top[0]["class_index"] == value["predicted_class"]
    assert LABELS[value["predicted_class"]] == value["predicted_label"] == top[0]["label"]
    assert value["confidence"] == top[0]["probability"]
    assert value["audio"] == {"duration_s": 1.0, "sample_rate_hz": 8000, "channels": 1, "format": "WAV"}
    assert value["segments"] == [{"index": 0, "start_s": 0.0, "end_s": 1.0, "top_predictions": top}]
    assert value["inference_method"] == "batch" and value["batch_size"] >= 1
    assert 0 < value["latency"] < 30 and value["cache_hit"] is False


def test_the_model_is_what_answers(served: Served) -> None:
    """The loud sixth of the second is the class; the probabilities are the softmax that we compute ourselves."""
    parts = [sounds.tone(1 / 6, level=0.9 if k == 4 else 0.3, pitch_hz=480) for k in range(6)]
    content = sounds.wav(*parts)
    value = served.address.upload(PATH, content, top_k="6").value
    assert value["predicted_label"] == LABELS[4]
    samples = np.frombuffer(content[44:], "<i2").astype(np.float64)
    samples /= np.abs(samples).max()
    logits = 6 * np.abs(samples[: len(samples) // 6 * 6]).reshape(6, -1).mean(axis=1)
    expected = np.exp(logits) / np.exp(logits).sum()
    found = {row["class_index"]: row["probability"] for row in value["top_predictions"]}
    assert [found[k] for k in range(6)] == pytest.approx(expected.tolist(), abs=2e-3)


def test_windows_cover_the_recording_with_a_true_end(served: Served) -> None:
    value = served.address.upload(PATH, sounds.wav(sounds.tone(2.5))).value
    assert [(row["start_s"], row["end_s"]) for row in value["segments"]] == [(0.0, 1.0), (1.0, 2.0), (2.0, 2.5)]
    for kind in range(6):
        whole = [row["probability"] for row in value["top_predictions"] if row["class_index"] == kind]
        each = [
            row["probability"]
            for segment in value["segments"]
            for row in segment["top_predictions"]
            if row["class_index"] == kind
        ]
        if whole:
            assert whole == [max(each)]


def test_parameters_in_the_query_and_in_the_form(served: Served) -> None:
    content = sounds.wav(sounds.tone(2.0))
    by_query = served.address.post(f"{PATH}?top_k=2&overlap_s=0.5", content, "audio/wav").value
    by_form = served.address.upload(PATH, content, top_k="2", overlap_s="0.5").value
    assert len(by_query["top_predictions"]) == 2
    assert [row["start_s"] for row in by_query["segments"]] == [0.0, 0.5, 1.0]
    assert by_query["segments"] == by_form["segments"]


def test_segmentation_on_silence(served: Served) -> None:
    value = served.address.upload(PATH, sounds.TWO_CALLS, segmentation="silence").value
    assert len(value["segments"]) == 2 and value["segments"][1]["start_s"] > 1.2


def test_a_window_without_signal_is_left_out(served: Served) -> None:
    content = sounds.wav(sounds.tone(1.0), sounds.silence(1.0), sounds.tone(1.0))
    value = served.address.upload(PATH, content).value
    assert [row["index"] for row in value["segments"]] == [0, 2]


def test_min_confidence_shortens_the_lists(served: Served) -> None:
    value = served.address.upload(PATH, sounds.ONE_SECOND, min_confidence="0.99").value
    assert value["top_predictions"] == [] and value["predicted_label"] in LABELS


def test_priorities_are_taken(served: Served) -> None:
    for priority in ("-5", "0", "7"):
        assert served.address.upload(PATH, sounds.ONE_SECOND, priority=priority).status == 200


def test_a_bad_field_is_named(served: Served) -> None:
    bad = {"top_k": "0", "priority": "high", "segmentation": "words", "overlap_s": "1", "min_confidence": "2"}
    for name, value in {**bad, "deployment": "a/b"}.items():
        answer = served.address.upload(PATH, sounds.ONE_SECOND, **{name: value})
        assert name in refused(answer, 422, "INVALID_FIELD")
        assert answer.value["field"] == name


def test_an_unknown_deployment(served: Served) -> None:
    refused(served.address.upload(PATH, sounds.ONE_SECOND, deployment="nobody"), 404, "UNKNOWN_DEPLOYMENT")


def test_the_request_id_comes_back(served: Served) -> None:
    answer = served.address.post(PATH, sounds.ONE_SECOND, "audio/wav", X_Request_ID="req_001.a-b")
    assert answer.headers["x-request-id"] == answer.value["request_id"] == "req_001.a-b"
    made = served.address.post(PATH, sounds.ONE_SECOND, "audio/wav", X_Request_ID="two words")
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])


def test_server_timing_names_the_stages(served: Served) -> None:
    timing = served.address.post(PATH, sounds.ONE_SECOND, "audio/wav").headers["server-timing"]
    stages = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
    assert list(stages) == ["receive", "decode", "cache", "queue", "compute", "answer", "total"]
    assert float(stages["total"]) >= float(stages["compute"]) > 0


def test_a_bad_timeout_is_named(served: Served) -> None:
    answer = served.address.post(PATH, sounds.ONE_SECOND, "audio/wav", X_Request_Timeout_Ms="soon")
    refused(answer, 422, "INVALID_FIELD")


def test_other_formats(served: Served) -> None:
    for kind, subtype in {"FLAC": None, "OGG": "VORBIS", "AIFF": None, "WAV": "PCM_24"}.items():
        content = sounds.encoded(sounds.tone(1.0), kind, subtype=subtype)
        value = served.address.post(PATH, content, "application/octet-stream").value
        assert value["audio"]["format"] == kind and value["audio"]["duration_s"] == 1.0


def test_stereo_at_another_rate(served: Served) -> None:
    content = sounds.wav(sounds.tone(1.5, rate_hz=44100), rate_hz=44100, channels=2)
    value = served.address.upload(PATH, content).value
    assert value["audio"] == {
        "duration_s": 1.5, "sample_rate_hz": 44100, "channels": 2, "channel_used": "mean", "format": "WAV",
    }
    assert [row["end_s"] for row in value["segments"]] == [1.0, 1.5]


def test_channels_of_opposite_phase_are_answered_from_one_of_them(served: Served) -> None:
    tone = sounds.tone(1.0)
    alone = served.address.upload(PATH, sounds.encoded(tone, "WAV")).value
    for factors, used in (((1, -1), 1), ((0.5, -1), "mean"), ((-0.97, 1), 2)):
        content = sounds.encoded(np.stack([tone * factor for factor in factors], axis=1), "WAV")
        value = served.address.upload(PATH, content).value
        assert (value["audio"]["channels"], value["audio"]["channel_used"]) == (2, used)
        assert used == "mean" or value["confidence"] == pytest.approx(alone["confidence"], abs=0.02)


def test_a_breath_behind_whole_windows_is_no_segment(served: Served) -> None:
    value = served.address.upload(PATH, sounds.wav(sounds.tone(2.3))).value  # windows of one second
    assert [row["end_s"] for row in value["segments"]] == [1.0, 2.0] and value["audio"]["duration_s"] == 2.3
