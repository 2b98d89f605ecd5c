"""What is shown of tuning one deployment: each candidate as far as it was heard of, then as it stands on disk."""

from __future__ import annotations

from typing import Any

from engine.core.tuning import Tuning
from engine.tuning.order import TrialNews
from engine.tuning.result import CandidateResult, TuningResult

_MOST_CANDIDATES = 64  # arbitrary: there are a dozen; what a process says is not to grow without end


class TuningFigures:
    """Candidates in the order in which they were heard of."""

    def __init__(self) -> None:
        self.result: TuningResult | None = None
        self._heard: dict[str, TrialNews] = {}
        self._stage = ""  # what the trials are at

    def forget(self) -> None:
        """Another version is to be tuned."""
        self.result, self._heard, self._stage = None, {}, ""

    def hear(self, news: TrialNews) -> None:
        """Of a process that tries."""
        self._stage = f"{news.state} {news.candidate}".strip()
        if not news.candidate:
            return
        if news.candidate in self._heard or len(self._heard) < _MOST_CANDIDATES:
            self._heard[news.candidate] = news

    def describe(self, tuning: Tuning) -> dict[str, Any]:
        """For status and statistics: plain values."""
        result = self.result
        return {
            "state": tuning.state.value,
            "stage": self._stage if tuning.is_busy else "",
            "form": tuning.form,
            "winner": tuning.winner,
            "speedup": round(result.speedup, 3) if result is not None else None,
            "seconds": round(result.seconds, 1) if result is not None else None,
            "reason": tuning.reason,
            "sounds": result.sounds if result is not None else "",
            "candidates": self._candidates(),
        }

    def _candidates(self) -> list[dict[str, Any]]:
        if self.result is not None:
            return [_told(each) for each in self.result.candidates]
        return [
            {**_NOTHING, "form": form, "state": news.state, "refused": news.text if news.state == "refused" else ""}
            for form, news in self._heard.items()
        ]


_NOTHING: dict[str, Any] = {"items_per_s": None, "items_per_s_by_batch_size": {}, "agreement": None, "needs": ""}


def _told(candidate: CandidateResult) -> dict[str, Any]:
    """`needs`: the `precision` that would let it serve, where nothing else is against it."""
    agreement = None
    if candidate.windows:
        agreement = {
            "windows": candidate.windows,
            "top1": candidate.top1,
            "close": candidate.close,
            "largest": candidate.largest,
        }
    speeds = {str(size): round(speed, 2) for size, speed in sorted(candidate.items_per_s.items())}
    return {
        "form": candidate.form,
        "state": "refused" if candidate.refused else "done",
        "items_per_s": round(candidate.best_items_per_s, 2) if speeds else None,
        "items_per_s_by_batch_size": speeds,
        "agreement": agreement,
        "refused": candidate.refused,
        "needs": candidate.needs,
    }
