"""Where a dataset can be published: an icechunk repository, in a directory or an object store, or one object with a zipped store."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from campaign.errors import Code, StorageError, UsageError

BRANCH = "main"
SCHEMES = ("s3", "gs")
DIGEST = "content_sha256"
"""Key in the metadata of a commit: what the store held."""


def content_digest(store: Path) -> str:
    """SHA-256 over names and contents of the files of a Zarr store."""
    digest = hashlib.sha256()
    for path in sorted(path for path in store.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(store)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def commit(store: Path, url: str, message: str, about: Mapping[str, Any]) -> tuple[str, bool]:
    """(snapshot, whether it is new): the content of a Zarr store becomes that of the repository at `url`, in one commit.

    A reader of the repository sees what was there before until the commit, and everything after it. UsageError where the URL names nothing
    that can be reached, StorageError where somebody else committed meanwhile or the store refuses.
    """
    import icechunk

    icechunk.set_logs_filter("error")  # its warnings go to standard output
    try:
        repository = icechunk.Repository.open_or_create(_storage(url))
        latest = next(iter(repository.ancestry(branch=BRANCH)))
        digest = content_digest(store)
        if (latest.metadata or {}).get(DIGEST) == digest:
            return latest.id, False
        session = repository.writable_session(BRANCH)
        asyncio.run(_replace(session.store, store))
        return session.commit(message, metadata={**about, DIGEST: digest}), True
    except icechunk.ConflictError as error:
        raise StorageError(
            Code.STORAGE_UNWRITABLE, f"somebody else has committed to {url} meanwhile", action="start it again"
        ) from error
    except icechunk.IcechunkError as error:
        raise StorageError(
            Code.STORAGE_UNWRITABLE,
            f"{url} can't be written: {str(error).strip().splitlines()[0]}",
            action="check the address, the bucket, and the credentials in AWS_* or GOOGLE_*; then start it again",
        ) from error


async def _replace(there: Any, store: Path) -> None:
    """Put the files of a store in the place of what is in a session."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import LocalStore

    source = await LocalStore.open(store, read_only=True)
    await there.clear()
    async for key in source.list():
        value = await source.get(key, default_buffer_prototype())
        assert value is not None
        await there.set(key, value)


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
        raise StorageError(
            Code.STORAGE_UNWRITABLE,
            f"{url} can't be written: {str(error).strip().splitlines()[0]}",
            action="check the address, the bucket, and the credentials in AWS_* or GOOGLE_*; then start it again",
        ) from error


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
