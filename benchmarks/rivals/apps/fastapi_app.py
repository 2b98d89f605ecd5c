"""FastAPI under uvicorn: every process holds the model and computes request by request in its threads."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

from benchmarks.rivals.apps.model import Answer, Classifier, waveform
from benchmarks.rivals.sizes import ROUTE

application = FastAPI()
_classifier = Classifier()


def _answer(body: bytes) -> Answer:
    return _classifier.answers([waveform(body)])[0]


@application.post(ROUTE)
async def predict(request: Request) -> Answer:
    """The likeliest classes of the recording in the body."""
    return await run_in_threadpool(_answer, await request.body())
