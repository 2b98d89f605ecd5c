"""MLServer: one front, processes with the model, batches that wait for WINDOW_MS at most."""

from __future__ import annotations

import json

from mlserver import MLModel
from mlserver.codecs import Base64Codec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from benchmarks.envelopes import OUTPUT
from benchmarks.rivals.apps.model import Classifier, waveform


class Classify(MLModel):
    """One process with the model."""

    async def load(self) -> bool:
        self._classifier = Classifier()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        bodies = Base64Codec.decode_input(payload.inputs[0])
        answers = [json.dumps(answer) for answer in self._classifier.answers([waveform(body) for body in bodies])]
        output = ResponseOutput(name=OUTPUT, datatype="BYTES", shape=[len(answers), 1], data=answers)
        return InferenceResponse(model_name=self.name, outputs=[output])
