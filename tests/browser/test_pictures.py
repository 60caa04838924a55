"""The pictures of README and docs can be made anew."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

MAKER = Path(__file__).parents[2] / "docs" / "pictures" / "make.py"

pytestmark = pytest.mark.slow


def test_every_picture_is_made(tmp_path):
    subprocess.run([sys.executable, MAKER, tmp_path, "64"], check=True)
    made = {path.name: struct.unpack(">II", path.read_bytes()[16:24]) for path in tmp_path.iterdir()}
    assert made.keys() == {path.name for path in MAKER.parent.glob("*.png")}
    assert all(width == 1120 and height > 200 for width, height in made.values())
