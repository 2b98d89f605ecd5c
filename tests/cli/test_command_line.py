"""What holds for every verb: exit codes, one line for what went wrong, no traceback, and nothing loaded in vain."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from engine.errors import BrokenError, ConfigError, DeploymentFailed, NotReady, QueueFull, UnknownDeployment
from frontend.cli.command_end import CommandEnd, end_of
from frontend.cli.main import main
from frontend.cli.verbs import VERBS
from tests.cli.nightscan import COMMAND, ROOT, SETTING, Told, clean_environment, in_this_process, nightscan

MANUAL = (ROOT / "frontend/README.md").read_text()
HEAVY = ("torch", "flask", "gunicorn", "onnxruntime", "psycopg", "redis")
AT_ONCE_S = 0.5


def rows_under(heading: str) -> list[list[str]]:
    """Cells of the first table of a section of the manual."""
    section = MANUAL.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_exit_codes_of_the_manual_are_those_of_the_code() -> None:
    rows = [row for row in rows_under("### Exit codes")]
    assert rows == [[str(int(each)), each.text] for each in CommandEnd]


def test_the_verbs_of_the_manual_are_those_of_the_code() -> None:
    assert rows_under("## Command line")[: len(VERBS)] == [[name, verb.text] for name, verb in VERBS.items()]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_can_be_loaded_and_takes_the_runtime_directory(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None and command.name == name
    assert any("--runtime-dir" in parameter.opts for parameter in command.params)
    assert command.help and command.help.splitlines()[0].startswith(VERBS[name].text.split(",")[0].rstrip(".")[:20])


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ConfigError(), CommandEnd.MISUSED),
        (NotReady(), CommandEnd.NOTHING_RUNS),
        (DeploymentFailed(), CommandEnd.REFUSED),
        (UnknownDeployment(), CommandEnd.REFUSED),
        (QueueFull(), CommandEnd.REFUSED),
        (BrokenError(), CommandEnd.REFUSED),
    ],
)
def test_errors_end_with_the_code_of_their_kind(error: Exception, end: CommandEnd) -> None:
    assert end_of(error) is end  # type: ignore[arg-type]


# --- at once --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--help"], {}),
        ([], {"_NIGHTSCAN_COMPLETE": "bash_complete", "COMP_WORDS": "nightscan sta", "COMP_CWORD": "1"}),
        (["completion", "bash"], {}),
        (["completion", "fish"], {}),
        (["serve", "--help"], {}),
        (["doctor", "--help"], {}),
    ],
)
def test_help_and_completion_come_at_once(arguments: list[str], variables: dict[str, str]) -> None:
    """Of three tries the fastest, in time of the processor: others may have the machine meanwhile."""
    took_s = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = nightscan(*arguments, variables=variables)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert told.code == 0 and told.out
        took_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took_s) < AT_ONCE_S


def test_no_verb_loads_what_only_servers_and_instances_need() -> None:
    """All of them in one process: their help, and the completion of their options, take no more than this."""
    code = f"""
import click, sys
from frontend.cli.main import main
loaded = [main.get_command(click.Context(main), name) for name in main.list_commands(click.Context(main))]
print(len(loaded), [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{len(VERBS)} []\n", done.stdout + done.stderr


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_ctrl_c_while_it_is_being_loaded(delay_s: float) -> None:
    code = "import sys; from frontend.cli.start import start; print('begun', flush=True); start()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "status", "--watch"], env=clean_environment(), cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as begun:  # fmt: skip
        assert begun.stdout is not None and begun.stderr is not None
        assert begun.stdout.readline() == "begun\n"
        time.sleep(delay_s)  # wherever it is by then
        begun.send_signal(signal.SIGINT)
        begun.stdout.read()
        said = begun.stderr.read()
    assert begun.returncode == CommandEnd.INTERRUPTED and "Traceback" not in said


def completed(words: str, at: int) -> Told:
    variables = {"_NIGHTSCAN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    return nightscan(variables=variables)


def test_completion_knows_verbs_and_options() -> None:
    told = completed("nightscan d", 1)
    assert {line.split(",")[1] for line in told.out.splitlines()} == {name for name in VERBS if name.startswith("d")}
    told = completed("nightscan status --", 2)
    assert "plain,--watch" in told.out and "plain,--runtime-dir" in told.out


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_what_completion_prints_is_understood_by_the_shell(shell: str) -> None:
    script = nightscan("completion", shell).out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=20)
    assert "_NIGHTSCAN_COMPLETE" in script and "nightscan" in script


# --- for programs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (["scale", "x", "2", "--json"], CommandEnd.NOTHING_RUNS),
        (["undeploy", "x", "--json", "--runtime-dir", __file__], CommandEnd.NOTHING_RUNS),
        (["dashboard", "--json", "--runtime-dir", __file__], CommandEnd.NOTHING_RUNS),
        (["journal", "tail", "--json"], CommandEnd.NOTHING_RUNS),
        (["journal", "migrate", "--json"], CommandEnd.MISUSED),
        (["predict", __file__, "--json", "--url", "http://127.0.0.1:1"], CommandEnd.NOTHING_RUNS),
        (["predict", __file__, "--json", "--url", "file:///etc/passwd"], CommandEnd.MISUSED),
        (["bench", "--json", "--url", "unix:/none"], CommandEnd.NOTHING_RUNS),
        (["scale", "x", "9999", "--json"], CommandEnd.MISUSED),
        (["stats", "--json"], CommandEnd.MISUSED),
    ],
)
def test_with_json_what_goes_wrong_is_a_document_too(
    arguments: list[str], end: CommandEnd, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RUNTIME_DIR", "STATE_DIR"):
        monkeypatch.setenv(f"{SETTING}{name}", str(runtime_dir))
    told = in_this_process(*arguments)
    assert json.loads(told.out)["exit_code"] == told.code == end
    assert json.loads(told.out)["error"].split()[0] in told.err


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statu"], "did you mean status?"),
        (["scale", "x", "0"], "1<=x<=1024"),
        (["scale", "x", "1025"], "1<=x<=1024"),
        (["deploy", "--sample-rate-hz", "10", "--demo"], "1000<=x<=384000"),
        (["deploy"], "--model-path FILE"),
        (["deploy", "--demo", "--factory", "a:b"], "one of --model-path"),
        (["status", "--every-s", "0"], "0.1<=x<=3600"),
        (["--runtime-dir", "/" + "x" * 100, "status"], "at most 90 characters"),
        (["--runtime-dir", "", "status"], "'': must be"),
        (["predict", "/no/such.wav"], "does not exist"),
        (["completion", "tcsh"], "'bash', 'zsh', 'fish'"),
    ],
)
def test_a_wrong_command_line_is_refused_with_what_is_allowed(arguments: list[str], said: str) -> None:
    """The environment is left as it was: what is refused is refused before that is changed."""
    told = in_this_process(*arguments)
    assert told.code == CommandEnd.MISUSED and said in told.err and told.out == ""


