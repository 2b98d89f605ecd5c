"""The same file again, over real frontends: answered without an instance, computed once for whoever asks at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.client.admin import ask
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelSource, ModelSpec
from tests.conformance import sounds
from tests.conformance.wire import Address, Answer, answer_on, multipart
from tests.serving.models import runs_in, watched
from tests.serving.servers import ROUTES, address_of, server, version_of
from tests.support.http import Connection, request_bytes
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

OPTIMIZED, LEGACY = ROUTES
MODEL = {
    "model_factory": "tests.serving.models:noted", "sample_rate_hz": 8000, "segment_s": 0.5, "model_warmup_requests": 0,
    "model_pool_size": 1, "workers": 2, "cache_l1_mb": 16, "top_k": 3, "segmentation": "fixed",
}  # fmt: skip
WORTH_IT_S = 0.02  # a model that takes so long is worth asking for first, however cold a process is that does
OF_ONE_ANSWER = ("request_id", "latency", "cache_hit")
PATIENT = {"X-Request-Timeout-Ms": "30000"}


def recording(number: int, duration_s: float = 1.0) -> bytes:
    """Another file for each number."""
    return sounds.wav(sounds.tone(duration_s, pitch_hz=200 + number, level=0.3 + number / 1000))


@dataclass(frozen=True)
class Served:
    """A server of two frontends whose model can be held, and writes down what it computes."""

    process: ServerProcess
    address: Address
    folder: Path

    @property
    def runs(self) -> int:
        return len(runs_in(self.folder / "notes"))

    @contextmanager
    def holding(self) -> Iterator[ThreadPoolExecutor]:
        """Within, no run of the model ends. Gives threads to send requests from; all have answered afterwards."""
        with ThreadPoolExecutor(64) as senders, ExitStack() as stack:
            (self.folder / "hold").touch()
            stack.callback(self.let_go)
            yield senders

    def let_go(self) -> None:
        (self.folder / "hold").unlink(missing_ok=True)

    def send(self, senders: ThreadPoolExecutor, content: bytes) -> Future[Answer]:
        return senders.submit(self.address.post, OPTIMIZED, content, "audio/wav", **PATIENT)

    def counted(self, role: str) -> int:
        return int(self.address.get("/api/optimized/stats").value["cache"]["single_flight"][role])

    def leased(self) -> int:
        return int(version_of(self.process)["slots"]["leased"])

    def worker_of(self, connection: Connection) -> int:
        """The frontend that has accepted this connection."""
        inode = _inode_of(self.process.port, connection.socket.getsockname()[1])
        return next(pid for pid in self.process.workers() if inode in _sockets_of(pid))

    @contextmanager
    def connections(self) -> Iterator[list[Connection]]:
        """One connection to each of the two frontends, each having answered once."""
        with ExitStack() as stack:
            found: dict[int, Connection] = {}

            def another() -> bool:
                connection = stack.enter_context(self.process.connect())
                assert connection.request("GET", "/health").status == 200
                found.setdefault(self.worker_of(connection), connection)
                return len(found) == 2

            wait_for(another, "a connection to each frontend")
            yield list(found.values())


def _inode_of(server_port: int, client_port: int) -> int:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(each.rpartition(":")[2], 16) for each in fields[1:3]]
        if ports == [server_port, client_port]:
            return int(fields[9])
    raise AssertionError(f"no connection between {server_port} and {client_port}")


def _sockets_of(pid: int) -> set[int]:
    links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    return {int(link[8:-1]) for link in links if link.startswith("socket:[")}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("cached")
    with server(MODEL, **watched(folder, takes_s=WORTH_IT_S)) as process:
        yield Served(process, address_of(process), folder)


def same(answer: Answer) -> Any:
    """What two answers to one file have in common."""
    value = answer.value
    return {k: v for k, v in value.items() if k not in OF_ONE_ANSWER} if isinstance(value, dict) else value


@pytest.mark.parametrize("route", ROUTES)
def test_the_same_file_moves_no_counter_of_an_instance(served: Served, route: str) -> None:
    def counted() -> Any:
        return served.address.get("/api/optimized/stats").value["batch_processing"]

    content, idle, runs = recording(1), counted(), served.runs
    first = served.address.upload(route, content)
    if served.runs != runs:
        wait_for(lambda: counted() != idle, "the instance counts what it has answered")
    before = counted(), served.runs
    again = served.address.upload(route, content)
    after = counted(), served.runs
    assert first.status == again.status == 200 and before == after
    assert same(first) == same(again)
    if route == OPTIMIZED:
        assert (first.value["cache_hit"], again.value["cache_hit"]) == (False, True)
        assert first.value["request_id"] != again.value["request_id"]
    assert "compute;dur=0.000" in again.headers["server-timing"]


def test_hits_and_misses_are_counted_for_the_deployment(served: Served) -> None:
    def counted() -> tuple[int, ...]:
        found = served.address.get("/api/optimized/stats").value["performance_metrics"][DEFAULT_DEPLOYMENT_ID]
        return found["cache_hits"], found["cache_misses"], found["successful_requests"]

    before = counted()
    for _ in range(3):
        served.address.upload(OPTIMIZED, recording(9))
    wait_for(lambda: [b - a for a, b in zip(before, counted())] == [2, 1, 3], "three answers, two of them hits")


def test_it_is_answered_by_another_frontend_too(served: Served) -> None:
    content = recording(2)
    with served.connections() as (one, other):
        head = {"Content-Type": "audio/wav"}
        answers = [connection.request("POST", OPTIMIZED, content, head).json() for connection in (one, other)]
    assert [answer["cache_hit"] for answer in answers] == [False, True]


def test_however_the_file_is_sent_it_is_the_same_file(served: Served) -> None:
    content = recording(3)
    assert served.address.post(OPTIMIZED, content, "audio/wav").value["cache_hit"] is False
    assert served.address.upload(OPTIMIZED, content, "other name.flac", top_k="2").value["cache_hit"] is True


def test_other_wishes_are_worded_from_it(served: Served) -> None:
    content = recording(4)
    whole = served.address.upload(OPTIMIZED, content, top_k="3").value
    rows = whole["top_predictions"]
    for wish, expected in (
        ({"top_k": "1"}, rows[:1]),
        ({"min_confidence": str(rows[1]["probability"])}, rows[:2]),
        ({"priority": "5"}, rows),
    ):
        answer = served.address.upload(OPTIMIZED, content, **wish).value
        assert answer["cache_hit"] is True and answer["top_predictions"] == expected


def test_the_original_route_names_each_caller_s_own_file(served: Served) -> None:
    content, before = recording(5, 0.5), served.runs
    names = [served.address.upload(LEGACY, content, name).value[0]["segment"] for name in ("one.wav", "two.wav")]
    assert names == ["one.wav", "two.wav"] and served.runs == before + 1


@pytest.mark.parametrize("form", [{"segmentation": "silence"}, {"overlap_s": "0.25"}])
def test_windows_that_are_cut_in_another_way_are_computed(served: Served, form: dict[str, str]) -> None:
    content = recording(6 + len(form.get("overlap_s", "")))
    served.address.upload(OPTIMIZED, content)
    before = served.runs
    assert served.address.upload(OPTIMIZED, content, **form).value["cache_hit"] is False
    assert served.runs > before


def test_a_route_of_other_limits_computes_for_itself(served: Served) -> None:
    content = recording(20)
    served.address.upload(OPTIMIZED, content)
    before = served.runs
    assert served.address.upload(LEGACY, content).status == 200 and served.runs > before


def test_a_refusal_is_not_kept(served: Served) -> None:
    def stored() -> int:
        return int(served.address.get("/api/optimized/stats").value["cache"]["l1"]["entries"])

    before = stored()
    assert [served.address.upload(OPTIMIZED, sounds.SILENT).pair[0] for _ in range(2)] == [400, 400]
    assert stored() == before


def test_an_answer_that_is_long_is_worded_apart_and_is_the_same(served: Served) -> None:
    """3,000 predictions are more than an event loop lists."""
    content = recording(21, 50.0)
    form = {"top_k": "3", "overlap_s": "0.4"}
    first, again = (served.address.upload(OPTIMIZED, content, **form) for _ in range(2))
    assert again.value["cache_hit"] is True and same(first) == same(again) and len(again.value["segments"]) > 400


def test_a_file_that_takes_work_to_decode_is_found_before_that(served: Served) -> None:
    content = sounds.encoded(sounds.tone(1.0, pitch_hz=777), "FLAC")
    values = [served.address.upload(OPTIMIZED, content).value for _ in range(2)]
    assert [value["cache_hit"] for value in values] == [False, True]
    assert values[0]["audio"] == values[1]["audio"] and values[1]["audio"]["format"] == "FLAC"


def test_sixty_four_at_once_over_all_frontends_compute_once(served: Served) -> None:
    content, before, waiting = recording(30, 0.5), served.runs, served.counted("follower")
    with served.holding() as senders:
        futures = [served.send(senders, content) for _ in range(64)]
        wait_for(lambda: served.counted("follower") == waiting + 63, "all but one to wait")
    answers = [future.result() for future in futures]
    assert [answer.status for answer in answers] == [200] * 64 and served.runs == before + 1
    assert sorted(answer.value["cache_hit"] for answer in answers) == [False] + [True] * 63
    assert all(same(answer) == same(answers[0]) for answer in answers)


@contextmanager
def a_leader(served: Served, content: bytes, connection: Connection, **headers: str) -> Iterator[None]:
    """Within, the request of `connection` is being computed."""
    connection.send(request_bytes("POST", OPTIMIZED, content, {"Content-Type": "audio/wav", **headers}))
    wait_for(lambda: served.leased() >= 1, "the leader is computed")
    yield


def test_when_the_leader_hangs_up_everybody_else_is_answered(served: Served) -> None:
    content, waiting, taken_over = recording(31, 0.5), served.counted("follower"), served.counted("takeover")
    with served.process.connect() as leader, served.holding() as senders:
        with a_leader(served, content, leader):
            futures = [served.send(senders, content) for _ in range(8)]
            wait_for(lambda: served.counted("follower") == waiting + 8, "the others to wait")
            leader.close()
            wait_for(lambda: served.counted("takeover") > taken_over, "another one to lead")
    assert [future.result().status for future in futures] == [200] * 8


def test_when_the_leader_s_time_is_over_everybody_else_is_answered(served: Served) -> None:
    content, waiting = recording(32, 0.5), served.counted("follower")
    with served.process.connect() as leader, served.holding() as senders:
        with a_leader(served, content, leader, **{"X-Request-Timeout-Ms": "1500"}):
            futures = [served.send(senders, content) for _ in range(8)]
            wait_for(lambda: served.counted("follower") == waiting + 8, "the others to wait")
            assert answer_on(leader).status == 504
    assert [future.result().status for future in futures] == [200] * 8


def test_a_follower_s_time_is_its_own(served: Served) -> None:
    content = recording(33, 0.5)
    with served.process.connect() as leader:
        with served.holding() as senders, a_leader(served, content, leader):
            short = {"X-Request-Timeout-Ms": "300"}
            assert served.address.post(OPTIMIZED, content, "audio/wav", **short).pair[0] == 504
            patient = served.send(senders, content)
        assert patient.result().status == 200 and answer_on(leader).status == 200


def test_when_the_leader_s_frontend_is_killed_everybody_else_is_answered(tmp_path: Path) -> None:
    content = recording(34, 0.5)
    body, content_type = multipart(content, "night.wav", "audio/wav")
    with server(MODEL, **watched(tmp_path, takes_s=WORTH_IT_S)) as process:
        served = Served(process, address_of(process), tmp_path)
        with served.connections() as (one, other):
            with served.holding(), a_leader(served, content, one):
                other.send(request_bytes("POST", OPTIMIZED, body, {"Content-Type": content_type, **PATIENT}))
                wait_for(lambda: served.counted("follower") == 1, "the other to wait")
                os.kill(served.worker_of(one), signal.SIGKILL)
                wait_for(lambda: served.counted("takeover") == 1, "the other to lead")
            assert answer_on(other).status == 200


def test_views_of_flask_wait_for_each_other_too(tmp_path: Path) -> None:
    settings = {**MODEL, "enable_async_inference": "false", "worker_threads": 8}
    with server(settings, **watched(tmp_path, takes_s=WORTH_IT_S)) as process:
        served = Served(process, address_of(process), tmp_path)
        content = recording(35, 0.5)
        with process.connect() as leader, served.holding() as senders, a_leader(served, content, leader):
            futures = [served.send(senders, content) for _ in range(4)]
            wait_for(lambda: served.counted("follower") == 4, "the others to wait")
            short = {"X-Request-Timeout-Ms": "300"}
            assert served.address.post(OPTIMIZED, content, "audio/wav", **short).pair[0] == 504
            leader.close()
            wait_for(lambda: served.counted("takeover") == 1, "another one to lead")
        answers = [future.result() for future in futures]
        assert [answer.status for answer in answers] == [200] * 4
        assert sorted(answer.value["cache_hit"] for answer in answers) == [False, True, True, True]
        before = served.runs
        assert same(served.address.upload(OPTIMIZED, content)) == same(answers[0]) and served.runs == before


def deploy(served: Served, deployment: str, factory: str) -> None:
    spec = ModelSpec(
        source=ModelSource.FACTORY, location=f"tests.serving.models:{factory}", sample_rate_hz=8000, segment_s=0.5
    )
    ask(str(served.process.runtime_dir), "deploy", timeout_s=60, deployment=deployment, spec=spec.to_json(), options={})


def test_another_deployment_never_gets_it(served: Served) -> None:
    content = recording(40)
    served.address.upload(OPTIMIZED, content)
    deploy(served, "bats", "noted")
    wait_for(lambda: served.address.upload(OPTIMIZED, content, deployment="bats").status == 200, "it serves")
    other = recording(41)
    names = (DEFAULT_DEPLOYMENT_ID, "bats")
    values = [served.address.upload(OPTIMIZED, other, deployment=name).value for name in names]
    assert [value["cache_hit"] for value in values] == [False, False]
    assert values[0]["model_version"] == values[1]["model_version"]


def test_another_version_never_gets_it_in_the_middle_of_a_swap_either(served: Served) -> None:
    content = recording(42, 0.5)
    known = recording(43, 0.5)
    old = served.address.upload(OPTIMIZED, known).value["model_version"]
    with served.process.connect() as leader:
        with served.holding() as senders, a_leader(served, content, leader, **PATIENT):
            follower = served.send(senders, content)
            deploy(served, DEFAULT_DEPLOYMENT_ID, "changed")

            def new_one() -> bool:
                return bool(served.address.upload(OPTIMIZED, recording(44, 0.5)).value["model_version"] != old)

            wait_for(new_one, "the new version serves")
            values = [served.address.upload(OPTIMIZED, each).value for each in (content, known, content)]
            assert [value["cache_hit"] for value in values] == [False, False, True]
            assert all(value["model_version"] != old for value in values)
        assert answer_on(leader).status == follower.result().status == 200
    assert served.address.upload(OPTIMIZED, content).value["top_predictions"] == values[0]["top_predictions"]
