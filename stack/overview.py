"""`oversight status`: the store and what stands around it, at a glance, also while it starts."""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import urlsplit

from stack.doctor.doors import is_private_name
from stack.output import FAILED, size, warn
from stack.s3.transport import Transport, Unreachable
from stack.store import CommandError, store

_TIMEOUT = 2.0
_READY = "/minio/health/ready"


def run(as_json: bool) -> int:
    """Print the overview; the exit code, 1 while the store is not ready. Raises CommandError."""
    from stack.settings import environment, text_of

    environ = environment()
    found, problem = _store()
    endpoints = {
        "external": text_of("OVERSIGHT_EXTERNAL_ENDPOINT", environ),
        "internal": text_of("OVERSIGHT_INTERNAL_ENDPOINT", environ),
    }
    found["endpoints"] = {
        name: {"url": url, "state": _state(url, name)} for name, url in endpoints.items()
    }
    found["langfuse"] = _langfuse(
        environ.get("LANGFUSE_BASE_URL") or text_of("NEXTAUTH_URL", environ)
    )
    if as_json:
        json.dump(found, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        for warning in found.get("warnings", ()):
            warn(warning)
        _show(found)
        if problem:
            warn(problem)
    return FAILED if problem else 0


def _store() -> tuple[dict[str, Any], str]:
    """(what the control API tells, why it tells nothing). Raises CommandError if it refuses."""
    from stack import client

    try:
        control = store()
        found: dict[str, Any] = control.get("status")
    except client.Starting as error:
        return {"health": "starting"}, str(error)
    except client.Unreachable as error:
        return {"health": "unreachable"}, str(error)
    found["health"] = "ready"
    try:
        found["bucket_list"] = control.get("buckets")
    except CommandError:
        found["bucket_list"] = []  # one may look at the store, and not into its buckets
    return found, ""


def _state(url: str, name: str) -> str:
    """What an endpoint says of itself."""
    try:
        answer = Transport(url, _TIMEOUT).send("GET", _READY, {})
    except Unreachable as error:
        private = is_private_name(urlsplit(url).hostname or "")
        if error.reason == "name" and name == "internal" and private:
            return "known inside the containers only"
        return error.detail
    if answer.status == 503:
        return "starting"
    return "ready" if answer.status == 200 else f"answers {answer.status}"


def _langfuse(url: str) -> dict[str, str]:
    """Whether Langfuse answers."""
    try:
        answer = Transport(url, _TIMEOUT).send("GET", "/api/public/health", {})
        told = json.loads(answer.body)
        version = str(told["version"])
    except Unreachable as error:
        return {"url": url, "state": error.detail}
    except (ValueError, KeyError, TypeError):
        return {"url": url, "state": "what answers there is no Langfuse"}
    state = "answers" if answer.status == 200 else f"not well ({answer.status})"
    return {"url": url, "state": state, "version": version}


# -- for people -----------------------------------------------------------------------------------


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column()
    drawn.add_column(overflow="fold")
    for name, value in _lines(found):
        drawn.add_row(name, Text(value))
    console.print(drawn)
    buckets = found.get("bucket_list") or []
    if not buckets:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("BUCKET")
    table.add_column("OBJECTS", justify="right")
    table.add_column("SIZE", justify="right")
    for bucket in buckets:
        table.add_row(Text(bucket["name"]), f"{bucket['objects']:,}", size(bucket["bytes"]))
    console.print()
    console.print(table)


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("store", found["health"])]
    if found["health"] == "ready":
        capacity = found["capacity"]
        drives = f"{found['drives_online']} online"
        if found["drives_offline"]:
            drives += f", {found['drives_offline']} offline"
        lines += [
            ("version", found["version"]),
            ("up", _duration(found["uptime"])),
            ("workers", str(found["workers"])),
            ("region", found["region"] or "any"),
            ("drives", drives),
            ("capacity", f"{size(capacity['free'])} free of {size(capacity['total'])}"),
            ("stored", f"{found['objects']:,} objects, {size(found['bytes'])}"),
        ]
    for name, endpoint in found["endpoints"].items():
        lines.append((name, f"{endpoint['url']}: {endpoint['state']}"))
    langfuse = found["langfuse"]
    version = f", version {langfuse['version']}" if "version" in langfuse else ""
    return [*lines, ("Langfuse", f"{langfuse['url']}: {langfuse['state']}{version}")]


def _duration(seconds: int) -> str:
    """Seconds for people: "3 d 4 h", "12 min", "5 s"."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {rest // 60} min"
    return f"{rest // 60} min" if rest >= 60 else f"{rest} s"
