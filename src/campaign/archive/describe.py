"""What people and catalogues read of an archive: README.md, and RO-Crate metadata (https://w3id.org/ro/crate/1.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from campaign.archive.index import CRATE, HEAD, LACKING, README, ROWS, SUMS
from campaign.core.handover import Archiving, Author
from campaign.core.words import size

CONTEXT, PROFILE = "https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/crate/1.1"
SPDX = "https://spdx.org/licenses/"

ABOUT = {
    "metadata": "the frozen configuration, where and with what it was made, and the plan of its jobs",
    "batches": "the committed records of every attempt: from these the campaign can be restored and extended",
    "catalogs": "products, one file or directory a job",
    "stages": "what was made of the results, each laid out like a campaign",
    "qa": "reports of checks, and pictures",
    "logs": "what happened while it ran",
}
"""Directories of an archive."""

DATASETS = {
    "results.zarr.zip": "every job: state, measurements, checksums, times",
    "statistics.zarr.zip": "mean, covariance and correlation of the measurements",
}


def readme(head: Mapping[str, Any], manifest: Mapping[str, Any], there: Sequence[str], archiving: Archiving) -> str:
    """The first thing that a person reads."""
    import jinja2

    template = (resources.files("campaign.archive") / "README.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    return environment.from_string(template).render(
        head=head, manifest=manifest, there=there, archiving=archiving, size=size, abouts=ABOUT, datasets=DATASETS
    )


def crate(
    head: Mapping[str, Any], manifest: Mapping[str, Any], there: Sequence[str], archiving: Archiving
) -> dict[str, Any]:
    """RO-Crate metadata: the archive, its datasets and directories, who made it and with what. Single products stand in the manifest."""
    files = [ROWS, SUMS, HEAD, README, *([] if head["complete"] else [LACKING]), *(n for n in there if n in DATASETS)]
    directories = [name for name in there if name in ABOUT]
    authors = [_person(n, author) for n, author in enumerate(archiving.authors)]
    licensed = _licence(archiving.license) if archiving.license else None
    root: dict[str, Any] = {
        "@id": "./", "@type": "Dataset", "name": f"{head['name']}, {head['version']}", "description": _described(head, manifest),
        "datePublished": head["finished"], "version": head["version"],
        "hasPart": [{"@id": name} for name in [*files, *(f"{name}/" for name in directories)]],
        "mentions": [{"@id": "#run"}], "variableMeasured": sorted(manifest["variables"]),
    }  # fmt: skip
    if licensed:
        root["license"] = {"@id": licensed["@id"]}
    if authors:
        root["author"] = [{"@id": person["@id"]} for person in authors]
    descriptor = {
        "@id": CRATE, "@type": "CreativeWork", "conformsTo": {"@id": PROFILE}, "about": {"@id": "./"},
    }  # fmt: skip
    parts = [_file(name) for name in files] + [_directory(name) for name in directories]
    graph = [
        descriptor,
        root,
        *parts,
        *authors,
        *([licensed] if licensed else []),
        *_action(head, manifest, directories),
    ]
    return {"@context": CONTEXT, "@graph": graph}


def _described(head: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    own = manifest["configuration"]["campaign"].get("description")
    state = (
        ""
        if head["complete"]
        else f" Incomplete: {head['counts'].get('completed', 0)} of {head['jobs']} jobs have completed."
    )
    return f"{own or head['name']} ({head['jobs']} jobs of the generator {manifest['generator']}).{state}"


FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".md": "text/markdown",
    ".zip": "application/zip",
    "": "text/plain",
}


def _file(name: str) -> dict[str, Any]:
    words = {
        ROWS: "every file with its size, checksum, and of products the parameters and the fingerprint of the job",
        SUMS: "checksums, for sha256sum -c", HEAD: "what is in the archive, and whether it is complete",
        README: "for people", LACKING: "jobs that have no result, and why", **DATASETS,
    }  # fmt: skip
    suffix = name[name.rfind(".") :] if "." in name else ""
    return {"@id": name, "@type": "File", "name": name, "description": words[name], "encodingFormat": FORMATS[suffix]}


def _directory(name: str) -> dict[str, Any]:
    return {"@id": f"{name}/", "@type": "Dataset", "name": name, "description": ABOUT[name]}


def _person(number: int, author: Author) -> dict[str, Any]:
    name = f"https://orcid.org/{author.orcid}" if author.orcid else f"#author-{number + 1}"
    return {"@id": name, "@type": "Person", "name": author.name} | (
        {"affiliation": author.affiliation} if author.affiliation else {}
    )


def _licence(text: str) -> dict[str, Any]:
    url = text if text.startswith(("http://", "https://")) else f"{SPDX}{text}"
    return {"@id": url, "@type": "CreativeWork", "name": text}


def _action(head: Mapping[str, Any], manifest: Mapping[str, Any], directories: Sequence[str]) -> list[dict[str, Any]]:
    """The run that made it: with which software, from which configuration."""
    software = [
        {"@id": f"#software-{name}", "@type": "SoftwareApplication", "name": name, "softwareVersion": version}
        for name, version in manifest["versions"].items()
    ]
    commit = (manifest.get("git") or {}).get("commit")
    made = [name for name in ("catalogs", "batches") if name in directories]
    action = {
        "@id": "#run", "@type": "CreateAction", "name": f"run of {head['name']}, {head['version']}", "startTime": manifest["created"],
        "instrument": [{"@id": entry["@id"]} for entry in software], "object": {"@id": "metadata/"},
        "result": [{"@id": f"{name}/"} for name in made], "agent": {"@id": "#user"},
        "description": f"generator {manifest['generator']} {manifest['generator_version']} on {manifest['host']}"
        + (f", commit {commit}" if commit else ""),
    }  # fmt: skip
    return [action, {"@id": "#user", "@type": "Person", "name": manifest["user"]}, *software]
