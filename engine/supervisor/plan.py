"""What a version of a deployment is made of, and what to say when the same plan has made something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.forms import EAGER
from engine.spec import ModelDescription, ModelSource
from engine.supervisor.options import PoolOptions


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a version is made of. All of it stands in the state file before the version is acted on."""

    deployment: str
    number: int
    spec: dict[str, Any]  # ModelSpec as JSON; only the instance reads it
    options: PoolOptions
    pickle_path: Path | None = None
    configured: bool = False  # named by the settings, and not by somebody's request

    @property
    def label(self) -> dict[str, Any]:
        """What a message says that concerns this version."""
        return {"deployment": self.deployment, "version": self.number}


def what_changed(plan: Plan, was: ModelDescription, found: ModelDescription) -> str:
    """In plain words, why an instance that loaded `found` does not join the version that is `was`."""
    if found.computed_in(EAGER) == was.computed_in(EAGER):
        return f"version {plan.number} computes as {was.form}, and this instance can only as {found.form}; see the log"
    location = plan.spec.get("location", "")
    made_by_code = f"the model that {location or 'the factory'} makes"
    is_file = plan.spec.get("source") == ModelSource.CHECKPOINT.value
    what = f"the weights at {location}" if is_file else made_by_code
    advice = "redeploy, or put the old one back" + ("" if is_file else "; a model made anew each time needs a seed")
    figures = f"model_version {was.model_version} then, {found.model_version} now"
    if was.labels != found.labels and was.classes == found.classes:
        what, figures = f"the labels of {what}", f"{_renamed(was.labels, found.labels)}; {figures}"
    return f"{what} changed since version {plan.number} was deployed ({figures}): {advice}"


def _renamed(was: Sequence[str], found: Sequence[str]) -> str:
    """The first class that has another label, and how many there are."""
    renamed = [(index, *names) for index, names in enumerate(zip(was, found)) if names[0] != names[1]]
    index, before, after = renamed[0]
    return f"class {index} was {before!r:.80} and is {after!r:.80}, {len(renamed)} of {len(was)} changed"
