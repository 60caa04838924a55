"""What becomes of a campaign afterwards: how it is archived, and what of it may be removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Author:
    """Who is to be named with the data."""

    name: str
    orcid: str = ""  # such as 0000-0002-1825-0097
    affiliation: str = ""


@dataclass(frozen=True, slots=True)
class Archiving:
    """How a campaign is copied out."""

    by: str = ""  # parameter whose values give the leading directories; empty: as the campaign names its products
    group: str = ""  # that may read it, and nobody else; empty: as the umask says
    bytes_per_s: int | None = None  # at most; None: as fast as it goes
    license: str = ""  # an SPDX identifier, or a URL
    authors: tuple[Author, ...] = ()


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What of a campaign may be removed, and what the centre removes."""

    cache: bool = True  # compiled code, which is made again where it is needed
    orphans: bool = False  # files in catalogs/ that no record stands for
    quarantine_days: float | None = None  # what was set aside longer ago; None: nothing
    logs_days: float | None = None  # likewise
    archived_products: bool = False  # products that are whole in an archive
    purge_days: float | None = None  # the centre removes what was not used for so long; None: it does not


@dataclass(frozen=True, slots=True)
class Purge:
    """What the centre will remove, if nobody uses it."""

    files: int
    size_bytes: int
    first_s: float  # when the first of them is due, s since 1970-01-01 UTC; may be past


def purged_within(files: Iterable[tuple[float, int]], purge_days: float, until_s: float) -> Purge | None:
    """Of files (last use in s since 1970-01-01 UTC, bytes), those that are due until then; None where there are none."""
    count, size, first_s = 0, 0, float("inf")
    for used_s, size_bytes in files:
        due_s = used_s + purge_days * DAY_S
        if due_s <= until_s:
            count, size, first_s = count + 1, size + size_bytes, min(first_s, due_s)
    return Purge(count, size, first_s) if count else None
