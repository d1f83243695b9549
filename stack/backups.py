"""`oversight backup` and `oversight restore`: a whole store, copied and verified, with a bar."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stack.output import fail, show

if TYPE_CHECKING:
    from storage.engine.embedded.backup import Progress, Summary


def back_up(destination: str, config: Any, as_json: bool) -> None:
    """Copy the store of ``config``, which may be running, to ``destination``."""
    from storage import errors
    from storage.engine.embedded.backup import backup

    with _told(), _bar("Backing up", hidden=as_json) as tell:
        try:
            summary = backup(config, destination, tell)
        except errors.Unavailable:
            fail(f"{config.drives[0]} holds no store: name its folder with --drives.")
    _report(summary, destination, as_json)


def restore(source: str, config: Any, as_json: bool) -> None:
    """Make a store of the backup at ``source`` on the empty drive of ``config``."""
    from storage.engine.embedded import backup

    with _told(), _bar("Restoring", hidden=as_json) as tell:
        summary = backup.restore(source, config, tell)
    _report(summary, config.drives[0], as_json)


def _report(summary: Summary, path: str, as_json: bool) -> None:
    show({"path": path, **summary._asdict()}, as_json)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Trouble as one sentence."""
    from storage import errors

    try:
        yield
    except errors.DriveRefused as error:
        fail(str(error))
    except errors.DataCorrupt as error:
        fail(f"Damaged data: {error}. Nothing of it was taken for good.")
    except errors.StorageFull as error:
        fail(f"Not enough space: {error}.")
    except OSError as error:
        fail(f"{error.filename or 'The drive'}: {error.strerror}.")


@contextlib.contextmanager
def _bar(title: str, *, hidden: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A progress bar on standard error; None where nobody looks at it."""
    if hidden or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(f"{title} ", *columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda told: progress.update(task, completed=told.done, total=told.total)
