"""A trained checkpoint served as the original API served it: its four variables are all that is set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.models.catalogue import load_model
from engine.spec import ModelSource, ModelSpec
from tests.conformance import sounds
from tests.models.torchvision_keys import RESNET18_SHAPES
from tests.serving.servers import ROUTES, address_of, rows_of, server, version_of

OPTIMIZED, LEGACY = ROUTES
LABELS = ("bird_song", "mammal_call", "insect_sound", "amphibian_call", "environmental_sound", "unknown_species")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder with `best_model.pth` under torchvision's names and the `train.csv` of its training."""
    generator = torch.Generator().manual_seed(11)
    state = {}
    for name, shape in RESNET18_SHAPES.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
        elif len(shape) > 1:
            state[name] = torch.randn(shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5
        else:
            state[name] = torch.ones(shape) if name.endswith(("weight", "running_var")) else torch.zeros(shape)
    torch.save(state, tmp_path / "best_model.pth")
    rows = [f"data/mels/{label}/{index}.npy,{index}" for index, label in enumerate(LABELS)]
    (tmp_path / "train.csv").write_text("\n".join(["path,label", *rows, ""]))
    return tmp_path


def test_a_checkpoint_with_its_table_of_labels(trained: Path) -> None:
    settings = {"model_pool_size": 1, "model_warmup_requests": 0}
    others = {"MODEL_PATH": str(trained / "best_model.pth"), "CSV_DIR": str(trained), "API_BATCH_SIZE": "2"}
    content = sounds.wav(sounds.tone(8.0, rate_hz=22_050, level=1.0, pitch_hz=3000), rate_hz=22_050)
    with server(settings, **others) as process:
        assert version_of(process)["max_batch_size"] == 2
        found = {route: rows_of(address_of(process).upload(route, content)) for route in ROUTES}
    assert len(found[OPTIMIZED]) == 5 and len(found[LEGACY]) == 3
    expected = _computed_here(trained, content)
    for route in ROUTES:
        assert [label for label, _ in found[route]] == list(expected)[: len(found[route])]
        assert [score for _, score in found[route]] == pytest.approx(list(expected.values())[: len(found[route])], 1e-3)


def _computed_here(trained: Path, content: bytes) -> dict[str, float]:
    """Label -> probability, best first, by the same model in this process."""
    location, labels = str(trained / "best_model.pth"), str(trained / "train.csv")
    loaded = load_model(ModelSpec(source=ModelSource.CHECKPOINT, location=location, labels_path=labels))
    samples = np.frombuffer(content[44:], "<i2").astype(np.float32)
    with torch.inference_mode():
        logits = loaded.module(torch.from_numpy(samples / np.abs(samples).max()).unsqueeze(0))
    scores = dict(zip(loaded.description.labels, torch.softmax(logits, dim=1)[0].tolist()))
    assert set(scores) == set(LABELS)
    return dict(sorted(scores.items(), key=lambda row: -row[1]))
