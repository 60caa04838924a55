"""YAML -> frozen Config: machine defaults <- campaign <- environment <- options, every mistake at once, with its place."""

from __future__ import annotations

from campaign.config.load import load_config
from campaign.config.schema import json_schema

__all__ = ["json_schema", "load_config"]
