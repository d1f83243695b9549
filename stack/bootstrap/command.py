"""`oversight bootstrap`: waits for the store, makes what is missing and prints what it found."""

from __future__ import annotations

from urllib.parse import urlsplit

from stack import client
from stack.bootstrap.making import Step, make_all, wait_for_store
from stack.bootstrap.wanted import Wanted, wanted
from stack.nearest import nearest_endpoint
from stack.output import FAILED, WRONG, fail, show
from stack.progress import steps
from stack.s3.client import S3
from stack.settings import Stack, environment
from storage.settings import SettingsError

_COLUMNS = (("", "outcome"), ("WHAT", "what"), ("NAME", "name"), ("", "detail"))


def run(endpoint: str, wait: float, as_json: bool) -> int:
    """Bootstrap and print; the exit code. Raises CommandError."""
    environ = environment()
    try:
        stack = Stack.of(environ)
    except SettingsError as error:
        fail(error.problems, WRONG)
    want = wanted(stack)
    endpoint = endpoint or nearest_endpoint(stack)
    try:
        s3 = S3(endpoint, want.root, stack.region or "us-east-1")
    except ValueError as error:
        fail(f"{error}.", WRONG)
    url = environ.get(client.URL) or _console(endpoint, stack)
    done: list[Step] = []
    with steps("Bootstrap", _count(want), hidden=as_json) as tell:
        tell(f"waiting for {endpoint}")
        wait_for_store(s3, wait)
        api = client.Control(url, want.root.access_key, want.root.secret_key)
        for step in make_all(want, s3, lambda: api, wait):
            tell(f"{step.what} {step.name}")
            done.append(step)
    _report(done, endpoint, as_json)
    return FAILED if any(step.outcome == "differs" for step in done) else 0


def _console(endpoint: str, stack: Stack) -> str:
    return f"http://{urlsplit(endpoint).hostname}:{stack.console_port}"


def _count(want: Wanted) -> int:
    """About how many steps there are."""
    accounts = sum(2 + len(account.grants) for account in want.accounts)
    return (
        1
        + len(want.buckets)
        + len(want.closed)
        + len(want.prefixes)
        + len(want.origins)
        + max(accounts, 1)
    )


def _report(done: list[Step], endpoint: str, as_json: bool) -> None:
    made = sum(step.outcome == "made" for step in done)
    rows = [step.__dict__ for step in done]
    if as_json:
        show({"endpoint": endpoint, "made": made, "steps": rows}, as_json=True)
        return
    show(rows, False, _COLUMNS)
    differing = sum(step.outcome == "differs" for step in done)
    said = f"{endpoint}: {made} made" if made else f"{endpoint}: all of it was there"
    print(said + (f", {differing} to be put right." if differing else "."))
