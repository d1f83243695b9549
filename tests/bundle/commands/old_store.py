"""A real MinIO server, the store that migrations come from."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.serving import clean_environment, free_port, is_ready

USER, SECRET = "old-minio", "old-minio-secret"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oversight"


def minio() -> Path:
    """The server's program: what `make minio` built, else the one on PATH. Skips without one."""
    for candidate in (*sorted(_CACHE.glob("minio-*/minio")), shutil.which("minio")):
        if candidate and _is_server(Path(candidate)):
            return Path(candidate)
    pytest.skip("MinIO's server is missing: run `make minio` (needs Go)")


def _is_server(program: Path) -> bool:
    """Ours has a command of that name too: ask before believing."""
    asked = subprocess.run([program, "--version"], capture_output=True, timeout=60, check=False)
    return b"MinIO, Inc" in asked.stdout


@dataclass
class OldStore:
    """`minio server` over ``folder`` on free loopback ports, with the credentials above."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        for _ in range(3):
            self.port = self.port or free_port()
            self.start()
            if self._is_up():
                return self
            self.stop()
            self.port = 0
        raise RuntimeError((self.folder / "log").read_text())

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [minio(), "server", str(self.folder / "data"), "--quiet",
                 "--address", f"127.0.0.1:{self.port}", "--console-address", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=clean_environment(
                    MINIO_ROOT_USER=USER, MINIO_ROOT_PASSWORD=SECRET, MINIO_UPDATE="off",
                    MINIO_BROWSER="off", GOMAXPROCS="2",
                ),
            )  # fmt: skip

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()
            self.process.wait()
            self.process = None

    def _is_up(self, timeout: float = 90) -> bool:
        assert self.process is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            if is_ready(self.endpoint):
                return True
            time.sleep(0.05)
        return False
