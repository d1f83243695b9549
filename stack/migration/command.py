"""`oversight migrate`: what is asked for, how it goes on, and the comparison at the end."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stack.client import URL as CONSOLE_URL
from stack.client import Control
from stack.migration.admin import Admin, Unreadable
from stack.migration.journey import Journey, Outcome, Plan, Watch, check_source
from stack.migration.memory import Memory, default_path
from stack.migration.people import People, read_secrets
from stack.migration.settings import CARRIED, LEFT, NOT_CARRIED, WOULD, Setting
from stack.output import FAILED, WRONG, fail, size
from stack.s3.client import S3
from stack.s3.errors import S3Error
from stack.s3.signing import Credentials
from stack.s3.transport import Unreachable
from stack.settings import environment, text_of
from stack.store import CommandError
from storage.environment import Name, read

#: Credentials of the old store; also from files, as everywhere.
FROM_KEY, FROM_SECRET = "OVERSIGHT_FROM_ACCESS_KEY", "OVERSIGHT_FROM_SECRET_KEY"
FROM_REGION = "OVERSIGHT_FROM_REGION"
_SHOWN = 20


def run(
    source_url: str, target_url: str, plan: Plan, *, limit: str, keys: Path | None,
    state: Path | None, secrets: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """Migrate and print; the exit code. Raises CommandError."""
    environ = environment()
    plan.rate = _rate(limit)
    plan.keys = _keys(keys)
    known = read_secrets(secrets) if secrets else {}
    everything = not plan.buckets
    source = _source(source_url, environ)
    target = _target(target_url, environ)
    if source.endpoint == target.endpoint:
        fail("Source and target are the same store.", WRONG)
    with _told(source, target):
        plan.buckets = check_source(source, plan.buckets)
        target.buckets()  # wrong credentials are said before anything is read
        path = state or default_path(source.endpoint, target.endpoint)
        memory = _memory(path)
        try:
            with _shown(hidden=as_json) as watch:
                outcome = Journey(source, target, plan, memory, watch).run()
            if everything and (plan.dry or not plan.compare_only):
                _carry_people(source, plan, known, environ, outcome)
        except KeyboardInterrupt:
            print("\nStopped. What has arrived stays; the same command goes on.", file=sys.stderr)
            raise
        finally:
            memory.close()
    _report(outcome, plan, as_json)
    return 0 if outcome.complete or plan.dry else FAILED


def _carry_people(
    source: S3, plan: Plan, secrets: Mapping[str, str], environ: Mapping[str, str], outcome: Outcome
) -> None:
    """Policies, users and keys, where the source is a MinIO that tells them."""
    admin = Admin(source)
    try:
        admin.policies()
    except (S3Error, Unreachable, Unreadable) as error:
        refused = isinstance(error, S3Error) and error.code in ("AccessDenied", "XMinioAdminDenied")
        if refused:  # else it is no MinIO
            outcome.notes.append(
                "policies and users stay behind: these credentials may not see them"
            )
        return
    try:
        for bucket in plan.buckets:
            if quota := admin.quota(bucket):
                left = Setting("quota", LEFT, f"{size(quota)}; there are no quotas here")
                next(b for b in outcome.buckets if b.bucket == bucket).settings.append(left)
        if not environ.get(CONSOLE_URL):
            outcome.notes.append(
                "policies and users stay behind: name the new store's console port in "
                f"{CONSOLE_URL}, as http://localhost:9091, and they come along"
            )
            return
        control = Control.from_environment(environ)
        outcome.people = People(admin, control, secrets, dry=plan.dry).carry()
    except (S3Error, Unreachable, Unreadable, CommandError) as error:
        outcome.notes.append(f"policies and users stay behind: {str(error).rstrip('.')}")


# -- what was asked for ---------------------------------------------------------------------------


def _source(url: str, environ: Mapping[str, str]) -> S3:
    found = _credentials(environ, FROM_KEY, FROM_SECRET)
    if not found.access_key or not found.secret_key:
        fail(f"Put the old store's credentials into {FROM_KEY} and {FROM_SECRET}.", WRONG)
    return _store("--from", url, found, environ.get(FROM_REGION) or "us-east-1")


def _target(url: str, environ: Mapping[str, str]) -> S3:
    found = _credentials(environ, "OVERSIGHT_ACCESS_KEY", "OVERSIGHT_SECRET_KEY")
    if not found.access_key:
        found = Credentials(
            text_of("OVERSIGHT_ROOT_USER", environ), text_of("OVERSIGHT_ROOT_PASSWORD", environ)
        )
    url = url or text_of("OVERSIGHT_EXTERNAL_ENDPOINT", environ)
    return _store("--to", url, found, text_of("OVERSIGHT_REGION", environ) or "us-east-1")


def _store(option: str, url: str, credentials: Credentials, region: str) -> S3:
    try:
        return S3(url, credentials, region, timeout=60)
    except ValueError as error:
        fail(f"{option}: {error}.", WRONG)


def _credentials(environ: Mapping[str, str], key: str, secret: str) -> Credentials:
    names = (Name("key", (key,), secret=True), Name("secret", (secret,), secret=True))
    reading = read(names, environ)
    unreadable = [problem for problem in reading.problems if "_FILE names" in problem]
    if unreadable:
        fail(unreadable[0], WRONG)
    return Credentials(str(reading.values.get("key", "")), str(reading.values.get("secret", "")))


def _rate(text: str) -> int:
    """Bytes a second of "20MiB"; 0 for no limit."""
    if not text:
        return 0
    match = re.fullmatch(r"(\d+)\s*([kmg]?)(i?)b?(/s)?", text.strip().lower())
    if match is None or int(match[1]) == 0:
        fail(f"--limit must be like 20MiB, and is {text}.", WRONG)
    power = "kmg".find(match[2]) + 1 if match[2] else 0
    return int(match[1]) * int((1024 if match[3] else 1000) ** power)


def _keys(path: Path | None) -> dict[str, list[str]]:
    """Keys by bucket from a file with a line BUCKET/KEY each."""
    if path is None:
        return {}
    found: dict[str, list[str]] = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        fail(f"{path} can't be read as text.", WRONG)
    for line in filter(None, lines):
        bucket, _, key = line.partition("/")
        if not key:
            fail(f"{path}: each line must be BUCKET/KEY, and one is {line}.", WRONG)
        found.setdefault(bucket, []).append(key)
    return found


def _memory(path: Path) -> Memory:
    try:
        return Memory(path)
    except (OSError, sqlite3.Error) as error:
        raise CommandError(
            f"The state file {path} can't be used ({error}): name another one with --state."
        ) from None


@contextlib.contextmanager
def _told(source: S3, target: S3) -> Iterator[None]:
    """Trouble with either store as one sentence."""
    try:
        yield
    except S3Error as error:
        keys = ""
        if error.code in ("SignatureDoesNotMatch", "InvalidAccessKeyId"):
            names = (FROM_KEY, FROM_SECRET)
            if error.endpoint == target.endpoint:
                names = ("OVERSIGHT_ROOT_USER", "OVERSIGHT_ROOT_PASSWORD")
            keys = f" Its credentials come from {names[0]} and {names[1]}."
        where = error.endpoint or f"{source.endpoint} or {target.endpoint}"
        raise CommandError(f"{where} refused: {str(error).rstrip('.')}.{keys}") from None
    except Unreachable as error:
        where = error.endpoint or f"{source.endpoint} or {target.endpoint}"
        raise CommandError(f"{where} cannot be reached: {error.detail}.") from None


# -- how it goes on -------------------------------------------------------------------------------


@contextlib.contextmanager
def _shown(*, hidden: bool) -> Iterator[Watch]:
    """Bars of objects and bytes; their ends move while the listings are still being read."""
    if hidden or not sys.stderr.isatty():
        yield Watch()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(),
        TransferSpeedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[objects]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading the listings", total=0, objects="")
        counts = [0, 0, 0]  # objects to move, bytes to move, objects moved

        def found(objects: int, count: int) -> None:
            counts[0] += objects
            counts[1] += count
            progress.update(task, total=counts[1])

        def moved(objects: int, count: int) -> None:
            counts[2] += objects
            text = f"{counts[2]:,} of {counts[0]:,} objects"
            progress.update(task, advance=count, objects=text)

        yield Watch(lambda text: progress.update(task, description=text), found, moved)


# -- how it came out ------------------------------------------------------------------------------

_COLUMNS = ("BUCKET", "OBJECTS", "SIZE", "COPIED", "MISSING", "DIFFERENT", "EXTRA", "")


def _report(outcome: Outcome, plan: Plan, as_json: bool) -> None:
    if as_json:
        json.dump(_as_json(outcome), sys.stdout, indent=2, ensure_ascii=True)
        sys.stdout.write("\n")
        return
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _COLUMNS:
        left = heading in ("BUCKET", "")
        drawn.add_column(heading, justify="left" if left else "right", overflow="fold")
    for one in outcome.buckets:
        counts = (one.copied, one.missing, one.different, one.extra)
        copied, missing, different, extra = (f"{count:,}" for count in counts)
        drawn.add_row(
            one.bucket, f"{one.objects:,}", size(one.bytes), copied, missing, different, extra,
            "equal" if one.equal else "NOT EQUAL",
        )  # fmt: skip
    console = Console(highlight=False, markup=False)
    console.print(drawn)
    for sentence in _sentences(outcome, plan):
        console.print(_printable(sentence))


def _sentences(outcome: Outcome, plan: Plan) -> Iterator[str]:
    for bucket, key, why in outcome.failures[:_SHOWN]:
        yield f"Failed: {bucket}/{key}: {why.rstrip('.')}."
    if len(outcome.failures) > _SHOWN:
        yield f"... and {len(outcome.failures) - _SHOWN} more: --json tells all."
    yield from (f"Note: {note}." for note in outcome.notes)
    for one in outcome.buckets:
        yield from (f"Note: {note}." if not note.endswith("?") else note for note in one.notes)
        if one.pruned:
            yield f"{one.bucket}: {one.pruned:,} that the source has deleted were removed."
        if one.extra and not plan.prune:
            yield (
                f"{one.bucket}: {one.extra:,} are in the target only; --prune removes those that "
                "an earlier run brought."
            )
    for where, settings in (
        *((f"{b.bucket}: ", b.settings) for b in outcome.buckets),
        ("", outcome.people),
    ):
        yield from _settings_of(where, settings)
    yield _verdict(outcome, plan)


def _settings_of(where: str, settings: list[Setting]) -> Iterator[str]:
    """What became of settings, policies and users; nothing of those that were equal."""
    for state, said in ((CARRIED, "carried over"), (WOULD, WOULD)):
        names = [each.what for each in settings if each.state == state]
        if names:
            yield f"{where}{', '.join(names)}: {said}."
    for each in settings:
        if each.state in NOT_CARRIED:
            yield f"Not carried over: {where}{each.what}: {each.why}."


def _verdict(outcome: Outcome, plan: Plan) -> str:
    missing = sum(one.missing + one.different for one in outcome.buckets)
    if plan.dry:
        return f"{missing:,} objects would be moved. Nothing was changed."
    if outcome.complete:
        return f"All equal after {outcome.seconds:g} s."
    if plan.compare_only:
        return "Not equal."
    return (
        f"Not equal after {outcome.seconds:g} s. Is the source still being written? Run the "
        "same command again; it moves only what differs."
    )


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "complete": outcome.complete,
        "seconds": outcome.seconds,
        "notes": outcome.notes,
        "people": [asdict(each) for each in outcome.people],
        "buckets": [{**asdict(one), "equal": one.equal} for one in outcome.buckets],
        "failures": [
            {"bucket": bucket, "key": _printable(key), "why": why}
            for bucket, key, why in outcome.failures
        ],
    }


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
