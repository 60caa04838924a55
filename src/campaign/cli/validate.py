"""Check a configuration. Every mistake is reported at once, with file, line and column, what was found and what is allowed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from campaign.cli.arguments import add_settings
from campaign.errors import ConfigError
from campaign.opening import lay_out, read_config
from campaign.outcome import EXIT_DONE, EXIT_USAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("config", type=Path, nargs="?", help="the campaign's YAML")
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of the YAML, for editors")
    parser.add_argument("--resolved", action="store_true", help="print the configuration with every default")


def command(arguments: argparse.Namespace) -> int:
    """`campaign validate`."""
    if arguments.schema:
        from campaign.config import json_schema

        print(json.dumps(json_schema(), indent=2))
        return EXIT_DONE
    if arguments.config is None:
        print("campaign validate: give a configuration, or --schema")
        return EXIT_USAGE
    try:
        config, generator = read_config(arguments.config, arguments.settings)
        lay_out(config, generator)  # names and variables as well
    except ConfigError as error:
        if not arguments.json:
            raise
        problems = [{"where": p.where, "key": p.key, "found": p.found, "allowed": p.allowed, "suggestion": p.suggestion}
                    for p in error.problems]  # fmt: skip
        print(json.dumps({"valid": False, "problems": problems}))
        return EXIT_USAGE
    if arguments.resolved or arguments.json:
        print(json.dumps({"valid": True, "directory": config.directory, "configuration": config.document}, indent=2))
    else:
        sizes = " x ".join(f"{len(axis.values)} {axis.name}s" for axis in config.axes)
        print(f"{arguments.config} is valid: {sizes}, generator {config.generator}, results in {config.directory}")
    return EXIT_DONE