def test_the_runtime_directory_stands_before_the_verb_or_behind_it(runtime_dir: Path) -> None:
    for arguments in (["--runtime-dir", str(runtime_dir), "status"], ["status", "--runtime-dir", str(runtime_dir)],
                      ["journal", "status", "--runtime-dir", str(runtime_dir)]):  # fmt: skip
        told = nightscan(*arguments, variables={f"{SETTING}STATE_DIR": str(runtime_dir / "none")})
        assert told.code == CommandEnd.NOTHING_RUNS
        assert str(runtime_dir) in told.out + told.err


@pytest.mark.parametrize("content", [None, "{", '{"optimized_serving": {"workers": "many"}}', '{"serving": {}}'])
def test_a_settings_file_that_cannot_be_used_is_one_line(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if content is None:
        path.mkdir()  # as root reads everything, a folder is what cannot be read
    else:
        path.write_text(content)
    told = nightscan("status", variables={"NIGHTSCAN_CONFIG": str(path)})
    assert told.code == CommandEnd.MISUSED and told.err.count("\n") == 1 and str(path) in told.err


def test_what_only_fits_part_of_a_pipe_ends_quietly(runtime_dir: Path) -> None:
    script = f"{' '.join(COMMAND)} config | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], env=clean_environment(runtime_dir), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "") and re.match("setting", done.stdout)


def test_a_full_disk_under_the_output_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "config"], env=clean_environment(), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60,
        )  # fmt: skip
    assert done.returncode == CommandEnd.REFUSED and done.stderr == "nightscan: No space left on device\n"


def test_streams_that_are_closed_are_no_reason_to_end(runtime_dir: Path) -> None:
    for script, code in (("config >&-", 0), ("config >/dev/null 2>&-", 0), ("status <&- >&- 2>&-", 3)):
        done = subprocess.run(
            ["bash", "-c", f"{' '.join(COMMAND)} {script}"], env=clean_environment(runtime_dir), cwd=ROOT, timeout=60,
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_letters_that_the_terminal_does_not_have_are_no_reason_to_end(tmp_path: Path) -> None:
    variables = {"PYTHONIOENCODING": "ascii", f"{SETTING}MODEL_PATH": "/models/grünfink.pth"}
    told = nightscan("config", variables=variables)
    assert told.code == 0 and "gr" in told.out
    told = nightscan("config", "--json", variables=variables)
    assert "/models/grünfink.pth" in {each["value"] for each in json.loads(told.out)}


def test_a_fault_of_ours_is_a_line_and_with_a_variable_all_of_it(tmp_path: Path) -> None:
    """A faulty verb, put beside ours."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, types, click\nfrom frontend.cli.command_line import CommandLine\n"
        "from frontend.cli.verbs import Verb\n"
        "@click.command()\ndef broken(): raise ZeroDivisionError('no')\n"
        "module = types.ModuleType('frontend.cli.broken'); module.broken = broken\n"
        "sys.modules['frontend.cli.broken'] = module\nCommandLine({'broken': Verb('')})()\n"
    )
    for variables, traceback in ({}, False), ({"NIGHTSCAN_TRACEBACK": "1"}, True):
        done = subprocess.run(
            [sys.executable, str(program), "broken"], env=clean_environment(None, variables), capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == CommandEnd.REFUSED and "ZeroDivisionError: no" in done.stderr
        assert ("Traceback" in done.stderr) is traceback


def test_ctrl_c_while_an_order_is_awaited(runtime_dir: Path) -> None:
    """Nobody answers: a listener that says nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(runtime_dir / "control.sock"))
        listener.listen()
        environment = clean_environment(runtime_dir)
        command = [*COMMAND, "scale", "x", "2"]
        with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as waiting:
            connection, _ = listener.accept()
            waiting.send_signal(signal.SIGINT)
            assert waiting.stderr is not None
            said = waiting.stderr.read()
        connection.close()
    assert waiting.returncode == CommandEnd.INTERRUPTED and "Traceback" not in said
    assert os.path.exists(runtime_dir / "control.sock")
