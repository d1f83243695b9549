"""The index as readers see it: a rotten one is noticed, never believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import errors
from storage.engine import interface as i
from storage.engine.embedded import index, link
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.embedded.reader import Reader
from tests import engines

pytestmark = pytest.mark.anyio
KEYS = [f"some/key/{number:04}" for number in range(300)]


class Rotting:
    """The index of a stopped store with ``KEYS`` in a bucket."""

    def __init__(self, folder: Path, bucket: int) -> None:
        self.folder = folder
        self.bucket = bucket
        self.told = 0
        self._file = folder / index.FILE
        self._sound = self._file.read_bytes()

    def open(self) -> Reader:
        return Reader(str(self.folder), self._tell)

    def _tell(self) -> None:
        self.told += 1

    def flip(self, offset: int) -> None:
        data = bytearray(self._sound)
        data[offset] ^= 0x10
        self._file.write_bytes(data)

    def pages(self) -> range:
        return range(0, len(self._sound), index.PAGE_BYTES)

    def execute(self, sql: str) -> None:
        connection = index.connect(str(self._file), write=True)
        connection.execute(sql)
        connection.close()


@pytest.fixture
async def rotting(tmp_path: Path) -> Rotting:
    async with engines.alone(engines.small_config(tmp_path)) as engine:
        bucket = (await engine.commit(i.CreateBucket("bucket", "root", 1))).id
        for key in KEYS:
            await engine.commit(
                i.PutObject(bucket, key, 1, 1, "e" * 32, "root", "STANDARD", i.EMPTY_META, b"x")
            )
        await engine.internal(link.Checkpoint())
        folder = Path(engine.drive.index)
    return Rotting(folder, bucket)


async def test_no_flipped_bit_hides_an_object(rotting: Rotting) -> None:
    noticed = 0
    for number, page in enumerate(rotting.pages()):
        rotting.flip(page + 137 * number % 4000 + 90)
        rotting.told = 0
        try:
            reader = rotting.open()
        except errors.Unavailable:
            noticed += 1
            continue
        for key in KEYS:
            try:
                version = reader.lookup(rotting.bucket, key)
            except errors.Unavailable:
                assert rotting.told
                continue
            assert version is not None, f"{key} is gone after a flip in the page at {page}"
            assert version.size == 1
        reader.close()
        noticed += rotting.told > 0
    assert noticed > 5


@pytest.mark.parametrize("change", ["meta=x'c1'", "etag=7", "files=x'c1'"])
async def test_a_garbled_row_is_damage(rotting: Rotting, change: str) -> None:
    rotting.execute(f"UPDATE current SET {change}")
    reader = rotting.open()
    with pytest.raises(errors.Unavailable):
        reader.lookup(rotting.bucket, KEYS[0])
    assert rotting.told == 1
    reader.close()


async def test_a_garbled_row_of_a_listing_is_damage(rotting: Rotting) -> None:
    rotting.execute("UPDATE current SET checks=99")
    reader = rotting.open()
    with pytest.raises(errors.Unavailable):
        reader.list_objects(rotting.bucket, "", "", "", 10)
    assert rotting.told == 1
    reader.close()


async def test_a_key_that_is_no_text_is_no_damage(rotting: Rotting) -> None:
    reader = rotting.open()
    with pytest.raises(UnicodeEncodeError):
        reader.lookup(rotting.bucket, "a\udc80")
    with pytest.raises(UnicodeEncodeError):
        reader.list_objects(rotting.bucket, "a\udc80", "", "", 10)
    assert rotting.told == 0
    reader.close()


async def test_a_process_asks_for_another_index_once_in_a_while(tmp_path: Path) -> None:
    """What a rebuild does not cure must not make the committer rebuild for ever."""
    async with engines.alone(engines.small_config(tmp_path)) as engine:
        assert isinstance(engine, EmbeddedEngine)
        engine.index_damaged()
        assert engine.board.suspect
        engine.board.suspect = False
        engine.index_damaged()
        assert not engine.board.suspect
