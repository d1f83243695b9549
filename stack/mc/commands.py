"""mc's commands, apart from `ready`: what each does, and which tool does what is not here."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence

from stack.mc import config
from stack.mc.aliases import find
from stack.mc.base import Alias, McError, Options
from stack.mc.s3 import Client, Entry, S3Error

_USAGE = """\
Usage: mc [FLAGS] COMMAND

  ready ALIAS                        wait until a store can serve
  alias set ALIAS URL [KEY SECRET]   name a store (KEY and SECRET are read from standard input
                                     if they are missing)
  alias list|remove [ALIAS]          show the names, forget one
  mb [-p] ALIAS/BUCKET ...           make buckets (-p: they may exist)
  ls [-r] ALIAS[/BUCKET[/PREFIX]]    list buckets or objects
  cp [-r] SOURCE ... TARGET          copy files to a store, from it, or between stores
  anonymous set private|download|upload|public ALIAS/BUCKET[/PREFIX]
  anonymous get ALIAS/BUCKET[/PREFIX]
                                     let everybody in, or look who is (also set-json, get-json)

Flags: --config-dir FOLDER, --json, --quiet, --insecure. The alias "local" is the store here;
MC_HOST_<alias>=http://KEY:SECRET@HOST:PORT makes one without a file.
This is Oversight's small mc. For everything else use the full client of the same name,
`aws s3 --endpoint-url`, or `oversight --help`."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_FULL = "the full client `mc`, or `aws s3 --endpoint-url URL`"
#: Who does what is not done here.
_ELSEWHERE = {
    "admin": "`oversight user|key|policy|status|rekey` manages the store",
    "mirror": "`oversight migrate` moves a store, `aws s3 sync --endpoint-url URL` a folder",
    "idp": "`oversight user add` makes users",
    "support": "`oversight status` shows the store",
    "update": "pull a newer image",
    "replicate": "replication is not done by this release",
    "ilm": "`aws s3api put-bucket-lifecycle-configuration --endpoint-url URL` sets rules",
    "anonymous": "`aws s3api get-bucket-policy --endpoint-url URL` shows what is public",
    "mv": "`aws s3 mv --endpoint-url URL` moves objects",
    "rm": "`aws s3 rm --endpoint-url URL` deletes objects",
    "rb": "`aws s3 rb --endpoint-url URL`, or `oversight bucket`, deletes buckets",
    "cat": "`aws s3 cp --endpoint-url URL s3://BUCKET/KEY -` prints an object",
    "pipe": "`aws s3 cp --endpoint-url URL - s3://BUCKET/KEY` stores standard input",
    "ping": "`mc ready ALIAS` asks whether a store can serve",
}


