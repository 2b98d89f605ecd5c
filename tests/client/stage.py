"""A supervisor for tests of the client: real control socket, real segments, real processes; only the policy is missing.

The test says when an instance starts or dies, when a version closes, when the supervisor goes away and comes back.
Everything runs in the test's own process, the socket in one thread.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import Settings, load_settings
from engine.config.stores import default_state_dir
from engine.errors import PeerGone
from engine.messages import Connection, process_start_ticks, sealed_memfd, socket_path
from engine.shm.bell import Bell
from engine.shm.layout import Geometry
from engine.shm.segment import Segment
from engine.shm.steward import Steward
from engine.spec import ModelDescription

PATIENCE_S = 20.0
REPOSITORY = Path(__file__).resolve().parents[2]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Returns once `condition()` holds; fails the test after PATIENCE_S."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"waited {PATIENCE_S} s for: {what}"
        time.sleep(0.002)


def settings_of(**values: Any) -> Settings:
    """Defaults of a clean environment, but for the journal of the tests; changed by `values`."""
    return load_settings({}).changed(**{"state_dir": default_state_dir(), **values})


@dataclass(eq=False)
class Instance:
    """One child process that serves."""

    process: subprocess.Popen[str]
    name: int
    pidfd: int
    gate: int | None

    def let_pass(self, batches: int = 1) -> None:
        """Lets a gated instance compute this many batches."""
        assert self.gate is not None
        os.eventfd_write(self.gate, batches)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        os.close(self.pidfd)
        if self.gate is not None:
            os.close(self.gate)


@dataclass(eq=False)
class Version:
    """One segment with what belongs to it."""

    deployment: str
    number: int
    description: ModelDescription
    segment: Segment
    steward: Steward
    doorbell: Bell
    reply_bells: list[Bell]
    instances: list[Instance] = field(default_factory=list)
    lanes_given: int = 0

    @property
    def alive(self) -> list[Instance]:
        return [instance for instance in self.instances if instance.process.poll() is None]

    def close(self) -> None:
        for instance in self.instances:
            instance.close()
        self.steward.close()
        self.doorbell.close()
        for bell in self.reply_bells:
            bell.close()
        self.segment.close()


class Stage:
    """Deployments and connected peers. Use as a context manager."""

    def __init__(self, runtime_dir: Path) -> None:
        self.runtime_dir = str(runtime_dir)
        self.versions: dict[tuple[str, int], Version] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.received: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"ok": True}  # to every request
        self._peers: list[Connection] = []
        self._lock = threading.RLock()
        self._server: threading.Thread | None = None
        self._stop: Bell | None = None

    def __enter__(self) -> Stage:
        self.listen()
        return self

    def __exit__(self, *exception: object) -> None:
        self.vanish()
        for version in self.versions.values():
            version.close()

    # --- what a test does -------------------------------------------------------------------------------------------

    def deploy(
        self,
        deployment: str = "echo",
        *,
        number: int = 1,
        frames: int = 16,
        classes: int = 4,
        lanes: int = 3,
        slots: int = 8,
        state: str = "ready",
    ) -> Version:
        """A new version with its segment, told to every peer."""
        description = ModelDescription(
            model_version=f"v{number}",
            input_shape=(frames,),
            classes=classes,
            labels=tuple(f"class {k}" for k in range(classes)),
            sample_rate_hz=frames,
            segment_s=1.0,
            peak_normalise=False,
            device="cpu",
        )
        segment = Segment.create(
            Geometry(lanes=lanes, slots=slots, payload_bytes=description.payload_bytes, reply_bytes=4 * classes)
        )
        bells = [Bell.create() for _ in range(lanes)]
        version = Version(deployment, number, description, segment, Steward(segment), Bell.create(), bells)
        with self._lock:
            self.versions[deployment, number] = version
            for peer in self._peers:
                self._introduce(peer, version)
            self.tell_state(deployment, state, version=number)
        return version

    def start_instance(self, version: Version, *, gated: bool = False, max_batch: int = 4) -> Instance:
        """A serving instance; a gated one computes a batch for each `let_pass`."""
        gate = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE) if gated else None
        fds = [version.segment.fd, version.doorbell.fileno(), *(bell.fileno() for bell in version.reply_bells)]
        numbers = [fds[0], fds[1], -1 if gate is None else gate, max_batch, *fds[2:]]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.client.stage_instance", *map(str, numbers)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            pass_fds=[*fds, *([] if gate is None else [gate])],
            text=True,
            bufsize=1,
        )
        name = version.steward.new_name(process.pid, process_start_ticks(process.pid))
        instance = Instance(process, name, os.pidfd_open(process.pid), gate)
        with self._lock:
            version.instances.append(instance)
            told = {"type": "instance_up", "deployment": version.deployment, "version": version.number, "name": name}
            self._tell_all(told, [instance.pidfd])
        version.steward.mark_go(name)
        assert process.stdin is not None
        process.stdin.write(f"{name}\n")
        return instance

    def tell_state(self, deployment: str, state: str, *, version: int = 0, reason: str = "") -> None:
        told = {"type": "state", "deployment": deployment, "state": state, "version": version, "reason": reason}
        with self._lock:
            self.states[deployment] = told
            self._tell_all(told, [])

    def close_version(self, version: Version) -> None:
        """Sets `closing`, then says so."""
        version.segment.set_closing()
        told = {"type": "close", "deployment": version.deployment, "version": version.number}
        self._tell_all(told, [])

    def is_idle(self, version: Version) -> bool:
        """Whether a peer has said that nothing of its own is left in this version."""
        return any(
            message["type"] == "idle"
            and (message["deployment"], message["version"]) == (version.deployment, version.number)
            for message in self.received
        )

    def hellos(self) -> list[dict[str, Any]]:
        return [message for message in self.received if message["type"] == "hello"]

    def listen(self) -> None:
        """The supervisor is there (again)."""
        path = socket_path(self.runtime_dir)
        Path(path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen(16)
        self._stop = Bell.create()
        self._server = threading.Thread(target=self._serve, args=(listener, self._stop), name="stage")
        self._server.start()

    def vanish(self) -> None:
        """The supervisor is gone, and its connections with it."""
        server, stop = self._server, self._stop
        if server is None or stop is None:
            return
        stop.ring()
        server.join()
        stop.close()
        self._server = self._stop = None

    # --- the socket's thread ----------------------------------------------------------------------------------------

    def _serve(self, listener: socket.socket, stop: Bell) -> None:
        with listener:
            while True:
                peers = {peer.fileno(): peer for peer in self._peers}
                readable, _, _ = select.select([listener.fileno(), stop.fileno(), *peers], [], [])
                if stop.fileno() in readable:
                    break
                if listener.fileno() in readable:
                    self._peers.append(Connection(listener.accept()[0]))
                for peer in [peer for fd, peer in peers.items() if fd in readable]:
                    self._hear(peer)
        with self._lock:
            for peer in self._peers:
                peer.close()
            self._peers.clear()

    def _hear(self, peer: Connection) -> None:
        try:
            received = peer.receive()
        except PeerGone:
            with self._lock:
                self._peers.remove(peer)
            peer.close()
            return
        if received is None:
            return
        message, fds = received
        for fd in fds:
            os.close(fd)
        with self._lock:
            if message["type"] == "hello":
                self._welcome(peer, message)
            elif message["type"] == "request":
                peer.send({"type": "result", "id": message["id"], **self.answer})
            self.received.append(message)

    def _welcome(self, peer: Connection, hello: dict[str, Any]) -> None:
        held = {(hold["deployment"], hold["version"]) for hold in hello["holds"]}
        for key, version in self.versions.items():
            self._introduce(peer, version, with_lane=key not in held)
        for told in self.states.values():
            peer.send(told)
        peer.send({"type": "welcome", "pid": os.getpid(), "deployments": list(self.states)})

    def _introduce(self, peer: Connection, version: Version, *, with_lane: bool = True) -> None:
        identity = {"deployment": version.deployment, "version": version.number}
        if with_lane:
            lane = version.lanes_given
            version.lanes_given += 1
            version.steward.assign(lane, peer.peer_pid, process_start_ticks(peer.peer_pid))
            memfd = sealed_memfd("description", version.description.to_bytes())
            fds = [version.segment.fd, version.doorbell.fileno(), version.reply_bells[lane].fileno(), memfd]
            peer.send({"type": "segment", **identity, "lane": lane}, fds)
            os.close(memfd)
        alive = version.alive
        peer.send(
            {
                "type": "live",
                **identity,
                "counter": version.segment.name_counter,
                "names": [instance.name for instance in alive],
            },
            [instance.pidfd for instance in alive],
        )

    def _tell_all(self, message: dict[str, Any], fds: list[int]) -> None:
        with self._lock:
            for peer in self._peers:
                peer.send(message, fds)
