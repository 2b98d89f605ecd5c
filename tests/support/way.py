"""What the READMEs of the two packages tell of the rooms and of the way of one request, to be held against the code."""

from __future__ import annotations

import ast
import configparser
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "frontend")

_STEP = re.compile(r"^\d+\. `([\w/]+\.py): ([\w.]+)`")
_ROOM = re.compile(r"^\| `(\w+)(?:/|\.py)`")


@dataclass(frozen=True)
class Step:
    """One line of a way: a function, by its file from the root of the checkout and its qualified name."""

    file: str
    function: str

    @property
    def exists(self) -> bool:
        """Whether the file has such a function."""
        path = ROOT / self.file
        return path.is_file() and self.function in _functions(ast.parse(path.read_text()))


def way_of(package: str) -> list[Step]:
    """The numbered lines of "The way of a request"; AssertionError for one that names no function."""
    lines = [line for line in _section(package, "The way of a request") if re.match(r"\d+\. ", line)]
    found = [_STEP.match(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if match is None]
    return [Step(match[1], match[2]) for match in found if match is not None]


def rooms_of(package: str) -> list[str]:
    """What the table of "Rooms" has in its first column."""
    return [found[1] for line in _section(package, "Rooms") if (found := _ROOM.match(line))]


def contract_of(package: str) -> list[str]:
    """The rooms, loose files among them, as the contract of the package has them, the highest first."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    names = re.split(r"[|\n]", settings[f"importlinter:contract:{package}-rooms"]["layers"])
    return [name.strip().removeprefix(f"{package}.") for name in names if name.strip()]


def _section(package: str, heading: str) -> list[str]:
    text = (ROOT / package / "README.md").read_text()
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0].splitlines()


def _functions(tree: ast.Module | ast.ClassDef, prefix: str = "") -> set[str]:
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.add(prefix + node.name)
        elif isinstance(node, ast.ClassDef):
            found |= _functions(node, f"{prefix}{node.name}.")
    return found
