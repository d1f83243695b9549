"""An examination for people: a row a check, a column a door, then what is wrong and its cure."""

from __future__ import annotations

import json
import sys

from stack.doctor.examination import Examination, Result, Verdict

_MARKS: dict[Verdict, tuple[str, str]] = {
    "passed": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "failed": ("FAILED", "bold red"),
    "left out": ("left out", "dim"),
    "not applicable": ("-", "dim"),
}


def show_examination(found: Examination, as_json: bool) -> None:
    """Print to standard output."""
    if as_json:
        json.dump(found.as_json(), sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    console.print(_table(found.results))
    for each in found.troubles:
        mark, style = _MARKS["failed" if each.severity == "failure" else "warning"]
        console.print()
        console.print(Text.assemble((f"{mark} {each.code}: ", style), each.sentence))
        console.print(Padding(Text(f"Cure: {each.cure}"), (0, 0, 0, 2)))
    reasons = _reasons(found.results)
    if reasons:
        console.print()
    for reason, what in reasons.items():
        console.print(Text(f"Not applicable here: {', '.join(what)}: {reason}.", "dim"))
    console.print()
    console.print(_verdict(found))


def _table(results: list[Result]):  # type: ignore[no-untyped-def]
    from rich.table import Table
    from rich.text import Text

    doors = list(dict.fromkeys((r.door, r.endpoint) for r in results if r.door))
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("CHECK", overflow="fold")
    for name, endpoint in doors:
        drawn.add_column(f"{name.upper()}\n{endpoint}", overflow="fold")
    rows: dict[str, dict[tuple[str, str], Result]] = {}
    titles: dict[str, str] = {}
    for result in results:
        rows.setdefault(result.check, {})[result.door, result.endpoint] = result
        titles[result.check] = result.title
    for check, cells in rows.items():
        whole = cells.get(("", ""))
        shown = [whole] if whole else [cells.get(door) for door in doors]
        drawn.add_row(titles[check], *(Text(*_mark(result)) for result in shown))
    return drawn


def _mark(result: Result | None) -> tuple[str, str]:
    if result is None:
        return "", ""
    mark, style = _MARKS[result.verdict]
    return (f"{mark} {result.seconds:.1f} s" if result.seconds >= 1 else mark), style


def _reasons(results: list[Result]) -> dict[str, list[str]]:
    """What did not apply, by its reason; what only followed from it is left out."""
    found: dict[str, list[str]] = {}
    for result in results:
        if result.verdict == "not applicable" and not result.reason.startswith("needs "):
            what = f"{result.check} ({result.door})" if result.door else result.check
            found.setdefault(result.reason, []).append(what)
    return found


def _verdict(found: Examination) -> str:
    failures = sum(each.severity == "failure" for each in found.troubles)
    warnings = len(found.troubles) - failures
    said = "All is well" if found.healthy else _count(failures, "trouble")
    if warnings:
        said += f"; {_count(warnings, 'warning')}"
    return said + "."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
