"""The pictures of README and docs, from a run of a stand-in that sleeps and fails here and there: python docs/pictures/make.py [DIRECTORY [REALIZATIONS]].

Needs Chromium and the `test` extra. What is shown is what the program shows; only the jobs are not galaxies.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STUDY = '''
import time


def mock(realization: int, redshift: float) -> float:
    """A stand-in for a mock catalogue."""
    time.sleep(0.1)
    if redshift == 2.5 and realization % 7 == 0:
        raise ValueError(f"mass 3.1e15 is outside 1e12 to 2e15 in box {realization}")
    if realization in (41, 87):
        raise OSError(f"/scratch/box_{realization:04d}.asdf: Input/output error")
    return 1e4 * (1 + redshift) + realization
'''
CAMPAIGN = """
campaign: {{name: demonstration, version: v1.0, description: "A stand-in that sleeps, and fails here and there"}}
science: {{realizations: {realizations}, redshifts: {redshifts}}}
generator: function
strategy: {{overrides: {{function: {{call: "study.py:mock"}}}}}}
execution: {{max_retries: 0, max_failure_rate: 0.9}}
resources: {{slots: 4}}
"""
REDSHIFTS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
SHARE = 0.4
"""Of the jobs that have ended when the pictures are taken."""


def main() -> None:
    """Run, look, and run to the end."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    realizations = int(sys.argv[2]) if len(sys.argv) > 2 else 160
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "study.py").write_text(STUDY)
        (work / "demonstration.yaml").write_text(CAMPAIGN.format(realizations=realizations, redshifts=list(REDSHIFTS)))
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "campaign.run", "demonstration.yaml", "--plain", "--dashboard", address]
        run = subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        directory = work / "campaigns" / "v1.0_demonstration"
        snapshot = wait_for(directory / "metadata" / "progress.json", run)
        shots = [
            (f"http://{address}/campaign", "page.png", "light"),
            (f"http://{address}/campaign", "page-dark.png", "dark"),
        ]
        shoot(shots, target)
        terminal = work / "terminal.html"
        terminal.write_text(terminal_page(snapshot, realizations))
        run.wait()
        shoot(
            [
                (terminal.as_uri(), "terminal.png", "dark"),
                ((directory / "qa" / "report.html").as_uri(), "report.png", "light"),
            ],
            target,
        )


def wait_for(path: Path, run: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The snapshot of a run that is far enough."""
    while run.poll() is None:
        if path.exists():
            seen: dict[str, Any] = json.loads(path.read_text())
            if seen["done_this_run"] > SHARE * seen["total"]:
                return seen
        time.sleep(0.2)
    raise SystemExit("the run ended before it was looked at")


def terminal_page(snapshot: dict[str, Any], realizations: int) -> str:
    """What `campaign monitor` shows, as HTML."""
    from rich.console import Console
    from rich.terminal_theme import SVG_EXPORT_THEME

    from campaign.adapters.progress import look_of
    from campaign.adapters.terminal import picture
    from campaign.core.model import Axis

    axes = (Axis("realization", tuple(range(realizations))), Axis("redshift", REDSHIFTS))
    with Path(os.devnull).open("w") as nowhere:
        console = Console(
            record=True, width=118, height=40, file=nowhere, force_terminal=True, color_system="truecolor"
        )
        console.print(picture("v1.0 demonstration", axes, look_of(snapshot), console))
    form = "<body style='background:#15171b;color:#e9eaec'><pre style='font:14px/1.35 monospace'>{code}</pre></body>"
    return console.export_html(theme=SVG_EXPORT_THEME, inline_styles=True, code_format=form)


def shoot(pages: list[tuple[str, str, str]], target: Path) -> None:
    """Pictures of pages: (address, name of the file, colour scheme)."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    target.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for address, name, scheme in pages:
            page = browser.new_context(viewport={"width": 1120, "height": 300}, color_scheme=scheme).new_page()
            page.goto(address)
            if name.startswith("page"):
                page.locator(".bk-Canvas").first.wait_for()
                page.wait_for_function("Bokeh.documents[0].get_model_by_name('tiles').data.state[0].shape[0] == 8")
                page.wait_for_timeout(1500)  # a redraw
            if name == "report.png":  # its top
                page.set_viewport_size({"width": 1120, "height": 920})
            page.screenshot(path=target / name, full_page=name != "report.png")
        browser.close()


if __name__ == "__main__":
    main()
