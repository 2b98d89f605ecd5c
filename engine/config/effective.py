"""What the settings come to on this machine: the switches applied, and the spec of the default deployment.

`enabled=false` stops optimized serving, `enable_async_inference=false` the fast lane, `enable_batch_processing=false`
batches, `enable_model_pooling=false` further instances. Whoever acts on one of these asks here and not the raw value.
"""

from __future__ import annotations

import os

from engine.config.settings import Settings
from engine.spec import Activation, ModelSource, ModelSpec


def effective_max_batch_size(settings: Settings) -> int:
    """Most items of one batch: 1 while batches are switched off."""
    return settings.max_batch_size if settings.enable_batch_processing else 1


def wanted_pool_size(settings: Settings) -> int:
    """Instances of a deployment that are asked for, at least 1."""
    return settings.model_pool_size if settings.enable_model_pooling else 1


def effective_pool_size(settings: Settings, cores: int) -> int:
    """Instances of a deployment on cpu, at least 1.

    Instances times their threads never exceed the cores: more would only take turns, each slower.
    """
    return max(1, min(wanted_pool_size(settings), cores // settings.instance_threads))


def effective_fast_lane(settings: Settings) -> str:
    """`auto` or `off`."""
    return settings.fast_lane if settings.enabled and settings.enable_async_inference else "off"


def effective_devices(settings: Settings, cuda_devices: int) -> tuple[str, ...]:
    """Devices that instances are spread over in turn, given how many CUDA devices the machine has."""
    if settings.devices == "auto":
        return tuple(f"cuda:{index}" for index in range(cuda_devices)) or ("cpu",)
    return tuple(device.strip() for device in settings.devices.split(","))


def cors_origins(settings: Settings) -> tuple[str, ...]:
    """Origins that browsers may call from; empty when none is set."""
    return _listed(settings.api_cors_origins)


def cors_headers(settings: Settings) -> tuple[str, ...]:
    """Request headers that pages of those origins may send."""
    return _listed(settings.api_cors_headers)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def spec_from_settings(settings: Settings) -> ModelSpec:
    """The default deployment: a factory if one is named, else weights, else the model we ship.

    What nobody set stays None, so that the model's own description decides.
    """
    factory, weights = settings.model_factory, settings.model_path
    source = ModelSource.FACTORY if factory else ModelSource.CHECKPOINT if weights else ModelSource.DEMO
    table = os.path.join(settings.csv_dir, "train.csv") if settings.csv_dir else ""
    return ModelSpec(
        source=source,
        location=factory or (os.path.abspath(weights) if weights else ""),
        labels_path=os.path.abspath(settings.model_labels or table) if settings.model_labels or table else "",
        sample_rate_hz=settings.sample_rate_hz if _was_set(settings, "sample_rate_hz") else None,
        segment_s=settings.segment_s if _was_set(settings, "segment_s") else None,
        peak_normalise=settings.peak_normalise if _was_set(settings, "peak_normalise") else None,
        resize_antialias=settings.resize_antialias if _was_set(settings, "resize_antialias") else None,
        activation=Activation.named(settings.activation),
        onnx_output=settings.onnx_output or None,
        import_paths=(os.getcwd(),) if factory else (),
    )


def _was_set(settings: Settings, name: str) -> bool:
    return settings.sources[name] != "default"
