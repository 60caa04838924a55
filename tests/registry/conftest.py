"""A registry on each database, asked in each way: SQLite and Debian's PostgreSQL, REST and MCP."""

import asyncio
import threading
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest

pytest.importorskip("sqlalchemy", exc_type=ImportError)
pytest.importorskip("fastapi", exc_type=ImportError)
pytest.importorskip("mcp", exc_type=ImportError)

from fastapi.testclient import TestClient
from mcp import Client

from campaign.registry.operations import OPERATIONS, Role
from campaign.registry.service import Principal, Registry
from campaign.registry.serving import application
from campaign.registry.store import EventStore
from campaign.registry.tokens import Doorkeeper, Principals
from campaign.registry.tools import as_somebody, make_server
from tests.registry.postgres import Postgres, installed

ME = UUID("7b1f2d4e-2a3c-4d5e-8f9a-1b2c3d4e5f60")
ADMIN = Principal(ME, Role.ADMIN)


@pytest.fixture(scope="session")
def postgres():
    if not installed():
        pytest.skip("needs PostgreSQL")
    with Postgres.started() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/registry.db"
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def store(url):
    store = EventStore(url)
    yield store
    store.close()


@pytest.fixture
def registry(store):
    return Registry(store)


@pytest.fixture
def call(registry):
    """Ask the service itself."""

    def ask(name, /, key=None, principal=ADMIN, **arguments):
        return registry.call(OPERATIONS[name], principal, arguments, key)

    return ask


class RefusedError(Exception):
    """What a face of the registry refuses."""

    def __init__(self, body):
        super().__init__(body)
        self.name, self.status, self.body = body["error"], body["status"], body


class Rest:
    """Asks over HTTP, in this process."""

    def __init__(self, client):
        self.client = client

    def __call__(self, name, /, key=None, principal=ME, **arguments):
        operation = OPERATIONS[name]
        path = operation.path.format_map({key: arguments[key] for key in arguments})
        rest = {k: v for k, v in arguments.items() if f"{{{k}}}" not in operation.path}
        headers = {"X-Principal-Id": str(principal)} if principal else {}
        if operation.needs_key:
            headers["Idempotency-Key"] = key or uuid4().hex
        given = {"params": rest} if operation.method == "GET" else {"json": rest} if rest else {}
        answer = self.client.request(operation.method, path, headers=headers, **given)
        if answer.is_error:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code
            raise RefusedError(answer.json())
        assert answer.status_code == operation.status
        return answer.json() if answer.content else {}


class Mcp:
    """Asks over MCP, in this process."""

    def __init__(self, client, loop):
        self.client, self.loop = client, loop

    def __call__(self, name, /, key=None, principal=ME, **arguments):
        meta = {"principal_id": str(principal)} if principal else {}
        if key:
            meta["idempotency_key"] = key
        asked = self.client.call_tool(name, arguments, meta=meta)
        answer = asyncio.run_coroutine_threadsafe(asked, self.loop).result(30)
        if answer.is_error:
            raise RefusedError(answer.structured_content)
        return answer.structured_content


@contextmanager
def connected(server):
    """A client of an MCP server in this process, driven from a thread of its own."""
    loop, ready, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    held = []

    async def hold():
        async with Client(server) as client:
            held.append(client)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(hold()))
    thread.start()
    assert ready.wait(30)
    try:
        yield Mcp(held[0], loop)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()


@pytest.fixture
def app(registry, store):
    return application(registry, Doorkeeper(Principals(store), trusts_bare_ids=True))


@pytest.fixture
def http(app):
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(params=["rest", "mcp"])
def ask(request, registry):
    """Ask as a client: over REST, or over MCP."""
    if request.param == "rest":
        yield Rest(request.getfixturevalue("http"))
        return
    with connected(make_server(registry, as_somebody(None, trusts_bare_ids=True))) as client:
        yield client
