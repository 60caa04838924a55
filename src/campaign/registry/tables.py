"""The registry's tables, the same on SQLite and on PostgreSQL, with what each does best."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles

from campaign.registry.values import OPEN, CampaignIntent, CampaignStatus, RunStatus

SCHEMA_VERSION = 1

METADATA = sa.MetaData()


class Moment(sa.TypeDecorator[datetime]):
    """A time with its zone; text in UTC where the database knows no zones, in an order that is that of time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        return dialect.type_descriptor(sa.String(32) if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if isinstance(value, str) else value


class _NoTags(sa.sql.expression.FunctionElement[Any]):
    """What stands in `tags` where nothing is said."""

    inherit_cache = True


@compiles(_NoTags)
def _no_tags(_: _NoTags, compiler: Any, **__: Any) -> str:
    return "'{}'" if compiler.dialect.name == "postgresql" else "'[]'"


TAGS = sa.JSON().with_variant(postgresql.ARRAY(sa.Text), "postgresql")
PAYLOAD = sa.JSON().with_variant(postgresql.JSONB, "postgresql")
POSITION = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _among(column: str, words: Any) -> str:
    return f"{column} IN ({', '.join(repr(str(word)) for word in words)})"


def _on(*dialects: str) -> Any:
    """Whether an index is made, by the name of the database."""
    return lambda *_, dialect, **__: dialect.name in dialects


EVENTS = sa.Table(
    "events", METADATA,
    sa.Column("position", POSITION, primary_key=True, autoincrement=True),
    sa.Column("stream_id", sa.Uuid, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", PAYLOAD, nullable=False),
    sa.Column("principal_id", sa.Uuid, nullable=False),
    sa.Column("occurred_at", Moment, nullable=False),
    sa.UniqueConstraint("stream_id", "version", name="events_stream_version_key"),
    sqlite_autoincrement=True,
)  # fmt: skip
"""What has happened, in order: the truth. Positions are never used twice."""

IDEMPOTENCY = sa.Table(
    "idempotency", METADATA,
    sa.Column("principal_id", sa.Uuid, primary_key=True),
    sa.Column("operation", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("request_sha256", sa.Text, nullable=False),
    sa.Column("response", PAYLOAD, nullable=False),
    sa.Column("occurred_at", Moment, nullable=False),
)  # fmt: skip
"""What was answered under a key."""

PRINCIPALS = sa.Table(
    "principals", METADATA,
    sa.Column("principal_id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.Text, sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')"), nullable=False),
    sa.Column("token_sha256", sa.Text, nullable=False, unique=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("revoked_at", Moment),
)  # fmt: skip
"""Who may ask, and what."""

FACTS = sa.Table(
    "registry_facts", METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)  # fmt: skip
"""Version of the schema, secret of the cursors, and up to which event the projections are."""

CAMPAIGNS = sa.Table(
    "proj_campaign_summary", METADATA,
    sa.Column("campaign_id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("intent", sa.Text, sa.CheckConstraint(_among("intent", CampaignIntent)), nullable=False),
    sa.Column("status", sa.Text, sa.CheckConstraint(_among("status", CampaignStatus)), nullable=False),
    sa.Column("lead_actor_id", sa.Uuid, nullable=False),
    sa.Column("subject_id", sa.Uuid),
    sa.Column("description", sa.Text),
    sa.Column("tags", TAGS, nullable=False, server_default=_NoTags()),
    sa.Column("external_id", sa.Text),
    sa.Column("run_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("registered_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("last_status_changed_at", Moment),
    sa.Column("last_status_reason", sa.Text),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.func.now()),
)  # fmt: skip
sa.Index("proj_campaign_summary_keyset_idx", CAMPAIGNS.c.registered_at, CAMPAIGNS.c.campaign_id)
sa.Index("proj_campaign_summary_lead_actor_idx", CAMPAIGNS.c.lead_actor_id)
sa.Index("proj_campaign_summary_subject_idx", CAMPAIGNS.c.subject_id)
sa.Index("proj_campaign_summary_tags_gin_idx", CAMPAIGNS.c.tags, postgresql_using="gin").ddl_if(
    callable_=_on("postgresql")
)
sa.Index(
    "proj_campaign_summary_open_idx", CAMPAIGNS.c.status,
    postgresql_where=CAMPAIGNS.c.status.in_(sorted(OPEN)), sqlite_where=CAMPAIGNS.c.status.in_(sorted(OPEN)),
)  # fmt: skip

RUNS = sa.Table(
    "proj_run_summary", METADATA,
    sa.Column("run_id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, sa.CheckConstraint(_among("status", RunStatus)), nullable=False),
    sa.Column("campaign_id", sa.Uuid),
    sa.Column("directory", sa.Text),
    sa.Column("host", sa.Text),
    sa.Column("registered_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("ended_at", Moment),
    sa.Column("last_status_reason", sa.Text),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.func.now()),
)  # fmt: skip
sa.Index("proj_run_summary_keyset_idx", RUNS.c.registered_at, RUNS.c.run_id)
sa.Index(
    "proj_run_summary_campaign_idx", RUNS.c.campaign_id, RUNS.c.registered_at, RUNS.c.run_id,
    postgresql_where=RUNS.c.campaign_id.is_not(None), sqlite_where=RUNS.c.campaign_id.is_not(None),
)  # fmt: skip

PROJECTIONS = (CAMPAIGNS, RUNS)
