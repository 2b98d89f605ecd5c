"""What several of these tests need: the rivals' models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import peer_models


@pytest.fixture(scope="session")
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Weights, recordings and expected answers, made from nothing by the rivals' own script."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("bench") / "not there yet"
        patch.setattr(peer_models, "DATA_HOME", home)
        peer_models.ensure_data()
        yield home
