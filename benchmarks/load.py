"""Load from separate processes: wrk for what is small, ``benchmarks.stream`` for what is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.requests import Body, write_bodies, write_requests

_SCRIPT = Path(__file__).with_name("replay.lua")


class GeneratorFailed(RuntimeError):
    """The load generator is missing or broke down; the message says which."""


@dataclass(frozen=True)
class Load:
    """What one run of a generator saw. Times in seconds, ``errors`` counts everything not 2xx."""

    requests: int
    seconds: float
    p50: float
    p99: float
    errors: int
    generator_cpu: float
    """CPU seconds of the generator itself; on the same cores, in no server's account."""
    received: int = 0
    wrapped: int = 0
    """How often the prepared requests ran out and were sent again."""
    refusal: str = ""
    """The first answer that was not 2xx, where the generator looks at them."""


def require_wrk() -> None:
    """Raise unless wrk can be run."""
    if shutil.which("wrk") is None:
        raise GeneratorFailed(
            "The benchmarks need wrk, which is not on PATH (Debian: apt-get install wrk)."
        )


class Script:
    """Prepared requests and payloads on a tmpfs where there is one, for any number of runs."""

    def __init__(self, requests: Iterable[tuple[bytes, int]], bodies: list[Body]) -> None:
        shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="oversight-bench-", dir=shared)
        folder = Path(self._folder.name)
        self._requests = folder / "requests"
        self._bodies = folder / "bodies"
        self._size = bodies[0].size if bodies else 0
        self._body_count = len(bodies)
        write_bodies(self._bodies, bodies)
        self.count = write_requests(self._requests, requests)

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def run(self, port: int, connections: int, seconds: float) -> Load:
        """Replay for ``seconds`` over ``connections`` kept-alive connections."""
        return self._wrk(port, connections, seconds, "loop")

    def run_once(self, port: int, connections: int, limit: float) -> Load:
        """Replay every request once; the last one is repeated until all others are answered.

        Make the last one harmless. Raises GeneratorFailed after ``limit`` seconds.
        """
        load = self._wrk(port, connections, limit, "once")
        if load.wrapped == 0:
            raise GeneratorFailed(f"{self.count} requests took longer than {limit:.0f} s")
        return load

    def _wrk(self, port: int, connections: int, seconds: float, mode: str) -> Load:
        words = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s"]
        words += ["--timeout", "60s", "-s", str(_SCRIPT), f"http://127.0.0.1:{port}", "--"]
        words += [str(self._requests), str(self._bodies), str(self._size), str(self._body_count)]
        process = subprocess.Popen([*words, mode], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        report: dict[str, Any] = {}
        output: list[str] = []
        refusal = ""
        for line in process.stdout:
            output.append(line)
            if line == "exhausted\n":
                process.send_signal(signal.SIGINT)
            elif line.startswith("refused: "):
                refusal = line.removeprefix("refused: ").strip()
            elif line.startswith("{"):
                report = json.loads(line)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if not report:
            raise GeneratorFailed("wrk failed: " + "".join(output)[-500:])
        errors = sum(report[name] for name in ("connect", "read", "write", "status", "timeout"))
        return Load(
            requests=report["requests"],
            seconds=report["duration_us"] / 1e6,
            p50=report["p50_us"] / 1e6,
            p99=report["p99_us"] / 1e6,
            errors=errors,
            generator_cpu=usage.ru_utime + usage.ru_stime,
            received=report["bytes"],
            wrapped=report["wrapped"],
            refusal=refusal,
        )


def stream(
    port: int,
    connections: int,
    heads: list[bytes],
    expected: int,
    *,
    body: Path | None = None,
    seconds: float = 0,
) -> Load:
    """Send ``heads`` once, or over and over for ``seconds``, over ``connections``.

    PUTs carry ``body``; ``expected`` is the size of a GET's object, or a listing's entries.
    """
    job = {
        "port": port,
        "connections": connections,
        "heads": [head.decode() for head in heads],
        "body": str(body or ""),
        "expected": expected,
        "seconds": seconds,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stream"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(json.dumps(job))
    if process.returncode:
        raise GeneratorFailed("the streaming generator failed")
    report = json.loads(output)
    return Load(**report)
