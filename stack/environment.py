"""The command `oversight env`, apart from the deciding (``stack.envfile``)."""

from __future__ import annotations

from pathlib import Path

import typer

from stack import envfile, installation
from stack.output import FAILED, WRONG, fail, warn
from stack.settings import text_of
from storage.settings import SettingsError

_MARK = Path("compose", "langfuse.yml")


def root(folder: Path | None = None) -> Path:
    """The folder whose ``.env`` Compose reads: the checkout's root, also from a stack's folder."""
    folder = (folder or Path.cwd()).resolve()
    return next((each for each in (folder, folder.parent) if (each / _MARK).is_file()), folder)


def run(
    file: Path | None, wishes: envfile.Wishes, *, data: Path | None, new: bool, projects: list[str]
) -> None:
    """Write or complete the file, and say what was done. Raises typer.Exit with its sentence."""
    file = file or root() / ".env"
    before, present = _read(file)
    found = _installation(data, projects, new)
    try:
        made = envfile.plan(present, found, wishes)
    except SettingsError as error:
        fail(error.problems, WRONG)
    if made.problems:
        fail([*made.problems, "Nothing was written."])
    if made.added:
        _write(file, made, before)
    for sentence in envfile.sentences(file, made, found):
        typer.echo(sentence)
    after = {**present, **made.added}
    typer.echo(
        "Next: cd langfuse && docker compose up -d; then open "
        f"{text_of('NEXTAUTH_URL', after)} (user and password: LANGFUSE_INIT_USER_* in the file). "
        "`oversight doctor` checks the rest."
        if after.get("LANGFUSE_INIT_USER_PASSWORD")
        else "Next: cd langfuse && docker compose up -d. `oversight doctor` checks the rest."
    )


def _read(file: Path) -> tuple[str, dict[str, str]]:
    from dotenv import dotenv_values

    try:
        before = file.read_text() if file.exists() else ""
    except (OSError, UnicodeDecodeError):
        fail(f"{file} can't be read: make it a text file that you may read.", WRONG)
    values = dotenv_values(file) if before else {}
    return before, {name: text for name, text in values.items() if text}


def _installation(data: Path | None, projects: list[str], new: bool) -> installation.Installation:
    if new:
        return installation.Installation()
    try:
        return installation.find(data, projects or installation.PROJECTS)
    except installation.DockerSilent as error:
        fail(
            f"Docker does not answer ({error}), so nobody knows whether volumes exist that need "
            "their old secrets: start Docker, or say --new if nothing was ever started here.",
            FAILED,
        )


def _write(file: Path, made: envfile.Plan, before: str) -> None:
    try:
        envfile.write(file, made, before)
    except FileExistsError:
        fail(f"{file} has just been made by somebody else: look at it and try again.")
    except OSError as error:
        fail(f"{file} can't be written: {error.strerror}.")
    if before:
        warn(f"{file} was completed; what stood in it is unchanged. Only you can read it now.")
