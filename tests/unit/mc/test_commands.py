"""Buckets, listings, copies, and what is done elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stack.mc import copying
from stack.mc.anonymous import statements_of
from stack.mc.base import McError
from tests.conftest import Store, empty_and_delete
from tests.unit.mc.conftest import Mc


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three files: `a.txt`, `sub/b.json`, `sub/deeper/c`."""
    folder = tmp_path / "files"
    (folder / "sub/deeper").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub/b.json").write_text("{}")
    (folder / "sub/deeper/c").write_bytes(b"\0\1")
    return folder


def keys_of(client: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in client.list_objects_v2(Bucket=bucket).get("Contents", ())]


# -- buckets ------------------------------------------------------------------------------------


def test_mb(mc: Mc, boto_client: Any) -> None:
    mc("mb", "-p", "here/mc-made", "here/mc-made-too", "--region", "eu-west-1")
    mc("mb", "--ignore-existing", "here/mc-made")
    names = {each["Name"] for each in boto_client.list_buckets()["Buckets"]}
    assert {"mc-made", "mc-made-too"} <= names
    for name in ("mc-made", "mc-made-too"):
        empty_and_delete(boto_client, name)


@pytest.mark.parametrize("words", [(), ("here",), ("here/bucket/key",), ("here/Bad_Name",),
                                   ("--with-lock", "here/locked")])  # fmt: skip
def test_mb_refuses(mc: Mc, boto_client: Any, words: tuple[str, ...]) -> None:
    before = boto_client.list_buckets()["Buckets"]
    with pytest.raises(McError):
        mc("mb", *words)
    assert boto_client.list_buckets()["Buckets"] == before


def test_ls(mc: Mc, bucket: str, boto_client: Any) -> None:
    for key in ("a.txt", "folder/b", "folder/ü d", "folder/deeper/\x1b[31m"):
        boto_client.put_object(Bucket=bucket, Key=key, Body=b"x" * 2000)
    assert f"{bucket}/" in mc("ls", "here")
    lines = mc("ls", f"here/{bucket}").splitlines()
    moment = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\] "
    assert re.fullmatch(moment + " 2.0KiB STANDARD a.txt", lines[0])
    assert re.fullmatch(r"\[ {23}\] {6}0B folder/", lines[1])
    inside = [line.split()[-1] for line in mc("ls", f"here/{bucket}/folder/").splitlines()]
    assert inside == ["b", "deeper/", "d"]
    everything = mc("ls", "--recursive", f"here/{bucket}")
    assert "\x1b" not in everything  # a terminal must not obey a key
    assert len(everything.splitlines()) == 4
    first = json.loads(mc("ls", "--json", f"here/{bucket}").splitlines()[0])
    assert first["key"] == "a.txt"
    assert first["size"] == 2000


def test_ls_turns_pages(mc: Mc, bucket: str, boto_client: Any) -> None:
    for number in range(1005):
        boto_client.put_object(Bucket=bucket, Key=f"{number:04}", Body=b"")
    names = [line.split()[-1] for line in mc("ls", f"here/{bucket}").splitlines()]
    assert names == [f"{number:04}" for number in range(1005)]


def test_ls_of_what_is_not_there(mc: Mc) -> None:
    with pytest.raises(McError, match="NoSuchBucket"):
        mc("ls", "here/no-such-bucket")


# -- copies -------------------------------------------------------------------------------------


def test_cp_file_to_store_and_back(mc: Mc, bucket: str, files: Path, boto_client: Any) -> None:
    source = str(files / "sub/b.json")
    mc("cp", source, f"here/{bucket}")
    mc("cp", source, f"here/{bucket}/folder/")
    mc("cp", source, f"here/{bucket}/other name +%.json")
    assert keys_of(boto_client, bucket) == ["b.json", "folder/b.json", "other name +%.json"]
    found = boto_client.get_object(Bucket=bucket, Key="other name +%.json")
    assert (found["Body"].read(), found["ContentType"]) == (b"{}", "application/json")
    mc("cp", f"here/{bucket}/folder/b.json", str(files / "back"))
    assert (files / "back").read_text() == "{}"
    mc("cp", f"here/{bucket}/folder/b.json", str(files / "sub/deeper"))
    assert (files / "sub/deeper/b.json").read_text() == "{}"


