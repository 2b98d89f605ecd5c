"""How Triton is started out of the wheel of PyTriton: by itself with its Python backend, or through PyTriton."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from benchmarks.envelopes import INPUT, OUTPUT
from benchmarks.rivals.contender import Launch, Site
from benchmarks.rivals.plans import ROOT
from benchmarks.rivals.programs import APPS, module
from benchmarks.rivals.sizes import BATCH, INSTANCES, PORT_VARIABLE, WINDOW_MS

_SHARED_BYTES = 16 << 20  # of shared memory that the backend begins with
_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def triton(site: Site) -> Launch:
    """The server's own program; every instance of its Python backend is a process."""
    shipped = site.packages / "pytriton" / "tritonserver"
    repository, backends = _model_repository(site), _backends(site, shipped)
    http, grpc, metrics = site.ports[:3]
    shared = f"nightscan-compare-{http}-"
    command = [
        str(shipped / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--backend-config=python,shm-default-byte-size={_SHARED_BYTES}",
        f"--backend-config=python,shm-region-prefix-name={shared}",
        *("--http-address=127.0.0.1", f"--http-port={http}"),
        *("--grpc-address=127.0.0.1", f"--grpc-port={grpc}"),
        *("--metrics-address=127.0.0.1", f"--metrics-port={metrics}"),
        "--log-info=false",
        "--disable-auto-complete-config",
    ]
    path = f"{site.bin}:{os.environ.get('PATH', os.defpath)}"
    variables = {**_libraries(), "PATH": path, "VIRTUAL_ENV": str(site.bin.parent)}
    return Launch(command, variables, shared=shared)


def pytriton(site: Site) -> Launch:
    """The same server below a Python program that computes for all instances."""
    ports = ",".join(map(str, site.ports[:3]))
    home = site.scratch / "home"
    home.mkdir()
    variables = {PORT_VARIABLE: ports, "PYTRITON_HOME": str(home)}
    return Launch([site.python, *module("pytriton_app")], {**variables, **_libraries()})


def _model_repository(site: Site) -> Path:
    model = site.scratch / "models" / "classify"
    (model / "1").mkdir(parents=True)
    # the backend's process does not read PYTHONPATH
    (model / "1" / "model.py").write_text(
        f"import sys\n\nsys.path.insert(0, {str(ROOT)!r})\nfrom {APPS}.triton_model import TritonPythonModel\n"
    )
    (model / "config.pbtxt").write_text(
        f'name: "classify"\nbackend: "python"\nmax_batch_size: {BATCH}\n'
        f'input [{{ name: "{INPUT}" data_type: TYPE_STRING dims: [1] }}]\n'
        f'output [{{ name: "{OUTPUT}" data_type: TYPE_STRING dims: [1] }}]\n'
        f"instance_group [{{ kind: KIND_CPU count: {INSTANCES} }}]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {WINDOW_MS * 1000} }}\n"
    )
    return model.parent


def _backends(site: Site, shipped: Path) -> Path:
    """A folder of links: the process of a backend for this Python has to lie beside the backend's library."""
    python = site.scratch / "backends" / "python"
    python.mkdir(parents=True)
    for file in (shipped / "backends" / "python").iterdir():
        (python / file.name).symlink_to(file)
    process = python / "triton_python_backend_stub"
    process.unlink(missing_ok=True)
    process.symlink_to(shipped / "python_backend_stubs" / _VERSION / process.name)
    return python.parent


def _libraries() -> dict[str, str]:
    """The process of a backend is linked against the library of the interpreter, wherever that was installed."""
    own = str(sysconfig.get_config_var("LIBDIR"))
    return {"LD_LIBRARY_PATH": ":".join(filter(None, [own, os.environ.get("LD_LIBRARY_PATH")]))}
