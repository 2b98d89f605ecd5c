"""The settings of one application: what its `app.config` says goes over the environment and the file.

    app.config["NIGHTSCAN_MODEL_POOL_SIZE"] = 2
    app.config["NIGHTSCAN_OPTIMIZED_SERVING__MODEL_POOL_SIZE"] = 2     # the variable's own name means the same

A host may have keys of its own that begin with NIGHTSCAN_; one that is nearly a setting is taken for a slip.
"""

from __future__ import annotations

import difflib
from typing import Any

import flask

from engine.config import Settings, declared, load_settings, settings_with
from engine.errors import ConfigError

SOURCE = "app.config"
_PREFIX = "NIGHTSCAN_"
_FULL_PREFIX = "NIGHTSCAN_OPTIMIZED_SERVING__"


def settings_of(app: flask.Flask, settings: Settings | None = None) -> Settings:
    """`settings` if given, else those of environment, file and `app.config`. Raises ConfigError."""
    if settings is not None:
        return settings
    return settings_with(load_settings(), _configured(app), SOURCE)


def _configured(app: flask.Flask) -> dict[str, Any]:
    names = {item.name for item in declared()}
    found: dict[str, Any] = {}
    for key, value in app.config.items():
        if key.startswith(_FULL_PREFIX):
            found[key.removeprefix(_FULL_PREFIX).lower()] = value
        elif key.startswith(_PREFIX):
            name = key.removeprefix(_PREFIX).lower()
            if name in names:
                found[name] = value
            elif near := difflib.get_close_matches(name, names, n=1, cutoff=0.8):
                raise ConfigError(f"unknown setting {key} ({SOURCE}); did you mean {_PREFIX}{near[0].upper()}?")
    return found
