"""Pieces of HTML that the page and the report share; whatever is put into them is escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from campaign.core.model import State
from campaign.core.words import duration, size

if TYPE_CHECKING:
    from jinja2 import Environment, Template

PALETTE = {
    State.PENDING: ("#dddddd", "#363b42"),
    State.QUEUED: ("#b4b4b4", "#5d646d"),
    State.RUNNING: ("#56b4e9", "#56b4e9"),
    State.COMPLETED: ("#0072b2", "#0072b2"),
    State.FAILED: ("#d55e00", "#d55e00"),
    State.TIMEOUT: ("#cc79a7", "#cc79a7"),
    State.MISSING_INPUT: ("#f0e442", "#f0e442"),
    State.CANCELLED: ("#6a6a6a", "#808080"),
}
"""Colour of each state on a light and on a dark page: those of Okabe and Ito (2008), which people of any colour vision can tell apart."""


@cache
def environment() -> Environment:
    """Templates, with what they need to say numbers and colours."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("campaign.adapters.web"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"duration": duration, "bytes": size}
    made.globals |= {"States": list(State), "PALETTE": PALETTE, "State": State}
    return made


def template(name: str) -> Template:
    """A template by its name."""
    return environment().get_template(name)


def render(name: str, **values: Any) -> str:
    """A template filled in."""
    return template(name).render(**values)
