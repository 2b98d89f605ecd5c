"""What the switches and the published presets come to."""

from __future__ import annotations

import os

import pytest

from engine.config import (
    ConnectionPoolConfig,
    Settings,
    cors_origins,
    effective_devices,
    effective_fast_lane,
    effective_max_batch_size,
    effective_pool_size,
    load_settings,
    spec_from_settings,
    wanted_pool_size,
)
from engine.errors import ConfigError
from engine.spec import ModelSource, ModelSpec
from tests.config.published import POOL_DEFAULTS


def test_without_batch_processing_items_go_alone() -> None:
    assert effective_max_batch_size(Settings(max_batch_size=16)) == 16
    assert effective_max_batch_size(Settings(max_batch_size=16, enable_batch_processing=False)) == 1


@pytest.mark.parametrize(
    ("pool", "threads", "cores", "pooling", "expected"),
    [(3, 1, 2, True, 2), (3, 1, 8, True, 3), (3, 4, 8, True, 2), (3, 16, 8, True, 1), (3, 1, 8, False, 1)],
)
def test_pool_on_cpu(pool: int, threads: int, cores: int, pooling: bool, expected: int) -> None:
    settings = Settings(model_pool_size=pool, instance_threads=threads, enable_model_pooling=pooling)
    assert effective_pool_size(settings, cores) == expected


def test_pool_elsewhere_is_not_bound_to_cores() -> None:
    assert wanted_pool_size(Settings(model_pool_size=6)) == 6
    assert wanted_pool_size(Settings(model_pool_size=6, enable_model_pooling=False)) == 1


def test_switches_turn_the_fast_lane_off() -> None:
    assert effective_fast_lane(Settings()) == "auto"
    assert effective_fast_lane(Settings(fast_lane="off")) == "off"
    assert effective_fast_lane(Settings(enable_async_inference=False)) == "off"
    assert effective_fast_lane(Settings(enabled=False)) == "off"


def test_devices() -> None:
    assert effective_devices(Settings(), 0) == ("cpu",)
    assert effective_devices(Settings(), 2) == ("cuda:0", "cuda:1")
    assert effective_devices(Settings(devices="cpu, cuda:1"), 0) == ("cpu", "cuda:1")


def test_origins() -> None:
    assert cors_origins(Settings()) == ()
    assert cors_origins(Settings(api_cors_origins="https://a, https://b,")) == ("https://a", "https://b")


def test_spec_of_nothing_is_the_shipped_model() -> None:
    assert spec_from_settings(load_settings({})) == ModelSpec()


def test_spec_of_weights_and_table() -> None:
    spec = spec_from_settings(load_settings({"MODEL_PATH": "weights.pt", "CSV_DIR": "/data"}))
    assert spec.source is ModelSource.CHECKPOINT
    assert spec.location == os.path.abspath("weights.pt")
    assert spec.labels_path == "/data/train.csv"


def test_spec_of_a_factory() -> None:
    settings = Settings(
        model_factory="mine:make", model_path="/w.pt", model_labels="/l.json", sample_rate_hz=48_000, segment_s=3.0
    )
    spec = spec_from_settings(settings)
    assert spec.source is ModelSource.FACTORY
    assert (spec.location, spec.labels_path, spec.import_paths) == ("mine:make", "/l.json", (os.getcwd(),))
    assert (spec.sample_rate_hz, spec.segment_s, spec.peak_normalise) == (48_000, 3.0, None)


def test_pool_config_has_the_published_fields_and_defaults() -> None:
    assert vars(ConnectionPoolConfig()) == POOL_DEFAULTS


@pytest.mark.parametrize(
    ("config", "differs"),
    [
        (ConnectionPoolConfig(), {}),
        (
            ConnectionPoolConfig.high_throughput(),
            {
                "db_max_connections": 50,
                "redis_max_connections": 30,
                "model_pool_size": 5,
                "max_batch_size": 16,
                "batch_timeout_ms": 50.0,
                "worker_threads": 8,
            },
        ),
        (
            ConnectionPoolConfig.low_latency(),
            {"model_pool_size": 1, "max_batch_size": 1, "batch_timeout_ms": 10.0, "worker_threads": 2},
        ),
        (
            ConnectionPoolConfig.resource_constrained(),
            {
                "db_max_connections": 5,
                "redis_max_connections": 3,
                "model_pool_size": 1,
                "max_batch_size": 4,
                "batch_timeout_ms": 200.0,
            },
        ),
    ],
    ids=["default", "high_throughput", "low_latency", "resource_constrained"],
)
def test_presets_become_settings(config: ConnectionPoolConfig, differs: dict[str, float]) -> None:
    settings = config.to_settings(Settings(port=9000))
    assert {name: getattr(settings, name) for name in POOL_DEFAULTS} == {**POOL_DEFAULTS, **differs}
    assert settings.port == 9000
    assert {name for name, source in settings.sources.items() if source == "argument"} == {"port", *differs}


def test_pool_config_leaves_what_it_does_not_say() -> None:
    base = load_settings({"API_BATCH_SIZE": "32"})
    assert ConnectionPoolConfig(model_pool_size=2).to_settings(base).max_batch_size == 32


def test_pool_config_is_checked_when_it_becomes_settings() -> None:
    with pytest.raises(ConfigError, match="^model_pool_size=0 "):
        ConnectionPoolConfig(model_pool_size=0).to_settings(Settings())


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "none"])
def test_the_activation_reaches_the_model_from_the_settings(name: str) -> None:
    assert spec_from_settings(load_settings({"NIGHTSCAN_OPTIMIZED_SERVING__ACTIVATION": name})).activation == name
    assert spec_from_settings(Settings()).activation is None
