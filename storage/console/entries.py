"""Names of objects as names in an archive that unpacks below one folder on every system."""

from __future__ import annotations

import re

#: Bytes of one part of a path; file systems end at 255.
PART_BYTES_MAX = 200
# What Windows refuses, what can't be seen, and what turns writing around ("txt.exe" for "exe.txt").
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\\:*?"<>|\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_ROOT = ""
#: Memory of an entry beside its name, as measured.
_ENTRY_BYTES = 600


class Entries:
    """The names that one archive has so far: each is given once, whatever a system thinks of case.

    None is both a file and a folder, which objects may be.
    """

    def __init__(self) -> None:
        # With the last number that was tried: a hundred thousand names that come to the same are
        # not counted up from the beginning each.
        self._taken: dict[str, int] = {}
        self._folders: dict[tuple[str, str], str] = {}
        #: About how many bytes of memory the names and what the archive keeps of each take.
        self.weight = 0

    def __len__(self) -> int:
        return len(self._taken) - len(self._folders)

    def add(self, key: str) -> str:
        """The name of an object's entry."""
        *folders, name = key.split("/")
        path = _ROOT
        for folder in folders:
            path = self._folder(path, folder)
        return self._free(path, name)

    def _folder(self, path: str, name: str) -> str:
        found = self._folders.get((path, name))
        if found is None:
            found = self._folders[path, name] = self._free(path, name) + "/"
        return found

    def _free(self, path: str, name: str) -> str:
        safe = _safe(name)
        stem, dot, suffix = safe.rpartition(".")
        if not stem:
            stem, dot, suffix = safe, "", ""
        entry = path + safe
        wanted = entry.casefold()
        number = self._taken.get(wanted, 0)
        while entry.casefold() in self._taken:
            number += 1
            entry = f"{path}{stem} ({number}){dot}{suffix}"
        self._taken[wanted] = max(number, 1)
        self._taken.setdefault(entry.casefold(), 1)
        self.weight += _ENTRY_BYTES + 2 * len(entry.encode())
        return entry


def _safe(part: str) -> str:
    part = _UNSAFE.sub("_", part)
    if part in ("", ".", ".."):
        return "_"
    if part[-1] in ". ":  # Windows leaves it out
        part = part[:-1] + "_"
    if _DEVICE.fullmatch(part):
        part = "_" + part
    return _cut(part)


def _cut(part: str) -> str:
    """A part that no file system finds too long; what stands after the last dot is kept."""
    if len(part.encode()) <= PART_BYTES_MAX:
        return part
    stem, dot, suffix = part.rpartition(".")
    kept = (dot + suffix).encode() if stem and len(suffix.encode()) <= 16 else b""
    head = part.encode()[: PART_BYTES_MAX - len(kept)]
    return head.decode(errors="ignore") + kept.decode()
