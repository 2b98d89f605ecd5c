"""The manager where users meet it: scripts, the interpreter, asyncio programs, several processes at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import ConnectionPoolConfig, get_optimized_serving_manager_sync
from engine.config.declaration import ENVIRONMENT_PREFIX
from engine.errors import EngineError
from engine.manager import SyncModelServingManager
from tests.client.stage import REPOSITORY, wait_until
from tests.manager.conftest import OPTIONS, clean_settings, engine_processes
from tests.manager.models import echo, softmax
from tests.manager.test_predict import audio

TIMEOUT_S = 90

DEPLOY = """
import json
import numpy as np
offset = 2.0
def create_model():
    import torch
    class Shifted(torch.nn.Module):
        def forward(self, x):
            return x[:, :3] + offset * torch.tensor([0.0, 1.0, 0.0])
    return Shifted()
options = {"input_shape": (3,), "pool_size": 1, "warmup_requests": 1}
"""

SYNC = DEPLOY + """
from engine import get_optimized_serving_manager_sync
manager = get_optimized_serving_manager_sync()
assert manager is get_optimized_serving_manager_sync()
assert manager.deploy_optimized_model("mine", create_model, **options)
print(json.dumps(manager.predict("mine", np.zeros(3, np.float32), "req_001")), flush=True)
"""

ASYNC = DEPLOY + """
import asyncio
from engine import get_optimized_serving_manager
async def main():
    manager = await get_optimized_serving_manager()
    assert await manager.deploy_optimized_model("mine", create_model, **options)
    results = await asyncio.gather(*(
        manager.predict_async(deployment_id="mine", audio_data=np.zeros(3, np.float32), request_id=f"req_{k}",
                              user_id=None, priority=0, timeout=30.0)
        for k in range(20)
    ))
    assert all(result["predicted_class"] == 1 for result in results), results
    stats = await manager.get_optimization_stats()
    assert stats["performance_metrics"]["mine"]["successful_requests"] == 20
    print(json.dumps(results[0]), flush=True)
    assert await manager.undeploy_optimized_model("mine")
    await manager.shutdown()
asyncio.run(main())
"""


@pytest.fixture
def environment(runtime_dir: Path) -> Iterator[dict[str, str]]:
    """No settings of ours; private engines lie under `runtime_dir`, and are gone in the end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    kept.pop("NIGHTSCAN_CONFIG", None)
    kept.pop("XDG_RUNTIME_DIR", None)
    own = {"TMPDIR": str(runtime_dir), "PYTHONPATH": str(REPOSITORY), f"{ENVIRONMENT_PREFIX}TUNING": "off"}
    yield {**kept, **own}
    wait_until(lambda: not engine_processes(runtime_dir), "no engine is left")


