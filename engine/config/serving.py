"""Settings of the engine: where it lives, what it serves, on which devices."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from engine.config.declaration import Rule, computed, setting

_LONGEST_RUNTIME_DIR = 90  # characters; a Unix socket's path ends at 107 bytes and names are put below it
_DEVICE = r"(cpu|cuda:[0-9]{1,3})"


def default_runtime_dir(environ: Mapping[str, str] = os.environ) -> str:
    """`$XDG_RUNTIME_DIR/nightscan`, else by uid below the temporary directory.

    A runtime directory of somebody else (left behind by su) is not taken: nothing could be written there.
    """
    base = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base) and os.path.isdir(base) and os.access(base, os.W_OK | os.X_OK):
        return os.path.join(base, "nightscan")
    return os.path.join(tempfile.gettempdir(), f"nightscan-{os.getuid()}")


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The engine's own place, devices and queue."""

    runtime_dir: str = computed(
        default_runtime_dir,
        Rule(
            text="Folder of the control socket and state, mode 0700; one engine per folder.",
            pattern=rf"/[^\0\n]{{0,{_LONGEST_RUNTIME_DIR - 1}}}",
            allowed=f"an absolute path of at most {_LONGEST_RUNTIME_DIR} characters",
            default_text="$XDG_RUNTIME_DIR/nightscan, else nightscan-UID in the temporary folder",
        ),
    )
    devices: str = setting(
        "auto",
        Rule(
            text="Where instances run, in turn; auto: every CUDA device if there is one, else cpu.",
            pattern=rf"auto|{_DEVICE}(, ?{_DEVICE})*",
            allowed="auto, or a comma list of cpu and cuda:N",
        ),
    )
    instance_threads: int = setting(
        1, Rule(text="Computing threads of one instance on cpu.", unit="threads", at_least=1, at_most=256)
    )
    lane_slots: int = setting(
        32, Rule(text="Slots of one frontend's lane in shared memory.", unit="slots", at_least=1, at_most=1024)
    )
    request_timeout_ms: int = setting(
        30_000,
        Rule(text="Deadline of a request that names none.", unit="ms", at_least=1, at_most=3_600_000),
    )
    aging_ms: int = setting(
        1000,
        Rule(text="Each such wait counts a request one priority higher.", unit="ms", at_least=1, at_most=3_600_000),
    )


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What the default deployment serves; the shipped demo model when nothing is named."""

    model_path: str = setting(
        "",
        Rule(
            text="Weights to serve (a NightScan checkpoint, an exported model, an .onnx file).",
            bare_variable="MODEL_PATH",
        ),
    )
    csv_dir: str = setting("", Rule(text="Folder of the train.csv that names the classes.", bare_variable="CSV_DIR"))
    model_factory: str = setting(
        "",
        Rule(
            text="Function that makes the model, in place of weights.",
            pattern=r"|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*",
            allowed="package.module:function",
        ),
    )
    model_labels: str = setting(
        "",
        Rule(
            text="File of class names: a JSON list, one name a line, a CSV of one column with a heading, or a"
            " train.csv; before csv_dir."
        ),
    )
    onnx_output: str = setting(
        "", Rule(text="Output with the classes, of an .onnx file that has several; empty: the only one that fits.")
    )
    activation: str = setting(
        "",
        Rule(
            text="How outputs become probabilities: softmax (one class at a time), sigmoid (several at once), none"
            " (they are probabilities already); empty: what the model says of itself, else softmax.",
            choices=("", "softmax", "sigmoid", "none"),
        ),
    )
