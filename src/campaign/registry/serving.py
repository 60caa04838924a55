"""The registry as a service: REST and MCP on one port, and a line of JSON for every request."""

from __future__ import annotations

import json
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response

from campaign.registry.operations import Role
from campaign.registry.rest import BODY_MAX, make_app
from campaign.registry.service import Principal, Registry
from campaign.registry.tokens import Doorkeeper
from campaign.registry.tools import as_somebody, by_headers, make_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

logger = logging.getLogger("campaign.registry")

MCP_PATH = "/mcp"
CONNECTIONS_MAX = 500
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")


def application(registry: Registry, doorkeeper: Doorkeeper, host: str = "127.0.0.1") -> FastAPI:
    """Everything that is served: the operations, `/mcp`, `/health` and `/ready`, `/docs`."""
    tools = make_server(registry, by_headers(doorkeeper)).streamable_http_app(
        streamable_http_path=MCP_PATH,
        stateless_http=True,
        json_response=True,
        max_request_body_size=BODY_MAX,
        host=host,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with tools.router.lifespan_context(tools):
            yield

    app = make_app(registry, doorkeeper, lifespan)
    app.router.routes += tools.routes
    app.add_middleware(OnlyPosted)
    if host in LOOPBACK:  # a page elsewhere whose name leads here is no friend
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK])
    app.add_middleware(AccessLog)
    return app


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until interrupted."""
    import uvicorn

    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
    )


def serve_stdio(registry: Registry) -> None:
    """Speak MCP on standard input and output, as the person whose process this is."""
    import anyio
    from mcp.server.stdio import stdio_server

    from campaign.person import user
    from campaign.registry.client import me

    server = make_server(registry, as_somebody(Principal(me(), Role.OPERATOR, user())))

    async def speak() -> None:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(speak)


class OnlyPosted:
    """MCP without sessions: there is nothing to listen to, so that a stream would only stay open."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/") == MCP_PATH and scope["method"] != "POST":
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class AccessLog:
    """Tells each request in a line: what, how it went, how long it took. Never who: a token is a secret."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 0

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = round(time.perf_counter() - begin, 6)
            entry = {"method": scope["method"], "path": scope["path"], "status": status or 500, "seconds": seconds}
            logger.info("request", extra={"fields": entry})


class JsonLines(logging.Formatter):
    """Log records as JSON, one a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname, "logger": record.name,
            "message": record.getMessage(), **getattr(record, "fields", {}),
        }  # fmt: skip
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry)
