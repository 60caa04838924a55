"""Where things lie in a campaign's directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from campaign.errors import Code, JobError

ARCHIVE_HEAD = "archive.json"
"""The file that tells an archive from a campaign."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The directory of one campaign: `campaigns/<version>_<name>/`."""

    root: Path
    shard: str = ""  # of several allocations that share the campaign: name of ours

    @property
    def _suffix(self) -> str:
        return f"-{self.shard}" if self.shard else ""

    @property
    def metadata(self) -> Path:
        """Configuration, provenance, plan, ledger, lock."""
        return self.root / "metadata"

    @property
    def config(self) -> Path:
        """The frozen, resolved configuration."""
        return self.metadata / "campaign_config.yaml"

    @property
    def manifest(self) -> Path:
        """Provenance, and what the campaign consists of."""
        return self.metadata / "manifest.json"

    @property
    def plan(self) -> Path:
        """The plan as columns."""
        return self.metadata / "plan.npz"

    @property
    def ledger(self) -> Path:
        """The index of batches and attempts."""
        return self.metadata / "campaign.db"

    @property
    def progress(self) -> Path:
        """The latest snapshot of a running coordinator."""
        return self.metadata / f"progress{self._suffix}.json"

    @property
    def registry(self) -> Path:
        """What is to be told to the registry, and what it has answered."""
        return self.metadata / f"registry{self._suffix}.json"

    @property
    def archives(self) -> Path:
        """Where the campaign was copied to."""
        return self.metadata / "archives.json"

    @property
    def pruned(self) -> Path:
        """Products that were removed since they are in an archive, a line of JSON for each."""
        return self.metadata / "pruned.jsonl"

    @property
    def catalogs(self) -> Path:
        """Products."""
        return self.root / "catalogs"

    @property
    def journals(self) -> Path:
        """Journals of the workers."""
        return self.root / "staging" / f"journal{self._suffix}"

    @property
    def unfinished(self) -> Path:
        """Products that are being made; what a killed process left here is swept at the next start."""
        return self.root / "staging" / "products"

    @property
    def dataset(self) -> Path:
        """The Zarr store."""
        return self.root / "results.zarr"

    @property
    def logs(self) -> Path:
        """What coordinator and slots print."""
        return self.root / "logs"

    @property
    def events(self) -> Path:
        """What happened, a line of JSON for each event."""
        return self.logs / f"events{self._suffix}.jsonl"

    @property
    def report(self) -> Path:
        """The report as one HTML page."""
        return self.root / "qa" / "report.html"

    def case(self, job: int) -> Path:
        """Directory of a case, where there are files for each."""
        return self.root / f"case_{job + 1}"

    def case_config(self, job: int, jobs: int) -> Path:
        """Resolved configuration of one of so many cases."""
        return self._numbered("config", job, jobs)

    def case_result(self, job: int, jobs: int) -> Path:
        """Measurements of one of so many cases."""
        return self._numbered("result", job, jobs)

    def _numbered(self, what: str, job: int, jobs: int) -> Path:
        return self.root / f"{what}_{job:0{max(4, len(str(jobs - 1)))}d}.json"

    def inside(self, relative: str) -> Path:
        """A path below the campaign's directory; JobError for one that leaves it, as a record of somebody else may say."""
        path = PurePosixPath(relative)
        if path.is_absolute() or ".." in path.parts:
            raise JobError(Code.PRODUCT_INVALID, f"{relative!r} leaves the campaign's directory")
        return self.root / path

    def create(self) -> None:
        """Make the directories; OSError where the file system refuses."""
        for path in (
            self.metadata,
            self.catalogs,
            self.journals,
            self.logs,
            self.root / "cache",
            self.root / "qa" / "validation_reports",
            self.root / "qa" / "summary_plots",
        ):
            path.mkdir(parents=True, exist_ok=True)
