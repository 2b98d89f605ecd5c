"""The files under frontend/deploy: what they must say, and must not."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
from pathlib import Path

import pytest

from engine.config import Settings
from engine.errors import BodyTooLarge
from frontend.errors import RateLimited, legacy_error, optimized_error, row_of
from frontend.server.message import body_limit_bytes

DEPLOY = Path(__file__).resolve().parents[2] / "frontend" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
# The first breaks torch's convolutions, the others hide GPUs.
FORBIDDEN = {"memorydenywriteexecute", "privatedevices", "protectclock", "deviceallow", "devicepolicy"}
EXPECTED = {"nonewprivileges", "protectsystem", "protecthome", "privatetmp", "restrictaddressfamilies", "umask"}
MOST_EXPOSED = 25  # of 100, as systemd-analyze counts it


def service_of(unit: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read(unit)
    return dict(parser["Service"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_hardened_but_let_torch_and_gpus_work(unit: Path) -> None:
    service = service_of(unit)
    assert EXPECTED <= service.keys()
    assert not FORBIDDEN & service.keys()
    assert service["oompolicy"] == "continue" and service["systemcallfilter"] == "@system-service"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_little_exposed(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:] + done.stderr.splitlines()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_service_says_itself_when_it_is_ready(unit: Path) -> None:
    service = service_of(unit)
    of_gunicorn = unit.name != "nightscan-engine.service"  # there it is a frontend that says so, not the main process
    assert service["type"] == "notify" and service["timeoutstartsec"] == "infinity"
    assert service.get("notifyaccess") == ("all" if of_gunicorn else None)


def test_the_engines_unit_lets_instances_live_on() -> None:
    service = service_of(DEPLOY / "nightscan-engine.service")
    assert service["killmode"] == "process" and service["runtimedirectorypreserve"] == "yes"


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in [*UNITS, *DEPLOY.glob("*.socket")]:
        text = unit.read_text().replace("/opt/nightscan/bin/nightscan", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if "nightscan" in line]
    assert not complaints and done.returncode == 0


def test_the_socket_unit_listens_where_nginx_sends_and_frontends_would(tmp_path: Path) -> None:
    socket = (DEPLOY / "nightscan-frontend.socket").read_text()
    address = f"{Settings().bind_host}:{Settings().port}"
    assert f"ListenStream={address}\n" in socket and f"server {address};" in (DEPLOY / "nginx.conf").read_text()


def test_nginx_lets_through_what_the_api_takes() -> None:
    main = (DEPLOY / "nginx.conf").read_text()
    limit_mb = re.search(r"client_max_body_size (\d+)m;", main)
    assert limit_mb and int(limit_mb[1]) << 20 > body_limit_bytes(Settings().max_upload_bytes)
    assert "keepalive 32;" in main and "keepalive_timeout 60s;" in main and Settings().keepalive_s > 60


def test_nginx_words_its_refusals_as_the_api_does() -> None:
    answers = (DEPLOY / "nginx-answers.conf").read_text()
    for error in (BodyTooLarge(), RateLimited()):
        ours = json.loads(optimized_error(error, "$request_id").body)
        assert f"return {row_of(error).status} '{json.dumps(ours, separators=(',', ':'))}';" in answers
    original = legacy_error(BodyTooLarge())
    assert f"return {original.status} '{original.body.decode()}';" in answers
