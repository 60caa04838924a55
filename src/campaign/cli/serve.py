"""Serve the registry of campaigns: REST, MCP at /mcp, the OpenAPI description at /docs."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import sys

from campaign.cli.registry import URL
from campaign.errors import Code, UsageError
from campaign.needs import need
from campaign.outcome import EXIT_DONE

EPILOG = """Who asks is told by a bearer token: campaign token create NAME. On the loopback, --trust-principal-header believes the bare
X-Principal-Id instead, for trying it out, or behind a proxy that has asked already. --stdio speaks MCP on standard input and output.
Elsewhere than on the loopback put a proxy with TLS in front: tokens are secrets.
examples:
  campaign serve --url sqlite:////data/registry.db
  campaign serve --url postgresql+psycopg://campaign@db/registry --port 8080
  campaign serve --url sqlite:////data/registry.db --stdio      for an agent on this machine"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--url", default=os.environ.get(URL), help=f"the registry's database (default: {URL})")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: the loopback)")
    parser.add_argument("--port", type=int, default=8765, help="(default: 8765)")
    parser.add_argument(
        "--trust-principal-header",
        action="store_true",
        help="believe X-Principal-Id without a token; on the loopback only",
    )
    parser.add_argument("--stdio", action="store_true", help="speak MCP on standard input and output, as yourself")


def command(arguments: argparse.Namespace) -> int:
    """`campaign serve`."""
    if not arguments.url:
        raise UsageError(
            Code.CONFIG_INVALID, "no database is named", action=f"add --url sqlite:////path/registry.db, or set {URL}"
        )
    if arguments.trust_principal_header and not _is_loopback(arguments.host):
        raise UsageError(
            Code.CONFIG_INVALID,
            f"at {arguments.host} anybody could be anybody",
            action="leave --trust-principal-header out and give tokens, or listen at 127.0.0.1",
        )
    need("a server", "fastapi", "mcp", "sqlalchemy", "uvicorn", extra="registry")
    return _serve(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    from campaign.registry.service import Registry
    from campaign.registry.serving import JsonLines, application, serve, serve_stdio
    from campaign.registry.store import EventStore
    from campaign.registry.tokens import Doorkeeper, Principals

    store = EventStore(arguments.url)
    registry = Registry(store)
    if arguments.stdio:
        serve_stdio(registry)
        return EXIT_DONE
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger("campaign.registry").setLevel(logging.INFO)
    doorkeeper = Doorkeeper(Principals(store), trusts_bare_ids=arguments.trust_principal_header)
    serve(application(registry, doorkeeper, arguments.host), arguments.host, arguments.port)
    return EXIT_DONE


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
