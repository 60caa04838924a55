"""Give, list and revoke the tokens by which a registry's server knows who asks."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.cli.registry import URL
from campaign.errors import Code, UsageError
from campaign.outcome import EXIT_DONE
from campaign.registry.operations import Role

if TYPE_CHECKING:
    from campaign.registry.tokens import Principals

EPILOG = """A viewer may look, an operator may change campaigns and runs, an admin may do everything. Only the hash of a token is stored:
it is shown once, or written to a file that you alone can read.
examples:
  campaign token create ada --role operator --url sqlite:////data/registry.db --output ~/.campaign-token
  campaign token list
  campaign token revoke ada"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", default=os.environ.get(URL), help=f"the registry's database (default: {URL})")
    shared.add_argument("--json", action="store_true", help="answer as JSON")
    things = parser.add_subparsers(dest="thing", metavar="ACTION", required=True)
    create = things.add_parser("create", parents=[shared], help="give a token to somebody")
    create.add_argument("name", help="whom or what it is for")
    create.add_argument(
        "--role", choices=[str(role) for role in Role], default=str(Role.OPERATOR), help="(default: operator)"
    )
    create.add_argument("--output", type=Path, metavar="FILE", help="write the token there instead of printing it")
    things.add_parser("list", parents=[shared], help="who has one")
    revoke = things.add_parser("revoke", parents=[shared], help="let a token open nothing any more")
    revoke.add_argument("name")


def command(arguments: argparse.Namespace) -> int:
    """`campaign token`."""
    from campaign.registry.client import open_store

    if not arguments.url or arguments.url.startswith("http"):
        raise UsageError(
            Code.CONFIG_INVALID, "tokens are kept in the registry's database, and none is named", action=f"add --url, or set {URL}"
        )  # fmt: skip
    store = open_store(arguments.url, create=arguments.thing == "create")
    from campaign.registry.service import now_utc
    from campaign.registry.tokens import Principals

    principals = Principals(store)
    if arguments.thing == "create":
        print(_created(arguments, principals))
    elif arguments.thing == "list":
        rows = [
            {name: str(value) if value is not None else None for name, value in row.items()}
            for row in principals.listed()
        ]
        print(json.dumps(rows) if arguments.json else "\n".join(map(_line, rows)) or "nobody")
    else:
        principals.revoke(arguments.name, now_utc())
        print(
            json.dumps({"revoked": arguments.name})
            if arguments.json
            else f"{arguments.name}'s token opens nothing any more"
        )
    return EXIT_DONE


def _created(arguments: argparse.Namespace, principals: Principals) -> str:
    """What is told of a new token; where it goes to a file, that is there before anybody has it."""
    from campaign.registry.service import now_utc

    handle = _secret_file(arguments.output) if arguments.output else None
    try:
        principal, token = principals.create(arguments.name, Role(arguments.role), now_utc())
    except BaseException:
        if handle is not None:
            arguments.output.expanduser().unlink()
        raise
    told = {"principal_id": str(principal.principal_id), "name": principal.name, "role": str(principal.role)}
    if handle is None:
        told["token"] = token
    else:
        with os.fdopen(handle, "w") as file:
            file.write(token + "\n")
        told["token_file"] = str(arguments.output)
    return json.dumps(told) if arguments.json else "\n".join(f"{name}: {value}" for name, value in told.items())


def _line(row: dict[str, str | None]) -> str:
    gone = f"  revoked {row['revoked_at']}" if row["revoked_at"] else ""
    return f"{row['principal_id']}  {row['role']:<8} {row['name']}{gone}"


def _secret_file(path: Path) -> int:
    """A new file that only its owner reads, open; UsageError where there is one."""
    try:
        return os.open(path.expanduser(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(Code.CONFIG_INVALID, f"{path} exists", action="name another file, or delete it") from None
