"""Checksums: known values, and combining instead of reading again."""

from __future__ import annotations

import os

import pytest

from storage.s3 import checksums
from storage.s3.errors import S3Error

#: Check values of "123456789" from the catalogue of parametrised CRC algorithms.
CHECK = {"crc32": 0xCBF43926, "crc32c": 0xE3069283, "crc64nvme": 0xAE8B14860A799888}


#: The same of XXH64, and of nothing of XXH3, from the specification of xxHash.
XXHASH = {
    "xxhash64": (b"123456789", "8cb841db40e6ae83"),
    "xxhash3": (b"", "2d06800538d394c2"),
    "xxhash128": (b"", "99aa06d3014798d86001c324468d497f"),
}


@pytest.mark.parametrize("algorithm", list(XXHASH))
def test_xxhash_is_big_endian(algorithm: str) -> None:
    data, digest = XXHASH[algorithm]
    hasher = checksums.new(algorithm)
    hasher.update(data)
    assert hasher.digest().hex() == digest


@pytest.mark.parametrize("algorithm", list(CHECK))
def test_check_values(algorithm: str) -> None:
    hasher = checksums.new(algorithm)
    for piece in (b"123", b"", b"456789"):
        hasher.update(piece)
    assert int.from_bytes(hasher.digest(), "big") == CHECK[algorithm]


@pytest.mark.parametrize("algorithm", list(CHECK))
@pytest.mark.parametrize("sizes", [(5,), (1, 2, 3), (0, 7, 0), (100_000, 1, 65_536)])
def test_parts_combine_to_the_whole(algorithm: str, sizes: tuple[int, ...]) -> None:
    parts = [os.urandom(size) for size in sizes]
    combined = checksums.combine(
        algorithm, [(checksums.compute(algorithm, part), len(part)) for part in parts]
    )
    assert combined == checksums.compute(algorithm, b"".join(parts))


@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
def test_a_value_must_have_its_length(algorithm: str) -> None:
    good = checksums.compute(algorithm, b"x")
    assert checksums.parse_value(algorithm, good) == good
    for bad in ("", "AAAA=", "====", good + "AAAA", good[:-1], "ä"):
        with pytest.raises(S3Error):
            checksums.parse_value(algorithm, bad)
