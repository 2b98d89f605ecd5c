"""Where the commands of the manuals are typed: a folder with the files that they name, beside a running server."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.conformance import sounds
from tests.conformance.model import LABELS
from tests.models.onnx_files import HEARING, linear, save
from tests.models.torchvision_keys import RESNET18_SHAPES
from tests.support.server import ROOT, ServerProcess

BIN = Path(sys.executable).parent
SETTING = "NIGHTSCAN_OPTIMIZED_SERVING__"
QUICK = {f"{SETTING}MODEL_POOL_SIZE": "1", f"{SETTING}MODEL_WARMUP_REQUESTS": "1"}
_LIMIT_S = 90
_MEASURED = re.compile(r"--seconds \d+")
_OF_THE_SYSTEM = re.compile(r"/etc/|systemctl|\b(sudo|apt-get|docker)\b")


def furnish(folder: Path, app: str) -> Path:
    """Puts every file that a command of a manual names into `folder`; `app` is the text of `myapp.py`."""
    (folder / "night.wav").write_bytes(sounds.wav(sounds.tone(2.0)))
    save(linear(notes=HEARING), folder / "model.onnx")
    torch.save(_weights(), folder / "best_model.pth")
    (folder / "data").mkdir()
    rows = [f"mels/{label}/{index}.npy,{index}" for index, label in enumerate(LABELS)]
    (folder / "data" / "train.csv").write_text("\n".join(["path,label", *rows, ""]))
    (folder / "labels.json").write_text(json.dumps(LABELS))
    (folder / "package").mkdir()
    (folder / "package" / "module.py").write_text("from tests.conformance.model import loud_parts as function\n")
    (folder / "myapp.py").write_text(app)
    (folder / "settings.json").write_text(json.dumps({"optimized_serving": {"workers": 1}}))
    return folder


def _weights() -> dict[str, torch.Tensor]:
    """A checkpoint under torchvision's names, that knows nothing."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.tensor(1) if not shape
        else torch.randn(tuple(shape), generator=generator) * (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1
        else torch.ones(tuple(shape)) if name.endswith(("weight", "running_var")) else torch.zeros(tuple(shape))
        for name, shape in RESNET18_SHAPES.items()
    }  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """A folder, and a server that the commands of the manuals find where the manuals have it."""

    folder: Path
    process: ServerProcess
    status_port: int

    def type(self, text: str, *, directory: Path | None = None) -> str:
        """What a block prints, typed in `directory` or else at this desk. AssertionError where a command fails."""
        assert not _OF_THE_SYSTEM.search(text), "this changes the machine: it wants a test of its own"
        own = text.replace(".venv/bin/", f"{BIN}/").replace("127.0.0.1:8001", f"127.0.0.1:{self.process.port}")
        own = own.replace("127.0.0.1:8002", f"127.0.0.1:{self.status_port}")
        own = own.replace("/run/nightscan", str(self.process.runtime_dir))
        own = _MEASURED.sub("--seconds 1", own)  # a load is as good a load if it is shorter
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", own], cwd=directory or self.folder, stdin=subprocess.DEVNULL,
            env={**self.process.environment, "PATH": path, "PYTEST_ADDOPTS": "-p no:cacheprovider"},
            capture_output=True, text=True, timeout=_LIMIT_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{own}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def started(command: str, folder: Path) -> ServerProcess:
    """The server that `command`, variables before it and all, starts in `folder`; ready once its model serves."""
    words = shlex.split(command)
    variables = dict(word.split("=", 1) for word in words[: words.index("nightscan")])
    arguments = words[words.index("nightscan") + 1:]
    return ServerProcess(
        arguments, module="frontend.cli.main", environment={**QUICK, **variables}, directory=folder,
        import_paths=[ROOT], ready="/api/optimized/health",
    )  # fmt: skip
