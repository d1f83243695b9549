"""What the commands do beyond their work in Oversight's image: own the data, then stop being root.

The image has no USER, so that a volume or a folder of the host works whoever it belongs to: a
command that opens a drive gives the folder to ``USER`` if it is empty or holds a store, and becomes
that user before anything listens. Started as another user (``--user``, ``runAsNonRoot``) it
changes nothing. Outside of the image none of this happens.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import import_module

from stack import image
from stack.store import CommandError

#: User and group that the image's commands become. docs/container.md promises them.
USER = GROUP = 10001

_FOLDER = ".oversight"
_EMPTY_ON_EXT4 = "lost+found"
# The image's own defaults have MinIO's names; a stronger name makes them void, without a warning.
_DEFAULTS = (
    ("OVERSIGHT_ADDRESS", "MINIO_ADDRESS"),
    ("OVERSIGHT_CONSOLE_ADDRESS", "MINIO_CONSOLE_ADDRESS"),
)


def run(module: str) -> None:
    """Run ``main`` of a command's module as a program of the image (compose/image/bin)."""
    for strong, weak in _DEFAULTS:
        if os.environ.get(strong):
            os.environ.pop(weak, None)
    import_module(module).main()


def in_image() -> bool:
    """Whether this is a command of Oversight's image."""
    return os.path.isfile(image.MARKER)


def take_over(drives: Iterable[str], others: Iterable[str] = ()) -> None:
    """Own the folders and leave root. Does nothing outside of the image.

    ``others`` are folders that are written too, and are no drives. Raises CommandError with the
    cure if a folder holds another store's data, if it can't be written, or if root can't be left.
    """
    if not in_image():
        return
    drives = [os.path.abspath(each) for each in drives]
    others = [os.path.abspath(each) for each in others]
    for drive in drives:
        _refuse_foreign_store(drive)
    taken = os.geteuid() == 0 and _exists_here()
    if taken:
        for folder in (*drives, *others):
            own(folder, USER, GROUP)
        _leave_root()
    for folder in (*drives, *others):
        _require_writable(folder, taken)


def _refuse_foreign_store(drive: str) -> None:
    from storage.engine.embedded.drives import check_drive
    from storage.errors import DriveRefused

    try:
        check_drive(drive)
    except DriveRefused as refusal:
        raise CommandError(str(refusal)) from None


def _exists_here() -> bool:
    """Whether ``USER`` and ``GROUP`` exist in this user namespace (user_namespaces(7)).

    Some rootless engines map a single user: theirs is root here and ordinary outside, and the
    store stays what it is.
    """
    return _maps("uid", USER) and _maps("gid", GROUP)


def _maps(kind: str, number: int) -> bool:
    try:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            ranges = [tuple(map(int, line.split())) for line in file]
    except OSError:
        return True
    return any(first <= number < first + count for first, _, count in ranges)


# -- owning ---------------------------------------------------------------------------------------


def own(folder: str, user: int, group: int) -> None:
    """Give ``folder`` to ``user`` if it is new, empty or a store's; leave it alone otherwise.

    Empty folders in it count as nothing (MinIO's ``mkdir /data/bucket``). A store's data changes
    hands only if its upper folders belong to somebody else, its top last: a walk that was cut
    short is repeated at the next start. What can't be changed here is found by the check after.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        data = os.path.join(folder, _FOLDER)
        if os.path.isdir(data) and any(_is_of_another(each, user) for each in _upper(data)):
            _give_tree(data, user, group)
        if _is_of_another(folder, user) and not _holds_files(folder):
            os.chown(folder, user, group)
    except OSError:
        return


def _upper(data: str) -> Iterator[str]:
    yield data
    with os.scandir(data) as entries:
        yield from (entry.path for entry in entries)


def _is_of_another(path: str, user: int) -> bool:
    return os.lstat(path).st_uid != user


def _give_tree(data: str, user: int, group: int) -> None:
    """``chown -R``, from the leaves up, through descriptors and never through a symbolic link."""
    for _, folders, names, fd in os.fwalk(data, topdown=False):
        for name in (*folders, *names):
            os.chown(name, user, group, dir_fd=fd, follow_symlinks=False)
    os.chown(data, user, group)


def _holds_files(folder: str) -> bool:
    """Whether anything but empty folders and the store's own data lies in ``folder``."""
    for path, folders, names in os.walk(folder):
        if names:
            return True
        if path == folder:
            folders[:] = [each for each in folders if each not in (_FOLDER, _EMPTY_ON_EXT4)]
    return False


# -- leaving root ---------------------------------------------------------------------------------


def _leave_root() -> None:
    try:
        os.setgroups([])
        os.setgid(GROUP)
        os.setuid(USER)
    except PermissionError:
        raise CommandError(
            f"This container may not change to user {USER}: give it the capabilities CHOWN, SETGID "
            f"and SETUID, or start it with `--user {USER}:{GROUP}`."
        ) from None
    os.environ["HOME"] = "/nonexistent"  # root's, which libraries would look into, is closed now


def _require_writable(folder: str, taken: bool) -> None:
    data = os.path.join(folder, _FOLDER)
    target = data if os.path.isdir(data) else folder
    while not os.path.lexists(target):
        target = os.path.dirname(target)
    if os.access(target, os.W_OK | os.X_OK) or _is_read_only(target):
        return  # a read-only file system is the store's own refusal
    user, group = os.geteuid(), os.getegid()
    raise CommandError(
        f"{folder} can't be written by user {user}: {_way_out(taken, os.path.isdir(data))}, or run "
        f"`chown -R {user}:{group}` on the folder or volume that is mounted there."
    )


def _way_out(taken: bool, is_store: bool) -> str:
    if not taken:
        return (
            "leave the container's user (`--user`, `user:`, `runAsUser`) out, so that it takes the "
            "folder over itself"
        )
    if is_store:
        return (
            "the store there is another user's, and this container may not take it over. Give it "
            "the capabilities CHOWN and DAC_READ_SEARCH"
        )
    return "it holds files that are not Oversight's and were left untouched. Mount an empty folder"


def _is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
