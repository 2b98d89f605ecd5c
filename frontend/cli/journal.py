"""`nightscan journal`: what has been answered, whether or not an engine runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import click

from engine.clock import wall_clock_s
from engine.config import Settings, load_settings
from engine.errors import ConfigError, StoreUnavailable
from engine.stores.archive_schema import damaged, database_path
from engine.stores.journal_access import archive_of, become_owner, delete_older, mover_pid, waiting_bytes
from engine.stores.journal_database import RemoteJournal, database_of, migration_script
from engine.stores.journal_export import FORMATS, exported, time_text
from engine.stores.journal_record import JournalRow
from frontend.cli.command_end import CommandEnd
from frontend.cli.ending import end
from frontend.cli.printing import json_option, show

_S_PER = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_EVER = (0.0, 253_402_300_800.0)  # until the year 10000
_MB = 1024 * 1024
_POSTGRES_S = 10.0  # to connect


@click.group()
def journal() -> None:
    """Show, export and delete what has been answered."""


@journal.command()
@json_option
def status(as_json: bool) -> None:
    """Where the journal lies, what is in it, and what waits."""
    state_dir = Path(_settings().state_dir)
    with archive_of(state_dir) as archive:
        counts, backlog = archive.counts(), archive.backlog()
        sent, waiting = archive.sent, waiting_bytes(state_dir, archive)
    pid, oldest = mover_pid(state_dir), time_text(backlog.oldest_s) if backlog.rows else None
    lines = [
        f"{database_path(state_dir)}: {counts['rows']} rows, {counts['bytes'] / _MB:.1f} MB",
        f"moved by: {f'the engine, pid {pid}' if pid else 'nobody just now'}; {waiting} bytes wait in spools",
    ]
    goes_on = bool(sent or _settings().database_url)
    if goes_on:
        since = f", the oldest of {oldest}" if oldest else ""
        lines.append(f"to Postgres: {backlog.rows} to go{since}; {counts['rejected']} refused by it")
    lines += [f"damaged, and set aside: {path}" for path in damaged(state_dir)]
    postgres = {"to_go": backlog.rows, "oldest": oldest, "rejected": counts["rejected"]} if goes_on else None
    document = {
        "path": str(database_path(state_dir)), "rows": counts["rows"], "bytes": counts["bytes"],
        "mover_pid": pid or None, "waiting_bytes": waiting, "postgres": postgres,
        "damaged": [str(path) for path in damaged(state_dir)],
    }  # fmt: skip
    show(document, "\n".join(lines), as_json=as_json)


@journal.command()
@click.option("-n", "--rows", default=20, show_default=True, type=click.IntRange(1, 100_000), help="How many.")
@json_option
def tail(rows: int, as_json: bool) -> None:
    """Print the last answers, the newest last."""
    settings = _settings()
    with archive_of(Path(settings.state_dir)) as archive:
        if as_json:
            high_hz = settings.sample_rate_hz / 2
            sys.stdout.writelines(exported(archive.latest(rows), "json", high_hz=high_hz))
            return
        for row in archive.latest(rows):
            click.echo(_line(row))


@journal.command()
@click.option("--since", default="", help="From this moment on: 2026-05-01, 2026-05-01T22:00 (UTC), or an age: 7d.")
@click.option("--until", default="", help="Up to before this moment.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option("--postgres", is_flag=True, help="What Postgres has, of all machines, in place of what this one has.")
def export(since: str, until: str, form: str, postgres: bool) -> None:
    """Write answers to standard output, for other programs."""
    settings = _settings()
    since_s, until_s = _moment("since", since, _EVER[0]), _moment("until", until, _EVER[1])
    if since_s >= until_s:
        raise ConfigError(f"--since {since or 'the beginning'} --until {until or 'the end'}: nothing lies between them")
    with _rows(settings, since_s, until_s, postgres=postgres) as rows:
        sys.stdout.writelines(exported(rows, form, high_hz=settings.sample_rate_hz / 2))


@journal.command()
@click.option("--print", "as_text", is_flag=True, help="Print the SQL and change nothing.")
@json_option
def migrate(as_text: bool, as_json: bool) -> None:
    """Make the tables in Postgres, or bring them to this version. The engine does so by itself if it may."""
    if as_text:
        show({"sql": migration_script()}, migration_script(), as_json=as_json)
        return
    with _postgres(_settings()) as database:
        changed = database.migrate()
    text = "the tables are made" if changed else "the tables are as they should be"
    show({"changed": changed}, text, as_json=as_json)


@journal.command()
@click.option("--older-than", default="", help="An age such as 90d; default: journal_retention_days.")
@json_option
def prune(older_than: str, as_json: bool) -> None:
    """Delete what is too old, here and in Postgres."""
    settings = _settings()
    if not older_than and not settings.journal_retention_days:
        raise ConfigError("journal_retention_days=0: rows are kept for ever; say how old with --older-than 90d")
    before_s = _moment("older-than", older_than or f"{settings.journal_retention_days}d", 0.0)
    if before_s > wall_clock_s():  # all there is would go, and what is answered meanwhile
        raise ConfigError(f"--older-than {older_than} has not come yet; want one that is past, or an age: 90d; all: 0d")
    with archive_of(Path(settings.state_dir)) as archive:
        here = delete_older(archive, before_s)
    there, trouble = _pruned_in_postgres(settings, before_s)
    lines = [f"{here} rows deleted here"]
    lines += [] if there is None else [f"{there} rows deleted in Postgres"]
    lines += [f"in Postgres none: {trouble}"] if trouble else []
    document = {"deleted_here": here, "deleted_in_postgres": there, "trouble": trouble or None}
    show(document, "\n".join(lines), as_json=as_json)
    if trouble:
        end(CommandEnd.PARTLY)


def _pruned_in_postgres(settings: Settings, before_s: float) -> tuple[int | None, str]:
    """How many rows, None where none is configured or it did not work, and why it did not."""
    if not settings.database_url:
        return None, ""
    try:
        with _postgres(settings) as database:
            return database.delete_older(before_s), ""
    except StoreUnavailable as error:
        return None, str(error)


@contextmanager
def _rows(settings: Settings, since_s: float, until_s: float, *, postgres: bool) -> Iterator[Iterable[JournalRow]]:
    if postgres:
        with _postgres(settings) as database:
            yield database.read(since_s, until_s)
        return
    with archive_of(Path(settings.state_dir)) as archive:
        yield archive.rows(since_s, until_s)


@contextmanager
def _postgres(settings: Settings) -> Iterator[RemoteJournal]:
    """The database, once it answers. Raises ConfigError where none is configured, StoreUnavailable."""
    database = database_of(settings)
    if database is None:
        raise ConfigError("database_url is empty: no Postgres keeps the journal")
    database.open()
    try:
        database.wait_ready(_POSTGRES_S)
        yield database
    finally:
        database.close()


def _settings() -> Settings:
    settings = load_settings()
    become_owner(Path(settings.state_dir))
    return settings


def _line(row: JournalRow) -> str:
    heard = ", ".join(f"{top[0][0]} {top[0][1]:.2f}" for _, _, _, top in row.segments[:3] if top)
    more = f" and {len(row.segments) - 3} more" if len(row.segments) > 3 else ""
    told = f"{heard}{more}" if row.segments else row.error_code
    cached = f" ({row.cache})" if row.cache else ""
    return (
        f"{time_text(row.answered_at)} {row.route} {row.status} {row.outcome}{cached} {row.latency_s * 1e3:.1f} ms"
        f" {ascii(row.file)} {told} {row.request_id}"
    )


def _moment(option: str, text: str, default_s: float) -> float:
    """Seconds since 1970. Raises ConfigError, which names the option."""
    if not text:
        return default_s
    if age := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return wall_clock_s() - int(age[1]) * _S_PER[age[2]]
    try:
        given = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError as error:
        raise ConfigError(f"--{option} {text}: want a moment, 2026-05-01T22:00 (UTC), or an age, 7d") from error
    return (given if given.tzinfo is not None else given.replace(tzinfo=timezone.utc)).timestamp()
