"""Files with secrets, which nobody but their owner may read."""

from __future__ import annotations

from pathlib import Path

from campaign.errors import Code, UsageError


def read_private(path: Path, what: str, remedy: str) -> bytes:
    """The content of the file `path` that holds `what`; UsageError where it can't be read, or where others may."""
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise UsageError(
            Code.CONFIG_INVALID, f"the {what} file {path} can't be read: {error.strerror}", action=remedy
        ) from error
    if mode & 0o077:
        raise UsageError(Code.CONFIG_INVALID, f"others may read the {what} in {path}", action=f"chmod 600 {path}")
    return content
