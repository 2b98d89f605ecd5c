"""One request means the same on the lane, behind the bridge, and under gunicorn's own threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from frontend.server.trusted_proxies import TrustedProxies
from tests.conformance import sounds
from tests.conformance.wire import multipart
from tests.support.http import Connection
from tests.support.lane_host import hosted
from tests.support.server import ServerProcess, free_port
from tests.transport import told_host

TRUSTED = "127.0.0.1,10.0.0.0/8"
STATS, PREDICT = "/api/optimized/stats", "/api/optimized/predict"
FORM, FORM_TYPE = multipart(sounds.ONE_SECOND, "n.wav", "audio/wav", {"top_k": "2"})

Address = tuple[str, int]
Fields = list[tuple[str, str]]


@pytest.fixture(scope="module")
def ways() -> Iterator[Mapping[str, Address]]:
    """Three servers of one host."""
    port = free_port()
    threads = ["-k", "gthread", "-b", f"127.0.0.1:{port}", "--no-control-socket", "tests.transport.told_host:views()"]
    environment = {"FORWARDED_ALLOW_IPS": TRUSTED}
    with ServerProcess(threads, environment=environment, port=port, ready="") as server, ExitStack() as stack:
        stack.enter_context(told_host.stand_in())
        found = {"gthread": server.address}
        for name, enabled in (("lane", None), ("bridge", False)):
            lane = told_host.lane(enabled=enabled)
            stack.callback(lane.close)
            host = stack.enter_context(hosted(lane))
            host.state.trusted_proxies = TrustedProxies(TRUSTED.split(","))
            found[name] = host.address
            ask(host.address, "HEAD", STATS, [])  # starts the bridge's thread, which then is no test's
        yield found


def ask(address: Address, method: str, target: str, fields: Fields, body: bytes = b"") -> Any:
    """Status and what says how the request was understood."""
    length = [("Content-Length", str(len(body)))] if body else []
    lines = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "test"), *fields, *length])
    with Connection(address) as connection:
        connection.send(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body)
        response = connection.read_response(head_only=method == "HEAD")
    request_id = response.headers.get("x-request-id", "")
    told: Any = None
    if response.status in (200, 203, 422) and response.body and method != "OPTIONS":
        told = response.json()
        kept = {"method", "path", "headers", "address", "error", "code", "field"}
        told = {**{name: told[name] for name in kept & told.keys()}, "listed": len(told.get("top_predictions", ""))}
    allowed = sorted(response.headers.get("allow", "").split(", "))
    return response.status, told, response.headers.get("location"), allowed, request_id[:31]


def told_id(answer: Any) -> str:
    status, *_, request_id = answer
    if status == 400:  # the server refused: only ours has an id for what no application has seen
        return ""
    return request_id if len(request_id) < 31 else "a new one"


def told_alike(ways: Mapping[str, Address], *request: Any) -> Any:
    answers = {name: ask(address, *request) for name, address in ways.items()}
    made = {name: (*answer[:4], told_id(answer)) for name, answer in answers.items()}
    assert made["lane"] == made["bridge"] == made["gthread"]
    return made["lane"]


@pytest.mark.parametrize(
    "forwarded, address",
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9", "10.0.0.1"], "203.0.113.9"),
        (["10.0.0.1", "203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9, ::ffff:10.0.0.1"], "203.0.113.9"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["[2001:DB8::9]:4711, 10.0.0.1"], "2001:db8::9"),
        (["fe80::1%eth0"], "fe80::1%eth0"),
        (["203.0.113.9, unknown"], "127.0.0.1"),
        ([""], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_the_caller_behind_a_proxy_is_the_same(
    ways: Mapping[str, Address], forwarded: list[str], address: str
) -> None:
    fields = [("X-Tell", "1"), *(("X-Forwarded-For", each) for each in forwarded)]
    status, told, *_ = told_alike(ways, "GET", STATS, fields)
    assert (status, told["address"]) == (203, address)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ([("X-A", "1"), ("x-a", "2"), ("X-A", "")], {"x-a": "1,2,"}),
        ([("X-Request-ID", "a"), ("X-Request-ID", "b")], {"x-request-id": "a,b"}),
        ([("X_Forwarded_For", "192.0.2.1"), ("X_A", "1")], {}),
        ([("X-UPPER-case", "Value")], {"x-upper-case": "Value"}),
        ([("X-B", "  spaced \t ")], {"x-b": "spaced"}),
        ([("X-C", "\xe4\xff"), ("X-D", "ü".encode().decode("latin-1"))], {"x-c": "\xe4\xff", "x-d": "\xc3\xbc"}),
        ([("X-E", ""), ("Content-Type", "")], {"x-e": ""}),
        ([("X!#$%&'*+.^`|~", "v")], {"x!#$%&'*+.^`|~": "v"}),
        ([("X-Forwarded-Host", "evil"), ("Proxy", "x")], {"x-forwarded-host": "evil", "proxy": "x"}),
    ],
)
def test_headers_are_the_same(ways: Mapping[str, Address], fields: Fields, expected: dict[str, str]) -> None:
    status, told, *_ = told_alike(ways, "GET", STATS, [("X-Tell", "1"), *fields])
    assert (status, told["headers"]) == (203, {"host": "test", "x-tell": "1", **expected})


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Type", "audio/wav"), ("Content-Type", "text/plain")],
        [("X Y", "v")],
        [("", "v")],
        [("X-E", "a\x01b")],
        [("Host", "other")],
        [("Content-Length", "0"), ("Content-Length", "0")],
    ],
)
def test_headers_that_could_be_read_in_two_ways_are_refused_everywhere(
    ways: Mapping[str, Address], fields: Fields
) -> None:
    assert told_alike(ways, "GET", STATS, [("X-Tell", "1"), *fields])[0] == 400


@pytest.mark.parametrize(
    "target, status",
    [
        (f"{STATS}?a=b&a=c", 203),
        ("/api/optimized%2Fstats", 203),
        ("/api/optimized/%73tats", 203),
        (f"http://other{STATS}", 203),
        (f"{STATS}#f", 203),
        (f"{STATS}??", 203),
        (f"{STATS}?q=\xc3\xa4", 400),
        (f"/{STATS}", 203),  # leading slashes are one to werkzeug
        ("/api//optimized/stats", 308),
        (f"{STATS}/", 404),
        (f"{STATS};x=1", 404),
        (f"{STATS}%00", 404),
        (f"{STATS}%20", 404),
        (f"{STATS}%3Fx", 404),
        (f"{STATS}%C3%A4", 404),
        (STATS.upper(), 404),
        ("/api/optimized/./stats", 404),
        ("/api/optimized/../optimized/stats", 404),
        ("/%zz", 404),
        ("/%ff", 404),
    ],
)
def test_targets_lead_to_the_same_place(ways: Mapping[str, Address], target: str, status: int) -> None:
    found, told, *_ = told_alike(ways, "GET", target, [("X-Tell", "1")])
    assert found == status and (told is None or told["path"] == STATS)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get"])
@pytest.mark.parametrize("path", [STATS, PREDICT])
def test_methods_are_answered_alike(ways: Mapping[str, Address], method: str, path: str) -> None:
    told_alike(ways, method, path, [("X-Tell", "1")])


@pytest.mark.parametrize(
    "query, listed",
    [
        ("top_k=2&top_k=3", 3),
        ("top_k=%32", 2),
        ("top_k=+2", 2),
        ("top_k=%2B2", 2),
        ("q=%c3%a4&top_k=2", 2),
        ("q=%ff&top_k=2", 2),
        ("&&top_k=2&", 2),
        ("top_k=2#x", 2),
        ("TOP_K=2", 5),
        ("a;top_k=2", 5),
        ("min_confidence=0.2", 3),
        ("top_k=", None),
        ("top_k=2;a", None),
        ("top_k=2?x", None),
        ("min_confidence=nan", None),
        ("deployment=%00", None),
        ("&".join(f"a{number}=1" for number in range(101)), None),
    ],
)
def test_queries_are_read_alike(ways: Mapping[str, Address], query: str, listed: int | None) -> None:
    request = ("POST", f"{PREDICT}?{query}", [("Content-Type", "audio/wav")], sounds.ONE_SECOND)
    status, told, *_ = told_alike(ways, *request)
    assert (status, told["listed"]) == ((422, 0) if listed is None else (200, listed))


@pytest.mark.parametrize(
    "fields, status, request_id",
    [
        ([("X-Request-ID", " ok ")], 200, "ok"),
        ([("X-Request-ID", "a"), ("X-Request-ID", "b")], 200, "a new one"),
        ([("X-Request-ID", "")], 200, "a new one"),
        ([("X_Request_ID", "a")], 200, "a new one"),
        ([("X-Request-Timeout-Ms", "5000"), ("X-Request-Timeout-Ms", "6000")], 422, "a new one"),
        ([("X-Request-Timeout-Ms", "")], 422, "a new one"),
    ],
)
def test_what_headers_ask_for_is_the_same(
    ways: Mapping[str, Address], fields: Fields, status: int, request_id: str
) -> None:
    answer = told_alike(ways, "POST", PREDICT, [("Content-Type", FORM_TYPE), *fields], FORM)
    assert (answer[0], answer[4]) == (status, request_id)


def test_form_fields_go_before_the_query_everywhere(ways: Mapping[str, Address]) -> None:
    _, told, *_ = told_alike(ways, "POST", f"{PREDICT}?top_k=4", [("Content-Type", FORM_TYPE)], FORM)
    assert told["listed"] == 2
