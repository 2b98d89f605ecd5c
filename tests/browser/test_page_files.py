"""The files of the page: everything is in the package, nothing of it is fetched elsewhere or run from data."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import engine

FOLDER = Path(engine.__file__).parent / "dashboard"
FILES = sorted(FOLDER.iterdir())
SCRIPTS = [file for file in FILES if file.suffix == ".js"]
LONGEST = 300  # lines
# Ways by which data could become markup or code, or be kept.
NEVER = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|Storage|\.cookie")


class PageParser(HTMLParser):
    """Addresses, and whatever the page's policy would not let run."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        self.inline += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_is_short(file: Path) -> None:
    assert len(file.read_text().splitlines()) < LONGEST


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_a_script_makes_no_markup_of_data_and_imports_its_neighbours(file: Path) -> None:
    text = file.read_text()
    assert NEVER.findall(text) == []
    imported = re.findall(r'from "([^"]+)"', text)
    assert all((FOLDER / name).is_file() and name.startswith("./") for name in imported), imported


def test_the_page_has_nothing_inline_and_every_address_is_a_neighbour() -> None:
    """So that it works under a prefix of nginx, with no network, and under its policy."""
    parser = PageParser()
    parser.feed((FOLDER / "index.html").read_text())
    assert parser.inline == []
    here = [address for address in parser.addresses if not address.startswith("#")]
    assert {address for address in here if not (FOLDER / address).is_file()} == {"status", "metrics"}


def test_the_picture_of_the_page_in_the_readme_is_small() -> None:
    picture = FOLDER.parents[1] / "benchmarks" / "dashboard.png"
    assert "(benchmarks/dashboard.png)" in (FOLDER.parents[1] / "README.md").read_text()
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 200_000


def test_every_file_is_used() -> None:
    text = "".join(file.read_text() for file in FILES)
    assert [file.name for file in FILES if file.name not in text.replace("./", "") and file.name != "index.html"] == []
