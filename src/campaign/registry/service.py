"""The registry at work: who asks is authorised, what is asked is validated, done once in one transaction, and answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from campaign.registry.errors import IdempotencyKeyReusedError, InvalidRequestError, Unauthorized
from campaign.registry.operations import Category, Context, Operation, Role, validated
from campaign.registry.store import EventStore, Unit
from campaign.registry.tables import IDEMPOTENCY

KEY_MAX = 200


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    principal_id: UUID
    role: Role
    name: str = ""


def now_utc() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


class Registry:
    """One registry. Safe to be called from several threads, processes and hosts at once."""

    def __init__(
        self, store: EventStore, clock: Callable[[], datetime] = now_utc, new_id: Callable[[], UUID] = uuid4
    ) -> None:
        self.store, self._clock, self._new_id = store, clock, new_id

    def call(
        self, operation: Operation, principal: Principal | None, arguments: Mapping[str, Any], key: str | None = None
    ) -> dict[str, Any] | None:
        """What an operation answers, as JSON knows it; a RegistryError where it refuses.

        The same `key` of the same principal with the same arguments does nothing again, and gets the same answer.
        """
        principal = authorized(principal, operation)
        asked = validated(operation, arguments)
        if operation.category is Category.QUERY:
            with self.store.reading() as connection:
                return _answer(operation.act(self._context(Unit(connection), principal), asked))
        with self.store.writing() as unit:
            context = self._context(unit, principal)
            if key is None or operation.category is not Category.NEW:
                return _answer(operation.act(context, asked))
            return _once(context, operation, asked, key)

    def _context(self, unit: Unit, principal: Principal) -> Context:
        return Context(unit, principal.principal_id, self._clock(), self._new_id, self.store.secret)


def known(principal: Principal | None) -> Principal:
    """Somebody; Unauthorized where it is nobody."""
    if principal is None:
        raise Unauthorized("nobody is known to ask", action="send a bearer token: campaign token create NAME")
    return principal


def authorized(principal: Principal | None, operation: Operation) -> Principal:
    """Somebody who may; Unauthorized otherwise."""
    principal = known(principal)
    if not principal.role.covers(operation.role):
        raise Unauthorized(
            f"{operation.name} needs the role {operation.role}, and {principal.name or principal.principal_id} is {principal.role}"
        )
    return principal


def _answer(response: Any) -> dict[str, Any] | None:
    return None if response is None else dict(response.model_dump(mode="json"))


def _once(context: Context, operation: Operation, asked: Any, key: str) -> dict[str, Any] | None:
    """What was answered under the key before, or what is answered now."""
    if not 1 <= len(key) <= KEY_MAX or "\0" in key:
        raise InvalidRequestError(f"Idempotency-Key: 1 to {KEY_MAX} characters")
    digest = hashlib.sha256(json.dumps(asked.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
    connection, table = context.unit.connection, IDEMPOTENCY.c
    mine = sa.and_(table.principal_id == context.principal_id, table.operation == operation.name, table.key == key)
    known = connection.execute(sa.select(table.request_sha256, table.response).where(mine)).first()
    if known is None:
        answer = _answer(operation.act(context, asked))
        connection.execute(sa.insert(IDEMPOTENCY), {
            "principal_id": context.principal_id, "operation": operation.name, "key": key, "request_sha256": digest,
            "response": answer, "occurred_at": context.now,
        })  # fmt: skip
        return answer
    if known.request_sha256 != digest:
        raise IdempotencyKeyReusedError("this Idempotency-Key was used for something else", action="take a new key")
    return dict(known.response)
