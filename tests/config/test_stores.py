"""Where answers are kept: two addresses, which others may have set for purposes of their own."""

from __future__ import annotations

import pytest

from engine.config import ineffective_settings, load_settings
from engine.config.stores import default_state_dir
from engine.errors import ConfigError
from tests.config.published import PREFIX


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL"])
def test_a_bare_variable_for_others_is_ignored_with_one_line(name: str) -> None:
    settings = load_settings({name: "mysql://app:secret@db/app"})
    assert (settings.redis_url, settings.database_url) == ("", "")
    (line,) = ineffective_settings(settings)
    assert name.lower() in line and "ignored" in line and "secret" not in line


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL"])
def test_an_unknown_scheme_in_our_own_variable_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name.lower()}=mysql://.*must be") as raised:
        load_settings({PREFIX + name: "mysql://app:secret@db/app"})
    assert "secret" not in str(raised.value)


def test_addresses_that_are_understood() -> None:
    for url in ("postgres://u:p@h/d", "postgresql://h:5432/d", "postgresql+psycopg2://u@h/d"):
        assert load_settings({"DATABASE_URL": url}).database_url == url
    for url in ("redis://h:6379/1", "rediss://:p@h", "unix:///run/redis.sock", "redis://a:7000,b:7001"):
        assert load_settings({"REDIS_URL": url}).redis_url == url


def test_the_state_folder_is_systemds_or_where_xdg_keeps_state() -> None:
    assert default_state_dir({"STATE_DIRECTORY": "/var/lib/nightscan:/var/lib/other"}) == "/var/lib/nightscan"
    assert default_state_dir({"XDG_STATE_HOME": "/home/me/state"}) == "/home/me/state/nightscan"
    assert default_state_dir({"HOME": "/home/me"}) == "/home/me/.local/state/nightscan"
