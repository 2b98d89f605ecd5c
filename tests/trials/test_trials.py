"""Whole sets of trials of a small model: what is found, what is left, and what a candidate that misbehaves costs."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.core.form_choice import LEAST_GAIN
from engine.errors import TrialsFailed
from engine.trials import trials
from engine.trials.priority import Share
from engine.trials.trials import Trials
from engine.tuning.folder import RESULT, read
from engine.tuning.order import TrialNews, TrialOrder
from engine.tuning.result import TuningResult
from tests.support.wait import wait_for
from tests.trials.conftest import folder_of, order_of, started
from tests.trials.noises import noises


def tried(order: TrialOrder, told: list[TrialNews] | None = None, forms: str = "") -> TuningResult:
    """The result of trials of it, made in this process's children."""
    names = forms.split() or None
    Trials(order, None, (told if told is not None else []).append, share=Share.FULL, forms=names).run()
    result = read(folder_of(order).path)
    assert result is not None
    return result


def end(process: subprocess.Popen[bytes]) -> list[TrialNews]:
    """What the rest of it says."""
    with process:
        assert process.stdout is not None
        return [news for line in process.stdout if (news := TrialNews.from_line(line)) is not None]


@pytest.fixture(scope="module")
def two_at_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TrialOrder, list[list[TrialNews]]]]:
    """A small model that two engines want tuned at the same time, and what their trial processes have said."""
    order = order_of("small", tmp_path_factory.mktemp("two"), precision="auto")
    processes = [started(order, "--forms", "openvino-int8"), started(order, "--forms", "openvino-int8")]
    yield order, [end(process) for process in processes]


@pytest.mark.timeout(300)
def test_a_winner_is_found_that_is_faster_and_agrees(two_at_once: tuple[TrialOrder, list[list[TrialNews]]]) -> None:
    order, _ = two_at_once
    result = read(folder_of(order).path)
    assert result is not None
    winner = result.candidate(result.winner)
    assert winner is not None and winner.form != "eager" and not winner.refused
    assert result.speedup >= LEAST_GAIN and winner.windows >= 512 and winner.top1 >= 0.995
    assert sorted(winner.items_per_s) == [1, 2, 4]
    assert [each.form for each in result.candidates][0] == "eager"
    assert set(result.artefacts) == {"int8.onnx"}
    assert "windows" in result.sounds


@pytest.mark.timeout(300)
def test_two_engines_at_once_make_one_set_of_trials(two_at_once: tuple[TrialOrder, list[list[TrialNews]]]) -> None:
    order, told = two_at_once
    assert [each[-1].state for each in told] == ["finished", "finished"]
    assert sorted(any(news.candidate for news in each) for each in told) == [False, True]
    names = {each.name for each in folder_of(order).path.parent.iterdir()}
    assert names == {folder_of(order).path.name, f"{folder_of(order).path.name}.lock"}
    assert {each.name for each in folder_of(order).path.iterdir()} == {RESULT, *read_artefacts(order)}


def read_artefacts(order: TrialOrder) -> set[str]:
    result = read(folder_of(order).path)
    assert result is not None
    return set(result.artefacts)


def test_what_hangs_or_crashes_costs_itself_alone(state_dir: Path, tmp_path: Path) -> None:
    order = order_of("hangs_and_crashes", state_dir, trial_limit_s=15, calibration_dir=noises(tmp_path))
    process = started(order, "--forms", "onnxruntime-fp32,torch-bf16")
    assert end(process)[-1].state == "finished" and process.returncode == 0
    result = read(folder_of(order).path)
    assert result is not None
    refused = {each.form: each.refused for each in result.candidates}
    assert refused["onnxruntime-fp32"] == "it cannot be exported: it did not end within 6 s"
    assert refused["torch-bf16"].startswith("it was killed by SIGSEGV")
    assert (result.winner, result.speedup, result.artefacts) == ("eager", 1.0, {})
    assert not left_of(state_dir)


