"""What the store says when it serves: endpoints, credentials, drives, and a line to try it with.

Plain text unless standard error is a terminal. The root password is shown only while it is the
published default.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TextIO

import storage
from storage.capacity import capacity
from storage.config import Config

_DEFAULTS = Config()
_FILE = "hello.txt"


def show(config: Config, buckets: Sequence[str], seconds: float, out: TextIO) -> None:
    """Print the panel to ``out``. ``seconds``: from the supervisor's start to serving S3."""
    rows = describe(config, buckets)
    title = f"Oversight {storage.__version__}"
    ready = f"Ready after {seconds:.1f} s. Ctrl+C stops it."
    if out.isatty():
        _draw(title, rows, ready, out)
        return
    width = max(len(name) for name, _ in rows)
    lines = [title, *(f"  {name.ljust(width)}  {value}" for name, value in rows), ready]
    print("\n".join(lines), file=out, flush=True)


def describe(config: Config, buckets: Sequence[str]) -> list[tuple[str, str]]:
    """The panel's rows: what, and the value."""
    return [
        ("S3", "  ".join(_urls(config.address))),
        ("Console", "  ".join(_urls(config.console_address))),
        ("Credentials", _credentials(config)),
        *(("Drive", _drive(path)) for path in config.drives),
        ("Buckets", ", ".join(buckets) or "none yet"),
        ("Workers", str(config.workers)),
        ("Try it", upload_line(config, buckets)),
    ]


def upload_line(config: Config, buckets: Sequence[str]) -> str:
    """A line for a shell that uploads a file with curl (7.75 or later)."""
    default = config.root_password == _DEFAULTS.root_password
    user = f"{config.root_user}:{config.root_password}" if default else f"{config.root_user}:SECRET"
    bucket = buckets[0] if buckets else "BUCKET"
    url = config.external_endpoint or _urls(config.address)[0]
    return (
        f"echo hello > {_FILE} && curl --aws-sigv4 aws:amz:us-east-1:s3 --user {shlex.quote(user)} "
        f"-H x-amz-content-sha256:UNSIGNED-PAYLOAD -T {_FILE} {url}/{bucket}/{_FILE}"
    )


def _urls(addresses: Sequence[tuple[str, int]]) -> list[str]:
    """Addresses as URLs, each once; all loopback or all interfaces are called localhost."""
    urls: dict[str, None] = {}
    for host, port in addresses:
        if host in ("127.0.0.1", "::1", "0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
            name = "localhost"
        else:
            name = f"[{host}]" if ":" in host else host
        urls[f"http://{name}:{port}"] = None
    return list(urls)


def _credentials(config: Config) -> str:
    if config.root_password == _DEFAULTS.root_password:
        return (
            f"{config.root_user} / {config.root_password}  (the published default: set "
            "OVERSIGHT_ROOT_PASSWORD before others can reach this)"
        )
    return f"{config.root_user} / the password that you set"


def _drive(path: str) -> str:
    path = os.path.abspath(path)
    space = capacity(path)
    return f"{path}  ({_size(space.free)} free of {_size(space.total)})"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _draw(title: str, rows: Sequence[tuple[str, str]], ready: str, out: TextIO) -> None:
    # Only a terminal pays for this import.
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    line = rows[-1]
    for name, value in rows[:-1]:
        table.add_row(Text(name, style="bold"), Text(value))
    console = Console(file=out)
    console.print(Panel(table, title=title, subtitle=ready, expand=False))
    # Outside of the frame and unbroken, so that it can be copied.
    console.print(Text(f"{line[0]}: ", style="bold"), end="")
    console.print(Text(line[1]), soft_wrap=True)
