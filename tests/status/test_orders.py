"""Orders over HTTP: what they do, and everything that is refused without anything having changed."""

from __future__ import annotations

import pytest

from engine.spec import DEFAULT_DEPLOYMENT_ID as DEPLOYMENT
from tests.status.asking import Asking, Said, deployment, serves

PATHS = ("/", "/status", "/metrics", "/healthz", "/requests", "/events", "/deploy", "/undeploy", "/scale", "/drain",
         "/nothing", "/page.js", "/../admin.token", "/admin.token", "//status", "/status/", "*")  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "PURGE", "BREW")
ORDERS = ("/deploy", "/undeploy", "/scale", "/drain")
IN_JSON = {"Content-Type": "application/json"}


def what_is(asking: Asking) -> list[object]:
    """All that an order would change."""
    found = deployment(asking)
    versions = [(each["version"], each["pool_size_wanted"]) for each in found["versions"]]
    pids = [each["pid"] for version in found["versions"] for each in version["instances"]]
    return [found["state"], found["drained"], versions, pids]


def assert_told(said: Said, *, head: bool = False) -> None:
    """An error is JSON with a text and a code."""
    assert said.headers["Content-Type"] == "application/json"
    if not head:
        assert said.json["error"] and said.json["code"].isupper()


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Bearer ", "Basic {}", "{}", "Bearer {}x", "bearer\t{}"])
def test_without_the_token_every_method_on_every_path_only_looks(asking: Asking, token: str) -> None:
    before = what_is(asking)
    headers = {**IN_JSON, **({"Authorization": token.format(asking.token)} if token else {})}
    for method in METHODS:
        for path in PATHS if not token else ("/deploy", "/status"):
            if path == "/events" and method == "GET":
                continue  # it has no end
            said = asking.ask(method, path, b'{"deployment": "%s"}' % DEPLOYMENT.encode(), headers)
            looks = method in ("GET", "HEAD")
            assert said.status in ((200, 401, 404, 405) if looks else (401, 405)), (method, path, said)
            assert said.status != 405 or looks and path in ORDERS or method == "BREW"
            assert asking.token.encode() not in said.body
            if said.status != 200:
                assert_told(said, head=method == "HEAD")
    assert what_is(asking) == before


def test_with_the_token_methods_that_are_none_are_told_which_are(asking: Asking) -> None:
    before = what_is(asking)
    for method in METHODS:
        for path in PATHS:
            if method in ("GET", "HEAD") and path not in ORDERS or (method == "POST" and path in ORDERS):
                continue
            said = asking.ask(method, path, b"{}", {**IN_JSON, **asking.bearer})
            assert said.status in (404, 405), (method, path, said)
            assert_told(said, head=method == "HEAD")
            if said.status == 405:
                assert said.headers["Allow"] == ("POST" if path in ORDERS and method != "BREW" else "GET, HEAD")
    assert what_is(asking) == before


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"])
def test_what_is_not_json_is_no_order(asking: Asking, kind: str) -> None:
    headers = {**asking.bearer, **({"Content-Type": kind} if kind else {})}
    said = asking.ask("POST", "/undeploy", b'{"deployment": "%s"}' % DEPLOYMENT.encode(), headers)
    assert said.status == 415
    assert_told(said)
    assert serves(asking, 2)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/undeploy", b""),
        ("/undeploy", b"{"),
        ("/undeploy", b'["wildlife_detector_optimized"]'),
        ("/undeploy", b"null"),
        ("/undeploy", b"[" * 30_000),
        ("/undeploy", b"\xff\xfe"),
        ("/undeploy", b'{"deployment": 3}'),
        ("/undeploy", b'{"deployment": null}'),
        ("/undeploy", b'{"name": "wildlife_detector_optimized"}'),
        ("/deploy", b'{"deployment": "x", "spec": {"source": "factory", "location": "os:abort"}}'),
        ("/deploy", b'{"deployment": "wildlife_detector_optimized", "model_path": "/etc/passwd"}'),
        ("/deploy", b'{"deployment": "wildlife_detector_optimized", "options": {}}'),
        ("/scale", b'{"deployment": "wildlife_detector_optimized"}'),
        ("/scale", b'{"deployment": "wildlife_detector_optimized", "pool_size": 0}'),
        ("/scale", b'{"deployment": "wildlife_detector_optimized", "pool_size": 1025}'),
        ("/scale", b'{"deployment": "wildlife_detector_optimized", "pool_size": true}'),
        ("/scale", b'{"deployment": "wildlife_detector_optimized", "pool_size": 1.5}'),
        ("/scale", b'{"deployment": "wildlife_detector_optimized", "pool_size": 1e999}'),
        ("/drain", b'{"deployment": "wildlife_detector_optimized", "resume": "yes"}'),
    ],
)
def test_wrong_json_is_told_which_and_nothing_happens(asking: Asking, path: str, body: bytes) -> None:
    before = what_is(asking)
    said = asking.ask("POST", path, body, {**asking.bearer, **IN_JSON})
    assert (said.status, said.json["code"]) == (422, "INVALID_FIELD")
    assert_told(said)
    assert what_is(asking) == before


@pytest.mark.parametrize("path", ORDERS)
def test_what_nobody_declared_or_deployed_is_not_found(asking: Asking, path: str) -> None:
    fields = {"pool_size": 1} if path == "/scale" else {}
    said = asking.order(path, deployment="another", **fields)
    assert (said.status, said.json["code"]) == (404, "UNKNOWN_DEPLOYMENT")
    assert DEPLOYMENT in said.json["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST:8002"}, 200),
        ({"Host": "127.0.0.1:1"}, 200),
        ({"Host": "[::1]:8002"}, 200),
        ({"Host": "night.example"}, 403),
        ({"Host": "localhost.night.example"}, 403),
        ({"Host": "night.example:8002"}, 403),
        ({"Host": "10.0.0.7"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost@night.example"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://night.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://[::1"}, 403),
    ],
)
def test_pages_of_others_and_names_of_others_may_not_even_look(
    asking: Asking, headers: dict[str, str], status: int
) -> None:
    said = asking.get("/healthz", headers)
    assert said.status == status
    before = what_is(asking)
    body = b'{"deployment": "nobody"}'
    ordered = asking.ask("POST", "/undeploy", body, {**headers, **asking.bearer, **IN_JSON})
    assert ordered.status == (404 if status == 200 else 403)
    assert_told(ordered)
    assert what_is(asking) == before
