"""Pages of summaries: by keyset, with cursors that only this registry can write."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from campaign.registry.errors import InvalidCursorError
from campaign.registry.tables import CAMPAIGNS, RUNS
from campaign.registry.values import OPEN, CampaignTag

if TYPE_CHECKING:
    from campaign.registry.messages import ListCampaigns, ListRuns

Row = dict[str, Any]
SIGNED_BYTES = 16


def campaigns(connection: sa.Connection, asked: ListCampaigns, secret: bytes) -> tuple[list[Row], str | None]:
    """(summaries, cursor of what follows) of campaigns."""
    columns = [column for column in CAMPAIGNS.c if column.name != "updated_at"]
    chosen = sa.select(*columns)
    if "all" not in asked.status:
        chosen = chosen.where(CAMPAIGNS.c.status.in_(sorted(asked.status or OPEN)))
    for name in ("intent", "lead_actor_id", "subject_id"):
        if (value := getattr(asked, name)) is not None:
            chosen = chosen.where(CAMPAIGNS.c[name] == value)
    if asked.tag is not None:
        chosen = chosen.where(_has_tag(connection, CampaignTag(asked.tag)))
    return _page(connection, chosen, CAMPAIGNS.c.registered_at, CAMPAIGNS.c.campaign_id, asked, secret)


def runs(connection: sa.Connection, asked: ListRuns, secret: bytes) -> tuple[list[Row], str | None]:
    """(summaries, cursor of what follows) of runs."""
    columns = [column for column in RUNS.c if column.name != "updated_at"]
    chosen = sa.select(*columns)
    if asked.campaign_id is not None:
        chosen = chosen.where(RUNS.c.campaign_id == asked.campaign_id)
    if asked.status:
        chosen = chosen.where(RUNS.c.status.in_(sorted(asked.status)))
    return _page(connection, chosen, RUNS.c.registered_at, RUNS.c.run_id, asked, secret)


def _has_tag(connection: sa.Connection, tag: str) -> Any:
    if connection.dialect.name == "postgresql":
        return sa.type_coerce(CAMPAIGNS.c.tags, postgresql.ARRAY(sa.Text)).contains([tag])
    each = sa.func.json_each(CAMPAIGNS.c.tags).table_valued("value")
    return sa.exists(sa.select(sa.literal(1)).select_from(each).where(each.c.value == tag))


def _page(
    connection: sa.Connection, chosen: Any, when: Any, identity: Any, asked: ListCampaigns | ListRuns, secret: bytes
) -> tuple[list[Row], str | None]:
    question = _question(asked)
    if asked.cursor is not None:
        after, last = _read_cursor(asked.cursor, question, secret)
        chosen = chosen.where(
            sa.tuple_(when, identity) > sa.tuple_(sa.literal(after, when.type), sa.literal(last, identity.type))
        )
    rows = connection.execute(chosen.order_by(when, identity).limit(asked.limit + 1)).mappings().all()
    page = [dict(row) for row in rows[: asked.limit]]
    if len(rows) <= asked.limit:
        return page, None
    return page, _write_cursor(page[-1][when.name], page[-1][identity.name], question, secret)


def _question(asked: ListCampaigns | ListRuns) -> str:
    """What was asked, but for the place in the list."""
    return f"{type(asked).__name__}:{asked.model_dump_json(exclude={'cursor', 'limit'})}"


def _write_cursor(after: datetime, last: UUID, question: str, secret: bytes) -> str:
    place = json.dumps([after.isoformat(), str(last)]).encode()
    return base64.urlsafe_b64encode(_signature(place, question, secret) + place).decode()


def _read_cursor(cursor: str, question: str, secret: bytes) -> tuple[datetime, UUID]:
    try:
        raw = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
        signature, place = raw[:SIGNED_BYTES], raw[SIGNED_BYTES:]
        if not hmac.compare_digest(signature, _signature(place, question, secret)):
            raise ValueError("signature")
        after, last = json.loads(place)
        return datetime.fromisoformat(after), UUID(last)
    except (ValueError, TypeError) as error:
        raise InvalidCursorError(
            "the cursor is not one of this list",
            action="begin without one, and pass `next_cursor` on with the same question",
        ) from error


def _signature(place: bytes, question: str, secret: bytes) -> bytes:
    return hmac.new(secret, question.encode() + b"\0" + place, hashlib.sha256).digest()[:SIGNED_BYTES]
