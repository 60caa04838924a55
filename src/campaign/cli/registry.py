"""Ask the registry of campaigns: every operation that is also there over REST and MCP."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin
from uuid import uuid4

from campaign.errors import Code, UsageError
from campaign.outcome import EXIT_DONE, EXIT_RESUMABLE
from campaign.registry.client import me
from campaign.registry.operations import OPERATIONS, Category, Operation

URL, TOKEN_FILE = "CAMPAIGN_REGISTRY", "CAMPAIGN_REGISTRY_TOKEN_FILE"

EPILOG = f"""--url is that of a server (http://HOST:PORT, with --token-file) or of a database (sqlite:////path/registry.db,
postgresql+psycopg://USER@HOST/NAME); {URL} and {TOKEN_FILE} stand for them.
examples:
  campaign registry register-campaign --name "Roman mocks" --intent Sweep --tags roman
  campaign registry list-campaigns --status all
  campaign registry hold-campaign UUID --reason "wrong cosmology"
  campaign registry init --url sqlite:////data/registry.db      make one; serve and token create do so as well
  campaign registry report my.yaml      tell what runs could not when the registry was away
  campaign registry rebuild             make the summaries again from the events (a database only)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", default=os.environ.get(URL), help=f"the registry (default: {URL})")
    shared.add_argument(
        "--token-file", type=Path, default=os.environ.get(TOKEN_FILE), help=f"file with a token (default: {TOKEN_FILE})"
    )
    shared.add_argument("--json", action="store_true", help="answer as JSON")
    things = parser.add_subparsers(dest="thing", metavar="OPERATION", required=True)
    for operation in OPERATIONS.values():
        sub = things.add_parser(operation.name.replace("_", "-"), parents=[shared], help=operation.summary)
        _add_fields(sub, operation)
        sub.set_defaults(operation=operation)
    report = things.add_parser("report", help="tell what runs of a campaign could not tell")
    report.add_argument(
        "campaign", type=Path, help="the directory of a campaign, or its YAML, which names the registry"
    )
    report.add_argument("--json", action="store_true", help="answer as JSON")
    things.add_parser("init", parents=[shared], help="make the tables of a registry in a database")
    things.add_parser("rebuild", parents=[shared], help="make the summaries again from the events")


def _add_fields(parser: argparse.ArgumentParser, operation: Operation) -> None:
    """An argument for each field of what is asked; identifiers in the path stand alone."""
    for name, field in operation.request.model_fields.items():
        kind, words = field.annotation, field.description or ""
        if f"{{{name}}}" in operation.path:
            parser.add_argument(name, metavar="UUID", help=words)
            continue
        options: dict[str, Any] = {"help": words, "required": field.is_required(), "default": None}
        if _is_list(kind):
            options["action"] = "append"
            options["metavar"] = "SCHEME:ID" if name == "external_refs" else name.upper().removesuffix("S")
        elif kind is int:
            options["type"] = int
        if allowed := _choices(kind):
            options["choices"] = allowed
            options.pop("metavar", None)
        if name == "lead_actor_id" and field.is_required():
            options |= {"required": False, "default": str(me()), "help": "who leads it (default: you)"}
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **options)
    if operation.category is Category.NEW:
        parser.add_argument("--key", help="idempotency key: the same key does the same thing once (default: a new one)")


def _choices(kind: Any) -> list[str]:
    """The words that a field may be, where they are counted; of a list, those of an entry."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return [str(word) for word in kind]
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    parts = [one for one in get_args(kind) if one is not type(None)]
    found = [_choices(part) for part in parts if get_origin(kind) in (Union, UnionType, list)]
    return [word for words in found for word in words] if found and all(found) else []


def _is_list(kind: Any) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return any(_is_list(one) for one in get_args(kind))
    return get_origin(kind) is list


def command(arguments: argparse.Namespace) -> int:
    """`campaign registry`."""
    if arguments.thing == "report":
        return _report(arguments)
    if not arguments.url:
        raise UsageError(Code.CONFIG_INVALID, "no registry is named", action=f"add --url URL, or set {URL}")
    if arguments.thing in ("init", "rebuild"):
        return _in_database(arguments)
    from campaign.registry.client import connect, read_token

    operation: Operation = arguments.operation
    asked = connect(arguments.url, read_token(Path(arguments.token_file)) if arguments.token_file else None)
    key = (arguments.key or uuid4().hex) if operation.needs_key else None
    answer = asked.call(operation.name, _given(arguments, operation), key)
    if arguments.json or not answer:
        print(json.dumps(answer) if arguments.json else "done")
    else:
        print("\n".join(_lines(answer)))
    return EXIT_DONE


def _given(arguments: argparse.Namespace, operation: Operation) -> dict[str, Any]:
    given = {name: getattr(arguments, name) for name in operation.request.model_fields}
    if given.get("external_refs"):
        pairs = [text.partition(":") for text in given["external_refs"]]
        given["external_refs"] = [{"scheme": scheme, "id": identity} for scheme, _, identity in pairs]
    return {name: value for name, value in given.items() if value is not None}


def _lines(answer: Mapping[str, Any]) -> list[str]:
    """An answer as a person reads it."""
    for plural in ("campaigns", "runs"):
        if plural in answer:
            entries = [_entry(entry) for entry in answer[plural]] or ["none"]
            more = answer["next_cursor"]
            return [*entries, *([f"more: --cursor {more}"] if more else [])]
    said = {name: value for name, value in answer.items() if value not in (None, [])}
    return [
        f"{name}: {', '.join(map(_word, value)) if isinstance(value, list) else value}" for name, value in said.items()
    ]


def _word(value: Any) -> str:
    return f"{value['scheme']}:{value['id']}" if isinstance(value, Mapping) else str(value)


def _entry(entry: Mapping[str, Any]) -> str:
    runs = f"{entry['run_count']:>5} runs" if "run_count" in entry else ""
    why = f"  ({entry['last_status_reason']})" if entry["last_status_reason"] else ""
    return (
        f"{entry.get('campaign_id') if runs else entry['run_id']}  {entry['status']:<10} {runs}  {entry['name']}{why}"
    )


def _report(arguments: argparse.Namespace) -> int:
    from campaign import opening
    from campaign.layout import Layout
    from campaign.reporting import tell_later

    config, _ = opening.read_config(arguments.campaign)
    if config.registration is None:
        raise UsageError(Code.CONFIG_INVALID, f"{arguments.campaign} reports nowhere", action="set registry.url")
    left = tell_later(config.registration, Layout(Path(config.directory)))
    words = f"{left} reports are left" + (": of another registry, or of a run that is at work" if left else "")
    print(json.dumps({"left": left}) if arguments.json else words)
    return EXIT_RESUMABLE if left else EXIT_DONE


def _in_database(arguments: argparse.Namespace) -> int:
    from campaign.registry.client import open_store

    if arguments.url.startswith("http"):
        raise UsageError(Code.CONFIG_INVALID, "that is a server", action="name the database that it serves")
    store = open_store(arguments.url, create=arguments.thing == "init")
    count = store.rebuild() if arguments.thing == "rebuild" else None
    if arguments.json:
        print(json.dumps({"events": count}))
    else:
        print("there is a registry" if count is None else f"the summaries are made of {count} events")
    return EXIT_DONE
