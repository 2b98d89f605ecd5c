"""The chapter on deployment: its commands, typed in the folder of the files, with a folder in the place of /etc."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.manuals.blocks import ROOT, blocks

MANUAL = "frontend/README.md"
DEPLOY = ROOT / "frontend" / "deploy"
SBIN = "/usr/sbin"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """What is the root of a machine to the commands, after all of them: with nginx's own file, and an nginx for it."""
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    (tmp_path / "etc" / "nginx").mkdir()
    (tmp_path / "etc" / "nginx" / "mime.types").write_text("types { }\n")
    for name in ("var/log/nginx", "run", "bin"):
        (tmp_path / name).mkdir(parents=True)
    nginx = shutil.which("nginx", path=f"{SBIN}:{os.environ['PATH']}")
    assert nginx is not None
    wrapper = f'#!/bin/sh\nexec {nginx} -p {tmp_path} -e stderr -c {tmp_path}/etc/nginx/nginx.conf "$@"\n'
    (tmp_path / "bin" / "nginx").write_text(wrapper)
    (tmp_path / "bin" / "nginx").chmod(0o755)
    for heading in ("## Deployment", "### nginx", "### Upgrades"):
        for block in blocks(MANUAL, heading, "bash"):
            typed(block, tmp_path)
    return tmp_path


def typed(block: str, machine: Path) -> str:
    """What is said while a block is run; a file that came from the folder names this root from then on."""
    own = block.replace("/etc/", f"{machine}/etc/")
    environment = {**os.environ, "PATH": f"{machine}/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", own], cwd=DEPLOY, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{own}\n{done.stderr}"
    for file in (machine / "etc" / "nginx").rglob("*.conf"):
        file.write_text(re.sub(r"(?<![\w.])/(etc/nginx|var/log|run)/", rf"{machine}/\1/", file.read_text()))
    return done.stderr


def test_nginx_takes_what_the_manual_makes(machine: Path) -> None:
    assert "server 127.0.0.1:8011;" in (machine / "etc/nginx/nginx.conf").read_text()
    assert (machine / "etc/nginx/nightscan/passwords").read_text().startswith("owl:$apr1$")


def test_units_of_a_second_release_stand_beside_the_first(machine: Path) -> None:
    units = machine / "etc" / "systemd" / "system"
    names = {path.name for path in units.iterdir()}
    assert {f"nightscan-b-{part}" for part in ("engine.service", "frontend.service", "frontend.socket")} <= names
    for unit in units.glob("nightscan-b-*"):
        text = unit.read_text()
        statements = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        of_the_first = re.compile(r"nightscan-(engine|frontend)|:8001|/run/nightscan$|/opt/nightscan/", re.MULTILINE)
        assert not of_the_first.search(statements), text
        unit.write_text(text.replace("/opt/nightscan-b/bin/nightscan", sys.executable))
    for unit in set(units.glob("*.service")) - set(units.glob("nightscan-b-*")):
        unit.write_text(unit.read_text().replace("/opt/nightscan/bin/nightscan", sys.executable))
    command = ["systemd-analyze", "verify", *map(str, sorted(units.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not [line for line in done.stderr.splitlines() if "nightscan" in line]
