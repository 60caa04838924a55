"""Packages that only some of us need: asked for where they are needed, with what to type where they are not there."""

from __future__ import annotations

import importlib.util

from campaign.errors import Code, UsageError


def need(what: str, *packages: str, extra: str) -> None:
    """UsageError where one of `packages` is not installed; `what` needs it, `extra` brings it."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(
            Code.PACKAGE_MISSING, f"{what} needs {', '.join(absent)}", action=f"pip install 'campaign[{extra}]'"
        )
