"""Environments are built once, see the base, and say why they are not there."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.rivals.environments import Environments, cache_folder
from benchmarks.rivals.plans import BASE, Plan

# what every new environment has, so that nothing is fetched
_PLANS = {
    plan.name: plan
    for plan in (
        Plan(BASE, ("pip",), "json"),
        Plan("good", ("pip",), "shared_by_all"),
        Plan("bad", ("--no-index", "no-such-package-as-this"), "json"),
        Plan("hollow", ("pip",), "no_such_module"),
        Plan("wanting", ("pip",), "json", ("no-such-program",)),
    )
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """A base with one module of its own, and what could be built on it."""
    environments = Environments(tmp_path_factory.mktemp("environments"), _PLANS)
    environments.build([])
    (environments.packages(BASE) / "shared_by_all.py").write_text("figure = 42\n")
    environments.build(["good", "bad", "hollow"])
    return environments


def test_an_environment_sees_the_packages_of_the_base(built: Environments) -> None:
    assert built.missing("good") == ""
    command = [str(built.python("good")), "-c", "import shared_by_all; print(shared_by_all.figure)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "42\n"


def test_what_was_built_is_not_built_again(built: Environments) -> None:
    before = built.python("good").lstat()
    built.build(["good"])
    assert built.python("good").lstat().st_mtime_ns == before.st_mtime_ns


def test_an_environment_that_failed_says_so(built: Environments) -> None:
    assert "no-such-package-as-this" in built.missing("bad")
    assert "No module named 'no_such_module'" in built.missing("hollow")


def test_one_that_was_never_built_names_the_option(built: Environments) -> None:
    assert "--install" in Environments(built.folder / "elsewhere", _PLANS).missing("good")


def test_a_program_that_pip_does_not_bring_is_named(built: Environments) -> None:
    assert built.missing("wanting") == "needs no-such-program on this machine"


def test_another_release_is_another_environment(built: Environments) -> None:
    plans = {**_PLANS, "good": dataclasses.replace(_PLANS["good"], requirements=("pip", "--quiet"))}
    assert Environments(built.folder, plans).missing("good") != ""


def test_a_half_written_stamp_counts_as_none(built: Environments) -> None:
    stamp = built.folder / "good" / "built.json"
    whole = stamp.read_text()
    stamp.write_text(whole[: len(whole) // 2])
    try:
        assert built.missing("good") != ""
    finally:
        stamp.write_text(json.dumps(json.loads(whole)))
    assert built.missing("good") == ""


def test_it_lies_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "nightscan-compare"