def test_cp_folders(mc: Mc, bucket: str, files: Path, boto_client: Any, tmp_path: Path) -> None:
    mc("cp", "-r", f"{files}/", f"here/{bucket}/in/")
    assert keys_of(boto_client, bucket) == ["in/a.txt", "in/sub/b.json", "in/sub/deeper/c"]
    mc("cp", "--recursive", str(files), f"here/{bucket}")
    assert keys_of(boto_client, bucket)[:1] == ["files/a.txt"]  # with its own name, as mc
    mc("cp", "-r", f"here/{bucket}/in", str(tmp_path / "out"))
    assert (tmp_path / "out/sub/deeper/c").read_bytes() == b"\0\1"


def test_cp_several(mc: Mc, bucket: str, files: Path, boto_client: Any) -> None:
    mc("cp", str(files / "a.txt"), str(files / "sub/b.json"), f"here/{bucket}/x")
    assert keys_of(boto_client, bucket) == ["x/a.txt", "x/b.json"]


def test_cp_between_stores(
    mc: Mc, bucket: str, store: Store, boto_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = f"{store.access_key}:{store.secret_key}"
    other = store.host.replace("127.0.0.1", "localhost")  # another store, to mc
    monkeypatch.setenv("MC_HOST_there", f"http://{keys}@{other}")
    boto_client.put_object(Bucket=bucket, Key="a b", Body=b"1", ContentType="text/x")
    mc("cp", f"here/{bucket}/a b", f"here/{bucket}/same")
    mc("cp", f"here/{bucket}/a b", f"there/{bucket}/other")
    for key in ("same", "other"):
        found = boto_client.get_object(Bucket=bucket, Key=key)
        assert (found["Body"].read(), found["ContentType"]) == (b"1", "text/x")


def test_cp_of_large_files_is_multipart(
    mc: Mc, bucket: str, boto_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PART", 5 * 2**20)
    body = bytes(range(256)) * (11 * 2**20 // 256) + b"end"
    (tmp_path / "large").write_bytes(body)
    mc("cp", str(tmp_path / "large"), f"here/{bucket}/large")
    found = boto_client.get_object(Bucket=bucket, Key="large")
    assert found["ETag"].endswith('-3"')
    assert found["Body"].read() == body
    mc("cp", f"here/{bucket}/large", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == body


def test_cp_that_fails_leaves_no_upload(
    mc: Mc, bucket: str, boto_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PART", 5 * 2**20)
    (tmp_path / "large").write_bytes(b"x" * (6 * 2**20))
    monkeypatch.setattr(copying.os, "fstat", lambda fd: _Size(7 * 2**20))
    with pytest.raises(McError, match="shorter"):
        mc("cp", str(tmp_path / "large"), f"here/{bucket}/large")
    assert not boto_client.list_multipart_uploads(Bucket=bucket).get("Uploads")


class _Size:
    def __init__(self, size: int) -> None:
        self.st_size = size


def test_keys_must_not_lead_out_of_the_folder(
    mc: Mc, bucket: str, boto_client: Any, tmp_path: Path
) -> None:
    boto_client.put_object(Bucket=bucket, Key="x/../../evil", Body=b"")
    with pytest.raises(McError, match="leads out"):
        mc("cp", "-r", f"here/{bucket}", str(tmp_path / "out"))
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("one",),
        ("/tmp/no/such/file", "here/langfuse"),
        ("here/langfuse/no-such-key", "/tmp/nothing-comes"),
        ("here/langfuse/", "/tmp/nothing-comes"),
        ("/etc/hostname", "/tmp/nothing-comes"),
        ("/etc", "here/langfuse"),
        ("/etc/hostname", "nowhere/langfuse/x"),
        ("--attr", "x=y", "/etc/hostname", "here/langfuse"),
    ],
)
def test_cp_refuses(mc: Mc, words: tuple[str, ...]) -> None:
    with pytest.raises(McError):
        mc("cp", *words)
    assert not Path("/tmp/nothing-comes").exists()


# -- anonymous ----------------------------------------------------------------------------------


def policies(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A store with bucket policies, as far as `mc anonymous` sees it."""
    kept: dict[str, bytes] = {}

    class Answer:
        def __init__(self, body: bytes = b"") -> None:
            self.body: Callable[[], bytes] = lambda: body

    class Client:
        def __init__(self, *_: object) -> None:
            pass

        def call(self, method: str, path: str, query: object, body: bytes = b"") -> Answer:
            from stack.mc.s3 import S3Error

            assert query == {"policy": ""}
            if method == "PUT":
                kept[path] = body
            elif method == "DELETE":
                kept.pop(path, None)
            elif path not in kept:
                raise S3Error("NoSuchBucketPolicy", "", 404)
            return Answer(kept.get(path, b""))

    monkeypatch.setattr("stack.mc.anonymous.Client", Client)
    return kept


def test_anonymous_set(mc: Mc, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = policies(monkeypatch)
    mc("anonymous", "set", "download", "here/b")
    assert json.loads(kept["/b"])["Statement"] == statements_of("download", "b", "")
    mc("anonymous", "set", "public", "here/b")
    assert json.loads(kept["/b"])["Statement"] == statements_of("public", "b", "")
    mc("policy", "set", "none", "here/b")
    assert kept == {}


@pytest.mark.parametrize("shape", ["private", "download", "upload", "public"])
@pytest.mark.parametrize("where", ["here/b", "here/b/p/"])
def test_anonymous_get_tells_what_was_set(
    mc: Mc, monkeypatch: pytest.MonkeyPatch, shape: str, where: str
) -> None:
    policies(monkeypatch)
    assert "is `private`" in mc("anonymous", "get", where)
    mc("anonymous", "set", shape, where)
    assert f"Access permission for `{where}` is `{shape}`" in mc("anonymous", "get", where)
    assert f"is `{shape}`" in mc("anonymous", "get", "here/b/p/q")
    elsewhere = shape if where == "here/b" else "private"
    assert f"is `{elsewhere}`" in mc("anonymous", "get", "here/b/other")


def test_anonymous_json(mc: Mc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = policies(monkeypatch)
    file = tmp_path / "policy.json"
    document = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "arn:aws:s3:::b/*",
    }
    file.write_text(json.dumps({"Statement": document}))
    mc("anonymous", "set-json", str(file), "here/b")
    assert kept["/b"] == file.read_bytes()
    assert "Deny" in mc("anonymous", "get-json", "here/b")
    assert "is `custom`" in mc("anonymous", "get", "here/b")
    with pytest.raises(McError, match=r"missing\.json"):
        mc("anonymous", "set-json", str(tmp_path / "missing.json"), "here/b")


def test_anonymous_set_keeps_what_others_set(mc: Mc, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = policies(monkeypatch)
    other = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::b/x/*"}
    kept["/b"] = json.dumps({"Statement": [other, *statements_of("upload", "b", "in/")]}).encode()
    mc("anonymous", "set", "download", "here/b/out/*")
    statements = json.loads(kept["/b"])["Statement"]
    assert other in statements
    assert statements_of("upload", "b", "in/")[-1] in statements
    assert all(each in statements for each in statements_of("download", "b", "out/"))
    mc("anonymous", "set", "private", "here/b/out/")
    assert "arn:aws:s3:::b/out/*" not in kept["/b"].decode()


def test_shapes_of_anonymous_access() -> None:
    found = {
        tuple(sorted(each["Action"])): each["Resource"]
        for each in statements_of("download", "b", "")
    }
    assert found == {
        ("s3:GetBucketLocation", "s3:ListBucket"): ["arn:aws:s3:::b"],
        ("s3:GetObject",): ["arn:aws:s3:::b/*"],
    }
    on_prefix = statements_of("download", "b", "p/")
    assert {"StringEquals": {"s3:prefix": ["p/"]}} in [each.get("Condition") for each in on_prefix]
    assert statements_of("private", "b", "") == []


@pytest.mark.parametrize(
    "words",
    [("set",), ("set", "odd", "here/b"), ("set", "public", "here"), ("get",), ("list", "here/b"),
     ("get-json", "here/b/p"), ()],
)  # fmt: skip
def test_anonymous_refuses(mc: Mc, words: tuple[str, ...]) -> None:
    with pytest.raises(McError):
        mc("anonymous", *words)


# -- the rest -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        (("admin", "user", "list", "here"), "oversight user"),
        (("mirror", "a", "b"), "oversight migrate"),
        (("rm", "here/b/k"), "aws s3 rm"),
        (("cat", "here/b/k"), "aws s3 cp"),
        (("ilm", "rule", "ls", "here/b"), "lifecycle"),
        (("frobnicate",), "the full client"),
    ],
)
def test_the_rest_names_the_tool(mc: Mc, words: tuple[str, ...], tool: str) -> None:
    with pytest.raises(McError, match=tool):
        mc(*words)


def test_help(mc: Mc) -> None:
    assert "ready ALIAS" in mc("--help")
    assert "ready ALIAS" in mc(code=1)
    assert "ready ALIAS" in mc("cp", "--help")
