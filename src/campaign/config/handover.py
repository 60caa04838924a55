"""The sections `archive` and `cleanup`: how a campaign is copied out, and what of it may be removed."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from campaign.config.section import PRINTED, STRICT
from campaign.config.sizes import Size
from campaign.core.handover import Archiving, Author, Cleanup

Days = Annotated[float, Field(ge=0, le=36_500)]
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTED)]


class _Section(BaseModel):
    model_config = STRICT


class AuthorSection(_Section):
    """Who is to be named with the data."""

    name: Line
    orcid: (
        Annotated[str, Field(pattern=r"^(\d{4}-){3}\d{3}[\dX]$", description="such as 0000-0002-1825-0097")] | None
    ) = None
    affiliation: Line | None = None


class ArchiveSection(_Section):
    """How `campaign archive` copies the campaign; may change at any time."""

    by: Annotated[
        str | None, Field(description="parameter whose values give the leading directories, such as redshift")
    ] = None
    group: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="group that may read it, and nobody else does"),
    ] = None
    bandwidth: Annotated[Size | None, Field(description="bytes a second at most, such as 200 MB")] = None
    license: Annotated[Line | None, Field(description="an SPDX identifier such as CC-BY-4.0, or a URL")] = None
    authors: Annotated[list[AuthorSection], Field(description="who is to be named with the data")] = []

    def frozen(self) -> Archiving:
        """The same as a value."""
        return Archiving(
            by=self.by or "",
            group=self.group or "",
            bytes_per_s=self.bandwidth,
            license=self.license or "",
            authors=tuple(Author(who.name, who.orcid or "", who.affiliation or "") for who in self.authors),
        )


class CleanupSection(_Section):
    """What `campaign prune` may remove; may change at any time."""

    cache: Annotated[bool, Field(description="compiled code, which is made again where it is needed")] = True
    orphans: Annotated[bool, Field(description="files in catalogs/ that no record stands for")] = False
    quarantine_days: Annotated[Days | None, Field(description="what was set aside so many days ago")] = None
    logs_days: Annotated[Days | None, Field(description="logs that were written to so many days ago")] = None
    archived_products: Annotated[bool, Field(description="products that are whole in an archive")] = False
    purge_days: Annotated[
        Annotated[float, Field(gt=0)] | None,
        Field(description="the centre removes what was not used for so many days: what is near is told"),
    ] = None

    def frozen(self) -> Cleanup:
        """The same as a value."""
        return Cleanup(**self.model_dump())
