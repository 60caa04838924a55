"""The page of a running campaign, in a real browser."""

import io
import json
import os
import signal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from campaign.adapters.web.html import PALETTE
from campaign.core.model import State
from tests.conftest import wait_for

pytestmark = pytest.mark.slow

ROWS = "Bokeh.documents[0].get_model_by_name('tiles').data.state[0].shape[0]"
FAILING = {f"r{n:04d}/mock_z2.000": ["raise"] for n in range(0, 400, 4)}


def opened(page, run):
    page.goto(run.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("v1.0 scripted")
    expect(page.locator(".bk-Canvas").first).to_be_visible()
    return page


def canvas(page):
    """The map as it stands on the screen: (rows, columns, 3) of 0 to 255, and where it begins."""
    place = page.locator(".bk-Canvas").first
    box = place.bounding_box()
    picture = Image.open(io.BytesIO(place.screenshot())).convert("RGB")
    return np.asarray(picture).astype(int), box


def where(pixels, state, dark=False):
    """Pixels in the colour of a state, (n, 2)."""
    colour = PALETTE[state][dark]
    wanted = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return np.argwhere(np.abs(pixels - wanted).max(axis=2) <= 2)


def in_the_map(page, state, dark=False):
    return len(where(canvas(page)[0], state, dark))


def test_states_change_on_the_screen_as_jobs_end(running, page):
    run = running(script=FAILING)
    opened(page, run)
    first = wait_for(lambda: in_the_map(page, State.COMPLETED))
    wait_for(lambda: in_the_map(page, State.COMPLETED) > 2 * first)
    wait_for(lambda: in_the_map(page, State.FAILED))
    wait_for(lambda: in_the_map(page, State.RUNNING))
    failures = page.get_by_role("table", name="What failed lately, alike failures together")
    expect(failures.get_by_role("row")).to_have_count(2)  # the head, and one group
    expect(failures).to_contain_text("all redshift=2.0")
    expect(failures).to_contain_text("--like r0")
    expect(page.get_by_role("img", name="jobs completed")).to_be_visible()


def test_a_cell_tells_of_itself(running, page):
    run = running(script=FAILING)
    opened(page, run)
    wait_for(lambda: in_the_map(page, State.FAILED))
    pixels, box = canvas(page)
    failed = where(pixels, State.FAILED)
    y, x = failed[len(failed) // 2].tolist()
    page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    hover = page.locator(".bk-Tooltip")
    expect(hover).to_contain_text("failed")
    expect(hover).to_contain_text("redshift: 2")
    page.mouse.click(box["x"] + x, box["y"] + y)
    told = page.locator(".told")
    expect(told).to_contain_text("/mock_z2.000")
    expect(told).to_contain_text("campaign logs")


def test_a_worker_that_is_killed_shows(running, page):
    run = running()
    opened(page, run)
    expect(page.get_by_role("table", name="Nodes")).to_contain_text("of 2")
    os.kill(wait_for(run.worker), signal.SIGKILL)
    expect(page.get_by_role("table", name="Nodes")).to_contain_text("lost", timeout=30_000)


def test_everything_is_reached_by_the_keyboard(running, page):
    run = running(script=FAILING)
    opened(page, run)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the campaign")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("down")).to_be_focused()
    page.keyboard.press("Home")  # from redshift to nothing: all of it in a row
    page.wait_for_function(f"{ROWS} == 1")
    page.keyboard.press("Tab")
    expect(page.get_by_label("across")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("a job (name, number, or axis=value,...)")).to_be_focused()
    page.keyboard.type("realization=4,redshift=2.0")
    page.keyboard.press("Enter")
    expect(page.locator(".told")).to_contain_text("r0004/mock_z2.000 (job 14)")
    page.keyboard.press("Control+a")
    page.keyboard.type("nonsense")
    page.keyboard.press("Enter")
    expect(page.locator(".told")).to_contain_text("there is no job 'nonsense'")


def test_other_axes_are_drawn_when_they_are_chosen(running, page):
    run = running()
    opened(page, run)
    page.wait_for_function(f"{ROWS} == 3")
    page.get_by_label("across").select_option("redshift")
    page.get_by_label("down").select_option("realization")
    page.wait_for_function(f"{ROWS} == 200")  # two realizations in a tile, at most 250 tiles


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_anybody_s_way(running, browser, scheme):
    run = running(script=FAILING)
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 1200})
    page = opened(context.new_page(), run)
    wait_for(lambda: in_the_map(page, State.FAILED, dark=scheme == "dark"))
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    pixels, _ = canvas(page)
    corner = pixels[2, 2].tolist()
    assert corner == ([255, 255, 255] if scheme == "light" else [0x15, 0x17, 0x1B])
    context.close()


def test_the_page_stands_beside_those_of_dask(running, page):
    run = running()
    opened(page, run)
    page.get_by_role("link", name="Workers").click()
    expect(page).to_have_url(run.url.replace("campaign", "workers"))
    page.get_by_role("link", name="Campaign").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("v1.0 scripted")


def test_the_report_of_a_run_opens_from_a_file(running, browser, tmp_path):
    run = running(seconds=0.0, realizations="8", script=FAILING)
    _, err = run.process.communicate(timeout=120)
    report = tmp_path / "campaigns" / "v1.0_scripted" / "qa" / "report.html"
    assert f"report: {report}" in err
    asked = []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, java_script_enabled=True)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        expect(page.get_by_role("heading", level=1)).to_have_text("v1.0 scripted")
        expect(page.locator("main")).to_contain_text("22 of 24")
        expect(page.locator("details").first).to_contain_text("all redshift=2.0")
        assert page.evaluate("document.querySelector('figure.map img').naturalWidth") == 8
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        context.close()
    assert all(url.startswith(("file:", "data:")) for url in asked), json.dumps(asked)
