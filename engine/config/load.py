"""Where values come from: environment over the original API's variables over the file over defaults.

A name nobody knows is an error and never ignored, because a misspelt limit that silently does nothing is found by its
outage.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.config.declaration import ENVIRONMENT_PREFIX, SettingDeclaration, Value
from engine.config.otel_variables import unheeded, who_wants_no_traces
from engine.config.serving import default_runtime_dir
from engine.config.settings import Settings, declared
from engine.config.stores import default_state_dir
from engine.config.values import checked, from_text, one_line
from engine.errors import ConfigError

CONFIG_VARIABLE = "NIGHTSCAN_CONFIG"
SECTION = "optimized_serving"

# ONNX Runtime's official builds report what is done with them over HTTPS, unless told not to before they are loaded.
_QUIET = {"ORT_DISABLE_TELEMETRY": "1"}
# What the exporter of traces reads by itself, with the keys of the collector in it.
_KEYS_OF_OTHERS = {"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"}

_Found = dict[str, tuple[Value, str]]  # name -> value, source


def load_settings(environ: Mapping[str, str] | None = None, file: str | os.PathLike[str] | None = None) -> Settings:
    """The settings of this process.

    `environ` is os.environ unless given; `file` is a JSON file `{"optimized_serving": {...}}`, unless given the one
    that NIGHTSCAN_CONFIG names. Raises ConfigError, one line that names the setting, its value, where it came from and
    what is allowed.
    """
    environ = os.environ if environ is None else environ
    path = os.fspath(file) if file is not None else environ.get(CONFIG_VARIABLE, "")
    found: _Found = {
        "runtime_dir": (default_runtime_dir(environ), "default"),
        "state_dir": (default_state_dir(environ), "default"),
    }
    ignored: list[str] = []
    if path:
        found.update(_from_file(path))
    found.update(_from_bare_variables(environ, ignored))
    found.update(_from_environment(environ))
    values: dict[str, Any] = {name: value for name, (value, _) in found.items()}
    ignored += unheeded(environ, endpoint=values.get("otel_endpoint", ""))
    sources = {name: source for name, (_, source) in found.items()}
    return Settings(**values, sources=sources, ignored=tuple(ignored))


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for processes that run other people's code: without the variables that hold secrets of ours.

    Nor does a library in it report to its makers, unless somebody has said that it may.
    """
    secret = [item for item in declared() if item.rule.secret]
    names = {item.environment_variable for item in secret} | {item.rule.bare_variable for item in secret}
    names |= _KEYS_OF_OTHERS
    return {**_QUIET, **{name: value for name, value in environ.items() if name.upper() not in names}}


def settings_with(settings: Settings, values: Mapping[str, object], source: str) -> Settings:
    """`settings` with `values` (setting -> typed value, or text as in the environment) over them, told as `source`.

    Raises ConfigError as `load_settings` does.
    """
    known = {item.name: item for item in declared()}
    found: dict[str, Any] = {}
    for name, value in values.items():
        item = _known(name, known, source)
        as_written = isinstance(value, str) and item.type is not str
        found[item.name] = from_text(item, str(value), source) if as_written else checked(item, value, source)
    return dataclasses.replace(settings, sources={**settings.sources, **dict.fromkeys(found, source)}, **found)


def _from_environment(environ: Mapping[str, str]) -> _Found:
    known = {item.environment_variable: item for item in declared()}
    found: _Found = {}
    for variable in sorted(environ):
        if variable.upper().startswith(ENVIRONMENT_PREFIX):
            item = _known(variable, known, "environment")
            found[item.name] = _read(item, environ[variable], variable)
    return found


def _from_bare_variables(environ: Mapping[str, str], ignored: list[str]) -> _Found:
    """The original API's own variables; an empty one counts as unset, as it did there.

    Adds to `ignored` a line for each that others use too and that holds what is not for us.
    """
    found: _Found = {}
    for item in declared():
        text = environ.get(item.rule.bare_variable, "") if item.rule.bare_variable else ""
        if not text:
            continue
        if item.name == "otel_endpoint" and (name := who_wants_no_traces(environ)):
            ignored.append(f"{item.rule.bare_variable} (environment): ignored, because of {name}")
            continue
        try:
            found[item.name] = _read(item, text, item.rule.bare_variable)
        except ConfigError as error:
            if not item.rule.shared_variable:
                raise
            ignored.append(f"{error}; ignored")
    return found


def _read(item: SettingDeclaration, text: str, variable: str) -> tuple[Value, str]:
    source = f"environment {variable}"
    return from_text(item, text, source), source


def _from_file(path: str) -> _Found:
    source = f"file {one_line(path)}"
    known = {item.name: item for item in declared()}
    found: _Found = {}
    for name, value in _section(path).items():
        item = _known(name, known, source)
        found[item.name] = checked(item, value, source), source
    return found


def _section(path: str) -> dict[str, Any]:
    """Our part of the file; other parts of it belong to others."""
    told = one_line(path)
    try:
        content = json.loads(Path(path).read_bytes(), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise ConfigError(f"file {told}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"file {told}: not JSON: {error}") from error
    if not isinstance(content, dict) or SECTION not in content:
        near = _nearest(SECTION, content) if isinstance(content, dict) else ""
        hint = f', only "{one_line(near)}"' if near else ""
        raise ConfigError(f'file {told}: has no "{SECTION}" at its top{hint}')
    if not isinstance(content[SECTION], dict):
        raise ConfigError(f'file {told}: "{SECTION}" must be an object of settings')
    return dict(content[SECTION])


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = {name for name, _ in pairs if sum(other == name for other, _ in pairs) > 1}
    if repeated:
        raise ConfigError(f"setting {one_line(sorted(repeated)[0])} stands twice in the configuration file")
    return dict(pairs)


def _known(name: str, known: Mapping[str, SettingDeclaration], source: str) -> SettingDeclaration:
    if name in known:
        return known[name]
    near = _nearest(name, known)
    hint = f"; did you mean {near}?" if near else ""
    raise ConfigError(f"unknown setting {one_line(name)} ({source}){hint}")


def _nearest(name: str, names: Iterable[str]) -> str:
    """The most similar name, or an empty text when none is similar; the common prefix does not count."""
    compared = {_without_prefix(other): other for other in names}
    close = difflib.get_close_matches(_without_prefix(name), compared, n=1)
    return compared[close[0]] if close else ""


def _without_prefix(name: str) -> str:
    return name.upper().removeprefix(ENVIRONMENT_PREFIX)
