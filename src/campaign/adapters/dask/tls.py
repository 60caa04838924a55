"""Who may speak to the scheduler: a key pair that lives as long as one run, in a directory that only its user can read."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from distributed.security import Security


@dataclass(frozen=True, slots=True)
class Credentials:
    """Certificate and key of one run; every connection is encrypted, and refused without them."""

    directory: Path

    @classmethod
    def make(cls, parent: Path) -> Credentials:
        """New ones, below `parent`, which every node must see."""
        directory = Path(tempfile.mkdtemp(prefix=".tls-", dir=parent))  # mode 0700
        made = Security.temporary().get_tls_config_for_role("client")
        for name, content in (("cert.pem", made["cert"]), ("key.pem", made["key"])):
            path = directory / name
            path.touch(mode=0o600)
            path.write_text(str(content))
        return cls(directory)

    @property
    def security(self) -> Security:
        """What Dask is given; it refers to the files by their names, so that it may travel in a command line."""
        cert, key = str(self.directory / "cert.pem"), str(self.directory / "key.pem")
        pairs = {f"tls_{role}_{part}": path for role in ("client", "scheduler", "worker")
                 for part, path in (("cert", cert), ("key", key))}  # fmt: skip
        return Security(require_encryption=True, tls_ca_file=cert, **pairs)

    def arguments(self) -> tuple[str, ...]:
        """Options of `dask worker`."""
        cert, key = str(self.directory / "cert.pem"), str(self.directory / "key.pem")
        return ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)

    def remove(self) -> None:
        """Nobody gets in any more."""
        shutil.rmtree(self.directory, ignore_errors=True)
