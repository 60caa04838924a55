"""Who we are on this machine."""

from __future__ import annotations

import getpass
import os


def user() -> str:
    """My name; my number where this machine has no name for it, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
