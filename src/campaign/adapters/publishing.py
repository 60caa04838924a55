"""Where a dataset can be published: an icechunk repository, in a directory or an object store, or one object with a zipped store."""

from __future__ import annotations

import asyncio
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from campaign.errors import Code, StorageError, UsageError

BRANCH = "main"
SCHEMES = ("s3", "gs")
DIGEST = "content_sha256"
"""Key in the metadata of a commit: what the store held."""


def commit(packed: Path, digest: str, url: str, message: str, about: Mapping[str, Any]) -> tuple[str, bool]:
    """(snapshot, whether it is new): the content of a zipped Zarr store, of this SHA-256, becomes that of the repository at `url`, in one commit.

    A reader of the repository sees what was there before until the commit, and everything after it. UsageError where the URL names nothing
    that can be reached, StorageError where somebody else committed meanwhile or the store refuses.
    """
    import icechunk

    icechunk.set_logs_filter("error")  # its warnings go to standard output
    try:
        repository = icechunk.Repository.open_or_create(_storage(url))
        latest = next(iter(repository.ancestry(branch=BRANCH)))
        if (latest.metadata or {}).get(DIGEST) == digest:
            return latest.id, False
        session = repository.writable_session(BRANCH)
        asyncio.run(_replace(session.store, packed))
        return session.commit(message, metadata={**about, DIGEST: digest}), True
    except icechunk.ConflictError as error:
        raise StorageError(
            Code.STORAGE_UNWRITABLE, f"somebody else has committed to {url} meanwhile", action="start it again"
        ) from error
    except icechunk.IcechunkError as error:
        raise _refused(url, error) from error


def _refused(url: str, error: Exception) -> StorageError:
    return StorageError(
        Code.STORAGE_UNWRITABLE,
        f"{url} can't be written: {str(error).strip().splitlines()[0]}",
        action="check the address, the bucket, and the credentials in AWS_* or GOOGLE_*; then start it again",
    )


async def _replace(there: Any, packed: Path) -> None:
    """Put what is in a zipped store in the place of what is in a session."""
    from zarr.core.buffer import default_buffer_prototype

    await there.clear()
    with zipfile.ZipFile(packed) as archive:
        for name in sorted(
            archive.namelist(), key=lambda name: not name.endswith("zarr.json")
        ):  # arrays before their chunks
            await there.set(name, default_buffer_prototype().buffer.from_bytes(archive.read(name)))


def _storage(url: str) -> Any:
    """Where a repository lies."""
    import icechunk

    parts = urlsplit(url)
    if not parts.scheme:
        return _directory(Path(url).expanduser().absolute())
    bucket, prefix = _address(url)
    if parts.scheme == "gs":
        return icechunk.gcs_storage(bucket=bucket, prefix=prefix, from_env=True)
    endpoint = _endpoint()
    return icechunk.s3_storage(
        bucket=bucket, prefix=prefix, region=os.environ.get("AWS_REGION", "us-east-1"), from_env=True,
        endpoint_url=endpoint, allow_http=bool(endpoint and endpoint.startswith("http://")), force_path_style=endpoint is not None,
    )  # fmt: skip


def _directory(path: Path) -> Any:
    """A repository in a directory, which holds nothing else; UsageError where it does."""
    import icechunk

    if not path.exists():
        path.mkdir(parents=True)  # its own attempt would end the program
    storage = icechunk.local_filesystem_storage(str(path))
    if (path.exists() and not path.is_dir()) or (
        path.is_dir() and any(path.iterdir()) and not icechunk.Repository.exists(storage)
    ):
        raise UsageError(Code.CAMPAIGN_EXISTS, f"{path} exists and is no repository", action="name another place")
    return storage


def put(archive: Path, url: str) -> None:
    """Put a file into an object store as one object: readers see the whole of it, or what was there before; errors as for `commit`."""
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    bucket, key = _address(url)
    endpoint = _endpoint() if url.startswith("s3:") else None
    options: dict[str, Any] = {}
    if endpoint:
        options = {
            "endpoint": endpoint,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": endpoint.startswith("http://")},
        }
    try:
        obstore.put(from_url(f"{urlsplit(url).scheme}://{bucket}", **options), key, archive)
    except (BaseError, OSError) as error:
        raise _refused(url, error) from error


def _endpoint() -> str | None:
    """Where an S3 of one's own listens."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _address(url: str) -> tuple[str, str]:
    """(bucket, what is in it) of a URL; UsageError for one that names none."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc or not parts.path.strip("/"):
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{url!r} names no place",
            action="name a directory, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX",
        )
    return parts.netloc, parts.path.strip("/")
