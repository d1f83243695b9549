"""Progress on standard error, where somebody looks at it; programs and logs see nothing of it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def steps(title: str, total: int, *, hidden: bool) -> Iterator[Callable[[str], None]]:
    """A bar over ``total`` steps; what is yielded is called with the name of each as it begins."""
    if hidden or not sys.stderr.isatty():
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn(title), BarColumn(bar_width=24), MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task, begun = progress.add_task("", total=total), False

        def tell(name: str) -> None:
            nonlocal begun
            progress.update(task, description=name, advance=int(begun))
            begun = True

        yield tell
