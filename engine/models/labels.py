"""The names of a model's classes, from whatever file a model comes with.

Invariant: a label's position is its class index.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path, PurePosixPath

from engine.errors import ConfigError

PUBLISHED_LABELS = (
    "bird_song", "mammal_call", "insect_sound", "amphibian_call", "environmental_sound", "unknown_species",
)


def read_labels(path: str | Path) -> tuple[str, ...]:
    """The labels in a file, by its ending.

    `.csv`: a NightScan train.csv, or one column of labels, see `labels_from_csv`; `.json`: a list of strings, or an
    object of index to label; anything else: one label a line, blank lines skipped; a folder: the train.csv in it.
    Raises ConfigError for what cannot be read or has no labels.
    """
    where = Path(path)
    if where.is_dir():
        where /= "train.csv"
    try:
        text = where.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the labels at {where}: {error}") from error
    if where.suffix.lower() == ".csv":
        labels = labels_from_csv(text, where=str(where))
    elif where.suffix.lower() == ".json":
        labels = _labels_from_json(text, where=str(where))
    else:
        labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not labels:
        raise ConfigError(f"no labels in {where}")
    return labels


def labels_from_csv(text: str, *, where: str) -> tuple[str, ...]:
    """Labels of a training list with the columns `path,label`, or of a table of one column, a label a row.

    In a training list `label` is the class index, and the name of a class is the folder that its recordings lie in.
    Raises ConfigError for other columns, an index that is no integer, an index left out, or one index with two names.
    """
    rows = csv.DictReader(text.splitlines())
    if len(rows.fieldnames or ()) == 1:
        return tuple(_only_cell(row, where=f"{where} line {line}") for line, row in enumerate(rows, start=2))
    if not {"path", "label"} <= set(rows.fieldnames or ()):
        raise ConfigError(f"{where} needs the columns path,label; it has {','.join(rows.fieldnames or ())}")
    names: dict[int, str] = {}
    for line, row in enumerate(rows, start=2):
        index, name = _index_and_name(row["path"], row["label"], where=f"{where} line {line}")
        if names.setdefault(index, name) != name:
            raise ConfigError(f"{where} line {line}: class {index} is called {names[index]!r} above and {name!r} here")
    return _in_order(names, where=where)


def check_labels(labels: tuple[str, ...], classes: int, *, where: str) -> tuple[str, ...]:
    """The same labels when there is one for each class. Raises ConfigError otherwise."""
    if len(labels) != classes:
        raise ConfigError(f"the model has {classes} classes but {where} gives {len(labels)} labels")
    return labels


def _only_cell(row: dict[str, str | list[str]], *, where: str) -> str:
    """The cell of a row of one column; what is too much for it stands under no name."""
    if len(row) != 1:
        raise ConfigError(f"{where}: a label with a comma in it stands in quotes")
    (label,) = row.values()
    return str(label).strip()


def _index_and_name(path: str | None, label: str | None, *, where: str) -> tuple[int, str]:
    try:
        index = int(label or "")
    except ValueError:
        raise ConfigError(f"{where}: label {label!r} is not a class index") from None
    # Lists written on Windows carry its separators.
    name = PurePosixPath((path or "").replace("\\", "/")).parent.name
    if not name:
        raise ConfigError(f"{where}: path {path!r} has no folder to name class {index} after")
    return index, name


def _in_order(names: dict[int, str], *, where: str) -> tuple[str, ...]:
    if missing := sorted(set(range(max(names, default=-1) + 1)) - set(names)):
        raise ConfigError(f"{where} names class {max(names)} but not {', '.join(map(str, missing))}")
    if names and min(names) < 0:
        raise ConfigError(f"{where}: class index {min(names)} is negative")
    return tuple(names[index] for index in sorted(names))


def _labels_from_json(text: str, *, where: str) -> tuple[str, ...]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    if isinstance(value, dict) and all(key.isdecimal() and isinstance(name, str) for key, name in value.items()):
        return _in_order({int(key): name for key, name in value.items()}, where=where)
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ConfigError(f'{where} must hold a JSON list of labels, such as ["owl", "fox"]')
