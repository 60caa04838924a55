"""Ways to ask a registry: its database directly, or its server over HTTP."""

from __future__ import annotations

import getpass
import importlib.util
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import NAMESPACE_URL, UUID, uuid5

from campaign.errors import Code, UsageError
from campaign.registry import errors
from campaign.registry.errors import RegistryError, RegistryUnavailableError
from campaign.registry.operations import OPERATIONS, Operation, Role

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
    try:
        mode, token = path.stat().st_mode, path.read_text().strip()
    except OSError as error:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"the token file {path} can't be read: {error.strerror}",
            action="campaign token create NAME",
        ) from error
    if mode & 0o077:
        raise UsageError(Code.CONFIG_INVALID, f"others may read the token in {path}", action=f"chmod 600 {path}")
    if not token:
        raise UsageError(Code.CONFIG_INVALID, f"{path} is empty", action="campaign token create NAME")
    return token


def me() -> UUID:
    """Who I am where nobody asks: the same for the same user name."""
    return uuid5(NAMESPACE_URL, f"campaign:user:{getpass.getuser()}")


def open_store(url: str) -> EventStore:
    """The database of a registry; UsageError where what it needs is not installed."""
    if importlib.util.find_spec("sqlalchemy") is None:
        raise UsageError(
            Code.GENERATOR_UNAVAILABLE,
            "the registry's database needs sqlalchemy",
            action="pip install 'campaign[registry]'",
        )
    from campaign.registry.store import EventStore

    return EventStore(url)


class DatabaseClient:
    """Asks the database itself: whoever may write it may do everything."""

    def __init__(self, url: str) -> None:
        store = open_store(url)
        from campaign.registry.service import Principal, Registry

        self._registry = Registry(store)
        self._principal = Principal(me(), Role.ADMIN, getpass.getuser())

    def call(self, name: str, arguments: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        return self._registry.call(OPERATIONS[name], self._principal, arguments, key) or {}

    def close(self) -> None:
        self._registry.store.close()


class HttpClient:
    """Asks a server, with a bearer token."""

    def __init__(self, url: str, token: str | None, timeout_s: float = TIMEOUT_S) -> None:
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def call(self, name: str, arguments: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        headers = self._headers | ({} if key is None else {"Idempotency-Key": key})
        request = _request(self._url, OPERATIONS[name], arguments, headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310 - http and https only
                body = answer.read()
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise RegistryUnavailableError(f"{self._url} does not answer: {why}", action="try again later") from error
        return dict(json.loads(body)) if body else {}

    def close(self) -> None:
        """There is nothing open."""


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
        return urllib.request.Request(f"{where}?{query}" if query else where, headers=dict(headers))  # noqa: S310
    body = json.dumps(rest).encode() if rest else None
    return urllib.request.Request(where, data=body or b"", headers=dict(headers), method=operation.method)  # noqa: S310


def _refusal(error: urllib.error.HTTPError) -> RegistryError:
    """The error that the server tells of, by its name."""
    try:
        body = json.loads(error.read())
        kind = getattr(errors, str(body["error"]))
        return kind(str(body["detail"])) if issubclass(kind, RegistryError) else _unknown(error)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _unknown(error)


def _unknown(error: urllib.error.HTTPError) -> RegistryError:
    return RegistryUnavailableError(f"{error.url} answered {error.code}: this is no registry, or it has trouble")
