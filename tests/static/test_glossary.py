"""A name means one thing: no class twice, and `engine/README.md` has a word for each."""

from __future__ import annotations

import ast
import re
from collections import Counter

from tests.static.figures import PACKAGES, ROOT, sources

README = (ROOT / "engine" / "README.md").read_text()
WITHOUT_WORDS = ("errors.py", "config", "models", "testing")  # have lists of their own


def section(heading: str) -> str:
    """The text of a section of the README."""
    return README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def first_column(heading: str) -> list[str]:
    """The cells of the first column of its table."""
    rows = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [row.split("|")[1].strip() for row in rows[1:]]


def classes(package: str) -> list[tuple[str, str]]:
    """Name of every class in a package, and the room, or loose file, where it is at home."""
    found = []
    for path in sources(package):
        room = path.relative_to(ROOT / package).parts[0]
        nodes = ast.walk(ast.parse(path.read_text()))
        found += [(node.name, room) for node in nodes if isinstance(node, ast.ClassDef)]
    return found


def test_no_class_name_stands_for_two() -> None:
    counted = Counter(name for package in PACKAGES for name, _ in classes(package))
    assert {name: count for name, count in counted.items() if count > 1} == {}


def test_every_noun_of_the_engine_stands_in_the_glossary_once() -> None:
    words = first_column("Glossary")
    public = {
        name: room for name, room in classes("engine") if name[0].isupper() and room not in WITHOUT_WORDS
    }
    named = [word for cell in words for word in re.findall(r"`(\w+)`", cell)]
    assert set(public) - set(named) == set(), "classes without a row in the glossary of engine/README.md"
    assert set(named) - set(public) == set(), "words of it that are no class, or none of these rooms"
    assert [word for word, count in Counter(named + words).items() if count > 1] == []
    for row in section("Glossary").splitlines():
        if row.startswith("| `"):
            word, room = (cell.strip(" `") for cell in row.split("|")[1:3])
            assert public[word].removesuffix(".py") == room, word
