"""`nightscan journal` shows what was answered, whether or not an engine runs, and exports the same again and again."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.config import Settings, load_settings
from engine.stores.journal_access import try_lock
from engine.stores.spool import JournalWriter, spool_dir
from frontend.cli.check_machine import check_disk
from frontend.cli.main import main
from tests.stores.journal_parts import Counts, row_of, stored_files, write

NOON = 1_700_000_000.25  # 2023-11-14T22:13:20.25Z
DAY = 86_400.0

Run = Callable[..., Result]


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__STATE_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def run(state_dir: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["journal", *arguments], catch_exceptions=False)

    return run


def record(state_dir: Path, *moments: float) -> None:
    writer = JournalWriter(state_dir, Counts(), max_bytes=1 << 30)
    for number, moment in enumerate(moments):
        writer.record(row_of(writer, f"{number}.wav", answered_at=moment))
    writer.close()


def test_without_a_journal_it_says_so(run: Run, state_dir: Path) -> None:
    result = run("status")
    assert result.exit_code == 3 and result.output == f"nightscan: there is no journal in {state_dir}\n"


def test_where_a_damaged_journal_went_is_said_at_every_look(run: Run, state_dir: Path) -> None:
    (state_dir / "journal.db").write_bytes(bytes(range(256)) * 32)
    assert run("tail").exit_code == 3  # it is set aside
    (kept,) = state_dir.glob("journal.db.*.damaged")
    for verb in ("tail", "status"):
        result = run(verb)
        assert result.exit_code == 3 and result.output.endswith(f"a damaged one was set aside as {kept}\n")
    assert check_disk(load_settings()).text.endswith(str(kept))
    assert "journal_max_mb" in check_disk(Settings(state_dir=str(state_dir), journal_max_mb=1 << 24)).text  # the worse


def test_what_lies_in_spools_is_moved_where_no_engine_does(run: Run, state_dir: Path) -> None:
    write(state_dir, ["a.wav", "b.wav"])
    result = run("status")
    assert result.exit_code == 0 and "2 rows" in result.output and "nobody" in result.output
    assert "0 bytes wait" in result.output and list(spool_dir(state_dir).iterdir()) == []


def test_where_an_engine_moves_it_is_left_to_that(run: Run, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stores.journal_access._CAUGHT_UP_S", 0.1)
    write(state_dir, ["a.wav"])
    run("status")
    lock = try_lock(state_dir)
    assert lock is not None
    write(state_dir, ["b.wav"])
    result = run("status")
    lock.release()
    assert "1 rows" in result.output and "moved by: the engine, pid " in result.output
    assert stored_files(state_dir) == ["a.wav"]


def test_what_root_asks_leaves_no_file_of_roots(run: Run) -> None:
    owner = 65_534 if os.geteuid() == 0 else os.geteuid()
    with tempfile.TemporaryDirectory(prefix="ns-", dir="/tmp") as folder:
        write(Path(folder), ["a.wav"])
        for path in (Path(folder), *Path(folder).rglob("*")):
            os.chown(path, owner, -1)
        environment = {**os.environ, "NIGHTSCAN_OPTIMIZED_SERVING__STATE_DIR": folder}
        command = [sys.executable, "-m", "frontend.cli.main", "journal", "tail"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "a.wav" in done.stdout, done.stderr
        assert {path.stat().st_uid for path in Path(folder).rglob("*")} == {owner}
        assert stored_files(Path(folder)) == ["a.wav"]


def test_tail_prints_the_last_answers(run: Run, state_dir: Path) -> None:
    record(state_dir, NOON, NOON + 1, NOON + 2)
    lines = run("tail", "-n", "2").output.splitlines()
    told = "2023-11-14T22:13:22.250000Z optimized 200 ok 10.0 ms '2.wav' owl 0.75, fox 0.50 r-1"
    assert len(lines) == 2 and lines[1] == told


def test_programs_get_json_of_each_command(run: Run, state_dir: Path) -> None:
    record(state_dir, NOON, NOON + 1)
    status = json.loads(run("status", "--json").output)
    assert (status["rows"], status["waiting_bytes"], status["postgres"], status["damaged"]) == (2, 0, None, [])
    assert [row["file"] for row in json.loads(run("tail", "-n", "1", "--json").output)] == ["1.wav"]
    assert "CREATE" in json.loads(run("migrate", "--print", "--json").output)["sql"]
    pruned = json.loads(run("prune", "--older-than", "1d", "--json").output)
    assert pruned == {"deleted_here": 2, "deleted_in_postgres": None, "trouble": None}


def test_what_is_pruned_here_and_not_in_postgres_is_done_in_part(
    run: Run, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.cli.journal._POSTGRES_S", 0.2)
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    record(state_dir, NOON)
    result = run("prune", "--older-than", "1d")
    assert result.exit_code == 1 and "1 rows deleted here\nin Postgres none: " in result.output


def test_csv_has_a_line_for_each_label(run: Run, state_dir: Path) -> None:
    record(state_dir, NOON)
    lines = list(csv.reader(run("export").output.splitlines()))
    assert lines[0] == ["time", "file", "segment", "start_s", "end_s", "label", "probability", "request_id"]
    assert lines[1] == ["2023-11-14T22:13:20.250000Z", "0.wav", "0", "0.0", "8.0", "owl", "0.75", "r-1"]
    assert len(lines) == 5


def test_raven_has_a_line_for_each_window(run: Run, state_dir: Path) -> None:
    record(state_dir, NOON, NOON + 1)
    lines = [line.split("\t") for line in run("export", "--format", "raven").output.splitlines()]
    table = [dict(zip(lines[0], line)) for line in lines[1:]]
    assert [(row["Selection"], row["Begin File"], row["Begin Time (s)"], row["Species"]) for row in table] == [
        ("1", "0.wav", "0.0", "owl"),
        ("2", "0.wav", "8.0", "fox"),
        ("3", "1.wav", "0.0", "owl"),
        ("4", "1.wav", "8.0", "fox"),
    ]
    assert {row["High Freq (Hz)"] for row in table} == {"11025.0"}


def test_json_has_every_field_and_the_failures(run: Run, state_dir: Path) -> None:
    writer = JournalWriter(state_dir, Counts(), max_bytes=1 << 30)
    writer.record(row_of(writer, 'night "1",\n.wav', answered_at=NOON))
    failed = row_of(writer, answered_at=NOON + 1)
    writer.record(failed._replace(segments=(), status=503, outcome="error", error_code="NOT_READY"))
    writer.close()
    answers = json.loads(run("export", "--format", "json").output)
    assert [answer["outcome"] for answer in answers] == ["ok", "error"]
    assert answers[0]["file"] == 'night "1",\n.wav' and answers[0]["time"] == "2023-11-14T22:13:20.250000Z"
    assert answers[0]["segments"][1]["top"][0] == {"label": "fox", "probability": 0.5}
    assert (answers[1]["status"], answers[1]["error_code"], answers[1]["segments"]) == (503, "NOT_READY", [])


def test_an_export_of_nothing_is_valid_too(run: Run, state_dir: Path) -> None:
    record(state_dir, NOON)
    assert json.loads(run("export", "--since", "2024-01-01", "--format", "json").output) == []
    assert run("export", "--until", "2023-01-01").output.count("\n") == 1


@pytest.mark.parametrize(
    ("since", "until", "files"),
    [
        ("", "", ["0.wav", "1.wav", "2.wav"]),
        ("2023-11-14T22:13:21", "", ["1.wav", "2.wav"]),
        ("2023-11-14T22:13:20.250000Z", "2023-11-14T23:13:21.25+01:00", ["0.wav"]),
        ("", "2023-11-15", ["0.wav", "1.wav"]),
        ("1s", "", []),
    ],
)
def test_since_is_counted_in_and_until_is_not(
    run: Run, state_dir: Path, since: str, until: str, files: list[str]
) -> None:
    record(state_dir, NOON, NOON + 1, NOON + 2 * DAY)
    result = run("export", "--since", since, "--until", until, "--format", "json")
    assert [answer["file"] for answer in json.loads(result.output)] == files


def test_a_moment_that_is_none_is_refused_by_name(run: Run, state_dir: Path) -> None:
    result = run("export", "--since", "yesterday")
    assert result.exit_code == 2 and "--since yesterday" in result.output


@pytest.mark.parametrize(
    "moments",
    [("export", "--since", "2024-01-01", "--until", "2023-01-01"), ("export", "--since", "1d", "--until", "2d")],
)
def test_moments_between_which_nothing_can_lie_are_refused(run: Run, state_dir: Path, moments: tuple[str, ...]) -> None:
    record(state_dir, NOON)
    result = run(*moments)
    assert result.exit_code == 2 and f"{moments[2]} --until {moments[4]}: nothing lies between" in result.output


def test_prune_up_to_a_moment_that_has_not_come_deletes_nothing(run: Run, state_dir: Path) -> None:
    record(state_dir, NOON)
    result = run("prune", "--older-than", "2999-01-01")
    assert result.exit_code == 2 and "--older-than 2999-01-01 has not come yet" in result.output
    assert json.loads(run("status", "--json").output)["rows"] == 1
    assert run("prune", "--older-than", "0d").output == "1 rows deleted here\n"


def test_prune_deletes_by_age(run: Run, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.cli.journal.wall_clock_s", lambda: NOON + 40 * DAY)
    record(state_dir, NOON, NOON + 9 * DAY, NOON + 20 * DAY, NOON + 39 * DAY)
    assert run("prune").output == "2 rows deleted here\n"
    assert stored_files(state_dir) == ["2.wav", "3.wav"]
    assert run("prune", "--older-than", "2d").output == "1 rows deleted here\n"
    assert stored_files(state_dir) == ["3.wav"]


def test_prune_asks_how_old_where_rows_are_kept_for_ever(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__JOURNAL_RETENTION_DAYS", "0")
    result = run("prune")
    assert result.exit_code == 2 and "--older-than" in result.output
