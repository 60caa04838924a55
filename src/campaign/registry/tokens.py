"""Who asks: principals with bearer tokens, of which only the hash is stored."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from campaign.registry.errors import InvalidRequestError, Unauthorized
from campaign.registry.operations import Role
from campaign.registry.service import Principal
from campaign.registry.store import EventStore
from campaign.registry.tables import PRINCIPALS

PREFIX = "campaign_"
"""Begins every token, so that one that leaks is recognised."""

BEARER = "bearer "


class Principals:
    """Those who may ask."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def create(self, name: str, role: Role, now: datetime) -> tuple[Principal, str]:
        """(a principal, its token, which is shown this once). One whose token was revoked gets a new one and stays who he is.

        InvalidRequestError where somebody of this name has a token.
        """
        token, same = PREFIX + secrets.token_urlsafe(32), PRINCIPALS.c.name == name
        with self._store.writing() as unit:
            there = unit.connection.execute(sa.select(PRINCIPALS).where(same)).first()
            if there is not None and there.revoked_at is None:
                raise InvalidRequestError(f"{name!r} has a token", action="revoke it first, or take another name")
            given = {"role": str(role), "token_sha256": _digest(token), "created_at": now, "revoked_at": None}
            principal = Principal(uuid4() if there is None else there.principal_id, role, name)
            if there is None:
                unit.connection.execute(
                    sa.insert(PRINCIPALS), {"principal_id": principal.principal_id, "name": name, **given}
                )
            else:
                unit.connection.execute(sa.update(PRINCIPALS).where(same).values(**given))
        return principal, token

    def revoke(self, name: str, now: datetime) -> None:
        """Let a token open nothing any more; what its principal has done stays his."""
        with self._store.writing() as unit:
            mine = sa.and_(PRINCIPALS.c.name == name, PRINCIPALS.c.revoked_at.is_(None))
            done = unit.connection.execute(sa.update(PRINCIPALS).where(mine).values(revoked_at=now))
            if done.rowcount == 0:
                raise InvalidRequestError(f"there is no principal {name!r} with a token", action="campaign token list")

    def listed(self) -> list[dict[str, Any]]:
        """All of them, without what is secret."""
        columns = [column for column in PRINCIPALS.c if column.name != "token_sha256"]
        with self._store.reading() as connection:
            return [
                dict(row)
                for row in connection.execute(sa.select(*columns).order_by(PRINCIPALS.c.created_at)).mappings()
            ]

    def of_token(self, token: str) -> Principal | None:
        """Whose token it is; None where it is nobody's."""
        mine = sa.and_(PRINCIPALS.c.token_sha256 == _digest(token), PRINCIPALS.c.revoked_at.is_(None))
        with self._store.reading() as connection:
            row = connection.execute(sa.select(PRINCIPALS).where(mine)).first()
        return None if row is None else Principal(row.principal_id, Role(row.role), row.name)


class Doorkeeper:
    """Tells who asks by the headers of a request."""

    def __init__(self, principals: Principals, *, trusts_bare_ids: bool = False) -> None:
        """`trusts_bare_ids`: whether X-Principal-Id alone is believed, as behind a proxy that has asked already."""
        self._principals, self._trusts = principals, trusts_bare_ids

    def principal_of(self, headers: Mapping[str, str]) -> Principal | None:
        """Who asks; None where that is not known. Unauthorized for a header that is no identity."""
        given = headers.get("authorization", "")
        if given.lower().startswith(BEARER):
            return self._principals.of_token(given[len(BEARER) :].strip())
        bare = headers.get("x-principal-id")
        if bare is None or not self._trusts:
            return None
        return bare_principal(bare)


def bare_principal(identity: str) -> Principal:
    """Somebody whose word is taken for who he is."""
    try:
        return Principal(UUID(identity), Role.OPERATOR)
    except ValueError as error:
        raise Unauthorized(f"X-Principal-Id is no UUID: {identity[:60]!r}") from error


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
