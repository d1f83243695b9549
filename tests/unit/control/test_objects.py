"""The plain REST flow: upload, metadata, download, delete, list."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from storage import errors
from storage.control import uploads
from storage.engine.interface import FileWriter
from storage.engine.memory import MemoryEngine

from .conftest import INLINE_MAX, problem

SIZES = [0, 1, INLINE_MAX, INLINE_MAX + 1, 3 * 1024 * 1024 + 17]
KEYS = [
    "plain", "a/b", "a//b", "/lead", "trail/", "..", "a/../b", "./x", "back\\slash", "line\nbreak",
    "end\n", "bell\x07", "ünï/cødé 😀", "per%cent", "per%2Fcent", "plus+and space", "?query#hash",
    "objects/objects/x", "x" * 1024, "metadata/x",
]  # fmt: skip


def url(bucket: str, key: str, what: str = "objects") -> str:
    return f"/api/v1/buckets/{bucket}/{what}/{quote(key, safe='/').replace('.', '%2E')}"


def body(size: int) -> bytes:
    return (hashlib.sha256(b"seed").digest() * (size // 32 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_as_they_went(root: TestClient, bucket: str, size: int) -> None:
    data = body(size)
    put = root.put(url(bucket, "k"), content=data, headers={"content-type": "image/png"})
    assert put.status_code == 201
    etag = hashlib.md5(data).hexdigest()
    assert (put.json()["size"], put.json()["etag"]) == (size, etag)
    got = root.get(url(bucket, "k"))
    assert got.content == data
    assert got.headers["content-length"] == str(size)
    assert got.headers["content-type"] == "image/png"
    assert got.headers["etag"] == f'"{etag}"'
    head = root.head(url(bucket, "k"))
    assert (head.headers["content-length"], head.content) == (str(size), b"")


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_taken_as_they_are(root: TestClient, bucket: str, key: str) -> None:
    assert root.put(url(bucket, key), content=key.encode()).json()["key"] == key
    assert root.get(url(bucket, key)).content == key.encode()
    assert root.get(url(bucket, key, "metadata")).json()["key"] == key
    listed = root.get(f"/api/v1/buckets/{bucket}/objects").json()["objects"]
    assert [each["key"] for each in listed] == [key]
    assert root.delete(url(bucket, key)).status_code == 204
    problem(root.get(url(bucket, key)), 404, "NoSuchKey")


def test_keys_that_cannot_be_are_refused(root: TestClient, bucket: str) -> None:
    problem(root.put(url(bucket, "x" * 1025), content=b""), 400, "KeyTooLongError")
    problem(root.put(url(bucket, "ü" * 513), content=b""), 400, "KeyTooLongError")
    problem(root.put(url(bucket, ""), content=b""), 400, "InvalidArgument")
    answer = root.put(f"/api/v1/buckets/{bucket}/objects/%ff", content=b"")
    problem(answer, 400, "InvalidURI")


def test_metadata_is_kept_and_shown(root: TestClient, bucket: str) -> None:
    sent = {
        "content-type": "text/plain", "cache-control": "max-age=5", "x-amz-meta-colour": "red",
        "content-disposition": 'inline; filename="x"', "x-other": "not kept",
    }  # fmt: skip
    root.put(url(bucket, "k"), content=b"abc", headers=sent)
    info = root.get(url(bucket, "k", "metadata")).json()
    assert info["metadata"] == {"colour": "red"}
    assert info["headers"]["cache-control"] == "max-age=5"
    assert "x-other" not in info["headers"]
    got = root.get(url(bucket, "k")).headers
    assert got["x-amz-meta-colour"] == "red"
    assert got["content-disposition"] == 'inline; filename="x"'
    assert got["cache-control"] == "max-age=5"


def test_metadata_beyond_ascii(root: TestClient, bucket: str) -> None:
    root.put(url(bucket, "k"), content=b"abc", headers={b"x-amz-meta-by": "grün".encode()})
    assert root.get(url(bucket, "k", "metadata")).json()["metadata"] == {"by": "grün"}
    assert root.get(url(bucket, "k")).headers["x-amz-meta-by"] == "=?UTF-8?B?Z3LDvG4=?="


def test_too_much_metadata_is_refused(root: TestClient, bucket: str) -> None:
    answer = root.put(url(bucket, "k"), content=b"", headers={"x-amz-meta-a": "x" * 2048})
    problem(answer, 400, "MetadataTooLarge")


def test_downloads_never_act_as_pages_of_the_console(root: TestClient, bucket: str) -> None:
    root.put(url(bucket, "a/é.html"), content=b"<script>", headers={"content-type": "text/html"})
    headers = root.get(url(bucket, "a/é.html")).headers
    assert "sandbox" in headers["content-security-policy"]
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A9.html"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("size", [100, 5000])
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=90-", 90, None),
        ("bytes=-7", -7, None), ("bytes=50-99999", 50, None), ("bytes=-99999", 0, None),
    ],
)  # fmt: skip
def test_ranges(
    root: TestClient, bucket: str, size: int, asked: str, start: int, stop: int | None
) -> None:
    data = body(size)
    root.put(url(bucket, "k"), content=data)
    got = root.get(url(bucket, "k"), headers={"range": asked})
    expected = data[start:stop]
    assert got.status_code == 206
    assert got.content == expected
    first = start if start >= 0 else size + start
    assert got.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{size}"


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=-0", "bytes=200-300"])
def test_ranges_outside_are_refused(root: TestClient, bucket: str, asked: str) -> None:
    root.put(url(bucket, "k"), content=body(100))
    answer = root.get(url(bucket, "k"), headers={"range": asked})
    problem(answer, 416, "InvalidRange")
    assert answer.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "x"])
def test_ranges_that_make_no_sense_are_ignored(root: TestClient, bucket: str, asked: str) -> None:
    root.put(url(bucket, "k"), content=body(100))
    got = root.get(url(bucket, "k"), headers={"range": asked})
    assert (got.status_code, len(got.content)) == (200, 100)


def test_conditions(root: TestClient, bucket: str) -> None:
    target = url(bucket, "k")
    etag = root.put(target, content=b"one", headers={"if-none-match": "*"}).headers["etag"]
    problem(
        root.put(target, content=b"two", headers={"if-none-match": "*"}), 412, "PreconditionFailed"
    )
    problem(
        root.put(target, content=b"two", headers={"if-match": '"x"'}), 412, "PreconditionFailed"
    )
    assert root.get(target, headers={"if-none-match": etag}).status_code == 304
    problem(root.get(target, headers={"if-match": '"x"'}), 412, "PreconditionFailed")
    stale = root.get(target, headers={"range": "bytes=0-0", "if-range": '"x"'})
    assert (stale.status_code, stale.content) == (200, b"one")
    replaced = root.put(target, content=b"two", headers={"if-match": etag})
    assert replaced.status_code == 200
    assert root.get(target).content == b"two"


def test_content_md5_is_checked(root: TestClient, bucket: str) -> None:
    good = base64.b64encode(hashlib.md5(b"abc").digest()).decode()
    assert (
        root.put(url(bucket, "k"), content=b"abc", headers={"content-md5": good}).status_code == 201
    )
    answer = root.put(url(bucket, "k"), content=b"abd", headers={"content-md5": good})
    problem(answer, 400, "BadDigest")
    assert root.get(url(bucket, "k")).content == b"abc"


def test_unknown_length_is_fine(root: TestClient, bucket: str) -> None:
    def blocks() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 1000

    assert root.put(url(bucket, "k"), content=blocks()).json()["size"] == 10_000


def test_too_large_an_object_leaves_nothing(
    root: TestClient, bucket: str, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "OBJECT_BYTES_MAX", 5000)
    problem(root.put(url(bucket, "k"), content=body(5001)), 413, "EntityTooLarge")
    problem(root.get(url(bucket, "k")), 404, "NoSuchKey")


class Files:
    """Watches which files of the engine were thrown away."""

    def __init__(self, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aborted = 0
        original = engine.create_file

        async def create(size_hint: int = 0) -> FileWriter:
            writer = await original(size_hint)
            abort = writer.abort

            async def watched() -> None:
                self.aborted += 1
                await abort()

            monkeypatch.setattr(writer, "abort", watched)
            return writer

        monkeypatch.setattr(engine, "create_file", create)


def test_a_refused_commit_frees_its_file(
    root: TestClient, bucket: str, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(engine, monkeypatch)
    root.put(url(bucket, "k"), content=body(5000))
    assert files.aborted == 0
    answer = root.put(url(bucket, "k"), content=body(5000), headers={"if-none-match": "*"})
    problem(answer, 412, "PreconditionFailed")
    assert files.aborted == 1


def test_a_commit_of_unknown_outcome_never_frees_its_file(
    root: TestClient, bucket: str, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(engine, monkeypatch)
    commit = engine.commit

    async def lost(change: Any) -> None:
        await commit(change)
        raise errors.Unavailable

    monkeypatch.setattr(engine, "commit", lost)
    problem(root.put(url(bucket, "k"), content=body(5000)), 503, "ServiceUnavailable")
    assert files.aborted == 0
    assert root.get(url(bucket, "k")).content == body(5000)


@pytest.mark.parametrize("kind", ["raw", "form"])
def test_a_client_that_goes_away_leaves_nothing(
    root: TestClient, bucket: str, engine: MemoryEngine, app: FastAPI,
    monkeypatch: pytest.MonkeyPatch, kind: str,
) -> None:  # fmt: skip
    files = Files(engine, monkeypatch)
    path = f"/api/v1/buckets/{bucket}/objects" + ("/k" if kind == "raw" else "")
    headers = [(b"authorization", root.headers["authorization"].encode())]
    if kind == "form":
        headers.append((b"content-type", b"multipart/form-data; boundary=b"))
    messages = [
        {"type": "http.request", "body": PART, "more_body": True},
        {"type": "http.request", "body": b"x" * 5000, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "PUT" if kind == "raw" else "POST", "path": path,
        "raw_path": path.encode(), "query_string": b"", "headers": headers, "app": app,
        "http_version": "1.1", "scheme": "http", "server": ("x", 1), "client": ("x", 1),
    }  # fmt: skip
    assert root.portal is not None
    root.portal.call(app, scope, receive, send)
    assert sent[0]["status"] == 400
    assert files.aborted == 1
    assert root.get(f"/api/v1/buckets/{bucket}/objects").json()["objects"] == []


def test_corrupt_bytes_never_begin_with_a_200(
    root: TestClient, bucket: str, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.put(url(bucket, "k"), content=body(10))

    async def rotten(_: Any) -> bytes:
        raise errors.DataCorrupt

    monkeypatch.setattr(engine, "read_inline", rotten)
    problem(root.get(url(bucket, "k")), 500, "DataCorrupt")


# -- forms ------------------------------------------------------------------------------------


def test_a_form_uploads_its_files(root: TestClient, bucket: str) -> None:
    big = body(200_000)
    answer = root.post(
        f"/api/v1/buckets/{bucket}/objects",
        data={"prefix": "in/"},
        files=[
            ("file", ("a.txt", b"alpha", "text/plain")),
            ("file", ("ü b.bin", big, "application/x-big")),
        ],
    )
    assert answer.status_code == 201
    assert [each["key"] for each in answer.json()] == ["in/a.txt", "in/ü b.bin"]
    assert root.get(url(bucket, "in/a.txt")).headers["content-type"] == "text/plain"
    assert root.get(url(bucket, "in/ü b.bin")).content == big


def test_a_form_names_its_object(root: TestClient, bucket: str) -> None:
    root.post(
        f"/api/v1/buckets/{bucket}/objects",
        data={"key": "named"},
        files={"file": ("a.txt", b"alpha", "text/plain")},
    )
    assert root.get(url(bucket, "named")).content == b"alpha"


PART = b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "content", "status", "code"),
    [
        ("text/plain", b"", 415, "UnsupportedMediaType"),
        ("multipart/form-data", b"", 415, "UnsupportedMediaType"),
        ("multipart/form-data; boundary=b", b"", 400, "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=b", b"garbage", 400, "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=b", PART + b"cut", 400, "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "InvalidArgument"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\ncontent-disposition: form-data; name="key"\r\n\r\n'
            + b"x" * 5000
            + b"\r\n--b--\r\n",
            400,
            "MalformedPOSTRequest",
        ),
        (
            "multipart/form-data; boundary=b",
            PART[:-2] + b"content-type: a\nforged: yes\r\n\r\nx\r\n--b--\r\n",
            400,
            "InvalidArgument",
        ),
        (
            "multipart/form-data; boundary=b",
            PART[:-2] + b"content-type: a\0b\r\n\r\nx\r\n--b--\r\n",
            400,
            "InvalidArgument",
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nx-" + b"y" * 5000 + b": z\r\n\r\n\r\n--b--\r\n",
            400,
            "MalformedPOSTRequest",
        ),
    ],
)
def test_broken_forms_leave_nothing(
    root: TestClient, bucket: str, kind: str, content: bytes, status: int, code: str
) -> None:
    answer = root.post(
        f"/api/v1/buckets/{bucket}/objects", content=content, headers={"content-type": kind}
    )
    problem(answer, status, code)
    assert root.get(f"/api/v1/buckets/{bucket}/objects").json()["objects"] == []


def test_a_form_is_not_held_in_memory(
    root: TestClient, bucket: str, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first bytes of a file reach the engine before the last ones were read."""
    reached: list[int] = []
    sent = 0
    create = engine.create_file

    async def watched(size_hint: int = 0) -> FileWriter:
        reached.append(sent)
        return await create(size_hint)

    monkeypatch.setattr(engine, "create_file", watched)

    def blocks() -> Iterator[bytes]:
        nonlocal sent
        yield PART
        for _ in range(100):
            sent += 10_000
            yield b"x" * 10_000
        yield b"\r\n--b--\r\n"

    answer = root.post(
        f"/api/v1/buckets/{bucket}/objects",
        content=blocks(),
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    assert answer.json()[0]["size"] == 1_000_000
    assert len(reached) == 1


# -- lists and rights -------------------------------------------------------------------------


def test_listing_pages_and_levels(root: TestClient, bucket: str) -> None:
    for key in ["a", "b/1", "b/2", "c"]:
        root.put(url(bucket, key), content=b"x")
    target = f"/api/v1/buckets/{bucket}/objects"
    level = root.get(target, params={"delimiter": "/"}).json()
    assert [each["key"] for each in level["objects"]] == ["a", "c"]
    assert (level["prefixes"], level["next"]) == (["b/"], None)
    page = root.get(target, params={"limit": 3}).json()
    rest = root.get(target, params={"limit": 3, "after": page["next"]}).json()
    keys = [each["key"] for each in page["objects"] + rest["objects"]]
    assert (keys, rest["next"]) == (["a", "b/1", "b/2", "c"], None)
    below = root.get(target, params={"prefix": "b/"}).json()["objects"]
    assert [each["key"] for each in below] == ["b/1", "b/2"]
    problem(root.get(target, params={"limit": 0}), 400, "InvalidArgument")
    problem(root.get(target, params={"limit": 1001}), 400, "InvalidArgument")


def test_policies_count_as_on_the_s3_port(
    root: TestClient, bucket: str, make_user: Callable[..., TestClient]
) -> None:
    root.put(url(bucket, "in/k"), content=b"x")
    root.put(url(bucket, "out/k"), content=b"x")
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:*Object", "Resource": f"arn:aws:s3:::{bucket}/in/*"},
            {
                "Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}",
                "Condition": {"StringLike": {"s3:prefix": "in/*"}},
            },
        ],
    }  # fmt: skip
    assert root.put("/api/v1/policies/inbox", json=document).status_code == 200
    ada = make_user("ada", "inbox")
    assert ada.get(url(bucket, "in/k")).status_code == 200
    assert ada.put(url(bucket, "in/new"), content=b"y").status_code == 201
    assert ada.delete(url(bucket, "in/new")).status_code == 204
    problem(ada.get(url(bucket, "in/none")), 404, "NoSuchKey")
    problem(ada.get(url(bucket, "out/none")), 403, "AccessDenied")
    target = f"/api/v1/buckets/{bucket}/objects"
    assert ada.get(target, params={"prefix": "in/"}).status_code == 200
    problem(ada.get(target), 403, "AccessDenied")
    for answer in (
        ada.get(url(bucket, "out/k")),
        ada.head(url(bucket, "out/k")),
        ada.get(url(bucket, "out/k", "metadata")),
        ada.put(url(bucket, "out/k"), content=b""),
        ada.delete(url(bucket, "out/k")),
        ada.post(target, files={"file": ("out", b"x")}),
    ):
        assert answer.status_code == 403
    assert root.get(url(bucket, "out/k")).content == b"x"
