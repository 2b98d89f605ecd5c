"""A whole engine on `cuda:0`: what it answers, and what is seen of the device meanwhile."""

from __future__ import annotations

import json

import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from tests.audio.sounds import noise, wav
from tests.serving.servers import server, version_of
from tests.support.wait import wait_for

pytestmark = pytest.mark.gpu


def test_the_device_is_seen_while_it_serves() -> None:
    with server({"devices": "cuda:0", "model_pool_size": 2, "cache_l1_mb": 0}) as process:
        sound = wav(noise(8 * 22_050))
        answer = process.fetch("POST", "/api/optimized/predict", sound, **{"Content-Type": "audio/wav"})
        assert answer.status == 200 and 0 < json.loads(answer.body)["confidence"] <= 1
        wait_for(lambda: version_of(process)["ready"] == 2, "both instances")
        assert {each["device"] for each in version_of(process)["instances"]} == {"cuda:0"}
        families = text_string_to_metric_families(process.fetch("GET", "/metrics").body.decode())
        found = {sample.name: sample for family in families for sample in family.samples if "nvidia" in sample.name}
        assert found["nvidia_ml_py_memory_used_bytes"].labels == {"device": "cuda:0"}
        total = found["nvidia_ml_py_memory_total_bytes"].value
        assert total == torch.cuda.get_device_properties(0).total_memory
        assert 0 < found["nvidia_ml_py_memory_used_bytes"].value < total
