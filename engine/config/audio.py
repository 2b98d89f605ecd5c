"""Settings of the way from an upload to windows of sound."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.declaration import Rule, setting


@dataclass(frozen=True, kw_only=True)
class AudioSettings:
    """How recordings are cut, and how much of them one request may bring."""

    sample_rate_hz: int = setting(
        22_050, Rule(text="Rate at which the model hears.", unit="Hz", at_least=1000, at_most=384_000)
    )
    segment_s: float = setting(8.0, Rule(text="Length of one window.", unit="s", at_least=0.05, at_most=600))
    overlap_s: float = setting(
        0.0, Rule(text="Overlap of windows cut at fixed steps; less than segment_s.", unit="s", at_least=0, at_most=600)
    )
    min_window_s: float = setting(
        1.0,
        Rule(
            text="Shortest last window at fixed steps where there is another; at most half of segment_s counts.",
            unit="s",
            at_least=0,
            at_most=600,
        ),
    )
    segmentation: str = setting(
        "",
        Rule(
            text="How recordings are cut; empty: silence on the original routes, fixed on the optimized one.",
            choices=("", "silence", "fixed"),
        ),
    )
    peak_normalise: bool = setting(True, Rule(text="Scale every recording to full scale before it is cut."))
    resize_antialias: bool = setting(
        False, Rule(text="Antialias when spectrograms are resized; later training did, the published did not.")
    )
    max_upload_bytes: int = setting(
        104_857_600, Rule(text="Largest body of a request.", unit="bytes", at_least=1024, at_most=2_147_483_647)
    )
    max_duration_s: float = setting(
        600.0,
        Rule(text="Longest recording on the original routes; 0: no limit.", unit="s", at_least=0, at_most=604_800),
    )
    max_segments: int = setting(
        2000, Rule(text="Most windows of one request.", unit="windows", at_least=1, at_most=1_000_000)
    )
    max_decoded_bytes: int = setting(
        536_870_912,
        Rule(
            text="Largest recording once decoded; refused before the memory is spent.",
            unit="bytes",
            at_least=65_536,
            at_most=17_179_869_184,
        ),
    )
    top_k: int = setting(
        5, Rule(text="Predictions listed by the optimized route.", unit="classes", at_least=1, at_most=10_000)
    )
