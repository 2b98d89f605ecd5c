"""Rows of the journal as other programs read them: the same text wherever the rows come from.

| format | what it has |
|---|---|
| csv | one line for each label of each window, as the view `detections` has them |
| raven | a selection table of Raven: tab separated, one line for each window, with its likeliest label |
| json | an array of all answers with all fields, failures too |
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

from engine.stores.journal_record import JournalRow

FORMATS = ("csv", "raven", "json")

_CSV = ("time", "file", "segment", "start_s", "end_s", "label", "probability", "request_id")
_RAVEN = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin File", "File Offset (s)", "Species", "Confidence"),
)


def exported(rows: Iterable[JournalRow], form: str, *, high_hz: float) -> Iterator[str]:
    """The text, piece by piece. `form`: one of FORMATS. `high_hz`: up to where the model hears."""
    if form == "json":
        return _json(rows)
    if form == "raven":
        return _lines(_RAVEN, _selections(rows, high_hz), "\t")
    return _lines(_CSV, _detections(rows), ",")


def time_text(answered_at: float) -> str:
    """ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(answered_at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _json(rows: Iterable[JournalRow]) -> Iterator[str]:
    separator = "["
    for row in rows:
        value = {"time": time_text(row.answered_at), **row._asdict()}
        del value["answered_at"]
        value["segments"] = [
            {"index": index, "start_s": start_s, "end_s": end_s, "top": [_ranked(*ranked) for ranked in top]}
            for index, start_s, end_s, top in row.segments
        ]
        yield f"{separator}\n{json.dumps(value, ensure_ascii=False)}"
        separator = ","
    yield "[]\n" if separator == "[" else "\n]\n"


def _ranked(label: str, probability: float) -> dict[str, object]:
    return {"label": label, "probability": probability}


def _detections(rows: Iterable[JournalRow]) -> Iterator[tuple[object, ...]]:
    for row in rows:
        time = time_text(row.answered_at)
        for index, start_s, end_s, top in row.segments:
            for label, probability in top:
                yield time, row.file, index, start_s, end_s, label, probability, row.request_id


def _selections(rows: Iterable[JournalRow], high_hz: float) -> Iterator[tuple[object, ...]]:
    number = 0
    for row in rows:
        for _, start_s, end_s, top in row.segments:
            for label, probability in top[:1]:
                number += 1
                yield number, "Spectrogram 1", 1, start_s, end_s, 0, high_hz, row.file, start_s, label, probability


def _lines(names: Iterable[str], lines: Iterable[tuple[object, ...]], delimiter: str) -> Iterator[str]:
    written = io.StringIO()
    writer = csv.writer(written, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        writer.writerow(line)
        yield written.getvalue()
        written.seek(0)
        written.truncate()
    yield written.getvalue()