def left_of(state_dir: Path) -> list[str]:
    """Pids of processes whose environment names the folder: of stages, and of all that they have started."""
    found = []
    for each in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if str(state_dir).encode() in each.read_bytes():
                found.append(each.parent.name)
    return found


def test_what_eats_memory_or_answers_nothing_finite_is_named(state_dir: Path, tmp_path: Path) -> None:
    told: list[TrialNews] = []
    settings: dict[str, Any] = {"precision": "bf16", "trial_memory_mb": 2048, "calibration_dir": noises(tmp_path)}
    order = order_of("greedy_and_lost", state_dir, **settings)
    result = tried(order, told, "onnxruntime-fp32 torch-bf16")
    refused = {each.form: each.refused for each in result.candidates}
    assert refused["onnxruntime-fp32"] == "it cannot be exported: it ran out of memory (trial_memory_mb=2048)"
    assert "not finite" in refused["torch-bf16"]
    assert result.winner == "" and "not finite" in result.reason
    assert [(news.candidate, news.state) for news in told if news.candidate] == [
        ("eager", "trying"), ("eager", "done"),
        ("torch-bf16", "trying"), ("torch-bf16", "refused"),  # first: it is what was asked for
        ("onnxruntime-fp32", "trying"), ("onnxruntime-fp32", "refused"),
    ]


def test_what_there_was_no_time_for_is_listed(
    monkeypatch: pytest.MonkeyPatch, state_dir: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(Trials, "_left_s", property(lambda self: 100.0 if not self._reference else 0.0))
    result = tried(order_of("small", state_dir, calibration_dir=noises(tmp_path)), forms="onnxruntime-fp32")
    refused = [(each.form, each.refused) for each in result.candidates]
    assert refused == [("eager", ""), ("onnxruntime-fp32", trials.UNTRIED)]


def test_a_model_that_is_another_by_now_is_not_tried(state_dir: Path) -> None:
    with pytest.raises(TrialsFailed, match="another one by now: .*, not of-yesterday"):
        tried(order_of("for_one_item", state_dir, version="of-yesterday"))
    assert not list(state_dir.rglob("*.work"))


def test_a_disk_that_fills_up_leaves_nothing_behind(state_dir: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        process = started(order_of("small", state_dir))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = end(process)
    assert process.returncode == 1
    assert (told[-1].state, "gate.sounds" in told[-1].text or "File too large" in told[-1].text) == ("failed", True)
    assert not list((state_dir / "tuning").iterdir())


def test_killed_it_leaves_no_process_and_what_lies_there_is_gone_next_time(state_dir: Path) -> None:
    order = order_of("small", state_dir)
    process = started(order)
    work = folder_of(order).work
    wait_for(lambda: list(work.glob("*.sounds")), "a stage at work", timeout_s=60)
    stages = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(stages) == 1
    process.kill()
    end(process)
    wait_for(lambda: not Path(f"/proc/{stages[0]}").exists() or is_zombie(stages[0]), "the stage's end")
    assert work.exists()
    lock = folder_of(order).lock(limit_s=10.0)
    assert lock is not None
    folder_of(order).begin()
    assert list(work.iterdir()) == []
    lock.release()


def is_zombie(pid: str) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_told_to_end_it_tidies_up(state_dir: Path) -> None:
    order = order_of("small", state_dir)
    process = started(order)
    wait_for(lambda: list(folder_of(order).work.glob("*.sounds")), "a stage at work", timeout_s=60)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 0
    process.send_signal(signal.SIGTERM)
    end(process)
    assert process.returncode == 128 + signal.SIGTERM
    assert not folder_of(order).work.exists()


def test_a_model_that_cannot_be_made_fails_in_one_line(state_dir: Path) -> None:
    process = started(order_of("broken", state_dir, version="abc"))
    told = end(process)
    assert process.returncode == 1 and told[-1].state == "failed"
    assert told[-1].text.startswith("the eager form cannot be measured: model factory tests.trials.models:broken")
