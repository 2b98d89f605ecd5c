"""The Postgres of the tests does what their faults need."""

from __future__ import annotations

import psutil
import psycopg
import pytest

from tests.services.postgres_server import OWNER, PostgresServer


def test_it_is_started_killed_frozen_and_restarted_and_keeps_what_was_committed() -> None:
    with PostgresServer() as server:
        server.execute("CREATE TABLE public.seen (n int); INSERT INTO public.seen VALUES (1)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url(), connect_timeout=2)
        server.start()
        server.freeze()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url(), connect_timeout=2)
        server.thaw()
        server.restart()
        assert server.rows("SELECT current_user::text, n FROM public.seen", role="postgres") == [("postgres", 1)]


def test_none_of_its_processes_is_root() -> None:
    with PostgresServer() as server:
        with server.connection() as connection:
            (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
            process = psutil.Process(pid)
            assert [each.uids().effective for each in (process, *process.parents()[:1])].count(0) == 0
        assert server.rows("SELECT session_user::text") == [(OWNER,)]
