"""What processes hold apart from versions outlives the supervisor, and is given to whoever comes later."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.client import EngineClient
from engine.control.link import BACK_OFF_MAX_S, BACK_OFF_MIN_S, ControlLink
from engine.control.process_holds import MOST_KINDS, TOTALS, ProcessHold, ProcessHolds
from engine.crash_points import VARIABLE
from engine.errors import NotReady, ProtocolError
from engine.messages import sealed_memfd
from engine.shm.board import COUNTED
from engine.shm.layout import LAYOUT_VERSION
from engine.supervisor.counting import Carrier
from engine.supervisor.loop import Loop
from engine.supervisor.memory_document import MemoryDocument
from engine.supervisor.totals import Totals
from tests.supervisor.engine_process import ANSWER_S, EngineProcess, ask, deploy, ready_pids, wait_serving

OTHER = "other"


def use_once(client: EngineClient, value: float) -> None:
    """Deploys, asks, and takes out of service again."""
    deploy(client, "echo", OTHER)
    assert ask(client, value, OTHER)[2] == value
    client.request("undeploy", timeout_s=ANSWER_S, deployment=OTHER)


# --- in real processes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["a frontend that was there", "one that came later", "the instances alone"])
def test_what_an_undeployed_deployment_had_counted_outlives_the_supervisor(engine: EngineProcess, who: str) -> None:
    """Nothing has it in a segment any more: it comes back with whoever is left of those who were welcomed."""
    with ExitStack() as stack:
        if who == "a frontend that was there":
            stack.enter_context(engine.frontend())
        with engine.client() as client:
            instances = ready_pids(client, 2)
            use_once(client, 1.0)
            if who == "one that came later":
                stack.enter_context(engine.frontend())
        engine.kill_supervisor()
        if who != "the instances alone":
            for pid in instances:
                os.kill(pid, signal.SIGKILL)
        engine.start()
        with engine.client() as newcomer:
            wait_serving(newcomer)
            use_once(newcomer, 2.0)
            engine.kill_supervisor()
            engine.start()
        with engine.client() as newcomer:
            deploy(newcomer, "echo", OTHER)
            assert newcomer.counters(OTHER).lane_totals["succeeded"] == 2


# --- the document ---------------------------------------------------------------------------------------------------


@pytest.fixture
def document_fd() -> Iterator[int]:
    fd = MemoryDocument.new_file("test")
    yield fd
    os.close(fd)


def test_a_writer_that_is_killed_leaves_the_old_text_or_the_new_one(document_fd: int) -> None:
    program = (
        "import sys; from engine.supervisor.memory_document import MemoryDocument\n"
        "d = MemoryDocument(int(sys.argv[1]))\n"
        "for k in range(9): d.write(b'%d' % k * (k + 1))\n"
    )
    document = MemoryDocument(document_fd)
    assert document.read() == b""
    for dies_at in (1, 2, 5):
        done = subprocess.run(
            [sys.executable, "-c", program, str(document_fd)],
            env={**os.environ, VARIABLE: f"document.written:{dies_at}"},
            pass_fds=[document_fd],
            check=False,
        )
        assert done.returncode == -9
        last = dies_at - 2  # what it wrote before the text that nobody was told of
        assert document.read() == (b"%d" % last * (last + 1) if last >= 0 else b"")
        document.write(b"")
    document.write(b"whole again")
    assert MemoryDocument(document_fd).read() == b"whole again"


def test_what_is_no_document_is_refused() -> None:
    reader, writer = os.pipe()
    with pytest.raises(ProtocolError):
        MemoryDocument(reader)
    os.close(reader)
    os.close(writer)
    for content in (b"\xff" * 8, (2 * 100).to_bytes(8, "little")):
        fd = sealed_memfd("test", content)
        with pytest.raises(ProtocolError):
            MemoryDocument(fd).read()
        os.close(fd)


@pytest.mark.parametrize(
    "text",
    [
        b"{", b"[]", b'{"layout": 1, "deployments": {}}', b'{"deployments": {}}',
        *(json.dumps({"layout": LAYOUT_VERSION, "deployments": {"d": value}}).encode() for value in (
            5, {}, {"gone": [1], "included": [], "youngest": 0}, {"gone": [0] * COUNTED, "included": 3, "youngest": 0},
            {"gone": [0] * COUNTED, "included": [[1, 2]], "youngest": 0},
            {"gone": [0] * COUNTED, "included": [], "youngest": "x"},
        )),
    ],
)  # fmt: skip
def test_a_document_that_nobody_can_read_is_replaced_by_a_newer_one(text: bytes, document_fd: int) -> None:
    MemoryDocument(document_fd).write(text)
    holds, loop = ProcessHolds(), Loop()
    holds.keep(ProcessHold(TOTALS, 1 << 63, (os.dup(document_fd),)))
    Totals(loop, holds).begin()
    found = holds.get(TOTALS)
    assert found is not None and found.number == (1 << 63) + 1
    assert b"deployments" in MemoryDocument(found.fds[0]).read()
    holds.close()
    loop.close()


def test_which_deployments_are_drained_is_read_by_a_successor(document_fd: int) -> None:
    drained = ["a"]
    holds, loop = ProcessHolds(), Loop()
    holds.keep(ProcessHold(TOTALS, 1, (os.dup(document_fd),)))
    predecessor, successor = Totals(loop, holds, lambda: drained), Totals(loop, holds)
    assert not successor.had_drained("a")
    predecessor.begin()
    assert successor.had_drained("a") and not successor.had_drained("b")
    drained[:] = ["b"]
    predecessor.changed()
    assert successor.had_drained("b") and not successor.had_drained("a")
    for text in (b"{", b'{"drained": ["b"]}', json.dumps({"layout": LAYOUT_VERSION, "drained": "b"}).encode()):
        MemoryDocument(document_fd).write(text)
        assert not successor.had_drained("b")
    holds.close()
    assert not successor.had_drained("b")
    loop.close()


def test_what_is_recalled_and_what_segments_have_told_are_the_same_counts() -> None:
    carrier = Carrier()
    carrier.recall({"gone": [5] * COUNTED, "included": [[77, *[3] * COUNTED]], "youngest": 4})
    carrier.recall({"gone": [4] * COUNTED, "included": [[78, *[1] * COUNTED]], "youngest": 2})
    told = carrier.to_json()
    assert told["gone"] == [5] * COUNTED and told["youngest"] == 4
    assert sorted(row[0] for row in told["included"]) == [77, 78]


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_of_one_kind_the_newest_is_kept_and_the_others_are_closed() -> None:
    holds = ProcessHolds()
    fds = [os.eventfd(0) for _ in range(4)]
    holds.keep(ProcessHold("a", 2, (fds[0],)))
    holds.keep(ProcessHold("b", 1, (fds[1],)))
    holds.keep(ProcessHold("a", 1, (fds[2],)))
    holds.keep(ProcessHold("a", 3, (fds[3],)))
    assert holds.offer() == (
        [{"kind": "a", "number": 3, "fds": 1}, {"kind": "b", "number": 1, "fds": 1}], [fds[3], fds[1]],
    )  # fmt: skip
    assert not any(Path(f"/proc/self/fd/{fd}").exists() for fd in (fds[0], fds[2]))
    holds.close()
    assert holds.offer() == ([], [])
    assert not any(Path(f"/proc/self/fd/{fd}").exists() for fd in fds)


@pytest.mark.parametrize(
    "offered",
    [
        [5], ["totals"], [{}], [{"kind": "a", "number": 1}], [{"kind": "", "number": 1, "fds": 1}],
        [{"kind": "a", "number": True, "fds": 1}], [{"kind": "a", "number": -1, "fds": 1}],
        [{"kind": "a", "number": 1, "fds": 0}], [{"kind": "a", "number": 1, "fds": 99}],
        [{"kind": "a", "number": 1, "fds": 1}, {"kind": 7, "number": 1, "fds": 1}],
        [{"kind": str(k), "number": 1, "fds": 1} for k in range(17)],
    ],
)  # fmt: skip
def test_nonsense_that_is_offered_is_refused_whole(offered: list[object]) -> None:
    holds = ProcessHolds()
    with pytest.raises(ProtocolError):
        holds.receive(offered, lambda count: pytest.fail(f"{count} descriptors taken"))
    assert holds.offer() == ([], [])


def test_many_peers_together_cannot_offer_more_than_one_welcome_carries() -> None:
    holds = ProcessHolds()
    given = [os.open(os.devnull, os.O_RDONLY) for _ in range(MOST_KINDS)]
    try:
        labels = [{"kind": f"kind {number}", "number": 1, "fds": 1} for number in range(MOST_KINDS)]
        holds.receive(labels, lambda count: [given.pop() for _ in range(count)])
        with pytest.raises(ProtocolError, match=str(MOST_KINDS)):
            holds.receive([{"kind": "one more", "number": 1, "fds": 1}], lambda count: given[:count])
        assert len(holds.offer()[0]) == MOST_KINDS
    finally:
        holds.close()
        for fd in given:
            os.close(fd)


# --- the link -------------------------------------------------------------------------------------------------------


def test_a_link_without_a_supervisor_waits_longer_each_time(runtime_dir: Path) -> None:
    link = ControlLink(runtime_dir, role="frontend")
    for act in (link.open, link.fileno, lambda: link.send({"type": "x"}), link.next_message):
        with pytest.raises(NotReady):
            act()
    assert not link.try_open()
    assert not link.try_open()  # too early: not tried
    pauses = [link.next_back_off_s() for _ in range(6)]
    assert pauses[0] == 2 * BACK_OFF_MIN_S and pauses[-1] == BACK_OFF_MAX_S
    assert pauses == sorted(pauses)
    link.close()
