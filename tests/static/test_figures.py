"""The figures of the house stay within their bounds; `python -m tests.static.figures` prints them."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from tests.static.figures import PACKAGES, Figures, floors, imports_within, measure, percentile, sources

LARGEST_FILE_LINES = 299
LONGEST_FUNCTION_LINES = 60
BROAD_SHARE = 0.08
FILES = (95, 260)  # lines: median, and what 95 of 100 do not exceed
FUNCTIONS = (5, 17)  # code lines: the same

SOURCE = '''"""Text
of two lines."""

try:
    import that
except (OSError, Exception):  # whatever it may be
    pass


def outer(
    first: int,
) -> int:
    """What it does.

    At length.
    """
    # why

    async def inner() -> str:
        return """of
two lines"""

    try:
        return first
    except ValueError:  # this one is named
        return 1
    except:
        return 2
'''


@pytest.fixture(scope="module")
def figures() -> Figures:
    return measure(path for package in PACKAGES for path in sources(package))


def test_what_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "counted.py"
    file.write_text(SOURCE)
    found = measure([file], tmp_path)
    assert found.files == {"counted.py": 28}
    assert found.functions == {"counted.py:10 outer": 12, "counted.py:19 inner": 3}
    assert found.excepts == 3
    assert [(broad.place, broad.reason) for broad in found.broad] == [
        ("counted.py:6", "# whatever it may be"),
        ("counted.py:27", ""),
    ]


def test_floors_are_the_longest_chain() -> None:
    assert floors({"a": ["b", "d"], "b": ["c"], "c": ["d"], "d": []}) == ["a", "b", "c", "d"]
    assert percentile(range(100), 0.95) == 95


def test_no_file_is_a_god_file(figures: Figures) -> None:
    assert {path: lines for path, lines in figures.files.items() if lines > LARGEST_FILE_LINES} == {}


def test_no_function_is_long(figures: Figures) -> None:
    assert figures.over(LONGEST_FUNCTION_LINES) == {}


def test_few_excepts_are_broad(figures: Figures) -> None:
    assert figures.broad_share <= BROAD_SHARE, [broad.place for broad in figures.broad]


def test_each_broad_except_says_why(figures: Figures) -> None:
    assert [broad.place for broad in figures.broad if not broad.reason] == []


def test_files_and_functions_are_short(figures: Figures) -> None:
    for lengths, (median, most) in ((figures.files, FILES), (figures.functions, FUNCTIONS)):
        assert statistics.median(lengths.values()) <= median
        assert percentile(lengths.values(), 0.95) <= most


def test_nothing_inside_a_package_imports_its_root() -> None:
    """The root of a package speaks for those outside; whoever imports it inside is on the way to a cycle."""
    for package in PACKAGES:
        importers = {module for module, imported in imports_within(package).items() if package in imported}
        assert importers == set(), package
