"""Every setting of the engine and its frontends: declared once, read from environment and file, checked, shown.

A setting is one field with one rule in a section (`published`, `serving`, `audio`, `server`, `stores`). Bounds,
reading, error texts, `nightscan config` and the manual's table follow from it. Plain dataclasses, because every
frontend and the supervisor import this and pay for it in memory and start-up time.
"""

from engine.config.cores import cores_of
from engine.config.declaration import SettingDeclaration
from engine.config.effective import (
    cors_headers,
    cors_origins,
    effective_devices,
    effective_fast_lane,
    effective_max_batch_size,
    effective_pool_size,
    spec_from_settings,
    wanted_pool_size,
)
from engine.config.load import load_settings, settings_with, without_secrets
from engine.config.presets import ConnectionPoolConfig
from engine.config.reference import EffectiveSetting, effective_settings, ineffective_settings, reference_table
from engine.config.settings import Settings, declared
from engine.config.values import shown_address

__all__ = [
    "ConnectionPoolConfig",
    "EffectiveSetting",
    "SettingDeclaration",
    "Settings",
    "cores_of",
    "cors_headers",
    "cors_origins",
    "declared",
    "effective_devices",
    "effective_fast_lane",
    "effective_max_batch_size",
    "effective_pool_size",
    "effective_settings",
    "ineffective_settings",
    "load_settings",
    "reference_table",
    "settings_with",
    "shown_address",
    "spec_from_settings",
    "wanted_pool_size",
    "without_secrets",
]
