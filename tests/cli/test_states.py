"""`nightscan status` of an engine in each state: which it is, why, what to do, on one screen, and the exit code."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frontend.cli.command_end import CommandEnd
from frontend.cli.elsewhere import EngineElsewhere, engines_elsewhere
from frontend.cli.looking import look
from frontend.cli.printing import wrapped
from frontend.cli.summary import summary
from frontend.cli.verdict import EngineState
from tests.cli.nightscan import COMMAND, ROOT, SETTING, Told, clean_environment, nightscan
from tests.supervisor.engine_process import EngineProcess, deploy, ready_pids, wait_serving
from tests.support.wait import wait_for


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    """One that serves; every test leaves it so."""
    with tempfile.TemporaryDirectory(prefix="ns-", dir="/tmp") as folder:
        with EngineProcess(Path(folder) / "run") as running:
            with running.client() as client:
                wait_serving(client)
            yield running


def status_of(engine: EngineProcess, *arguments: str) -> Told:
    return nightscan("status", *arguments, runtime_dir=engine.runtime_dir)


def wait_for_state(engine: EngineProcess, state: str) -> Told:
    def seen() -> Told | None:
        told = status_of(engine)
        return told if told.out.startswith(f"{state}: ") else None

    found = wait_for(seen, f"status to say {state}")
    assert found is not None
    found.assert_fits()
    return found


def assert_doctor_agrees(engine: EngineProcess, state: str, why: str) -> None:
    told = nightscan("doctor", "--no-model", runtime_dir=engine.runtime_dir)
    told.assert_fits()
    assert told.code == CommandEnd.PARTLY and told.out.startswith(f"{state}: ") and why in told.words


def test_stopped(runtime_dir: Path) -> None:
    told = nightscan("status", runtime_dir=runtime_dir)
    told.assert_fits()
    assert told.code == CommandEnd.NOTHING_RUNS and told.out.startswith("stopped: ")
    assert "nobody listens" in told.out and "nightscan serve" in told.words and str(runtime_dir) in told.words


def test_whoever_asks_in_the_wrong_place_is_shown_the_right_one(runtime_dir: Path) -> None:
    command = [sys.executable, "-c", "input()", "-m", "engine.supervisor", "--runtime-dir", str(runtime_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as running:
        (found,) = (each for each in engines_elsewhere("/nowhere") if each.runtime_dir == str(runtime_dir))
        assert str(runtime_dir) not in {each.runtime_dir for each in engines_elsewhere(str(runtime_dir))}
        told = nightscan("status", runtime_dir=runtime_dir / "other")
        running.communicate("\n")
    assert found.is_ours and found.command == f"nightscan status --runtime-dir {runtime_dir}"
    told.assert_fits()
    assert told.code == CommandEnd.NOTHING_RUNS and "an engine runs in /" in told.words


def test_what_others_name_their_folders_is_no_command_of_ours() -> None:
    hostile = EngineElsewhere("/tmp/x; rm -rf ~", "night", is_ours=False)
    assert hostile.command == "sudo -u night nightscan status --runtime-dir '/tmp/x; rm -rf ~'"
    assert wrapped("a\x1b[2Jb\nc", "  do   ", most=3) == ["  do   a [2Jb c"]


def test_stopped_by_a_kill(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, behaviour="echo") as engine:
        with engine.client() as client:
            wait_serving(client)
        engine.kill_supervisor()
        told = wait_for_state(engine, "stopped")
        assert told.code == CommandEnd.NOTHING_RUNS and "killed" in told.out
        engine.start()  # adopts the instances, so that they end in order
        assert wait_for_state(engine, "healthy").code == CommandEnd.DONE


def test_healthy(engine: EngineProcess) -> None:
    told = wait_for_state(engine, "healthy")
    assert told.code == CommandEnd.DONE
    assert "2 of 2" in told.out and "Redis pool not configured" in told.out and " do " not in told.out


def test_starting(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, behaviour="hang_load") as engine:
        told = wait_for_state(engine, "starting")
        assert told.code == CommandEnd.PARTLY and "loaded" in told.out and "--watch" in told.out
        assert_doctor_agrees(engine, "starting", "loaded")


def test_failed(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, behaviour="fail_load", tracebacks=True) as engine:
        told = wait_for_state(engine, "failed")
        assert told.code == CommandEnd.PARTLY and "no luck in load" in told.words
        assert "nightscan deploy wildlife" in told.words and "nightscan doctor" in told.out
        assert_doctor_agrees(engine, "failed", "no luck in load")


def test_a_model_that_does_not_load_is_refused_with_the_reason_and_not_the_way_to_it(
    runtime_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").write_bytes(b"root:x:0:0")
    given = {f"{SETTING}ENABLED": "false", f"{SETTING}STATUS_PORT": "0", f"{SETTING}STATE_DIR": str(tmp_path)}
    environment = clean_environment(runtime_dir, given)
    with subprocess.Popen([*COMMAND, "engine"], env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as running:
        try:
            wait_for(lambda: nightscan("status", runtime_dir=runtime_dir).out.startswith("empty"), "the engine to run")
            told = nightscan("deploy", "bats", "--model-path", str(tmp_path / "weights.pth"), runtime_dir=runtime_dir)
        finally:
            running.terminate()
    assert told.code == CommandEnd.REFUSED and told.err.count("\n") == 1
    assert told.err.startswith("nightscan: cannot read ") and "model_factory" in told.err


def test_degraded_by_an_instance_that_does_not_come_back(runtime_dir: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with EngineProcess(runtime_dir, tracebacks=True) as engine:
        with engine.client() as client:
            deploy(client, f"while:{broken}:fail_load")
            pids = ready_pids(client, 2)
        broken.touch()
        os.kill(pids[0], signal.SIGKILL)
        wait_for(lambda: "no luck in load" in status_of(engine).words, "status to say why")
        told = wait_for_state(engine, "degraded")
        assert told.code == CommandEnd.PARTLY and "1 of 2 instances work: Traceback: no luck in load" in told.words
        assert "nightscan doctor" in told.out
        assert_doctor_agrees(engine, "degraded", "no luck in load")


def test_stalled(engine: EngineProcess) -> None:
    assert engine.process is not None
    engine.process.send_signal(signal.SIGSTOP)
    ask = functools.partial(nightscan, runtime_dir=engine.runtime_dir, timeout_s=30)
    asked = (["status"], ["doctor", "--no-model"], ["scale", "wildlife_detector_optimized", "2"])
    try:
        with ThreadPoolExecutor(len(asked)) as pool:
            *told, order = pool.map(lambda arguments: ask(*arguments), asked)
    finally:
        engine.process.send_signal(signal.SIGCONT)
    for each in told:
        each.assert_fits()
        assert each.code == CommandEnd.PARTLY and each.out.startswith("stalled: ")
        assert f"kill -CONT {engine.process.pid}" in each.words
    assert order.code == CommandEnd.NOTHING_RUNS and "nightscan status" in order.err


def test_empty(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, enabled="false") as engine:
        told = wait_for_state(engine, "empty")
        assert told.code == CommandEnd.PARTLY and "nightscan deploy" in told.out


def test_json_has_the_verdict_beside_the_engines_own_document(engine: EngineProcess) -> None:
    told = status_of(engine, "--json")
    document = json.loads(told.out)
    assert document["verdict"]["state"] == "healthy" and document["verdict"]["exit_code"] == told.code == 0
    assert document["deployments"][0]["deployment"] == "wildlife_detector_optimized"


def test_all_has_every_instance(engine: EngineProcess) -> None:
    told = status_of(engine, "--all")
    assert told.out.count("(pid ") == 2 and "cached together" in told.out


def test_watch_goes_on_until_it_is_interrupted(engine: EngineProcess) -> None:
    command = [*COMMAND, "status", "--watch", "--every-s", "0.1", "--json"]
    environment = clean_environment(engine.runtime_dir)
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None and watching.stderr is not None
        states = [json.loads(watching.stdout.readline())["verdict"]["state"] for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        rest = watching.stdout.read() + watching.stderr.read()
    assert states == ["healthy"] * 3 and watching.returncode == CommandEnd.INTERRUPTED and "Traceback" not in rest


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_engine_of_somebody_else_is_told_apart_from_none(engine: EngineProcess) -> None:
    os.seteuid(65_534)
    try:
        sight = look(str(engine.runtime_dir))
    finally:
        os.seteuid(0)
    assert sight.verdict.state is EngineState.FOREIGN and sight.verdict.state.end == CommandEnd.REFUSED
    assert "sudo -u root nightscan status" in summary(sight)
