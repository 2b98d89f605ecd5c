"""Credentials never leave, and the manual's table is what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import declared, effective_settings, load_settings, reference_table
from engine.config.reference import replace_table, table_in
from engine.errors import ConfigError
from tests.config.published import PREFIX

MANUAL = Path(__file__).resolve().parents[2] / "frontend" / "README.md"
SECRET_URLS = [
    "http://user:hunter2@host/x",
    "http://hunter2@host",
    "https://a@b:hunter2@host/",
    "https://user:pa/hunter2@host/",
    "https://host/x?key=hunter2",
    "https://host/#hunter2",
]
UNCLEAR_URLS = ["https://user:hun?hunter2@host/", "https://user:#hunter2@host", "https://host/?key=a@hunter2"]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_credentials_are_masked_where_shown(url: str) -> None:
    settings = load_settings({PREFIX + "ORIGINAL_API_URL": url})
    assert settings.original_api_url == url
    line = next(line for line in effective_settings(settings) if line.name == "original_api_url")
    assert "hunter2" not in line.value
    assert "host" in line.value


@pytest.mark.parametrize("url", SECRET_URLS)
def test_credentials_are_masked_in_refusals(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({PREFIX + "ORIGINAL_API_URL": url.replace("http", "ftp", 1)})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", SECRET_URLS)
def test_credentials_are_masked_when_printed(url: str) -> None:
    assert "hunter2" not in repr(load_settings({PREFIX + "ORIGINAL_API_URL": url}))


@pytest.mark.parametrize("url", UNCLEAR_URLS)
def test_an_address_is_hidden_whole_where_nobody_knows_which_part_of_it_is_the_secret(url: str) -> None:
    settings = load_settings({PREFIX + "ORIGINAL_API_URL": url})
    assert "hun" not in repr(settings) + str(effective_settings(settings))


@pytest.mark.parametrize("text", ["hunter2", "host=h password=hunter2", "//user:hunter2@host", "http:user:hunter2@h"])
def test_what_is_no_address_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({PREFIX + "ORIGINAL_API_URL": text})
    assert str(caught.value).startswith("original_api_url=*** (") and "hunter2" not in str(caught.value)


def test_the_manual_holds_the_generated_table() -> None:
    assert table_in(MANUAL.read_text()) == reference_table(), "run: python -m engine.config --into frontend/README.md"


def test_the_table_has_one_line_for_each_setting() -> None:
    lines = reference_table().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == [item.name for item in declared()]
    assert all(line.replace("\\|", "").count("|") == 6 for line in lines)


def test_the_table_can_be_put_into_a_manual(tmp_path: Path) -> None:
    manual = tmp_path / "README.md"
    manual.write_text("before\n<!-- settings:begin -->\nold\n<!-- settings:end -->\nafter\n")
    subprocess.run([sys.executable, "-m", "engine.config", "--into", str(manual)], check=True)
    written = manual.read_text()
    assert written.startswith("before\n") and written.endswith("\nafter\n") and "\nold\n" not in written
    assert table_in(written) == reference_table()
    assert replace_table(written) == written


def test_a_manual_without_markers_is_refused() -> None:
    with pytest.raises(ConfigError, match="no markers"):
        replace_table("nothing here")


def test_the_table_is_printed() -> None:
    shown = subprocess.run([sys.executable, "-m", "engine.config"], check=True, capture_output=True, text=True)
    assert shown.stdout == reference_table() + "\n"


def test_loading_settings_imports_nothing_heavy() -> None:
    code = "import engine.config, sys; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]"
