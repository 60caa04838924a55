"""A dataset in an icechunk repository and in an object store: in one commit, or not at all."""

import io
import json
import zipfile

import icechunk
import pytest
import xarray as xr

from campaign.cli import main

# icechunk and boto3 speak to a server that runs in this process, and tell of deprecations of their own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore", "ignore::ResourceWarning")


@pytest.fixture
def bucket(object_store):
    """A bucket in an S3 that listens at the loopback."""
    return object_store("mocks")


@pytest.fixture
def typed(capfd):
    def run(*words):
        code = main([str(word) for word in words])
        told = capfd.readouterr()
        return code, told.out, told.err

    return run


def opened(storage):
    session = icechunk.Repository.open(storage).readonly_session("main")
    return xr.open_zarr(session.store, consolidated=False).load()


def test_a_repository_holds_the_dataset_and_its_history(ran, tmp_path, typed, run_again):
    home = tmp_path / "mocks.icechunk"
    code, out, _ = typed("publish", ran, home, "--json")
    assert code == 0
    first = json.loads(out)
    assert (first["completed"], first["jobs"], first["new"]) == (11, 12, True)
    storage = icechunk.local_filesystem_storage(str(home))
    xr.testing.assert_identical(opened(storage), xr.open_zarr(ran / "results.zarr").load())
    assert "nothing has changed" in typed("publish", ran, home)[1]
    run_again(ran, "science.realizations=7")
    assert typed("publish", ran, home, "--message", "one more")[0] == 0
    xr.testing.assert_identical(opened(storage), xr.open_zarr(ran / "results.zarr").load())
    history = list(icechunk.Repository.open(storage).ancestry(branch="main"))
    assert [commit.message for commit in history[:2]] == ["one more", "scripted v1.0: 11 of 12 jobs completed"]
    assert history[0].metadata["completed"] == 13
    before = icechunk.Repository.open(storage).readonly_session(snapshot_id=first["snapshot"])
    assert xr.open_zarr(before.store, consolidated=False).sizes["realization"] == 6


def test_an_object_store_holds_it_too(ran, bucket, typed):
    assert typed("publish", ran, "s3://mocks/v1.0")[0] == 0
    storage = icechunk.s3_storage(
        bucket="mocks", prefix="v1.0", region="us-east-1", endpoint_url=bucket.meta.endpoint_url, allow_http=True, force_path_style=True,
        from_env=True,
    )  # fmt: skip
    xr.testing.assert_identical(opened(storage), xr.open_zarr(ran / "results.zarr").load())


def test_one_object_holds_a_zipped_store(ran, bucket, typed, tmp_path):
    assert typed("publish", ran, "s3://mocks/v1.0.zarr.zip")[0] == 0
    body = bucket.get_object(Bucket="mocks", Key="v1.0.zarr.zip")["Body"].read()
    with zipfile.ZipFile(io.BytesIO(body)) as packed:
        packed.extractall(tmp_path / "store.zarr")
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "store.zarr").load(), xr.open_zarr(ran / "results.zarr").load())


def test_what_can_t_be_reached_is_told(ran, bucket, typed, tmp_path):
    for url in ("s3://nobody/x", "s3://nobody/x.zarr.zip"):
        code, _, err = typed("publish", ran, url)
        assert code == 3, err
        assert f"{url} can't be written" in err
        assert "credentials" in err
    for url in ("s3://mocks", "ftp://mocks/x", tmp_path / "x.zip"):
        code, _, err = typed("publish", ran, url)
        assert code == 2, err
        assert "->" in err
    (tmp_path / "file").write_text("x")
    for taken in (tmp_path / "file", ran.parent):
        code, _, err = typed("publish", ran, taken)
        assert code == 2
        assert "is no repository" in err