def run(
    arguments: list[str], environment: dict[str, str], cwd: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def answer_in(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0 and lines, done.stderr
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def test_a_script_that_shuts_nothing_down(environment: dict[str, str], tmp_path: Path) -> None:
    answer = answer_in(run(["-W", "error", "-c", SYNC], environment, tmp_path))
    assert answer["confidence"] == pytest.approx(softmax([0, 2, 0])[1], abs=1e-6)
    assert answer["request_id"] == "req_001"


def test_a_file_with_a_factory_in_a_module_beside_it(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(DEPLOY)
    script = SYNC.replace(DEPLOY, "import json\nimport numpy as np\nfrom my_models import create_model, options\n")
    (tmp_path / "script.py").write_text(script)
    assert answer_in(run([str(tmp_path / "script.py")], environment, REPOSITORY))["predicted_class"] == 1


def test_an_asyncio_program(environment: dict[str, str], tmp_path: Path) -> None:
    assert answer_in(run(["-W", "error", "-X", "dev", "-c", ASYNC], environment, tmp_path))["predicted_class"] == 1


def test_the_interactive_interpreter(environment: dict[str, str], tmp_path: Path) -> None:
    lines = textwrap.dedent(SYNC).replace("    return Shifted()\n", "    return Shifted()\n\n")
    assert answer_in(run(["-i", "-q"], environment, tmp_path, lines))["predicted_class"] == 1


FORKS = DEPLOY + """
import os, sys
from engine import get_optimized_serving_manager_sync
manager = get_optimized_serving_manager_sync()
assert manager.deploy_optimized_model("mine", create_model, **options)
x = np.zeros(3, np.float32)
def classes(manager):
    return [manager.predict("mine", x).get("predicted_class") for _ in range(5)]
def lanes():
    deployment, = manager.core.client.request("status", timeout_s=20)["deployments"]
    return deployment["versions"][0]["lanes"]["owners"]
before, owners = classes(manager), lanes()
for work in ("exit", "use"):
    pid = os.fork()
    if pid == 0:
        if work == "use":
            refused = manager.predict("mine", x, "r")
            assert refused["code"] == "FORKED" and "in this one" in refused["error"], refused
            assert not manager.deploy_optimized_model("mine", create_model, **options)
            manager.shutdown()
            own = get_optimized_serving_manager_sync()
            assert own is not manager and classes(own) == before
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
assert classes(manager) == before == [1] * 5
assert lanes()["0"] == owners["0"] == os.getpid(), (owners, lanes())
print(json.dumps(manager.predict("mine", x, "req_001")), flush=True)
"""


def test_a_program_that_forks_keeps_its_engine_and_its_child_gets_its_own(
    environment: dict[str, str], runtime_dir: Path, tmp_path: Path
) -> None:
    joined = {**environment, f"{ENVIRONMENT_PREFIX}RUNTIME_DIR": str(runtime_dir)}
    answer = answer_in(run(["-c", FORKS], joined, tmp_path))
    assert (answer["predicted_class"], answer["request_id"]) == (1, "req_001")


def test_a_killed_script_leaves_no_engine(environment: dict[str, str], runtime_dir: Path, tmp_path: Path) -> None:
    script = SYNC + "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    done = run(["-c", script], environment, tmp_path)
    assert done.returncode == -signal.SIGKILL and "predicted_class" in done.stdout, done.stderr
    wait_until(lambda: not engine_processes(runtime_dir), "the engine has followed")
    assert list(runtime_dir.iterdir()) == []


def test_two_processes_share_one_engine(environment: dict[str, str], runtime_dir: Path, tmp_path: Path) -> None:
    with SyncModelServingManager(clean_settings(runtime_dir)) as manager:
        assert manager.deploy_optimized_model("mine", echo(), **OPTIONS)
        script = """
            import json
            import numpy as np
            from engine import get_optimized_serving_manager_sync
            manager = get_optimized_serving_manager_sync()
            x = np.array([0, 0, 3, 0, 0, 0, 0, 0], np.float32)
            result = manager.predict("mine", x, "theirs")
            result["total"] = manager.get_optimization_stats()["performance_metrics"]["mine"]["total_requests"]
            print(json.dumps(result))
        """
        for _ in range(2):
            assert manager.predict("mine", audio(1), "ours")["predicted_class"] == 0
        joined = {**environment, f"{ENVIRONMENT_PREFIX}RUNTIME_DIR": str(runtime_dir)}
        answer = answer_in(run(["-c", textwrap.dedent(script)], joined, tmp_path))
        assert (answer["predicted_class"], answer["request_id"], answer["total"]) == (2, "theirs", 3)
        assert manager.predict("mine", audio(1), "ours")["predicted_class"] == 0


def test_a_killed_supervisor_is_missed_only_by_orders(runtime_dir: Path) -> None:
    with SyncModelServingManager(clean_settings(runtime_dir)) as manager:
        assert manager.deploy_optimized_model("mine", echo(), **OPTIONS)
        before = manager.core.client.request("status", timeout_s=20)["supervisor"]["pid"]
        os.kill(before, signal.SIGKILL)
        for k in range(50):
            assert manager.predict("mine", audio(0, 1), f"r{k}")["predicted_class"] == 1
        wait_until(lambda: _supervisor_pid(manager) not in (0, before), "the keeper has started another")
        assert manager.predict("mine", audio(0, 1), "r")["predicted_class"] == 1
        assert manager.deploy_optimized_model("mine", echo(2.0), **OPTIONS), manager.deployment_error("mine")
    wait_until(lambda: not engine_processes(runtime_dir), "the engine is gone")


def _supervisor_pid(manager: SyncModelServingManager) -> int:
    try:
        return int(manager.core.client.request("status", timeout_s=20)["supervisor"]["pid"])
    except EngineError:
        return 0


def test_the_published_configuration_is_taken(
    environment: dict[str, str], runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(os.environ) - set(environment):
        monkeypatch.delenv(name)
    monkeypatch.setenv(f"{ENVIRONMENT_PREFIX}RUNTIME_DIR", str(runtime_dir))
    manager = get_optimized_serving_manager_sync(ConnectionPoolConfig(model_pool_size=1, max_batch_size=2))
    try:
        assert manager.deploy_optimized_model("mine", echo(), input_shape=(8,))
        status = manager.core.client.request("status", timeout_s=20)
        version = status["deployments"][0]["versions"][0]
        assert (version["pool_size"], version["max_batch_size"], version["warmup_requests"]) == (1, 2, 5)
    finally:
        manager.shutdown()
    assert manager.predict("mine", audio(1), "r")["code"] == "NOT_READY"
    manager.shutdown()
