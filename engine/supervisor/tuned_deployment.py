"""What the tuner knows of one deployment."""

from __future__ import annotations

from typing import Any

from engine.core.tuning import Tuning
from engine.supervisor.tuning_figures import TuningFigures


class TunedDeployment:
    """Written by the tuner alone."""

    def __init__(self) -> None:
        self.tuning = Tuning()
        self.figures = TuningFigures()
        self.told: dict[str, Any] = {}  # frontends
        self.is_unread = False  # what trials have found is to be read

    @property
    def description(self) -> dict[str, Any]:
        return self.figures.describe(self.tuning)
