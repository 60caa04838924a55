"""The `campaign` command as a person types it."""

import subprocess
import sys


def campaign(*words, code=0):
    done = subprocess.run([sys.executable, "-m", "campaign", *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


QUICK = ("--plain", "--dashboard", "off", "--set", "resources.slots=2")
