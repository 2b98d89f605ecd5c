"""A supervisor with a switchboard: what is to fail in it, and whether it says that it is well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.client import EngineClient
from engine.errors import EngineError
from tests.supervisor.engine_process import ANSWER_S, EngineProcess
from tests.supervisor.programs.failing import VARIABLE
from tests.support.wait import wait_for


class Switchboard:
    """What is to fail in the supervisor."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def arm(self, *steps: str, when: str = "before", count: int = 1) -> None:
        """Each of `steps` fails so many times."""
        fresh = self.path.with_suffix(".fresh")
        fresh.write_text("".join(f"{step} {when} {count}\n" for step in steps))
        fresh.rename(self.path)

    def left(self) -> list[str]:
        """Steps that have not failed yet."""
        lines = [line.split() for line in self.path.read_text().splitlines()]
        return [fields[0] for fields in lines if int(fields[2]) > 0]

    def wait_failed(self, when: str) -> None:
        """Each of them has; the test fails with those that have not."""
        try:
            wait_for(lambda: not self.left(), "steps to fail")
        except AssertionError as error:
            raise AssertionError(f"never failed {when} it is done: {self.left()}") from error


def health(client: EngineClient) -> dict[str, Any]:
    """What status says of the supervisor itself; empty if nobody answers just now."""
    try:
        found: dict[str, Any] = client.request("status", timeout_s=ANSWER_S)["health"]
    except EngineError:
        return {}
    return found


def is_well(client: EngineClient) -> bool:
    return health(client).get("state") == "ok"


@contextmanager
def failing_engine(
    runtime_dir: Path, variables: dict[str, str] | None = None, **settings: object
) -> Iterator[tuple[EngineProcess, Switchboard]]:
    """An engine whose supervisor has a switchboard. Tracebacks in its log are what it is here for."""
    board = Switchboard(runtime_dir.with_suffix(".failing"))
    board.arm()
    given = {VARIABLE: str(board.path), **(variables or {})}
    own: dict[str, Any] = {"program": "failing", "tracebacks": True, "variables": given, **settings}
    engine = EngineProcess(runtime_dir, **own)
    try:
        with engine:
            yield engine, board
    finally:
        board.path.unlink()
