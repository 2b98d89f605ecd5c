"""Traces of what the rings remember: sent to a collector by a thread, whatever becomes of that one."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
import requests

from engine.clock import NS_PER_S, now_ns
from engine.config import Settings
from engine.core.trace_budget import TraceBudget
from engine.observe.answered import UNKNOWN_NS, AnsweredRequest, TraceParent
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import LAST_PLACES, SUPERVISOR_ROW, MachineGeometry, ProcessWord
from engine.shm.process_row import ProcessRow
from engine.shm.ring_reader import RingReader
from engine.shm.request_record import unpack_request
from engine.supervisor.collector_session import CollectorSession
from engine.supervisor.trace_export import TraceExport
from tests.support.collector import Collector, EndlessCollector, attributes
from tests.support.wait import wait_for

MS = 10**6
PARENT = TraceParent(bytes(range(16)), bytes(range(1, 9)), True)
UNSAMPLED = PARENT._replace(is_sampled=False)


def answered(request_id: str, trace: TraceParent | None = None, status: int = 200) -> AnsweredRequest:
    parts = (1 * MS, 2 * MS, UNKNOWN_NS, 0, 4 * MS, 3 * MS)
    code = "MODEL_FAILED" if status == 500 else ""
    return AnsweredRequest(
        now_ns(), 10 * MS, parts, status, 7, "optimized", code, "", request_id, "owls", "v3", "secret.wav", trace
    )


class Rig:
    """A segment with the supervisor's row and a frontend's, and whatever exports them."""

    def __init__(self, stack: ExitStack) -> None:
        self.machine = stack.enter_context(closing(MachineSegment.create(MachineGeometry(3, 0))))
        self.row = stack.enter_context(closing(ProcessRow.private()))
        self.frontend = stack.enter_context(closing(ProcessRow.private()))
        assert self.row.move_to(self.machine, SUPERVISOR_ROW) and self.frontend.move_to(self.machine)
        self._stack = stack

    def export_to(self, endpoint: str, *, per_s: int = 100) -> TraceExport:
        settings = Settings(otel_endpoint=endpoint, otel_requests_per_s=per_s)
        export = TraceExport.of(settings, self.row)
        self._stack.callback(export.close)
        export.meet(self.machine)
        return export

    def count(self, outcome: str) -> int:
        return self.row.get(f"traces.{outcome}")

    def write(self, *requests: AnsweredRequest) -> None:
        for request in requests:
            self.frontend.requests.write(request)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with ExitStack() as stack:
        yield Rig(stack)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


def counted(rig: Rig, outcome: str, count: int) -> None:
    wait_for(lambda: rig.count(outcome) >= count, f"{count} traces {outcome}")


def test_a_request_is_a_span_below_its_callers_with_its_parts_below_it(rig: Rig, collector: Collector) -> None:
    rig.export_to(collector.endpoint + "/")
    before_ns = time.time_ns()
    rig.write(answered("mine", PARENT))
    counted(rig, "sent", 1)
    whole, *parts = collector.trace(PARENT.trace_id.hex())
    assert (whole.name, whole.parent_span_id, whole.kind) == ("predict optimized", PARENT.span_id, 2)
    assert whole.end_time_unix_nano - whole.start_time_unix_nano == 10 * MS
    assert abs(whole.end_time_unix_nano - before_ns) < 5 * NS_PER_S
    assert attributes(whole) == {
        "http.request.method": "POST", "http.response.status_code": 200, "nightscan.request_id": "mine",
        "nightscan.deployment": "owls", "nightscan.model_version": "v3", "nightscan.batch_size": 7,
    }  # fmt: skip
    assert [part.name for part in parts] == ["receive", "decode", "compute", "answer"]
    assert {part.parent_span_id for part in parts} == {whole.span_id}
    at_ns = whole.start_time_unix_nano
    for part in parts:
        assert part.start_time_unix_nano == at_ns
        at_ns = part.end_time_unix_nano
    assert at_ns == whole.end_time_unix_nano
    assert collector.services == {"nightscan"}


def test_without_a_callers_trace_it_is_found_by_the_id_of_the_request(rig: Rig, collector: Collector) -> None:
    rig.export_to(collector.endpoint)
    request_id = "0123456789abcdef" * 2
    rig.write(answered(request_id, status=500), answered("of-its-callers-own"))
    counted(rig, "sent", 2)
    whole = collector.trace(request_id)[0]
    assert whole.parent_span_id == b"" and whole.status.code == 2
    assert attributes(whole)["error.type"] == "MODEL_FAILED"


def test_who_does_not_want_to_be_traced_is_not(rig: Rig, collector: Collector) -> None:
    rig.export_to(collector.endpoint)
    rig.write(answered("no", UNSAMPLED), answered("yes"))
    counted(rig, "sent", 1)
    assert {attributes(span).get("nightscan.request_id", "yes") for span in collector.spans} == {"yes"}
    assert (rig.count("left_out"), rig.count("lost")) == (0, 0)


def test_of_more_than_may_be_traced_those_whose_callers_trace_them_come_first(rig: Rig, collector: Collector) -> None:
    rig.write(*[answered(f"{k}") for k in range(60)], *[answered(f"mine-{k}", PARENT) for k in range(3)])
    rig.export_to(collector.endpoint, per_s=5)
    counted(rig, "left_out", 58)
    counted(rig, "sent", 5)
    assert sum(span.parent_span_id == PARENT.span_id for span in collector.spans) == 3


def test_a_successor_goes_on_where_the_last_one_was(rig: Rig, collector: Collector) -> None:
    rig.export_to(collector.endpoint).close()
    rig.write(answered("a"), answered("b"))
    rig.export_to(collector.endpoint).close()
    assert rig.count("sent") == 2  # the last step of whoever leaves
    rig.export_to(collector.endpoint).close()
    assert rig.count("sent") == 2


def test_a_collector_that_refuses_is_told_of_once_and_left_alone_for_a_while(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector(status=400) as collector, caplog.at_level(logging.INFO):
        rig.export_to(collector.endpoint)
        rig.write(answered("a"))
        counted(rig, "refused", 1)
        rig.write(answered("b"))
        counted(rig, "refused", 2)
        assert collector.bodies == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_redirection_is_no_success(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with Collector(status=302) as collector, caplog.at_level(logging.WARNING):
        rig.export_to(collector.endpoint.replace("//", "//me:secret@"))
        rig.write(answered("a"))
        counted(rig, "refused", 1)
    assert "HTTP 302" in caplog.text and "secret" not in caplog.text and rig.count("sent") == 0


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_an_answer_without_an_end_is_not_read_to_its_end(rig: Rig, pause_s: float) -> None:
    """Fast it would fill the memory of the supervisor, slow it would end all traces."""
    with EndlessCollector(pause_s) as collector:
        rig.export_to(collector.endpoint)
        rig.write(answered("a"))
        counted(rig, "sent", 1)
        wait_for(lambda: collector.ended, "the connection to be closed")
    assert collector.sent_bytes < 32 * 1024 * 1024


def test_a_head_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.supervisor.collector_session._HEAD_WITHIN_S", 0.3)
    with EndlessCollector(0.05, has_head=False) as collector, CollectorSession() as session:
        with pytest.raises(requests.ReadTimeout):
            session.post(collector.endpoint, data=b"spans", timeout=5)
        wait_for(lambda: collector.ended, "the connection to be closed")
    assert session.said == "ReadTimeout"


@pytest.mark.parametrize(
    ("variables", "name"),
    [({"OTEL_SERVICE_NAME": ""}, "nightscan"), ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=owls"}, "owls")],
)
def test_the_service_is_called_what_its_operator_calls_it(
    rig: Rig, collector: Collector, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    rig.export_to(collector.endpoint)
    rig.write(answered("a"))
    counted(rig, "sent", 1)
    assert collector.services == {name}


def silent() -> tuple[str, Callable[[], None]]:
    """A port that is connected to and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    return f"http://127.0.0.1:{listener.getsockname()[1]}", listener.close


