"""`nightscan`: the command line. Thin: each command reads the settings, does one thing, prints what a person needs.

Errors of ours end with one line and exit code 1; a wrong command line with 2, as click does.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any

import click

from engine.client.admin import ask
from engine.config import Settings, effective_settings, load_settings
from engine.launch import prepare_runtime_dir, prepare_state_dir
from engine.spec import DEFAULT_DEPLOYMENT_ID, Activation, ModelSource, ModelSpec
from engine.stores.preconditions import check_store_addresses
from frontend.cli.demo import demo
from frontend.cli.http_client import post_file
from frontend.cli.journal import journal
from frontend.cli.serve import serve_command
from frontend.cli.telling import telling
from frontend.cli.view import config_view, prediction_view, status_view

_SLOW_S = 600.0  # deploying loads and warms a model
_QUICK_S = 10.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--runtime-dir", help="Folder of the engine's control socket, in place of the setting of that name.")
def main(runtime_dir: str | None) -> None:
    """One inference engine for night sound recordings."""
    if runtime_dir is not None:
        os.environ["NIGHTSCAN_OPTIMIZED_SERVING__RUNTIME_DIR"] = os.path.abspath(runtime_dir)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("app", required=False)
@click.argument("gunicorn_arguments", nargs=-1, type=click.UNPROCESSED)
@telling
def serve(app: str | None, gunicorn_arguments: tuple[str, ...]) -> None:
    """Serve over HTTP under gunicorn: our own application, or APP (package.module:app).

    What follows APP goes to gunicorn as it is.
    """
    environment, command = serve_command(load_settings(), app, gunicorn_arguments)
    os.execvpe(command[0], command, {**os.environ, **environment})


@main.command()
@telling
def engine() -> None:
    """Run the supervisor in the foreground, for a service manager."""
    settings = load_settings()
    check_store_addresses(settings)
    if settings.journal == "on":
        prepare_state_dir(settings)
    path = prepare_runtime_dir(settings.runtime_dir)
    os.execv(sys.executable, [sys.executable, "-m", "engine.supervisor", "--runtime-dir", str(path)])


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
@telling
def status(as_json: bool) -> None:
    """Show what the engine of this runtime directory does."""
    found = ask(load_settings().runtime_dir, "status", timeout_s=_QUICK_S)
    click.echo(json.dumps(found, indent=2) if as_json else status_view(found), nl=as_json)


@main.command()
@telling
def config() -> None:
    """Print every setting with its value and where that came from."""
    click.echo(config_view(effective_settings(load_settings())), nl=False)


@main.command()
@click.argument("deployment", default=DEFAULT_DEPLOYMENT_ID)
@click.option("--model-path", default="", help="Weights, or an exported model (.onnx too).")
@click.option("--factory", default="", help="package.module:function that makes the model.")
@click.option("--labels", default="", help="File of class names.")
@click.option("--activation", type=click.Choice(["softmax", "sigmoid", "none"]), help="Outputs to probabilities.")
@click.option("--sample-rate-hz", type=int, help="Rate at which it hears, unless it says that itself.")
@click.option("--segment-s", type=float, help="Length of a window, unless it says that itself.")
@click.option("--onnx-output", help="Output with the classes, of an .onnx file that has several.")
@click.option("--pool-size", type=int, help="Instances.")
@click.option("--max-batch-size", type=int, help="Most items of one batch.")
@telling
def deploy(
    deployment: str,
    model_path: str,
    factory: str,
    labels: str,
    activation: str | None,
    sample_rate_hz: int | None,
    segment_s: float | None,
    onnx_output: str | None,
    pool_size: int | None,
    max_batch_size: int | None,
) -> None:
    """Deploy a model, or swap the one of that name without losing a request."""
    spec = dataclasses.replace(
        _spec(model_path, factory, labels, activation),
        sample_rate_hz=sample_rate_hz, segment_s=segment_s, onnx_output=onnx_output,
    )  # fmt: skip
    options = {"pool_size": pool_size, "max_batch_size": max_batch_size}
    given = {name: value for name, value in options.items() if value is not None}
    answer = _ask("deploy", deployment=deployment, spec=spec.to_json(), options=given)
    click.echo(f"{deployment} serves version {answer.get('version')}")


@main.command()
@click.argument("deployment")
@telling
def undeploy(deployment: str) -> None:
    """End a deployment once its work is done."""
    _ask("undeploy", deployment=deployment)
    click.echo(f"{deployment} is gone")


@main.command()
@click.argument("deployment")
@click.argument("pool_size", type=int)
@telling
def scale(deployment: str, pool_size: int) -> None:
    """Give a deployment another number of instances."""
    _ask("scale", deployment=deployment, pool_size=pool_size)
    click.echo(f"{deployment} has {pool_size} instances")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--url", help="Server; default: the one of the settings.")
@click.option("--json", "as_json", is_flag=True, help="The answer as it came.")
@telling
def predict(file: str, url: str | None, as_json: bool) -> None:
    """Send a recording to a running server and show the answer."""
    answer = post_file(url or _own_url(load_settings()), file)
    click.echo(json.dumps(answer, indent=2) if as_json else prediction_view(answer), nl=as_json)


main.add_command(demo)
main.add_command(journal)


def _ask(op: str, **fields: Any) -> dict[str, Any]:
    return ask(load_settings().runtime_dir, op, timeout_s=_SLOW_S, **fields)


def _spec(model_path: str, factory: str, labels: str, activation: str | None) -> ModelSpec:
    source = ModelSource.FACTORY if factory else ModelSource.CHECKPOINT if model_path else ModelSource.DEMO
    return ModelSpec(
        source=source,
        location=factory or (os.path.abspath(model_path) if model_path else ""),
        labels_path=os.path.abspath(labels) if labels else "",
        activation=Activation.named(activation),
        import_paths=(os.getcwd(),) if factory else (),
    )


def _own_url(settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.bind_host, settings.bind_host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


if __name__ == "__main__":
    main()
