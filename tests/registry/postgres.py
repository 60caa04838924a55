"""A PostgreSQL of our own: in a directory of our own, on a socket there, gone when we are done."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def installed():
    """Whether there is one to start."""
    return bool(PROGRAMS) and shutil.which("setpriv") is not None


def as_postgres(*command):
    """The command under another name where we are root, which PostgreSQL refuses to be."""
    if os.getuid():
        return list(command)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]


class Postgres:
    """A server of our own on a socket in a directory of our own."""

    def __init__(self, root):
        self.root, self.bin = root, PROGRAMS[-1].parent
        if not os.getuid():
            shutil.chown(root, "postgres", "postgres")
        initdb = [
            self.bin / "initdb",
            "-D",
            root / "data",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        subprocess.run(as_postgres(*map(str, initdb)), check=True, stdout=subprocess.DEVNULL)
        self.start()

    def _control(self, *words):
        command = [self.bin / "pg_ctl", "-D", self.root / "data", "-w", "-s", "-l", self.root / "log", *words]
        subprocess.run(as_postgres(*map(str, command)), check=True)

    def start(self):
        self._control("-o", f"-k {self.root} -c listen_addresses='' -c max_connections=200", "start")

    def stop(self):
        self._control("-m", "immediate", "stop")

    def database(self):
        """URL of a new, empty database."""
        name = f"r{uuid4().hex}"
        with psycopg.connect(f"host={self.root} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@/{name}?host={self.root}"

    @classmethod
    @contextmanager
    def started(cls):
        """A server, until the end of the block."""
        root = Path("/tmp") / f"campaign-pg-{uuid4().hex[:8]}"  # short: the path of a socket is
        root.mkdir(mode=0o755)
        try:
            server = cls(root)
            try:
                yield server
            finally:
                server.stop()
        finally:
            shutil.rmtree(root)
