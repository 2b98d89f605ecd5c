"""Addresses of Postgres: what they may say, and that no refusal quotes them."""

from __future__ import annotations

import pytest

from engine.errors import ConfigError
from engine.stores.postgres_address import connection_parameters, shown_place

SECRET = "s3cr-et"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "POSTGRESQL+asyncpg"])
def test_every_spelling_of_the_scheme_is_understood(scheme: str) -> None:
    parameters = connection_parameters(f"{scheme}://u:p%40w@db.example:5433/birds?sslmode=require")
    wanted = {"user": "u", "password": "p@w", "host": "db.example", "port": "5433", "dbname": "birds"}
    assert wanted.items() <= parameters.items() and parameters["sslmode"] == "require"
    assert shown_place(parameters) == "db.example:5433/birds"


def test_a_query_stretches_no_bound() -> None:
    parameters = connection_parameters("postgresql://h/db?connect_timeout=600&client_encoding=SQL_ASCII")
    assert (parameters["connect_timeout"], parameters["client_encoding"]) == ("2", "UTF8")


def test_sockets_and_several_hosts_are_understood() -> None:
    assert connection_parameters("postgresql:///birds?host=/run/postgresql")["host"] == "/run/postgresql"
    assert connection_parameters("postgresql://a:1,b:2/db")["port"] == "1,2"


@pytest.mark.parametrize(
    "address",
    [
        f"mysql://u:{SECRET}@h/db",
        f"postgresql://u:{SECRET}@more@h/db",
        f"postgresql://u:{SECRET}/more@h/db",
        f"postgresql://u:more?{SECRET}@h/db",
        f"postgresql://h:{SECRET}/db",
        f"postgresql://[{SECRET}/db",
        f"postgresql://u:{SECRET}@h/db?pool_size=100",
        f"postgresql://h/db?{SECRET}",
    ],
)
def test_a_refusal_names_the_setting_and_quotes_nothing_that_may_be_secret(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        connection_parameters(address)
    assert "database_url" in str(refused.value)
    shown: BaseException | None = refused.value
    while shown is not None:
        assert SECRET not in str(shown)
        shown = shown.__cause__


def test_a_limit_that_would_do_nothing_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'pool_size'"):
        connection_parameters("postgresql://h/db?pool_size=100")
