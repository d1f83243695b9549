"""What is around a page: the console's process, and other people."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from stack.client import Control
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore


def console_of(served: ServedStore) -> int:
    """The console's process."""
    assert served.process
    (found,) = (
        child
        for child in below(served.process.pid)
        if b"storage.console.process" in command_of(child)
    )
    return found


def command_of(pid: int) -> list[bytes]:
    """The words that a process was started with; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def below(pid: int) -> list[int]:
    """All processes below one."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:  # it has ended
        return []
    children = [int(each) for each in told.split()]
    return children + [each for child in children for each in below(child)]


def resident(pid: int) -> int:
    """Resident memory of a process, in KiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


class Person(NamedTuple):
    """A user, and the first access key."""

    name: str
    key: str
    secret: str


def add_user(served: ServedStore, *policies: str) -> Person:
    """Add a user with policies."""
    control = Control(served.console, ACCESS_KEY, SECRET_KEY)
    name = f"user-{uuid.uuid4().hex[:8]}"
    made = control.call("POST", "users", body={"name": name, "policies": list(policies)})
    return Person(name, made["access_key"], made["secret_key"])


def violations(checker: Any, page: Any) -> list[str]:
    """What an accessibility checker (axe) finds against WCAG 2.1 A and AA."""
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    response = checker.run(page, options=options).response
    return [
        f"{each['id']}: {node['html'][:120]}"
        for each in response["violations"]
        for node in each["nodes"]
    ]
