"""The `notify` section: who is told about a run, and when."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from campaign.core.notices import Kind, Notify, Rules


class NotifySection(BaseModel):
    """Who is told about a run, and when; may change from one start to the next."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    command: Annotated[
        list[str], Field(description="program and arguments; gets each notice as JSON on standard input")
    ] = []
    urls: Annotated[list[str], Field(description="of services that apprise knows, such as mailto:// or slack://")] = []
    on: Annotated[list[Kind], Field(min_length=1, description="what is told")] = list(Kind)
    stalled_minutes: Annotated[float, Field(gt=0, description="stalled: nothing has ended for so long")] = 30.0
    failure_rate: Annotated[float, Field(ge=0, lt=1, description="failing: more of what ended for good has failed")] = (
        0.1
    )
    apart_minutes: Annotated[float, Field(ge=0, description="between two notices of a kind, at least")] = 60.0

    @model_validator(mode="after")
    def _to_somebody(self) -> NotifySection:
        if not (self.command or self.urls):
            raise ValueError("give `command`, or `urls`")
        return self

    def frozen(self) -> Notify:
        """The same as a value."""
        rules = Rules(frozenset(self.on), self.stalled_minutes * 60, self.failure_rate, self.apart_minutes * 60)
        return Notify(tuple(self.command), tuple(self.urls), rules)
