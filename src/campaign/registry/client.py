"""Ways to ask a registry: its database directly, or its server over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import NAMESPACE_URL, UUID, uuid5

from campaign.errors import Code, UsageError
from campaign.needs import need
from campaign.person import user
from campaign.private import read_private
from campaign.registry import errors
from campaign.registry.errors import RegistryError, RegistryUnavailableError
from campaign.registry.operations import OPERATIONS, Operation, Role, validated

if TYPE_CHECKING:
    from campaign.registry.store import EventStore

TIMEOUT_S = 10.0


class Client(Protocol):
    """Somebody who can be asked."""

    def call(self, name: str, arguments: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """What the operation answers, empty where it answers nothing; a RegistryError where it refuses."""

    def close(self) -> None:
        """Give connections back."""


def connect(url: str, token: str | None = None) -> Client:
    """The registry at a URL: `https://...` of a server, or that of a database; UsageError where the URL is neither.

    RegistryUnavailableError where a database can't be reached; of a server that shows when it is asked.
    """
    scheme = url.partition(":")[0]
    if scheme in ("http", "https"):
        return HttpClient(url, token)
    if scheme.partition("+")[0] in ("sqlite", "postgresql"):
        return DatabaseClient(url)
    raise UsageError(
        Code.CONFIG_INVALID,
        f"{url!r} is no registry",
        action="write http://HOST:PORT, sqlite:////path/registry.db or postgresql+psycopg://USER@HOST/NAME",
    )


def read_token(path: Path) -> str:
    """The token in a file; UsageError where there is none, or where others may read it."""
    token = read_private(path, "token", "campaign token create NAME").strip()
    if not re.fullmatch(rb"[!-~]+", token):
        raise UsageError(
            Code.CONFIG_INVALID, f"{path} holds no token, which is one word", action="campaign token create NAME"
        )
    return token.decode()


def me() -> UUID:
    """Who I am where nobody asks: the same for the same user name."""
    return uuid5(NAMESPACE_URL, f"campaign:user:{user()}")


def open_store(url: str, *, create: bool = False) -> EventStore:
    """The database of a registry; UsageError where what it needs is not installed.

    RegistryUnavailableError where it can't be reached, or holds no registry and none is to be made.
    """
    needed = ["sqlalchemy", *(["psycopg"] if url.startswith("postgresql") else [])]
    need("the registry's database", *needed, extra="registry")
    from campaign.registry.store import EventStore

    return EventStore(url, create=create)


class DatabaseClient:
    """Asks the database itself: whoever may write it may do everything."""

    def __init__(self, url: str) -> None:
        store = open_store(url)
        from campaign.registry.service import Principal, Registry

        self._registry = Registry(store)
        self._principal = Principal(me(), Role.ADMIN, user())

    def call(self, name: str, arguments: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        return self._registry.call(OPERATIONS[name], self._principal, arguments, key) or {}

    def close(self) -> None:
        self._registry.store.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is for the server that it is given to, and for no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class HttpClient:
    """Asks a server, with a bearer token."""

    def __init__(self, url: str, token: str | None, timeout_s: float = TIMEOUT_S) -> None:
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def call(self, name: str, arguments: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        operation = OPERATIONS[name]
        asked = validated(operation, arguments).model_dump(mode="json", exclude_unset=True)
        headers = self._headers | ({} if key is None else {"Idempotency-Key": key})
        try:
            with self._opener.open(_request(self._url, operation, asked, headers), timeout=self._timeout_s) as answer:
                return _understood(operation, answer.status, answer.read())
        except urllib.error.HTTPError as error:
            raise _refusal(self._url, error) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = error.reason if isinstance(error, urllib.error.URLError) else type(error).__name__
            raise RegistryUnavailableError(f"{self._url} does not answer: {why}", action="try again later") from error

    def close(self) -> None:
        """There is nothing open."""


def _understood(operation: Operation, status: int, body: bytes) -> dict[str, Any]:
    """What a server answered; ValueError where that is not what the operation answers."""
    if status != operation.status:
        raise ValueError(status)
    if operation.response is None:
        return {}
    return dict(operation.response.model_validate_json(body).model_dump(mode="json"))


def _request(
    url: str, operation: Operation, arguments: Mapping[str, Any], headers: Mapping[str, str]
) -> urllib.request.Request:
    in_path = {name: value for name, value in arguments.items() if f"{{{name}}}" in operation.path}
    rest = {name: value for name, value in arguments.items() if name not in in_path}
    where = url + operation.path.format_map(
        {name: urllib.parse.quote(str(value), safe="") for name, value in in_path.items()}
    )
    if operation.method == "GET":
        query = urllib.parse.urlencode(rest, doseq=True)
        return urllib.request.Request(f"{where}?{query}" if query else where, headers=dict(headers))  # noqa: S310 - http and https only
    body = json.dumps(rest).encode() if rest else b""
    return urllib.request.Request(where, data=body, headers=dict(headers), method=operation.method)  # noqa: S310 - likewise


def _refusal(url: str, error: urllib.error.HTTPError) -> RegistryError:
    """The error that the server tells of, by its name; that there is no registry where it tells of none."""
    try:
        body = json.loads(error.read())
        kind = getattr(errors, str(body["error"]))
        if issubclass(kind, RegistryError) and kind.status == error.code:
            refusal: RegistryError = kind(str(body["detail"]))
            return refusal
    except (OSError, ValueError, KeyError, TypeError, AttributeError, http.client.HTTPException):
        pass
    return RegistryUnavailableError(
        f"{url} answered {error.code}: it is no registry, or has trouble", action="check registry.url"
    )
