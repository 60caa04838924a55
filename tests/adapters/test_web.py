"""Pieces of the report."""

import io
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from campaign.adapters.web import html
from campaign.adapters.web.report import PICTURE_BYTES_MAX, chart, map_figure, pictures, png
from campaign.core.model import Axis, State


@given(st.integers(1, 30), st.integers(1, 30), st.randoms(use_true_random=False))
def test_a_picture_shows_each_pixel_in_its_colour(height, width, random):
    pixels = np.array([[random.randrange(len(State)) for _ in range(width)] for _ in range(height)], np.int8)
    palette = [html.PALETTE[state][0] for state in State]
    picture = np.asarray(Image.open(io.BytesIO(png(pixels, palette))).convert("RGB"))
    wanted = np.array([[int(colour[n : n + 2], 16) for n in (1, 3, 5)] for colour in palette])
    assert (picture == wanted[pixels]).all()


@pytest.mark.parametrize(("lengths", "down"), [((5, 3), "b"), ((3, 5), "a"), ((7,), None)])
def test_the_longest_axis_runs_across(lengths, down):
    axes = [Axis(name, tuple(range(length))) for name, length in zip("ab", lengths, strict=False)]
    figure = map_figure(np.zeros(np.prod(lengths), np.int8), axes)
    assert (figure["down"] and figure["down"].name) == down
    assert len(figure["across"].values) == max(lengths)


def test_the_latest_pictures_are_taken(tmp_path):
    for n, name in enumerate(("old.png", "new.jpg", "words.txt", "large.png")):
        (tmp_path / name).write_bytes(b"x" * (PICTURE_BYTES_MAX + 1 if name == "large.png" else 3))
        os.utime(tmp_path / name, (n, n))
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "directory.png").mkdir()
    assert [picture["name"] for picture in pictures(tmp_path)] == ["new.jpg", "old.png"]
    assert pictures(tmp_path / "none") == []


def test_curves_stay_in_their_frame():
    from datetime import UTC, datetime

    told = chart(datetime.now(UTC), np.array([0.5, 1.5, 2.5]), np.array([0.0, 8.0, 2.0]), np.zeros(3))
    assert told["curves"]["completed"] == "0.0,140.0 430.0,0.0 860.0,105.0"
    assert told["hours"] == 3.0


# How colours look to people with the three kinds of dichromacy: Machado, Oliveira and Fernandes (2009), severity 1.
DICHROMACY = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "none": np.eye(3).tolist(),
}


def lab(linear):
    """CIE L*a*b* of linear sRGB, D65."""
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    f = np.cbrt(np.clip(xyz / [0.9505, 1.0, 1.089], 1e-9, None))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", DICHROMACY)
@pytest.mark.parametrize("dark", [False, True])
def test_everybody_can_tell_the_states_apart(vision, dark):
    seen = {}
    for state in State:
        srgb = np.array([int(html.PALETTE[state][dark][n : n + 2], 16) for n in (1, 3, 5)]) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        seen[state] = lab(np.clip(np.array(DICHROMACY[vision]) @ linear, 0, 1))
    for one in State:
        for other in State:
            if one < other:
                assert np.linalg.norm(seen[one] - seen[other]) > 10, (one, other)
