"""One form beside the eager one: how fast, and where that is worth it, how near its answers are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from engine.forms import EAGER, ModelForm
from engine.models.catalogue import LoadedModel
from engine.trials.agreement import compare
from engine.trials.findings import policy_of
from engine.trials.computing import FormUnderTrial
from engine.trials.reference import read_reference
from engine.trials.speed import speeds
from engine.trials.stage_request import StageRequest
from engine.trials.stored_sounds import sounds_from


def measure(loaded: LoadedModel, request: StageRequest) -> dict[str, Any]:
    """`items_per_s` by batch size, in terms of the eager speeds of the request; `agreement`, or None for a slow form.

    Raises whatever the form raises.
    """
    order, work = request.order, Path(request.work)
    eager = FormUnderTrial(loaded, EAGER, work, order)
    form = FormUnderTrial(loaded, ModelForm.named(request.form), work, order)
    windows = sounds_from(request.sounds).gate
    found = speeds(
        {"eager": eager, "form": form}, lambda size: windows.batch(range(size)), max_batch=order.max_batch_size,
        threads=order.threads, is_cuda=order.device != "cpu",
    )
    # The ratio of two that took turns holds whatever the machine did; the eager speed is that of the reference.
    items_per_s = {
        size: request.eager_items_per_s[str(size)] * speed / found["eager"][size]
        for size, speed in found["form"].items() if str(size) in request.eager_items_per_s
    }
    if max(items_per_s.values()) < request.worth_items_per_s:
        return {"items_per_s": items_per_s, "agreement": None}
    agreement = compare(
        form, windows, read_reference(work), max_batch=order.max_batch_size, policy=policy_of(order.terms)
    )
    return {"items_per_s": items_per_s, "agreement": dataclasses.asdict(agreement)}
