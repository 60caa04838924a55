"""The event store: streams of events in one database, appended to in transactions, and what is projected from them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from campaign.registry import projections
from campaign.registry.errors import (
    InvalidRequestError,
    OptimisticConcurrencyError,
    RegistrySchemaError,
    RegistryUnavailableError,
)
from campaign.registry.events import Event, event_of, payload
from campaign.registry.tables import EVENTS, FACTS, METADATA, PROJECTIONS, SCHEMA_VERSION

BUSY_S = 30
"""How long a writer waits for the others."""

CONNECT_S, STATEMENT_S = 10, 120
"""How long a server is waited for: to connect, and for one answer."""

WRITERS_LOCK = 0x63616D70
"""Key of the lock under which PostgreSQL appends: positions are committed in their order."""

REBUILD_SLICE = 2_000


@dataclass(frozen=True, slots=True)
class Stream:
    """The events of one aggregate so far."""

    stream_id: UUID
    events: tuple[Event, ...]

    @property
    def version(self) -> int:
        """How many there are."""
        return len(self.events)


class EventStore:
    """One registry's database, by a URL of SQLAlchemy: `sqlite:///path` or `postgresql+psycopg://...`."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        """Connect, and see that the tables are of this version; an empty database gets them, if it is to be made a registry.

        RegistryUnavailableError where it can't be reached or is no registry, RegistrySchemaError where another version made it.
        """
        if not create:
            _refuse_new_file(url)
        self._engine = _engine(url)
        self.is_postgresql = self._engine.dialect.name == "postgresql"
        try:
            self.secret = self._prepare(create=create)
        except BaseException:
            self.close()
            raise

    def _prepare(self, *, create: bool) -> bytes:
        """Have the tables, of this version, and the projections up to date; the secret of the cursors."""
        with _database_errors(), self._engine.connect() as connection:
            there = sa.inspect(connection).has_table(FACTS.name)
        if not there and not create:
            raise _no_registry("the database")
        if not there:
            self._create()
        self._check_version()
        with self.reading() as connection:
            unit = Unit(connection)
            secret, is_behind = bytes.fromhex(unit.fact("secret")), unit.is_behind()
        if is_behind:
            with self.writing() as unit:
                unit.catch_up()
        return secret

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Unit]:
        """One transaction that may append; all of it is kept, or nothing."""
        with self._transaction() as connection:
            yield Unit(connection)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One look at what is there."""
        with _database_errors(), self._engine.connect() as connection:
            yield connection

    def ping(self) -> None:
        """RegistryUnavailableError where the database does not answer, RegistrySchemaError where it is another one."""
        self._check_version()

    def rebuild(self, told: Callable[[int], None] = lambda _: None) -> int:
        """Make the projections anew from all events; how many there are."""
        with self.writing() as unit:
            for table in PROJECTIONS:
                unit.connection.execute(sa.delete(table))
            unit.put("projected", "0")
            return unit.catch_up(told)

    def _create(self) -> None:
        with self._transaction() as connection:
            METADATA.create_all(connection)  # another process may have come first
            if connection.execute(sa.select(FACTS.c.value).where(FACTS.c.name == "schema_version")).first() is None:
                facts = {"schema_version": str(SCHEMA_VERSION), "secret": secrets.token_hex(32), "projected": "0"}
                connection.execute(sa.insert(FACTS), [{"name": n, "value": v} for n, v in facts.items()])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        """A transaction that writes, one at a time on the whole database."""
        with _database_errors(), self._engine.connect() as connection:
            connection.execution_options(campaign_writes=True)
            with connection.begin():
                if self.is_postgresql:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_S}s'")
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS_LOCK)))
                yield connection

    def _check_version(self) -> None:
        with self.reading() as connection:
            row = connection.execute(sa.select(FACTS.c.value).where(FACTS.c.name == "schema_version")).first()
        found = row[0] if row else "none"
        if found != str(SCHEMA_VERSION):
            raise RegistrySchemaError(
                f"the registry's tables have version {found}, and this is version {SCHEMA_VERSION}",
                action="use the version of campaign that made them, or a new database",
            )


