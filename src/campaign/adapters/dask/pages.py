"""A page of ours beside Dask's on its dashboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PAGE, KEY = "campaign", "campaign-page"

Draw = Callable[[Any], None]
"""Draws into a Bokeh document, which is that of one person who looks. Its template is told `pages`, those of the dashboard, and `here`, ours."""


def install() -> None:
    """Have the page served by every scheduler that starts from now on."""
    from distributed.dashboard import scheduler as dashboard

    dashboard.applications.setdefault(f"/{PAGE}", _serve)


def show(scheduler: Any, draw: Draw) -> None:
    """Let a scheduler's page be drawn, and found from the others."""
    from distributed.dashboard import scheduler as dashboard

    scheduler.extensions[KEY] = draw
    pages = dashboard.template_variables(scheduler)["pages"]
    if PAGE not in pages:
        pages.insert(0, PAGE)


def _serve(scheduler: Any, extra: dict[str, Any], doc: Any) -> None:
    draw = scheduler.extensions.get(KEY)
    doc.template_variables.update(extra | {"here": PAGE})
    if draw is not None:
        draw(doc)
