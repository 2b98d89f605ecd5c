"""All sections as one immutable value, checked whenever one is made.

Equation: every field is within its declaration's bounds, minima are not above their maxima, and `sources` has one
entry for each field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from engine.config.audio import AudioSettings
from engine.config.declaration import SettingDeclaration, Value, as_text, declarations_of
from engine.config.published import PoolSettings, SwitchSettings
from engine.config.server import OriginalApiSettings, ServerSettings
from engine.config.serving import EngineSettings, ModelSettings
from engine.config.status import StatusSettings
from engine.config.stores import StoreSettings
from engine.config.tuning import TuningSettings
from engine.config.watching import WatchSettings
from engine.config.values import checked, shown
from engine.errors import ConfigError

# The first may not be above the second.
_ORDERED = (("db_min_connections", "db_max_connections"), ("redis_min_connections", "redis_max_connections"))


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(  # dataclasses list the last base first: read the bases from the bottom up
    WatchSettings,
    TuningSettings,
    StatusSettings,
    StoreSettings,
    OriginalApiSettings,
    ServerSettings,
    AudioSettings,
    ModelSettings,
    EngineSettings,
    SwitchSettings,
    PoolSettings,
):
    """The effective settings of a process. Making one with a value out of its bounds raises ConfigError.

    `sources` says where each value came from: `default`, `environment NAME`, `file PATH` or `argument`. `ignored` has a
    line for each variable that others use too and whose value is not for us.
    """

    sources: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    ignored: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        sources = {}
        for declaration in declared():
            name = declaration.name
            value = getattr(self, name)
            sources[name] = self.sources.get(name) or ("default" if declaration.is_default(value) else "argument")
            object.__setattr__(self, name, checked(declaration, value, sources[name]))
        object.__setattr__(self, "sources", MappingProxyType(sources))
        self._check_relations()

    def __repr__(self) -> str:
        """What is not at its default, without credentials: settings end up in logs and tracebacks."""
        told = (item for item in declared() if self.sources[item.name] != "default")
        return f"Settings({', '.join(f'{item.name}={shown(item, getattr(self, item.name))}' for item in told)})"

    def _check_relations(self) -> None:
        for low, high in _ORDERED:
            if getattr(self, low) > getattr(self, high):
                raise ConfigError(f"{self._told(low)}: must be at most {self._told(high)}")
        if self.overlap_s >= self.segment_s:
            raise ConfigError(f"{self._told('overlap_s')}: must be less than {self._told('segment_s')}")

    def _told(self, name: str) -> str:
        return f"{name}={as_text(getattr(self, name))} ({self.sources[name]})"

    def changed(self, **values: Value) -> Settings:
        """A copy with these values, their source told as `argument`. Raises ConfigError for unknown names too."""
        unknown = values.keys() - {declaration.name for declaration in declared()}
        if unknown:
            raise ConfigError(f"unknown setting {sorted(unknown)[0]} (argument)")
        sources = {**self.sources, **dict.fromkeys(values, "argument")}
        return dataclasses.replace(self, sources=sources, **values)  # type: ignore[arg-type]

    def to_environment(self) -> dict[str, str]:
        """Variables that carry to another process what was set here by any way; what is at its default is left out.

        Meant to be put over this process's own environment: the other process then loads equal settings.
        """
        return {
            item.environment_variable: as_text(getattr(self, item.name))
            for item in declared()
            if self.sources[item.name] != "default"
        }


_DECLARED = tuple(declarations_of(Settings))


def declared() -> list[SettingDeclaration]:
    """Every setting, in the order of the sections."""
    return list(_DECLARED)
