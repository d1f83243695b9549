"""`mc`: the part of MinIO's client that health checks and init containers use.

`ready`, `alias`, `mb`, `ls`, `cp` and `anonymous`, with mc's arguments, aliases and settings;
everything else names the tool that does it. `ready` runs every few seconds for the whole life of a
container, so this module and ``stack.mc.ready`` import next to nothing, and the rest loads the
standard library only when it is needed. Spec: MinIO Client's reference, and its last source.
"""

from __future__ import annotations

import sys

from stack.mc.base import McError, Options

#: mc's own words for what has gone by: old compose files still use them.
_OLD_NAMES = {"config host": ["alias"], "policy set": ["anonymous", "set"]}
#: mc's global flags; True: a value follows.
_GLOBAL = {
    "--config-dir": True, "-C": True, "--json": False, "--quiet": False, "-q": False,
    "--debug": False, "--insecure": False, "--no-color": False, "--disable-pager": False,
    "--dp": False,
}  # fmt: skip


def split(words: list[str]) -> tuple[Options, list[str]]:
    """Take mc's global flags out of a command line, wherever they stand. Raises McError."""
    options, rest, words = Options(), [], list(words)
    while words:
        word = words.pop(0)
        name, given, value = word.partition("=")
        if name not in _GLOBAL:
            rest.append(word)
            continue
        if _GLOBAL[name]:
            if not given and not words:
                raise McError(f"{name} needs a folder.")
            options.folder = value if given else words.pop(0)
        elif name == "--json":
            options.json = True
        elif name in ("--quiet", "-q"):
            options.quiet = True
        elif name == "--insecure":
            options.insecure = True
    return options, rest


def run(words: list[str]) -> int:
    """Carry out one command line; its exit code. Raises McError."""
    options, words = split(words)
    words = _OLD_NAMES.get(" ".join(words[:2]), words[:2]) + words[2:]
    if words and words[0] == "ready":
        from stack.mc import ready

        return ready.run(words[1:], options)
    from stack.mc import commands

    return commands.run(words, options)


def main() -> None:
    """Entry point of the command `mc`."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except McError as error:
        print(f"mc: {error}", file=sys.stderr)
        code = 1
    except BrokenPipeError:
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