def dead() -> tuple[str, Callable[[], None]]:
    endpoint, close = silent()
    close()
    return endpoint, close


@pytest.mark.parametrize("collector", [silent, dead])
def test_a_collector_that_is_away_keeps_nobody_waiting(
    rig: Rig, collector: Callable[[], tuple[str, Callable[[], None]]]
) -> None:
    endpoint, close = collector()
    export = rig.export_to(endpoint)
    rig.write(*[answered(f"{k}") for k in range(10)])
    wait_for(lambda: rig.machine.row(1)[ProcessWord.REQUESTS_READ] == 10, "the ring to be read")
    began_ns = now_ns()
    rig.write(*[answered(f"{k}") for k in range(1000)])
    export.close()
    assert now_ns() - began_ns < 2 * NS_PER_S
    close()


def test_not_installed_is_said_and_nothing_else_happens(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry") or name.endswith("span_sender")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    rig.export_to("http://127.0.0.1:4318")
    wait_for(lambda: caplog.records, "a warning")
    assert "nightscan-engine[otel]" in caplog.text and "otel_endpoint" in caplog.text
    rig.write(answered("a"))


def test_where_nothing_is_configured_nothing_is_begun(rig: Rig) -> None:
    threads = threading.active_count()
    export = TraceExport.of(Settings(), rig.row)
    export.meet(rig.machine)
    rig.write(answered("a"))
    assert threading.active_count() == threads
    export.close()
    assert rig.machine.row(1)[ProcessWord.REQUESTS_READ] == 0


# --- reading --------------------------------------------------------------------------------------------------------


def ids(payloads: list[bytes]) -> list[str]:
    return [unpack_request(payload).request_id for payload in payloads]


def test_each_is_read_once_in_the_order_of_its_process(rig: Rig) -> None:
    reader = RingReader(rig.machine)
    for begin in range(0, 200, 50):
        rig.write(*[answered(f"{k}") for k in range(begin, begin + 50)])
        assert ids(reader.read().payloads) == [f"{k}" for k in range(begin, begin + 50)]
    assert reader.read() == ([], 0)


def test_what_was_written_over_is_counted(rig: Rig) -> None:
    reader = RingReader(rig.machine)
    rig.write(*[answered(f"{k}") for k in range(LAST_PLACES + 37)])
    new = reader.read()
    assert (len(new.payloads), new.lost) == (LAST_PLACES, 37)


def test_one_that_is_half_written_is_waited_for_once(rig: Rig) -> None:
    """Its writer is in the middle of it, or was killed there."""
    reader, words = RingReader(rig.machine), rig.machine.row(1)
    rig.write(answered("0"), answered("1"), answered("2"))
    ring = rig.machine.ring(1).cast("Q")
    whole, ring[64] = ring[64], ring[64] - 1
    assert ids(reader.read().payloads) == ["0"] and words[ProcessWord.REQUESTS_READ] == 1
    new = reader.read()
    assert (ids(new.payloads), new.lost) == (["2"], 1)
    rig.write(answered("3"))
    whole, ring[3 * 64] = ring[3 * 64], ring[3 * 64] - 1
    assert reader.read() == ([], 0)
    ring[3 * 64] = whole
    assert ids(reader.read().payloads) == ["3"]


def test_a_budget_is_that_of_one_second_at_most() -> None:
    budget = TraceBudget(10, 0)
    assert (budget.take(4, 0), budget.take(100, 0), budget.take(1, 0)) == (4, 6, 0)
    assert (budget.take(100, NS_PER_S // 2), budget.take(100, 100 * NS_PER_S)) == (5, 10)
