"""What the page on SLURM shows runs on a SLURM."""

from tests.conftest import wait_for
from tests.examples import REPOSITORY, World


def test_what_the_page_shows_runs(slurm, tmp_path):
    def nothing_left():
        slurm.type("scancel", "--me", check=False)
        wait_for(lambda: not slurm.type("squeue", "-h"))

    World(REPOSITORY / "docs" / "slurm.md", tmp_path / "world", nothing_left).run()
