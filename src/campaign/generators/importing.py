"""Python functions that a user names, by module or by file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from campaign.errors import Code, JobError


@lru_cache(maxsize=64)
def imported(name: str, here: str) -> Callable[..., Any]:
    """The function `module:function` or `file.py:function`, looked for in `here` as well; JobError where there is none."""
    place, _, attribute = name.rpartition(":")
    try:
        module = _of_file(Path(here) / place) if place.endswith(".py") else _of_module(place, here)
        found: Callable[..., Any] = getattr(module, attribute)
    except Exception as error:  # whatever a user's module raises
        raise JobError(
            Code.GENERATOR_UNAVAILABLE,
            f"{name} can't be loaded: {type(error).__name__}: {error}",
            action="correct the name, or the file; it is looked for where the campaign is started",
        ) from error
    return found


def _of_module(name: str, here: str) -> Any:
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(name)


def _of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"campaign_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look for it
    if (beside := str(path.parent)) not in sys.path:
        sys.path.append(beside)  # it may import its neighbours, now or later
    spec.loader.exec_module(module)
    return module