def run(words: Sequence[str], options: Options) -> int:
    """Carry out one command; its exit code. Raises McError."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(_USAGE)
        return 0 if words else 1
    if words[0] in ("-v", "--version"):
        import storage

        print(f"mc of Oversight {storage.__version__}")
        return 0
    command = _COMMANDS.get(words[0])
    if command is None:
        raise _elsewhere(" ".join(words[:1]), words[0])
    if "-h" in words or "--help" in words:
        print(_USAGE)
        return 0
    return command(list(words[1:]), options)


def _elsewhere(named: str, group: str) -> McError:
    where = _ELSEWHERE.get(group)
    if where is None:
        return McError(f"`mc {named}` is not in this small mc: use {_FULL}.")
    return McError(f"`mc {named}` is not in this small mc: {where}; {_FULL} does it too.")


# -- understanding command lines ------------------------------------------------------------------


def flags_of(words: list[str], known: dict[str, str], usage: str) -> tuple[set[str], list[str]]:
    """Split flags without values from arguments. ``known``: flag -> its canonical name."""
    flags, arguments = set(), []
    for word in words:
        if word == "-" or not word.startswith("-"):
            arguments.append(word)
        elif word in known:
            flags.add(known[word])
        else:
            raise McError(f"{word} is not known to this small mc: {usage}; or use {_FULL}.")
    return flags, arguments


def place(text: str) -> tuple[str, str, str]:
    """``alias/bucket/key`` as its three parts; what is missing is empty."""
    alias, _, rest = text.partition("/")
    bucket, _, key = rest.partition("/")
    return alias, bucket, key


def say(options: Options, sentence: str, **fields: object) -> None:
    """Tell what was done, as mc does: a line, or a JSON document with --json."""
    if options.json:
        print(json.dumps({"status": "success", **fields}))
    elif not options.quiet:
        print(sentence)


# -- alias ----------------------------------------------------------------------------------------


def _alias(words: list[str], options: Options) -> int:
    path = os.path.join(options.folder, "config.json")
    match words:
        case ["set" | "add" | "s", *rest]:
            return _alias_set(rest, path, options)
        case ["remove" | "rm", name]:
            if not config.forget(path, name):
                raise McError(f'There is no alias "{name}" in {path}.')
            say(options, f"Removed `{name}` successfully.", alias=name)
        case ["list" | "ls", *names] if len(names) < 2:
            _alias_list(names, path, options)
        case _:
            raise McError("Say `mc alias set ALIAS URL ACCESSKEY SECRETKEY`, `list` or `remove`.")
    return 0


def _alias_set(words: list[str], path: str, options: Options) -> int:
    _, words = flags_of(_without_api(words), {}, "mc alias set ALIAS URL [ACCESSKEY SECRETKEY]")
    if len(words) not in (2, 4):
        raise McError("Say `mc alias set ALIAS URL ACCESSKEY SECRETKEY`.")
    if not _NAME.fullmatch(words[0]):
        raise McError(f'"{words[0]}" is no alias: a letter, then letters, digits, "_" and "-".')
    if len(words) == 2:
        words += _asked()
    alias = Alias(*words)
    if bool(alias.access_key) != bool(alias.secret_key):
        raise McError("An access key and a secret key belong together: give both, or none.")
    _try(alias, options)
    config.keep(path, alias)
    say(options, f"Added `{alias.name}` successfully.", alias=alias.name, URL=alias.url)
    return 0


def _without_api(words: list[str]) -> list[str]:
    """``--api S3v4`` and ``--path auto|on`` are what is done anyway."""
    kept: list[str] = []
    words = [part for word in words for part in _halves(word)]
    while words:
        word = words.pop(0)
        if word not in ("--api", "--path"):
            kept.append(word)
        elif not words or words.pop(0).lower() not in ("s3v4", "auto", "on"):
            raise McError("Only --api S3v4 and --path auto|on are supported: leave them out.")
    return kept


def _halves(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith(("--api=", "--path=")) else [word]


def _asked() -> list[str]:
    """The keys from standard input, where no list of processes shows them."""
    if sys.stdin.isatty():
        from getpass import getpass

        return [input("Enter Access Key: ").strip(), getpass("Enter Secret Key: ").strip()]
    return [sys.stdin.readline().strip() for _ in range(2)]


def _try(alias: Alias, options: Options) -> None:
    """Ask the store whether it takes the keys, before they are kept. Raises McError."""
    client = Client(alias, options)
    if not alias.access_key:
        return
    try:
        client.call("GET", "/probe-alias-set", {"location": ""}).body()
    except S3Error as error:
        if error.code not in ("NoSuchBucket", "AccessDenied"):
            raise


def _alias_list(names: list[str], path: str, options: Options) -> None:
    known = {"local": find("local", options), **config.read(path)}
    known |= {
        name: find(name, options)
        for name in (each[8:] for each in os.environ if each.startswith("MC_HOST_"))
    }
    if names and names[0] not in known:
        raise McError(f'There is no alias "{names[0]}".')
    for name in names or sorted(known):
        alias = known[name]
        if options.json:
            print(json.dumps({"status": "success", "alias": name, "URL": alias.url,
                              "accessKey": alias.access_key}))  # fmt: skip
        else:  # a secret that is not printed is in no log
            print(f"{name}\n  URL       : {alias.url}\n  AccessKey : {alias.access_key}\n")


# -- buckets and listings -------------------------------------------------------------------------


def _mb(words: list[str], options: Options) -> int:
    usage = "mc mb [-p] ALIAS/BUCKET ..."
    known = {"-p": "-p", "--ignore-existing": "-p"}
    flags, targets = flags_of(_without_region(words), known, usage)
    if not targets:
        raise McError(f"Say `{usage}`.")
    for target in targets:
        name, bucket, key = place(target)
        if not bucket or key:
            raise McError(f'"{target}" is not ALIAS/BUCKET.')
        try:
            Client(find(name, options), options).call("PUT", f"/{bucket}").body()
        except S3Error as error:
            if "-p" not in flags or error.code != "BucketAlreadyOwnedByYou":
                raise _about(target, error) from None
        say(options, f"Bucket created successfully `{target}`.", bucket=target)
    return 0


def _without_region(words: list[str]) -> list[str]:
    """The store has one region, whatever --region says."""
    kept: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "--region" and words:
            words.pop(0)
        elif not word.startswith("--region="):
            kept.append(word)
    return kept


def _ls(words: list[str], options: Options) -> int:
    usage = "mc ls [-r] ALIAS[/BUCKET[/PREFIX]]"
    flags, targets = flags_of(words, {"-r": "-r", "--recursive": "-r"}, usage)
    if not targets:
        raise McError(f"Say `{usage}`.")
    for target in targets:
        name, bucket, prefix = place(target)
        client = Client(find(name, options), options)
        try:
            entries = (
                client.list(bucket, prefix, recursive="-r" in flags) if bucket else client.buckets()
            )
            folder = prefix.rpartition("/")[0]
            for entry in entries:
                _show(entry, f"{folder}/" if folder else "", options)
        except S3Error as error:
            raise _about(target, error) from None
    return 0


def _show(entry: Entry, folder: str, options: Options) -> None:
    """One line in mc's form: ``[time] size class name``; a prefix has neither time nor class."""
    name = entry.key.removeprefix(folder)
    if options.json:
        kind = "folder" if entry.size < 0 else "file"
        fields = {"status": "success", "type": kind, "lastModified": entry.modified,
                  "size": max(entry.size, 0), "key": name}  # fmt: skip
        print(json.dumps(fields))
        return
    moment = f"{entry.modified[:10]} {entry.modified[11:19]} UTC" if entry.modified else " " * 23
    kind = entry.storage_class if entry.size >= 0 else ""
    size = human(max(entry.size, 0))
    print(f"[{moment}] {size:>7} {kind + ' ' if kind else ''}{_printable(name)}")


def _printable(name: str) -> str:
    """Keys may hold anything; a terminal must not obey them."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)


def human(count: int) -> str:
    """A number of bytes in mc's form: "12KiB"."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f}{unit}" if unit == "B" or amount >= 10 else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:.1f}TiB"


def _about(target: str, error: S3Error) -> McError:
    return McError(f"{target}: {error}")


def _cp(words: list[str], options: Options) -> int:
    from stack.mc import copying

    return copying.run(words, options)


def _anonymous(words: list[str], options: Options) -> int:
    from stack.mc import anonymous

    if not words or words[0] not in ("set", "get", "set-json", "get-json"):
        raise _elsewhere(" ".join(["anonymous", *words[:1]]), "anonymous")
    return anonymous.run(words, options)


_COMMANDS: dict[str, Callable[[list[str], Options], int]] = {
    "alias": _alias,
    "mb": _mb,
    "ls": _ls,
    "cp": _cp,
    "anonymous": _anonymous,
}
