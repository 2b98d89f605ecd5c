"""What is tried in processes of their own: the model, and the servers of the stores. A hang there is an answer too."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from engine.config import Settings, spec_from_settings, without_secrets
from engine.launch import module_command
from engine.spec import ModelSource
from frontend.cli.check import Check, broken, not_configured, warning, well
from frontend.cli.verdict import last_line

MODEL_S = 120.0
STORES_S = 20.0
_SAID_BYTES = 1 << 16
_STORES = {
    "redis": ("redis", "redis_url, the server, and its ACL; until then answers are cached on this machine alone"),
    "database": ("postgres", "database_url, the server, pg_hba.conf; until then the journal is kept in SQLite"),
    "http": ("original", "original_api_url, and whether that API runs; until then there is no fallback"),
}


_WANTED_MODEL = {
    False: "model_path: a checkpoint, safetensors, TorchScript, torch.export or .onnx file",
    True: "model_factory: package.module:function that makes a torch module, and can be imported",
}


class Trying:
    """A process that has begun to try something. Its group is gone at the end, whatever it has started.

    What it says goes to memory and not through pipes, which whatever it leaves behind would hold open.
    """

    def __init__(self, module: str, order: str, environment: dict[str, str]) -> None:
        with contextlib.ExitStack() as undo:
            self._in, self._out, self._err = (
                undo.enter_context(open(os.memfd_create(name), "w+b")) for name in ("in", "out", "err")
            )
            self._in.write(order.encode())
            self._in.seek(0)
            self._process = subprocess.Popen(
                module_command(module), stdin=self._in, stdout=self._out, stderr=self._err, env=environment,
                start_new_session=True,
            )  # fmt: skip
            self._close = undo.pop_all().close

    def result(self, within_s: float) -> dict[str, Any]:
        """The line of JSON that it wrote; else `error` says how it ended."""
        pidfd = os.pidfd_open(self._process.pid)
        try:
            is_done = bool(select.select([pidfd], [], [], within_s)[0])
        finally:
            os.close(pidfd)
        code = self._kill()
        if not is_done:
            return {"error": f"not done after {within_s:.0f} s"}
        with contextlib.suppress(ValueError):
            found = json.loads(_end_of(self._out))
            if isinstance(found, dict):
                return found
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return {"error": f"{how}: {said}" if (said := _end_of(self._err)) else how}

    def end(self) -> None:
        """Idempotent."""
        self._kill()
        self._close()

    def _kill(self) -> int:
        """Before the leader is reaped: until then nobody else can have the number of its group."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


def _end_of(file: IO[bytes]) -> str:
    """Its last line."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _SAID_BYTES))
    return last_line(file.read().decode(errors="replace"))


@contextmanager
def trying(module: str, order: str, environment: dict[str, str]) -> Iterator[Trying]:
    """Begun, and ended in any case."""
    begun = Trying(module, order, environment)
    try:
        yield begun
    finally:
        begun.end()


def check_children(settings: Settings, *, with_model: bool) -> list[Check]:
    """Both at the same time."""
    own = {**os.environ, **settings.to_environment()}
    order = json.dumps(spec_from_settings(settings).to_json())
    with trying("engine.stores.reached", "", own) as stores:
        if not with_model:
            return _store_checks(stores.result(STORES_S))
        with trying("engine.models.loads", order, without_secrets(own)) as model:
            return [_model_check(settings, model.result(MODEL_S)), *_store_checks(stores.result(STORES_S))]


def _model_check(settings: Settings, found: dict[str, Any]) -> Check:
    spec = spec_from_settings(settings)
    name = {ModelSource.DEMO: "the demo model"}.get(spec.source, spec.location)
    if "error" in found:
        why = last_line(found["error"])
        text = why if name in why else f"{name}: {why}"
        return broken("model", f"does not load: {text}", _WANTED_MODEL[spec.source is ModelSource.FACTORY])
    heard = f"{found['classes']} classes, {found['sample_rate_hz']} Hz, {found['segment_s']:g} s"
    return well("model", f"loads in {found['took_ms'] / 1000:.1f} s: {heard}; {name}")


def _store_checks(found: dict[str, Any]) -> list[Check]:
    if "error" in found:
        text = f"could not be tried: {found['error']}"
        return [warning("stores", text, "a name that nobody resolves takes long: try an address")]
    return [_store_check(found[key], *_STORES[key]) for key in _STORES]


def _store_check(trouble: str | None, name: str, do: str) -> Check:
    if trouble is None:
        return not_configured(name)
    return warning(name, trouble, do) if trouble else well(name, "answers")
