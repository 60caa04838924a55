"""Variables that a user declares in the options of a generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from campaign.core.model import Variable


def declared(options: Mapping[str, Mapping[str, Any]]) -> tuple[Variable, ...]:
    """The variables of resolved options: name -> dtype, units, long_name. Asked for each job, so nothing is validated again."""
    return tuple(Variable(name, one["dtype"], one["units"], one["long_name"] or name) for name, one in options.items())
