"""What is made of the rounds: medians, ratios within rounds, a table, a picture."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.rivals.picture import picture
from benchmarks.rivals.results import Results, Row, middle, read_results
from benchmarks.rivals.table import table

_GROUP = ("tiny", 16)


def row(server: str, number: int, requests_per_s: float, *, p99_ms: float = 20.0, errors: int = 0) -> Row:
    return Row(server, "tiny", 16, number, requests_per_s, 5.0, p99_ms, 0.5, 400.0, errors, 2.0, 3e-7)


@pytest.fixture
def results() -> Results:
    """Three rounds on a machine that became slower; one server failed after a round, another never began."""
    found = Results(
        about={"date": "2026-01-02", "processor": "Some <CPU> & Co"},
        configured={"nightscan": "as shipped", "quick": "two | three", "slow": "none", "absent": "none"},
        ours=["nightscan"],
        rows=[
            *(row("nightscan", n, rate) for n, rate in enumerate((3000.0, 2000.0, 1000.0), 1)),
            *(row("quick", n, rate) for n, rate in enumerate((1500.0, 1000.0, 1250.0), 1)),
            row("slow", 1, 200.0, p99_ms=90.0, errors=3),
        ],
        left_out={"absent@tiny": "ended with 1:\nno such | module", "slow@tiny": "a probability is off by 0.5"},
        notes=["tuned"],
    )
    return found


def test_figures_are_medians_over_rounds(results: Results) -> None:
    assert middle(results.of("quick", _GROUP), "requests_per_s") == 1250.0


def test_servers_are_ordered_by_their_medians(results: Results) -> None:
    assert results.servers(_GROUP) == ["nightscan", "quick", "slow"]
    assert results.best_rival(_GROUP) == "quick"


def test_a_ratio_compares_within_each_round(results: Results) -> None:
    assert results.ratio("nightscan", "quick", _GROUP) == 2.0  # of 2.0, 2.0, 0.8; the medians' would be 1.6
    assert results.ratio("slow", "quick", _GROUP) == pytest.approx(200 / 1500)
    assert math.isnan(results.ratio("absent", "quick", _GROUP))


def test_results_are_read_as_they_were_written(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == results


def test_the_table_has_a_row_for_everybody(results: Results) -> None:
    lines = table(results).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len({len(row) for row in cells}) == 1
    by_server = {row[0]: row for row in cells[2:]}
    assert by_server["**nightscan**"][1:4] == ["2,000", "1,000 to 3,000", "2.00"]
    assert by_server["quick"][3] == "1.00"
    assert by_server["absent"][1] == "did not take part: ended with 1: no such / module"


def test_who_fails_in_a_round_keeps_its_row_and_is_told_of(results: Results) -> None:
    told = [line for line in table(results).splitlines() if line.startswith("| slow |")]
    assert len(told) == 2
    assert "200" in told[0]
    assert "a probability is off by 0.5" in told[1]


def test_the_table_says_how_and_on_what(results: Results) -> None:
    text = table(results)
    assert "- processor: Some <CPU> & Co" in text
    assert "- quick: two | three" in text
    assert "- tuned" in text


def test_the_picture_has_a_bar_for_each_server(results: Results) -> None:
    drawn = ElementTree.fromstring(picture(results))
    bars = [float(bar.get("width", 0)) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert bars == sorted(bars, reverse=True)
    assert bars[1] / bars[0] == pytest.approx(1250 / 2000, rel=0.01)
    texts = [text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "nightscan" in texts
    assert any("2.00 x the best rival" in text for text in texts)
    assert any("Some <CPU> & Co" in text for text in texts)


def test_without_a_single_row_there_is_a_table_of_reasons() -> None:
    found = Results(about={}, configured={"quick": ""}, ours=[], left_out={"quick@tiny": "nothing listens"})
    assert "nothing listens" in table(found)
    ElementTree.fromstring(picture(found))
