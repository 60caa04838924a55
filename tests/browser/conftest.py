"""A real browser, without a screen, and a run to look at."""

import json
import shutil
import socket
import subprocess
import sys

import psutil
import pytest

from tests.conftest import wait_for

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")  # while it is there, its event loop is in the way of others
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if PROGRAM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=PROGRAM, args=["--no-sandbox"]
        )  # it may be root in a container
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page on which nothing may go wrong unnoticed."""
    context = browser.new_context(viewport={"width": 1280, "height": 1200})
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    assert not wrong


class Running:
    """A run of the scripted generator with its page."""

    def __init__(self, path, port):
        self.path, self.url = path, f"http://127.0.0.1:{port}/campaign"
        command = [sys.executable, "-m", "campaign.run", str(path), "--dashboard", f"127.0.0.1:{port}", "--plain",
                   "--set", "execution.max_retries=0", "--set", "execution.max_failure_rate=1"]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def worker(self):
        """The Dask worker of this node, which supervises the slots."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            parent = child.parent()
            if "campaign.nursery" in child.cmdline() and parent and "campaign.nursery" not in parent.cmdline():
                return parent.pid
        return None


@pytest.fixture
def running(scripted_yaml, tmp_path):
    """Starts a run, and ends it with the test."""
    started = []

    def start(seconds=0.2, realizations="400", script=None):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        options = json.dumps({"seconds": seconds, "script": script or {}})
        run = Running(scripted_yaml(realizations=realizations, options=options), port)
        started.append(run)
        wait_for((tmp_path / "campaigns" / "v1.0_scripted" / "metadata" / "progress.json").exists)
        return run

    yield start
    for run in started:
        run.process.terminate()
        run.process.communicate(timeout=60)
