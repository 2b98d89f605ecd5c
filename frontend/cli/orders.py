"""`nightscan deploy`, `undeploy`, `scale` and `drain`: carried out or refused before the command ends."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import click

from engine.config import spec_from_settings
from engine.spec import DEFAULT_DEPLOYMENT_ID, Activation, ModelSource, ModelSpec
from frontend.cli.asking import ORDER_S, deployments, order
from frontend.cli.command_end import CommandEnd
from frontend.cli.ending import end
from frontend.cli.printing import json_option, show
from frontend.cli.ranges import MOST_OF_A_POOL, range_of
from frontend.cli.settings_here import settings_here

_FILE = click.Path(exists=True, dir_okay=False, readable=True, resolve_path=True)


@click.command()
@click.argument("deployment", default=DEFAULT_DEPLOYMENT_ID)
@click.option("--model-path", type=_FILE, help="Weights, or an exported model (.onnx too).")
@click.option("--factory", help="package.module:function that makes the model.")
@click.option("--demo", is_flag=True, help="The model that is shipped.")
@click.option("--labels", type=_FILE, help="File of class names.")
@click.option("--activation", type=click.Choice(["softmax", "sigmoid", "none"]), help="Outputs to probabilities.")
@click.option("--sample-rate-hz", type=range_of("sample_rate_hz"), help="Unless the model says it itself.")
@click.option("--segment-s", type=range_of("segment_s"), help="Length of a window, unless the model says it.")
@click.option("--onnx-output", help="Output with the classes, of an .onnx file that has several.")
@click.option("--pool-size", type=click.IntRange(1, MOST_OF_A_POOL), help="Instances.")
@click.option("--max-batch-size", type=range_of("max_batch_size"), help="Most items of one batch.")
@click.option(
    "--timeout-s", type=click.FloatRange(1, 3600), default=ORDER_S, show_default=True,
    help="How long this command waits. The engine goes on with what it has begun.",
)  # fmt: skip
@json_option
def deploy(deployment: str, timeout_s: float, as_json: bool, **given: Any) -> None:
    """Deploy a model, or swap the one of that name without losing a request. Ends once it serves.

    Without --model-path, --factory or --demo it is the model that the settings name: those of this shell, and what it
    does not set as the running engine has it.
    """
    options = {name: given[name] for name in ("pool_size", "max_batch_size") if given[name] is not None}
    spec = _spec(given)
    answer = order("deploy", within_s=timeout_s, deployment=deployment, spec=spec.to_json(), options=options)
    show(answer, f"{deployment} serves version {answer.get('version')}", as_json=as_json)


@click.command()
@click.argument("deployment")
@json_option
def undeploy(deployment: str, as_json: bool) -> None:
    """End a deployment once its work is done."""
    answer = order("undeploy", deployment=deployment)
    show(answer, f"{deployment} is gone", as_json=as_json)


@click.command()
@click.argument("deployment")
@click.argument("pool_size", type=click.IntRange(1, MOST_OF_A_POOL))
@json_option
def scale(deployment: str, pool_size: int, as_json: bool) -> None:
    """Give a deployment another number of instances."""
    answer = order("scale", deployment=deployment, pool_size=pool_size)
    size, reason = _pool_of(deployment)
    text = f"{deployment} has {size} instances"
    if size < pool_size:
        text = f"{text}, not {pool_size}: {reason or 'the others are still starting; see nightscan status'}"
    show({**answer, "pool_size": size, "reason": reason}, text, as_json=as_json)
    if size < pool_size:
        end(CommandEnd.PARTLY)


@click.command()
@click.argument("deployment")
@click.option("--resume", is_flag=True, help="Take requests again.")
@json_option
def drain(deployment: str, resume: bool, as_json: bool) -> None:
    """Have a deployment take nothing new and finish what it has; its models stay. With --resume it goes on.

    Requests go to the original API meanwhile, where there is one.
    """
    answer = order("drain", deployment=deployment, resume=resume)
    again = f"{deployment} takes requests again"
    done = f"{deployment} is drained: nothing is under way, nothing new is taken; nightscan drain {deployment} --resume"
    show(answer, again if resume else done, as_json=as_json)


def _pool_of(deployment: str) -> tuple[int, str]:
    """Instances of its newest version, and why there are fewer than wanted."""
    versions = [
        version for each in deployments() if each["deployment"] == deployment for version in each["versions"]
    ]
    if not versions:
        return 0, "it is gone"
    newest = max(versions, key=lambda each: int(each["version"]))
    return int(newest["pool_size"]), str(newest["pool_size_reason"])


def _spec(given: dict[str, Any]) -> ModelSpec:
    """Raises UsageError where nothing says which model, or two options do."""
    named = [name for name in ("model_path", "factory", "demo") if given[name]]
    if len(named) > 1:
        raise click.UsageError("give one of --model-path, --factory and --demo")
    settings = settings_here()
    if not named and not (settings.model_path or settings.model_factory):
        raise click.UsageError("which model? --model-path FILE, --factory package.module:function, or --demo")
    told = {name: given[name] for name in ("sample_rate_hz", "segment_s", "onnx_output") if given[name] is not None}
    if given["labels"]:
        told["labels_path"] = given["labels"]
    if given["activation"]:
        told["activation"] = Activation.named(given["activation"])
    return dataclasses.replace(_source(given) if named else spec_from_settings(settings), **told)


def _source(given: dict[str, Any]) -> ModelSpec:
    if given["factory"]:
        return ModelSpec(source=ModelSource.FACTORY, location=given["factory"], import_paths=(os.getcwd(),))
    if given["model_path"]:
        return ModelSpec(source=ModelSource.CHECKPOINT, location=given["model_path"])
    return ModelSpec(source=ModelSource.DEMO)
