"""What a process of gunicorn's dirty arbiter holds."""

from __future__ import annotations

from gunicorn.dirty import DirtyApp

from benchmarks.rivals.apps.model import Answer, Classifier, waveform


class Model(DirtyApp):
    """The model, called request by request."""

    def init(self) -> None:
        self._classifier = Classifier()

    def predict(self, body: bytes) -> Answer:
        return self._classifier.answers([waveform(body)])[0]