class Unit:
    """One transaction of a writer."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def stream(self, stream_id: UUID) -> Stream:
        """The events of an aggregate."""
        return read_stream(self.connection, stream_id)

    def append_streams(self, appends: Sequence[tuple[Stream, Sequence[Event]]], principal_id: UUID) -> None:
        """Append to several streams at once, and project; OptimisticConcurrencyError where one has grown since it was read."""
        rows = [
            {
                "stream_id": stream.stream_id, "version": stream.version + n, "kind": type(event).__name__,
                "payload": payload(event), "principal_id": principal_id, "occurred_at": event.occurred_at,
            }
            for stream, events in appends
            for n, event in enumerate(events, 1)
        ]  # fmt: skip
        try:
            for row in rows:
                self.connection.execute(sa.insert(EVENTS), row)
        except IntegrityError as error:
            raise OptimisticConcurrencyError(
                "somebody else has changed it in the meantime", action="look at it again, then repeat"
            ) from error
        for _, events in appends:
            for event in events:
                projections.apply(self.connection, event)
        self.put("projected", str(self.connection.execute(sa.select(sa.func.max(EVENTS.c.position))).scalar_one()))

    def catch_up(self, told: Callable[[int], None] = lambda _: None) -> int:
        """Project what is stored and not projected yet; how many events these are."""
        done, count = int(self.fact("projected")), 0
        while True:
            chosen = sa.select(EVENTS.c.position, EVENTS.c.kind, EVENTS.c.payload).where(EVENTS.c.position > done)
            rows = self.connection.execute(chosen.order_by(EVENTS.c.position).limit(REBUILD_SLICE)).all()
            if not rows:
                if (
                    count >= REBUILD_SLICE
                ):  # the planner knows nothing yet of so many, and would sort them for every page
                    for table in PROJECTIONS:
                        self.connection.exec_driver_sql(f"ANALYZE {table.name}")
                return count
            projections.apply_all(self.connection, [event_of(row.kind, row.payload) for row in rows])
            done, count = rows[-1].position, count + len(rows)
            self.put("projected", str(done))
            told(count)

    def is_behind(self) -> bool:
        """Whether events are stored that are not projected."""
        last = self.connection.execute(sa.select(sa.func.max(EVENTS.c.position))).scalar_one()
        return last is not None and int(self.fact("projected")) < last

    def fact(self, name: str) -> str:
        """A fact about the registry."""
        return str(self.connection.execute(sa.select(FACTS.c.value).where(FACTS.c.name == name)).scalar_one())

    def put(self, name: str, value: str) -> None:
        """Remember a fact."""
        self.connection.execute(sa.update(FACTS).where(FACTS.c.name == name).values(value=value))


def _no_registry(what: str) -> RegistryUnavailableError:
    return RegistryUnavailableError(f"{what} holds no registry", action="make one: campaign registry init --url URL")


def _refuse_new_file(url: str) -> None:
    """Refuse a file that is not there: SQLite would make it, and an empty registry of a misspelt name."""
    scheme, _, path = url.partition(":///")
    if scheme.startswith("sqlite") and path and not Path(path.partition("?")[0]).exists():
        raise _no_registry(path)


def read_stream(connection: sa.Connection, stream_id: UUID) -> Stream:
    """The events of an aggregate, in their order."""
    chosen = (
        sa.select(EVENTS.c.kind, EVENTS.c.payload).where(EVENTS.c.stream_id == stream_id).order_by(EVENTS.c.version)
    )
    return Stream(stream_id, tuple(event_of(row.kind, row.payload) for row in connection.execute(chosen)))


def _engine(url: str) -> sa.Engine:
    try:
        return _engine_of(sa.make_url(url))
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, ValueError) as error:
        raise RegistryUnavailableError(
            f"{url!r} names no database",
            action="write sqlite:////path/registry.db or postgresql+psycopg://USER@HOST/NAME",
        ) from error


def _engine_of(parsed: sa.URL) -> sa.Engine:
    if parsed.get_backend_name() == "postgresql":
        wait: dict[str, Any] = {} if "connect_timeout" in parsed.query else {"connect_timeout": CONNECT_S}
        if "options" not in parsed.query:
            wait["options"] = (
                f"-c statement_timeout={STATEMENT_S}s -c idle_in_transaction_session_timeout={STATEMENT_S}s"
            )
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"), connect_args=wait, pool_pre_ping=True, pool_size=20
        )
    engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_S, "check_same_thread": False}, pool_size=20)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where we say
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    """A writer takes the lock at once: two that read before they write would refuse each other."""
    writes = connection.get_execution_options().get("campaign_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def _database_errors() -> Iterator[None]:
    """What the database refuses, in the registry's words."""
    try:
        yield
    except (OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
        raise RegistryUnavailableError(
            f"the registry's database can't be used: {_reason(error)}", action="try again later"
        ) from error
    except DataError as error:
        raise InvalidRequestError(f"the registry's database does not hold such a value: {_reason(error)}") from error
    except IntegrityError:
        raise
    except DBAPIError as error:  # read-only after a failover, no rights, a table or a file that is spoilt
        raise RegistryUnavailableError(
            f"the registry's database can't be used: {_reason(error)}", action="look at the database"
        ) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", error)).partition("\n")[0]
