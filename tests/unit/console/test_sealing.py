"""What a sealed process can't do any more."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from storage.console.tables import sealing

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in sealing._MACHINES,
    reason="system calls are filtered on Linux, on machines whose calls are known",
)

_MIB = 1024 * 1024


def run(work: str, *, sealed: bool = True, seconds: int = 5) -> subprocess.CompletedProcess[str]:
    """Run ``work`` in a process that gave up what a reader of tables gives up."""
    program = (
        "import ctypes, os, signal, socket, sys, threading\n"
        "from storage.console.tables import sealing\n"
        f"sealing.limit({64 * _MIB}, {seconds})\n"
        + ("assert sealing.seal()\n" if sealed else "")
        + work
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "work",
    [
        "open('/etc/passwd')",
        "open('/tmp/written', 'w')",
        "os.stat('/etc/passwd')",
        "os.listdir('/')",
        "os.unlink('/tmp/nothing')",
        "socket.socket()",
        "socket.socketpair()",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.setpriority(os.PRIO_PROCESS, 0, 0)",
        "os.pipe()",
        "os.memfd_create('x')",
    ],
)
def test_nothing_but_reading_and_memory_is_left(work: str) -> None:
    refused = run(f"try:\n    {work}\nexcept PermissionError:\n    print('refused')\n")
    assert refused.stdout == "refused\n", refused.stderr
    open_ = run(f"try:\n    {work}\nexcept PermissionError:\n    print('refused')\n", sealed=False)
    assert "refused" not in open_.stdout


def test_no_thread_of_before_is_left_out() -> None:
    work = (
        "going, told = threading.Event(), []\n"
        "def look():\n"
        "    going.wait()\n"
        "    try:\n        open('/etc/passwd')\n"
        "    except PermissionError:\n        told.append('refused')\n"
        "thread = threading.Thread(target=look)\n"
        "thread.start()\n"
        "assert sealing.seal()\n"
        "going.set()\n"
        "thread.join()\n"
        "print(*told)\n"
    )
    assert run(work, sealed=False).stdout == "refused\n"


def test_memory_and_time_end() -> None:
    taken = run(f"try:\n    bytes({512 * _MIB})\nexcept MemoryError:\n    print('no more')\n")
    assert taken.stdout == "no more\n"
    assert run("while True: pass\n", seconds=1).returncode < 0


def test_a_sealed_process_still_speaks_over_its_socket() -> None:
    work = "ours.sendall(b'asked')\nprint(ours.recv(10), len(bytes(1000000)))\n"
    opened = "ours, theirs = socket.socketpair()\ntheirs.sendall(b'told')\nassert sealing.seal()\n"
    assert run(opened + work, sealed=False).stdout == "b'told' 1000000\n"
