"""What the sections of a configuration have in common."""

from __future__ import annotations

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
"""Nothing unknown, and nothing converted."""

PRINTED = r"^[^\x00-\x1f\x7f-\x9f]*$"
PRINTED_LINES = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"
"""Text that a terminal shows and does not obey."""
