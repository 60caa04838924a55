"""The `notify` section: who is told about a run, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from campaign.core.notices import Kind, Notify, Rules

STALLED_S = 1800.0


def _found_again(command: list[str]) -> list[str]:
    """A program that is named by a path is found from wherever the campaign goes on."""
    if command and "/" in command[0]:
        return [str(Path(command[0]).expanduser().absolute()), *command[1:]]
    return command


class NotifySection(BaseModel):
    """Who is told about a run, and when; may change from one start to the next."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    command: Annotated[
        list[str],
        Field(description="program and arguments; gets each notice as JSON on standard input"),
        AfterValidator(_found_again),
    ] = []
    urls_file: Annotated[
        str | None,
        Field(min_length=1, description="a file that only you may read, with a URL that apprise knows in each line"),
        AfterValidator(lambda path: path and str(Path(path).expanduser().absolute())),
    ] = None
    on: Annotated[list[Kind], Field(min_length=1, description="what is told")] = list(Kind)
    stalled_minutes: Annotated[
        float | None,
        Field(
            gt=0,
            description="stalled: nothing has ended for so long; unset: 30, or execution.timeout_hours if that is longer",
        ),
    ] = None
    failure_rate: Annotated[float, Field(ge=0, lt=1, description="failing: more of what ended for good has failed")] = (
        0.1
    )
    apart_minutes: Annotated[float, Field(ge=0, description="between two notices of a kind, at least")] = 60.0

    @model_validator(mode="after")
    def _to_somebody(self) -> NotifySection:
        if not (self.command or self.urls_file):
            raise ValueError("give `command`, or `urls_file`")
        return self

    def frozen(self, timeout_s: float) -> Notify:
        """The same as a value, of a campaign whose jobs may take so long."""
        stalled_s = max(STALLED_S, timeout_s) if self.stalled_minutes is None else self.stalled_minutes * 60
        rules = Rules(frozenset(self.on), stalled_s, self.failure_rate, self.apart_minutes * 60)
        return Notify(tuple(self.command), self.urls_file, rules)
