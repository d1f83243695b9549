"""A sector at the very end of the log that can't be read is damage, not a torn tail.

What it holds may have been acknowledged. Whether the drive ever reads it again or not: nothing is
written over it, its numbers are not given again, and the store says so and goes on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import errors
from storage.config import Config
from storage.engine.embedded import backup, board, index, io, link, segment
from storage.engine.embedded.compaction import Compactor
from tests.engines import alone
from tests.fault.kernel import Unreadable
from tests.unit.engine.test_committer import MIB, Store, store

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "drive").mkdir()
    return Config(drives=(str(tmp_path / "drive"),), segment_size=MIB, free_min=MIB)


@contextlib.contextmanager
def unreadable(path: str, start: int, stop: int) -> Iterator[Unreadable]:
    calls = Unreadable(path, start, stop)
    before = io.install(calls)
    try:
        yield calls
    finally:
        io.install(before)


class Written:
    """A store whose last batch, of several pages, is one acknowledged object."""

    def __init__(self, config: Config, lagging: Path) -> None:
        self.config = config
        with store(config) as opened:
            self.bucket = opened.make_bucket()
            opened.do(opened.put("kept", b"kept"))
            opened.do(link.Checkpoint())
            shutil.copytree(opened.drive.index, lagging)
            self.start = opened.committer._log.length
            self.seq = opened.do(opened.put("last", os.urandom(20_000))).seq
            self.stop = opened.committer._log.length
            self.path = opened.committer._log.path(1)
            self.folder = opened.drive.index
        self._lagging = lagging
        self.bytes = Path(self.path).read_bytes()[self.start : self.stop]

    def leave_index(self, what: str) -> None:
        """The index as it was a batch ago, as it is, or none."""
        if what != "current":
            index.remove(self.folder)
        if what == "lagging":
            shutil.copytree(self._lagging, self.folder, dirs_exist_ok=True)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Store]:
        with store(self.config) as opened:
            opened.bucket = self.bucket
            yield opened


@pytest.fixture
def written(config: Config, tmp_path: Path) -> Written:
    return Written(config, tmp_path / "lagging")


@pytest.mark.parametrize(
    ("left", "at"),
    [("lagging", 0), ("lagging", 3), ("lost", 0), ("lost", 3), ("current", 0)],
    ids=["lagging-header", "lagging-payload", "lost-header", "lost-payload", "current-header"],
)
def test_what_cannot_be_read_is_reported_and_never_overwritten(
    written: Written, left: str, at: int
) -> None:
    bad = (written.start & -segment.PAGE) + at * segment.PAGE
    written.leave_index(left)
    with unreadable(written.path, max(bad, written.start), bad + segment.PAGE) as calls:
        with written.opened() as opened:
            assert calls.met
            found = [damage for damage in opened.committer.damages if damage.segment == 1]
            assert [damage.start for damage in found] == [written.start]
            assert opened.committer.board.damages == len(opened.committer.damages)
            assert opened.committer.board.state == board.READY
            assert opened.committer._log.segment == 2
            assert opened.payload("kept") == b"kept"
            assert opened.do(opened.put("after", b"after")).seq > written.seq
        assert not calls.overwritten
    assert Path(written.path).read_bytes()[written.start : written.stop] == written.bytes
    with written.opened() as opened:  # the sector is readable again
        assert opened.committer.damages == []
        assert opened.keys() == ["after", "kept"]
        opened.do(opened.put("later", b"later"))
    assert Path(written.path).read_bytes()[written.start : written.stop] == written.bytes
    written.leave_index("lost")
    with written.opened() as opened:
        assert opened.keys() == ["after", "kept", "later"]


def test_a_crash_before_the_footer_overwrites_nothing_either(written: Written) -> None:
    class NoFooter(Unreadable):
        def pwrite(self, fd: int, data: io.Buffer, offset: int) -> None:
            if os.fstat(fd).st_ino == self._inode:
                raise OSError(5, "the process ends here")
            super().pwrite(fd, data, offset)

    written.leave_index("lagging")
    bad = written.start & -segment.PAGE
    before = io.install(NoFooter(written.path, written.start, bad + segment.PAGE))
    try:
        with written.opened() as opened:
            assert opened.committer._log.segment == 2
    finally:
        io.install(before)
    assert not segment.has_footer(written.path)
    with written.opened():
        pass
    assert segment.has_footer(written.path)
    assert Path(written.path).read_bytes()[written.start : written.stop] == written.bytes


@pytest.mark.parametrize("left", ["lagging", "lost"])
def test_a_torn_tail_that_can_be_read_is_still_cut(written: Written, left: str) -> None:
    written.leave_index(left)
    with open(written.path, "r+b") as file:
        file.seek(written.start + 10_000)
        file.write(bytes(512))
    with written.opened() as opened:
        assert opened.committer.damages == []
        assert opened.committer._log.segment == 1
        opened.do(opened.put("after"))
        assert opened.keys() == ["after", "kept"]


def test_what_the_index_has_seen_is_no_torn_tail(written: Written) -> None:
    """Rot in the header of the last batch, which was applied: the index knows that it was there."""
    with open(written.path, "r+b") as file:
        file.seek(written.start + 16)
        file.write(b"\xff")
    with written.opened() as opened:
        assert [damage.start for damage in opened.committer.damages] == [written.start]
        assert opened.committer._log.segment == 2
        assert opened.do(opened.put("after")).seq > written.seq


def test_a_segment_that_is_gone_from_the_end_is_told(written: Written) -> None:
    with written.opened() as opened:
        opened.committer._log.roll()
        seq = opened.do(opened.put("in the second", b"x")).seq
        second = opened.committer._log.path(2)
    os.unlink(second)
    with written.opened() as opened:
        assert 2 in {damage.segment for damage in opened.committer.damages}
        assert opened.do(opened.put("after")).seq > seq


async def test_what_is_kept_outlives_compaction_and_hinders_no_backup(
    written: Written, tmp_path: Path
) -> None:
    written.leave_index("lagging")
    bad = written.start & -segment.PAGE
    with unreadable(written.path, written.start, bad + segment.PAGE):
        with written.opened():
            pass
        async with alone(written.config) as engine:
            with pytest.raises(errors.DataCorrupt, match="keeps"):
                await Compactor(engine).compact(1, share_max=1.0)
            assert 1 in segment.listing(engine.drive.segments)
        backup.backup(written.config, str(tmp_path / "backup"))
    restored = Config(drives=(str(tmp_path / "restored"),), segment_size=MIB, free_min=MIB)
    backup.restore(str(tmp_path / "backup"), restored)
    async with alone(restored) as engine:
        found = await engine.lookup(written.bucket, "kept")
        assert found is not None
