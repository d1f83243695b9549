"""Giving up what a reader of strangers' bytes does not need: memory, time, and system calls.

Sources: seccomp(2), setrlimit(2), the kernel's ``Documentation/userspace-api/seccomp_filter.rst``,
and its tables of system calls of x86-64 and of arm64.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
from pathlib import Path

# Classic BPF: load a word of struct seccomp_data, jump if equal, return.
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE = 0, 4
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_PR_SET_NO_NEW_PRIVS = 38
_MODE_FILTER, _FLAG_ALL_THREADS = 1, 1

#: What may still be called: machine -> (architecture's mark, number of seccomp(2), numbers).
#: Reading and writing what is open (the socket), memory, time, randomness, waiting for one another,
#: and ending. No open, no socket, no connect, no exec, no clone, no kill.
_MACHINES = {
    "x86_64": (0xC000003E, 317, {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10,
        "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
        "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39,
        "sendto": 44, "recvfrom": 45, "exit": 60, "gettimeofday": 96, "getrusage": 98,
        "gettid": 186, "futex": 202, "sched_getaffinity": 204, "clock_gettime": 228,
        "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "getrandom": 318,
        "rseq": 334,
    }),
    "aarch64": (0xC00000B7, 277, {
        "close": 57, "lseek": 62, "read": 63, "write": 64, "fstat": 80, "exit": 93,
        "exit_group": 94, "futex": 98, "nanosleep": 101, "clock_gettime": 113,
        "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123,
        "sched_yield": 124, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
        "getrusage": 165, "gettimeofday": 169, "getpid": 172, "gettid": 178, "sendto": 206,
        "recvfrom": 207, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222,
        "mprotect": 226, "madvise": 233, "getrandom": 278, "rseq": 293,
    }),
}  # fmt: skip


def limit(memory: int, seconds: int) -> None:
    """Bound what this process may still take: ``memory`` bytes beyond what it has, and so much CPU
    time. Where memory runs out, it is this process that the kernel ends."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory += pages * resource.getpagesize()
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    os.nice(10)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def seal() -> bool:
    """Refuse every system call but a few from now on, in all threads, for good.

    Returns whether the machine's calls are known; raises OSError where the kernel has no filters.
    """
    if platform.machine() not in _MACHINES:
        return False
    mark, number, allowed = _MACHINES[platform.machine()]
    code = _filter(mark, sorted(allowed.values()))
    program = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    _call(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _call(libc.syscall(number, _MODE_FILTER, _FLAG_ALL_THREADS, described))
    return True


def _filter(mark: int, allowed: list[int]) -> bytes:
    """A program that allows the numbers in ``allowed`` and refuses the rest with EPERM.

    Calls of the x32 ABI have numbers of their own, so they are refused too.
    """
    lines = [
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, mark),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
    ]
    for number in allowed:
        lines += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    lines.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _call(result: int) -> None:
    # With the flag for all threads a positive result is the thread that could not follow.
    if result != 0:
        raise OSError(ctypes.get_errno(), "the system calls of this process can't be filtered")


def _lower(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))
