"""How TorchServe is started: an archive with the handler, and a file of settings."""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmarks.rivals.apps import __path__ as apps
from benchmarks.rivals.contender import Launch, Site
from benchmarks.rivals.sizes import ANSWER_S, BATCH, INSTANCES, WINDOW_MS

_LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%p %c %m%n"/></Console></Appenders>
  <Loggers>
    <Root level="warn"><AppenderRef ref="out"/></Root>
    <Logger name="ACCESS_LOG" level="off"/><Logger name="TS_METRICS" level="off"/>
    <Logger name="MODEL_METRICS" level="off"/>
  </Loggers>
</Configuration>
"""


def torchserve(site: Site) -> Launch:
    """In the foreground; needs Java."""
    store = site.scratch / "store"
    store.mkdir()
    settings, logging = site.scratch / "config.properties", site.scratch / "log4j2.xml"
    settings.write_text("".join(f"{name}={value}\n" for name, value in _settings(site, store).items()))
    logging.write_text(_LOGGING)
    logs = str(site.scratch / "logs")
    variables = {
        "PATH": f"{site.bin}:{os.environ.get('PATH', os.defpath)}",
        "LOG_LOCATION": logs,
        "METRICS_LOCATION": logs,
        "TEMP": str(site.scratch),
    }
    archive = [
        str(site.bin / "torch-model-archiver"),
        *("--model-name", "classify", "--version", "1.0"),
        *("--handler", str(Path(apps[0]) / "torchserve_handler.py"), "--export-path", str(store)),
    ]
    start = ["--start", "--foreground", "--ncs", "--disable-token-auth"]
    files = ["--ts-config", str(settings), "--log-config", str(logging)]
    return Launch([str(site.bin / "torchserve"), *start, *files], variables, (archive,))


def _settings(site: Site, store: Path) -> dict[str, str]:
    model = {
        "defaultVersion": True,
        "marName": "classify.mar",
        "minWorkers": INSTANCES,
        "maxWorkers": INSTANCES,
        "batchSize": BATCH,
        "maxBatchDelay": WINDOW_MS,
        "responseTimeout": ANSWER_S,
    }
    inference, management, metrics, grpc, grpc_management = site.ports[:5]
    return {
        "inference_address": f"http://127.0.0.1:{inference}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": str(grpc),
        "grpc_management_port": str(grpc_management),
        "model_store": str(store),
        "load_models": "classify.mar",
        "disable_token_authorization": "true",
        "async_logging": "true",
        "job_queue_size": "1000",
        "default_response_timeout": str(ANSWER_S),
        "models": json.dumps({"classify": {"1.0": model}}),
    }
