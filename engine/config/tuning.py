"""Settings of tuning: whether faster forms of a model are looked for, and how far their answers may differ."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.declaration import Rule, setting


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """Trials of a model's forms, and the gate that each of them has to pass."""

    tuning: str = setting(
        "on",
        Rule(
            text="Look for a faster form of the model beside serving it, and swap it in.",
            choices=("on", "off"),
        ),
    )
    precision: str = setting(
        "fp32",
        Rule(
            text="fp32: only forms that agree within 1e-3 of every probability; auto: the fastest that passes the gate;"
            " bf16, fp16, int8: that one, or none.",
            choices=("fp32", "auto", "bf16", "fp16", "int8"),
        ),
    )
    calibration_dir: str = setting(
        "",
        Rule(
            text="Folder of recordings that forms are calibrated and compared with; empty: sounds that are made up."
            " Forms are tried again once it holds twice as many files.",
        ),
    )
    gate_top1: float = setting(
        0.995,
        Rule(
            text="Least share of windows whose most probable class stays the same.",
            at_least=0,
            at_most=1,
        ),
    )
    gate_close: float = setting(
        0.999,
        Rule(text="Least share of probabilities within gate_within.", at_least=0, at_most=1),
    )
    gate_within: float = setting(
        0.02,
        Rule(text="How far a probability may move and count as close.", at_least=0, at_most=1),
    )
    gate_most: float = setting(
        0.1, Rule(text="How far no probability may move.", at_least=0, at_most=1)
    )
    trial_memory_mb: int = setting(
        4096,
        Rule(
            text="Most memory of each process that tries forms of a model.",
            unit="MB",
            at_least=512,
            at_most=1_048_576,
        ),
    )
    trial_limit_s: int = setting(
        170,
        Rule(
            text="Longest time for all trials of a model together; that in which others had the processor counts once a"
            " faster form is found.",
            unit="s",
            at_least=1,
            at_most=86_400,
        ),
    )
