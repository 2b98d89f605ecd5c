"""The way in through Flask: works under every WSGI server, after all checks of the host application.

A view reads the body once and bounded, then does what the fast lane does, except that this thread waits.
"""

from __future__ import annotations

import inspect
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from io import BytesIO
from types import FunctionType

import flask

from engine.client import EngineClient
from engine.clock import NS_PER_S, now_ns
from engine.config import Settings
from frontend.attach import LONG_WAIT_S, SHORT_WAIT_S, current_client
from frontend.predict.pending import Pending
from frontend.predict.prediction import AwaitingRoom
from frontend.predict.upload import label_of
from frontend.routes.table import Handler
from frontend.server.decoding_room import ROOM, RoomForThreads, room_of_process
from frontend.server.message import HttpRequest, HttpResponse, Upload, body_limit_bytes
from frontend.wsgi.environ import ARRIVAL
from frontend.wsgi.flask_head import address_of_flask, headers_of_flask

_CHUNK_BYTES = 1024 * 1024
# A refused upload is read to its end, so that the sender sees the refusal and not a reset connection; but not for ever.
_DRAIN_FACTOR = 4
_PEEK_S = 0.1  # how soon a hung-up client is noticed


def view_of(handler: Handler, settings: Settings, *, has_original: bool = False) -> Callable[[], flask.Response]:
    """A Flask view that answers by `handler`."""

    def nightscan_view() -> flask.Response:
        request = request_from_flask(settings.max_upload_bytes)
        client = client_for_view(settings, has_fallback=has_original)
        return to_flask(answer(handler, request, client))

    return nightscan_view


def handler_of_view(view: object) -> Handler | None:
    """The handler that `view_of` closed over, if `view` is its product and nothing is wrapped around it; else None.

    `functools.wraps` copies names and attributes but not the code, so a wrapper is never taken for what it wraps.
    """
    if not isinstance(view, FunctionType) or view.__code__ not in view_of.__code__.co_consts:
        return None
    found: Handler | None = inspect.getclosurevars(view).nonlocals.get("handler")
    return found


def client_for_view(settings: Settings, *, has_fallback: bool) -> EngineClient | None:
    """The client for the current request, waited for as long as that does no harm."""
    request = flask.request
    if request.method != "POST":  # a probe asks what there is
        return current_client(settings)
    is_alone = not request.environ.get("wsgi.multithread", False)  # then the host's own pages would wait behind it
    return current_client(settings, wait_s=SHORT_WAIT_S if has_fallback or is_alone else LONG_WAIT_S)


def answer(handler: Handler, request: HttpRequest, client: EngineClient | None) -> HttpResponse:
    """The whole exchange in this thread; must run inside a Flask request."""
    begun = handler.begin(request, client)
    assert begun is not None  # nobody asked it to be quick
    if isinstance(begun, AwaitingRoom):
        given: RoomForThreads = flask.request.environ.get(ROOM) or room_of_process(begun.limit_bytes)
        begun = begun.go_on(given.wait(begun.size_bytes + begun.body_bytes, begun.wait_s))
    connection = flask.request.environ.get("gunicorn.socket")
    while not isinstance(begun, HttpResponse):
        _wait_for_either(begun, connection)
        begun = begun.finish()
    return begun


def request_from_flask(max_upload_bytes: int) -> HttpRequest:
    """The current request, its body complete or drained."""
    request = flask.request
    arrival_ns = request.environ.get(ARRIVAL) or now_ns()
    upload = _parsed_already()
    limit_bytes = body_limit_bytes(max_upload_bytes)
    body = None if upload else _read_body(limit_bytes)
    return HttpRequest(
        method=request.method,
        path=request.path,
        query=request.query_string.decode("latin-1"),
        headers=headers_of_flask(request),
        body=body or b"",
        client_address=address_of_flask(request),
        arrival_ns=arrival_ns,
        body_too_large=body is None and upload is None,
        upload=upload,
    )


def to_flask(response: HttpResponse) -> flask.Response:
    """As Flask wants it."""
    return flask.Response(response.body, response.status, response.headers)


def replay_body(request: HttpRequest) -> None:
    """Gives the current Flask request its body back, for a view that reads it after us."""
    if "files" in flask.request.__dict__:  # parsed before us: the form is there, only the file was read
        for file in flask.request.files.values():
            file.seek(0)
        return
    environ = flask.request.environ
    environ["wsgi.input"] = BytesIO(request.body)
    environ["CONTENT_LENGTH"] = str(len(request.body))
    if request.is_unpacked:
        environ.pop("HTTP_CONTENT_ENCODING", None)
    for cached in ("stream", "data", "form", "files", "values", "_cached_data"):
        flask.request.__dict__.pop(cached, None)


def _parsed_already() -> Upload | None:
    """The file, where a check of the host application has parsed the form before us and the body is gone."""
    request = flask.request
    if "files" not in request.__dict__:
        return None
    file = request.files.get("file")
    if file is None or not file.filename:
        return None  # as in a form that we read ourselves: no file
    fields = {name: value for name, value in request.form.items()}
    content_type = (file.content_type or "").partition(";")[0].strip().lower()
    return Upload(memoryview(file.read()), label_of(file.filename), content_type, fields, is_multipart=True)


def _read_body(limit_bytes: int) -> bytes | bytearray | None:
    """The body, or None when it is longer than `limit_bytes`, after draining it."""
    request = flask.request
    if "_cached_data" in request.__dict__:
        return request.get_data()
    stream = request.stream
    declared = request.content_length or 0
    body: bytes | bytearray = b""
    read_bytes = 0
    while chunk := stream.read(_CHUNK_BYTES):
        read_bytes += len(chunk)
        if max(read_bytes, declared) > limit_bytes:
            body = b""
            if read_bytes > _DRAIN_FACTOR * limit_bytes:
                break
        elif read_bytes == len(chunk):
            body = chunk
        else:  # grown in place: joining a hundred megabytes is one step that holds up every other thread
            body = body if isinstance(body, bytearray) else bytearray(body)
            body += chunk
    if max(read_bytes, declared) > limit_bytes:
        return None
    return body


def _wait_for_either(pending: Pending, connection: object) -> None:
    """Returns once the answer is there, or the client has hung up and its work is cancelled."""
    if not _can_peek(connection):
        return
    assert isinstance(connection, socket.socket)
    deadline_ns = pending.deadline_ns
    woken = threading.Event()
    pending.add_done_callback(lambda _: woken.set())
    while not woken.wait(min(_PEEK_S, max(0.0, (deadline_ns - now_ns()) / NS_PER_S))):
        if now_ns() >= deadline_ns:
            return
        if _hung_up(connection):
            pending.cancel()
            return


def _can_peek(connection: object) -> bool:
    return isinstance(connection, socket.socket) and not isinstance(connection, ssl.SSLSocket)


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def methods_by_path(keys: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Path -> its methods, for the registration of a route table."""
    found: dict[str, list[str]] = {}
    for method, path in keys:
        found.setdefault(path, []).append(method)
    return found
