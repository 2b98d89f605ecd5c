"""Settings for people: the reference table of the manual, and the effective values of one process."""

from __future__ import annotations

from dataclasses import dataclass

from engine.config.declaration import SettingDeclaration
from engine.config.settings import Settings, declared
from engine.config.values import shown
from engine.errors import ConfigError

_BEGIN, _END = "<!-- settings:begin -->", "<!-- settings:end -->"
_HEAD = "| setting | type | default | allowed | what it does |\n|---|---|---|---|---|"


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSetting:
    """One line of `nightscan config`; `value` is without credentials."""

    name: str
    value: str
    unit: str
    source: str
    note: str  # `no effect` where nothing acts on it


def effective_settings(settings: Settings) -> list[EffectiveSetting]:
    """Every setting with its value and where that came from, fit to be shown to anybody."""
    return [
        EffectiveSetting(
            name=item.name,
            value=shown(item, getattr(settings, item.name)),
            unit=item.unit,
            source=settings.sources[item.name],
            note="no effect" if item.rule.no_effect else "",
        )
        for item in declared()
    ]


def ineffective_settings(settings: Settings) -> list[str]:
    """A line for each setting that somebody has set and that nothing acts on: it must not be relied on."""
    return [
        *settings.ignored,
        *_idle_settings(settings),
    ]


def _idle_settings(settings: Settings) -> list[str]:
    return [
        f"{item.name}={shown(item, getattr(settings, item.name))} ({settings.sources[item.name]}) has no effect:"
        f" {item.rule.no_effect}"
        for item in declared()
        if item.rule.no_effect
        and settings.sources[item.name] != "default"  # a place on the disk may be another one in another process
        and not item.is_default(getattr(settings, item.name))
    ]


def reference_table() -> str:
    """Every setting as one markdown table, a line each."""
    return "\n".join([_HEAD, *(_row(item) for item in declared())])


def _row(item: SettingDeclaration) -> str:
    literal = f"`{item.default_text}`" if item.default_text else "empty"
    default = item.rule.default_text or literal
    unit = f" ({item.unit})" if item.unit else ""
    also = f" Also read from `{item.rule.bare_variable}`." if item.rule.bare_variable else ""
    idle = f" **No effect**: {item.rule.no_effect}." if item.rule.no_effect else ""
    cells = (f"`{item.name}`", item.type.__name__ + unit, default, item.bounds, item.text + idle + also)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table_in(manual: str) -> str:
    """What stands between the markers. Raises ConfigError when a marker is missing."""
    _, begin, rest = manual.partition(_BEGIN)
    table, end, _ = rest.partition(_END)
    if not begin or not end:
        raise ConfigError(f"the manual has no markers {_BEGIN} and {_END}")
    return table.strip()


def replace_table(manual: str) -> str:
    """The manual with a fresh table between its markers. Raises ConfigError when a marker is missing."""
    table_in(manual)
    head, _, rest = manual.partition(_BEGIN)
    return head + _BEGIN + "\n" + reference_table() + "\n" + _END + rest.partition(_END)[2]
