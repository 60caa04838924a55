"""Who made a campaign, where, with what."""

from __future__ import annotations

import inspect
import platform
import socket
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from campaign.person import user

PACKAGES = (
    "campaign", "dask", "distributed", "zarr", "numpy", "scipy", "jinja2", "jax", "diffsky", "diffmah", "diffstar", "dsps", "h5py",
    "hdf5plugin", "mpi4py", "abacusutils",
)  # fmt: skip


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """User, host and Python."""
    return {
        "user": user(),
        "host": socket.gethostname(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def packages(*more: str) -> dict[str, str]:
    """Installed versions of what takes part in a result."""
    found = {}
    for name in dict.fromkeys([*PACKAGES, *more]):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def stamp(code: type) -> dict[str, Any]:
    """When, by whom, where and with what. Asked once a process.

    `code` is the class whose repository counts, and whose package; programs and functions of a user are rather in the repository
    where the campaign is started.
    """
    here = Path.cwd()
    return {
        "created": now(),
        **machine(),
        "versions": packages(code.__module__.partition(".")[0]),
        "git": git_commit(Path(inspect.getfile(code)).parent),
        "started_in": {"directory": str(here), "git": git_commit(here)},
    }


def git_commit(directory: Path) -> dict[str, Any] | None:
    """Commit of the code in `directory`, and whether it was changed since; None outside a repository."""
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git(directory, "status", "--porcelain", "--untracked-files=no"))}


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
