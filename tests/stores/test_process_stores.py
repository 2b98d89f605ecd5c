"""What one process has of stores: there without an engine, met with the machine once, gone in a forked child."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from engine.config import Settings, load_settings
from engine.errors import ConfigError
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import MachineGeometry
from engine.stores.process_stores import ProcessStores
from frontend.attach import current_stores, detach
from tests.support.wait import wait_for


@pytest.fixture
def machine() -> Iterator[MachineSegment]:
    made = MachineSegment.create(MachineGeometry(rows=3, l1_bytes=0))
    yield made
    made.close()


@pytest.fixture
def settings() -> Settings:
    return load_settings({}).changed(http_max_connections=20, workers=4, journal="off")


def test_what_was_counted_before_there_was_an_engine_is_counted(machine: MachineSegment, settings: Settings) -> None:
    stores = ProcessStores.open(settings)
    stores.row.add("fallback.answered", 2)
    assert (stores.row.share("http"), stores.row.share("redis")) == (5, 0)  # as long as nobody lends
    stores.meet(machine)
    stores.meet(machine)
    stores.row.add("fallback.answered")
    assert machine.process_totals()["fallback.answered"] == 3
    assert stores.row.share("http") == 0
    stores.close()
    stores.close()
    stores.meet(machine)
    assert not machine.is_live(1)


def test_stores_outlive_the_mapping_that_they_were_shown(machine: MachineSegment, settings: Settings) -> None:
    stores, shown = ProcessStores.open(settings), machine.again()
    stores.meet(shown)
    shown.close()
    stores.row.add("fallback.answered")
    assert machine.process_totals()["fallback.answered"] == 1
    stores.close()


def test_without_a_row_a_process_goes_on_alone(
    machine: MachineSegment, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    several = [ProcessStores.open(settings) for _ in range(3)]
    for stores in several:
        stores.meet(machine)
    assert "all 3 rows of the machine segment are taken" in caplog.text
    several[-1].row.add("fallback.answered")
    assert machine.process_totals()["fallback.answered"] == 0
    for stores in several:
        stores.close()


def test_a_forked_child_begins_afresh(machine: MachineSegment, settings: Settings) -> None:
    ours = current_stores(settings)
    ours.meet(machine)
    assert current_stores(settings) is ours
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        theirs = current_stores(settings)
        theirs.row.add("fallback.answered", 5)
        ours.row.add("fallback.answered", 5)
        ours.close()
        os.write(writer, bytes([theirs is not ours]))
        os._exit(0)
    assert os.read(reader, 1) == b"\1"
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    assert machine.process_totals()["fallback.answered"] == 0 and machine.is_live(1)
    detach()
    assert not machine.is_live(1)
    assert current_stores(settings) is not ours
    detach()


def test_what_is_configured_wrong_leaves_nothing_open(settings: Settings) -> None:
    """The leak guard looks for what the journal and the other stores had opened by then."""
    wrong = settings.changed(redis_url="redis://127.0.0.1:99999", original_api_url="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="99999"):
        ProcessStores.open(wrong)


def test_servers_that_are_away_keep_nobody_waiting(machine: MachineSegment, settings: Settings) -> None:
    """Redis and the original API are opened, show it, and are closed within bounds."""
    away = settings.changed(redis_url="redis://127.0.0.1:1", original_api_url="http://127.0.0.1:1")
    stores = ProcessStores.open(away)
    stores.meet(machine)
    for gauge in ("redis.initialized", "http.initialized"):
        wait_for(lambda: machine.process_totals()[gauge] == 1, gauge)
    stores.close()
    assert not machine.is_live(1)
    assert machine.process_totals()["redis.initialized"] == 0
