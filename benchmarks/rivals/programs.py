"""How each server is started whose application is a Python module of ours."""

from __future__ import annotations

import json

from benchmarks.rivals.contender import Launch, Site
from benchmarks.rivals.sizes import ANSWER_S, BATCH, INSTANCES, PORT_VARIABLE, WINDOW_MS

APPS = "benchmarks.rivals.apps"
_GUNICORN = ["-k", "gthread", "--keep-alive", "30", "--timeout", str(ANSWER_S), "--log-level", "warning"]


def module(name: str) -> list[str]:
    """Arguments that run one of our applications."""
    return ["-m", f"{APPS}.{name}"]


def mosec(site: Site) -> Launch:
    where = ["--address", "127.0.0.1", "--port", str(site.ports[0])]
    limits = ["--timeout", str(ANSWER_S * 1000), "--log-level", "warning"]
    return Launch([site.python, *module("mosec_app"), *where, *limits])


def litserve(site: Site) -> Launch:
    return Launch([site.python, *module("litserve_app")], {PORT_VARIABLE: str(site.ports[0])})


def bentoml(site: Site) -> Launch:
    where = ["--host", "127.0.0.1", "--port", str(site.ports[0])]
    silent = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(site.scratch / "home")}
    (site.scratch / "home").mkdir()
    return Launch([str(site.bin / "bentoml"), "serve", f"{APPS}.bentoml_app:Classify", *where], silent)


def flask(site: Site) -> Launch:
    size = ["-w", str(INSTANCES), "--threads", "8", "-b", f"127.0.0.1:{site.ports[0]}"]
    return Launch([str(site.bin / "gunicorn"), *_GUNICORN, *size, "benchmarks.inline_app:application"])


def dirty(site: Site) -> Launch:
    settings = site.scratch / "gunicorn_settings.py"
    settings.write_text(
        f"dirty_apps = ['{APPS}.dirty_model:Model']\ndirty_workers = {INSTANCES}\ndirty_threads = 1\n"
        f"dirty_timeout = {ANSWER_S}\n"
    )
    size = ["-w", "1", "--threads", "16", "-b", f"127.0.0.1:{site.ports[0]}", "-c", str(settings)]
    return Launch([str(site.bin / "gunicorn"), *_GUNICORN, *size, f"{APPS}.dirty_app:application"])


def fastapi(site: Site) -> Launch:
    where = ["--host", "127.0.0.1", "--port", str(site.ports[0]), "--workers", str(INSTANCES)]
    silent = ["--log-level", "warning", "--no-access-log"]
    return Launch([str(site.bin / "uvicorn"), f"{APPS}.fastapi_app:application", *where, *silent])


def ray(site: Site) -> Launch:
    variables = {
        PORT_VARIABLE: str(site.ports[0]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    }
    return Launch([site.python, *module("ray_app")], variables)


def mlserver(site: Site) -> Launch:
    http, grpc, metrics = site.ports[:3]
    environments = site.scratch / "environments"
    environments.mkdir()
    server = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": INSTANCES,
        "environments_dir": str(environments),
        "metrics_dir": str(environments),
    }
    model = {
        "name": "classify",
        "implementation": f"{APPS}.mlserver_app.Classify",
        "max_batch_size": BATCH,
        "max_batch_time": WINDOW_MS / 1000,
        "parameters": {"version": "v1"},
    }
    (site.scratch / "settings.json").write_text(json.dumps(server))
    (site.scratch / "model-settings.json").write_text(json.dumps(model))
    return Launch([str(site.bin / "mlserver"), "start", str(site.scratch)])
