"""Each published name is read from the environment and from the file, is checked, and is shown."""

from __future__ import annotations

import pytest

from engine.config import declared, effective_settings, load_settings
from engine.errors import ConfigError
from tests.config.conftest import WriteFile
from tests.config.published import DOCUMENTED_ENVIRONMENT, DOCUMENTED_FILE, PREFIX, PUBLISHED

NAMES = sorted(PUBLISHED)


def other_value(name: str) -> bool | int | float:
    """A value of the right type that is not the default and breaks no relation."""
    default = PUBLISHED[name]
    return (not default) if isinstance(default, bool) else default + 1 if "min" not in name else default - 1


@pytest.mark.parametrize("name", NAMES)
def test_default_is_the_published_one(name: str) -> None:
    value = getattr(load_settings({}), name)
    assert value == PUBLISHED[name]
    assert type(value) is type(PUBLISHED[name])


@pytest.mark.parametrize("name", NAMES)
def test_read_from_the_environment(name: str) -> None:
    wanted = other_value(name)
    settings = load_settings({PREFIX + name.upper(): str(wanted)})
    assert getattr(settings, name) == wanted
    assert settings.sources[name] == f"environment {PREFIX}{name.upper()}"


@pytest.mark.parametrize("name", NAMES)
def test_read_from_the_file(name: str, write_file: WriteFile) -> None:
    wanted = other_value(name)
    path = write_file({"optimized_serving": {name: wanted}})
    settings = load_settings({"NIGHTSCAN_CONFIG": str(path)})
    assert getattr(settings, name) == wanted
    assert settings.sources[name] == f"file {path}"


@pytest.mark.parametrize("name", NAMES)
def test_nonsense_is_refused_by_name_value_and_range(name: str, write_file: WriteFile) -> None:
    declaration = next(item for item in declared() if item.name == name)
    with pytest.raises(ConfigError) as from_environment:
        load_settings({PREFIX + name.upper(): "nonsense"})
    with pytest.raises(ConfigError) as from_file:
        load_settings({}, write_file({"optimized_serving": {name: "nonsense"}}))
    for refused in (str(from_environment.value), str(from_file.value)):
        assert refused.startswith(f"{name}=nonsense (")
        assert refused.endswith(f"must be {declaration.bounds}")
        assert "\n" not in refused


@pytest.mark.parametrize("name", NAMES)
def test_shown_with_its_source(name: str) -> None:
    wanted = other_value(name)
    lines = effective_settings(load_settings({PREFIX + name.upper(): str(wanted)}))
    line = next(line for line in lines if line.name == name)
    assert line.value == str(wanted).lower()
    assert line.source.startswith("environment ")


def test_the_documented_environment_is_the_default() -> None:
    documented = {PREFIX + name: value for name, value in DOCUMENTED_ENVIRONMENT.items()}
    assert load_settings(documented) == load_settings({})


def test_the_documented_file_is_the_default(write_file: WriteFile) -> None:
    assert load_settings({}, write_file(DOCUMENTED_FILE)) == load_settings({})
