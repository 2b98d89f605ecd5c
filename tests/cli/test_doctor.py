"""`nightscan doctor`: every check says what was found and what to do, on one screen; the bundle holds no secret."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.errors import BrokenError
from engine.spec import ModelSource, ModelSpec
from frontend.cli.bundle import write_bundle
from frontend.cli.check import CheckState
from frontend.cli.check_children import trying
from frontend.cli.command_end import CommandEnd
from frontend.cli.looking import look
from tests.cli.nightscan import COMMAND, ROOT, SETTING, Told, clean_environment, nightscan
from tests.supervisor.engine_process import EngineProcess, wait_serving
from tests.support.server import free_port
from tests.support.wait import wait_for

SECRET = "hunter2-hunter2"
QUICK = "--no-model"


def variables(state_dir: Path, settings: Mapping[str, object]) -> dict[str, str]:
    free = {"port": free_port(), "status_port": 0, "state_dir": state_dir}
    return {f"{SETTING}{name.upper()}": str(value) for name, value in {**free, **settings}.items()}


def doctor(runtime_dir: Path, *arguments: str, **settings: object) -> Told:
    given = variables(runtime_dir / "state", settings)
    told = nightscan("doctor", *arguments, runtime_dir=runtime_dir, variables=given)
    if "--json" not in arguments:
        told.assert_fits()
    return told


def checks_of(runtime_dir: Path, *arguments: str, **settings: object) -> dict[str, dict[str, Any]]:
    """By name."""
    told = doctor(runtime_dir, "--json", *arguments, **settings)
    return {each["name"]: each for each in json.loads(told.out)["checks"]}


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    with tempfile.TemporaryDirectory(prefix="ns-", dir="/tmp") as folder:
        with EngineProcess(Path(folder) / "run", status_port=0) as running:
            with running.client() as client:
                wait_serving(client)
            yield running


# --- states of the engine -------------------------------------------------------------------------------------------


def test_stopped(runtime_dir: Path) -> None:
    told = doctor(runtime_dir, QUICK)
    assert told.code == CommandEnd.NOTHING_RUNS
    assert told.out.startswith("stopped: ") and "nightscan serve" in told.words


def test_healthy(engine: EngineProcess) -> None:
    told = doctor(engine.runtime_dir, QUICK)
    assert told.code == CommandEnd.DONE, told.out
    assert told.out.startswith("healthy: ") and "shared segments take" in told.out


def test_weights_that_are_none_are_tried_in_a_process_of_their_own(runtime_dir: Path, tmp_path: Path) -> None:
    weights = tmp_path / "best_model.pth"
    weights.write_bytes(b"no weights")
    told = doctor(runtime_dir, model_path=weights)
    assert told.code == CommandEnd.NOTHING_RUNS
    assert "bad model does not load: " in told.words and "do model_path: a checkpoint" in told.words


def test_whatever_is_away_is_said_on_the_same_screen(runtime_dir: Path) -> None:
    away = f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    told = doctor(
        runtime_dir, QUICK, redis_url=away, devices="cuda:0", max_connections=100_000,
        original_api_url=f"http://127.0.0.1:{free_port()}", database_url="postgresql://127.0.0.1:1/x",
    )  # fmt: skip
    assert SECRET not in told.out + told.err
    for name in ("redis", "postgres", "original", "descriptors"):
        assert f"warn {name} " in told.words, told.out


# --- single checks --------------------------------------------------------------------------------------------------


def test_a_model_that_ends_its_process_is_a_finding(runtime_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text("import os, signal\ndef make(): os.kill(os.getpid(), signal.SIGKILL)\n")
    settings = variables(runtime_dir / "state", {"model_factory": "deadly:make"})
    environment = {**settings, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    told = nightscan("doctor", "--json", runtime_dir=runtime_dir, variables=environment)
    (model,) = (each for each in json.loads(told.out)["checks"] if each["name"] == "model")
    assert model["state"] == CheckState.BROKEN.value and "SIGKILL" in model["text"]


def test_whatever_is_tried_leaves_nothing_behind_and_is_not_waited_for(tmp_path: Path) -> None:
    """It says its line, and a child of it goes on with its output open."""
    code = "import os, time\nprint('noise')\nif not (pid := os.fork()): time.sleep(600)\nprint('{\"pid\": %d}' % pid)\n"
    (tmp_path / "begun.py").write_text(code)
    with trying("begun", "", {**os.environ, "PYTHONPATH": str(tmp_path)}) as begun:
        found = begun.result(20)
        assert "pid" in found, found
        wait_for(lambda: not psutil.pid_exists(found["pid"]) or _is_dead(found["pid"]), "the child to be gone")


def _is_dead(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_what_a_model_prints_is_not_taken_for_what_came_of_it(runtime_dir: Path, tmp_path: Path) -> None:
    noisy = "import os\ndef make():\n    os.write(1, b'[]x' * 40_000); raise ValueError('why')\n"
    (tmp_path / "noisy.py").write_text(noisy)
    spec = ModelSpec(source=ModelSource.FACTORY, location="noisy:make", import_paths=(str(tmp_path),))
    with trying("engine.models.loads", json.dumps(spec.to_json()), dict(os.environ)) as begun:
        assert begun.result(60)["error"].endswith("raised ValueError: why")


def test_told_to_leave_it_ends_the_model_that_it_tries(runtime_dir: Path, tmp_path: Path) -> None:
    stuck = f"import os, time\ndef make():\n    open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(600)\n"
    (tmp_path / "stuck.py").write_text(stuck)
    given = {**variables(runtime_dir / "state", {"model_factory": "stuck:make"}), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    environment = clean_environment(runtime_dir, given)
    with subprocess.Popen([*COMMAND, "doctor"], env=environment, cwd=ROOT, stdout=subprocess.PIPE) as running:
        pid = wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the model to be tried")
        running.send_signal(signal.SIGTERM)
        assert running.stdout is not None and running.stdout.read() == b""
    assert running.returncode == 128 + signal.SIGTERM
    assert not psutil.pid_exists(int(pid or 0))


def test_a_port_that_somebody_has_is_told_with_who(runtime_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = checks_of(runtime_dir, QUICK, port=port)["http"]
    assert found["state"] == "warn" and f"pid {os.getpid()}" in found["text"] and "another port" in found["do"]


def test_folders_that_cannot_be_used(runtime_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert checks_of(tmp_path / "file", QUICK, state_dir=tmp_path)["runtime_dir"]["state"] == "bad"
    runtime_dir.chmod(0o755)
    assert "chmod 700" in checks_of(runtime_dir, QUICK)["runtime_dir"]["do"]


def test_what_is_not_configured_says_that(runtime_dir: Path) -> None:
    found = checks_of(runtime_dir, QUICK)
    assert {found[name]["text"] for name in ("redis", "postgres", "original")} == {"not configured"}
    assert all(each["do"] for each in found.values() if each["state"] not in ("ok", "-"))


def test_a_setting_that_nothing_acts_on_is_a_warning(runtime_dir: Path) -> None:
    found = checks_of(runtime_dir, QUICK, api_rate_limit="60 per minute")["settings"]
    assert found["state"] == "warn" and "api_rate_limit" in found["text"]


# --- the bundle -----------------------------------------------------------------------------------------------------


def test_the_bundle_has_all_that_helps_and_no_secret(
    engine: EngineProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle.tar.gz"
    (engine.runtime_dir / "admin.token").write_text(f"{SECRET}-token\n")
    with engine.runtime_dir.with_suffix(".log").open("a") as log:
        log.write(f"connecting to redis://:{SECRET}@cache:6379 as {SECRET}-token\n")
        log.write("as opensesame, and password=opensesame3 with postgres://u:opensesame4@there\n")
    monkeypatch.setenv("DATABASE_URL", "host=there password=opensesame2")  # which is no address, and ignored
    monkeypatch.setenv("REDIS_URL", "redis://:opensesame@there")  # which another one has taken the place of
    told = doctor(
        engine.runtime_dir, QUICK, "--bundle", str(path), redis_url=f"redis://:{SECRET}@127.0.0.1:{free_port()}/0",
        database_url=f"postgresql://app:{SECRET}@127.0.0.1:1/app?application_name={SECRET}-name", tuning="off",
        original_api_url=f"http://u:{SECRET}@127.0.0.1:{free_port()}/api?key={SECRET}",
    )  # fmt: skip
    assert told.code == CommandEnd.PARTLY and str(path) in told.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        found = {member.name.partition("/")[2]: _content(archive, member) for member in archive}
    assert set(found) == {
        "doctor.txt", "doctor.json", "status.json", "config.json", "versions.json", "supervisor.log",
    }  # fmt: skip
    assert all(SECRET not in text for text in found.values()), [name for name in found if SECRET in found[name]]
    assert "opensesame" not in "".join(found.values())
    assert "connecting to redis://***@cache:6379" in found["supervisor.log"]
    assert json.loads(found["status.json"])["verdict"]["state"] == "healthy"
    assert "torch" in json.loads(found["versions.json"])["packages"]
    assert any(each["name"] == "redis_url" for each in json.loads(found["config.json"]))
    with pytest.raises(BrokenError, match="is there already"):
        write_bundle(path, engine.settings, look(str(engine.runtime_dir)), {}, "")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member)
    assert file is not None
    return file.read().decode()


def test_a_bundle_that_cannot_be_written_is_one_line(runtime_dir: Path) -> None:
    told = nightscan("doctor", QUICK, "--bundle", "/proc/bundle.tar.gz", runtime_dir=runtime_dir)
    assert told.code in (CommandEnd.MISUSED, CommandEnd.REFUSED) and "/proc/bundle" in told.err
    assert told.out.startswith("stopped: ")  # what was found is said all the same
    told = nightscan("doctor", QUICK, "--json", "--bundle", str(runtime_dir), runtime_dir=runtime_dir)
    assert json.loads(told.out)["exit_code"] == told.code == CommandEnd.MISUSED


def test_what_this_shell_does_not_set_is_taken_as_the_engine_has_it(runtime_dir: Path) -> None:
    port = free_port()
    with EngineProcess(runtime_dir, status_port=0, port=port, redis_url=f"redis://:{SECRET}@127.0.0.1:1/0") as engine:
        with engine.client() as client:
            wait_serving(client)
        told = nightscan("doctor", QUICK, "--json", runtime_dir=engine.runtime_dir)
        found = {each["name"]: each for each in json.loads(told.out)["checks"]}
        assert f":{port} is free" in found["http"]["text"] and found["redis"]["state"] == "warn"
        over = nightscan("predict", str(Path(__file__)), runtime_dir=engine.runtime_dir)
        assert f":{port}" in over.err and over.code == CommandEnd.NOTHING_RUNS
    assert SECRET not in told.out + told.err
