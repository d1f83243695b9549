"""MinIO's own client: whoever moves from MinIO has scripts that call it."""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

MIB = 1024 * 1024
Mc = Callable[..., str]


@pytest.fixture
def mc(store: Store, tmp_path: Path) -> Mc:
    """Call ``mc`` with an empty configuration in which the alias ``it`` is the store."""
    program = tools.mc()
    folder = tmp_path / "mc-config"
    environment = clean_environment(MC_CONFIG_DIR=str(folder), HOME=str(tmp_path))

    def call(*words: str, stdin: bytes = b"") -> str:
        return tools.run(program, "--no-color", *words, env=environment, cwd=tmp_path, stdin=stdin)

    call("alias", "set", "it", store.endpoint, store.access_key, store.secret_key)
    return call


@pytest.fixture
def place(bucket: str) -> str:
    """``it/<bucket>``; the bucket is emptied by the shared fixture."""
    return f"it/{bucket}"


def test_alias_refuses_a_wrong_secret(mc: Mc, store: Store) -> None:
    with pytest.raises(AssertionError, match=r"(?i)signature|access key|secret"):
        mc("alias", "set", "wrong", store.endpoint, store.access_key, "not the secret")


def test_ready(mc: Mc) -> None:
    assert "ready" in mc("ready", "it")


def test_make_list_and_remove_bucket(mc: Mc, place: str) -> None:
    other = f"{place}-other"
    mc("mb", other)
    mc("mb", "--ignore-existing", other)
    assert f"{other.removeprefix('it/')}/" in mc("ls", "it")
    mc("rb", other)
    assert f"{other.removeprefix('it/')}/" not in mc("ls", "it")


def test_cp_ls_cat_and_stat(mc: Mc, place: str, tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_bytes(b"hello")
    mc("cp", "--attr", "who=me", "hello.txt", f"{place}/in/hello.txt")
    assert "hello.txt" in mc("ls", f"{place}/in/")
    assert mc("cat", f"{place}/in/hello.txt") == "hello"
    found = json.loads(mc("stat", "--json", f"{place}/in/hello.txt"))
    assert (found["size"], found["name"]) == (5, "hello.txt")
    assert found["metadata"]["X-Amz-Meta-Who"] == "me"
    mc("cp", f"{place}/in/hello.txt", f"{place}/out/copy.txt")
    assert mc("cat", f"{place}/out/copy.txt") == "hello"


def test_cp_large_both_ways(mc: Mc, place: str, tmp_path: Path) -> None:
    body = os.urandom(70 * MIB)  # several parts: mc starts with 16 MiB
    (tmp_path / "large").write_bytes(body)
    mc("cp", "--quiet", "large", f"{place}/large")
    mc("cp", "--quiet", f"{place}/large", "back")
    assert (tmp_path / "back").read_bytes() == body


def test_pipe_and_head(mc: Mc, place: str) -> None:
    mc("pipe", f"{place}/piped", stdin=b"first\nsecond\n")
    assert mc("head", "-n", "1", f"{place}/piped").strip() == "first"


def test_mirror_both_ways(mc: Mc, place: str, tmp_path: Path) -> None:
    names = ["a", "sub/b", "sub/deep/c d", "sub/ü"]
    for name in names:
        path = tmp_path / "up" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    mc("mirror", "--quiet", "up", f"{place}/tree")
    (tmp_path / "up/a").unlink()
    mc("mirror", "--quiet", "--overwrite", "--remove", "up", f"{place}/tree")
    mc("mirror", "--quiet", f"{place}/tree", "down")
    down = tmp_path / "down"
    found = sorted(str(path.relative_to(down)) for path in down.rglob("*") if path.is_file())
    assert found == names[1:]
    assert mc("diff", "up", f"{place}/tree") == ""


def test_odd_names(mc: Mc, place: str, tmp_path: Path) -> None:
    names = set(tools.ODD_KEYS)
    for name in names:
        path = tmp_path / "odd" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    mc("mirror", "odd", f"{place}/from")
    mc("cp", "--recursive", f"{place}/from/", f"{place}/to/")
    mc("mirror", f"{place}/to", "back")
    back = tmp_path / "back"
    found = {str(path.relative_to(back)) for path in back.rglob("*") if path.is_file()}
    assert found == names


def test_find_and_du(mc: Mc, place: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1024)
    for key in ("a.json", "b.json", "c.txt"):
        mc("cp", "x", f"{place}/{key}")
    assert len(mc("find", place, "--name", "*.json").split()) == 2
    assert json.loads(mc("du", "--json", place))["size"] == 3 * 1024


def test_rm_one_and_recursively(mc: Mc, place: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for key in ("keep", "one", "many/1", "many/2"):
        mc("cp", "x", f"{place}/{key}")
    mc("rm", f"{place}/one")
    mc("rm", "--recursive", "--force", f"{place}/many/")
    assert [line.split()[-1] for line in mc("ls", "--recursive", place).splitlines()] == ["keep"]


def test_mv(mc: Mc, place: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"moved")
    mc("mv", "x", f"{place}/from")
    mc("mv", f"{place}/from", f"{place}/to")
    assert mc("cat", f"{place}/to") == "moved"
    assert len(mc("ls", place).splitlines()) == 1


def test_share_download(mc: Mc, place: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"shared")
    mc("cp", "x", f"{place}/x")
    url = json.loads(mc("share", "download", "--json", "--expire", "1h", f"{place}/x"))["share"]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        assert answer.read() == b"shared"


def _stranger(store: Store, method: str, path: str, body: bytes | None = None) -> int:
    """The status that a request without credentials gets."""
    connection = http.client.HTTPConnection(store.host, timeout=60)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("shape", "read", "write", "listed"),
    [
        ("private", 403, 403, 403),
        ("download", 200, 403, 200),
        ("upload", 403, 200, 403),
        ("public", 200, 200, 200),
    ],
)
def test_anonymous(
    mc: Mc, store: Store, place: str, bucket: str, tmp_path: Path, shape: str, read: int,
    write: int, listed: int,
) -> None:  # fmt: skip
    (tmp_path / "x").write_bytes(b"x")
    mc("cp", "x", f"{place}/k")
    assert "private" in mc("anonymous", "get", place)
    mc("anonymous", "set", shape, place)
    assert f"`{shape}`" in mc("anonymous", "get", place)
    assert _stranger(store, "GET", f"/{bucket}/k") == read
    assert _stranger(store, "PUT", f"/{bucket}/n", b"x") == write
    assert _stranger(store, "GET", f"/{bucket}?list-type=2") == listed
    mc("anonymous", "set", "private", place)
    assert _stranger(store, "GET", f"/{bucket}/k") == 403


def test_anonymous_below_a_prefix(
    mc: Mc, store: Store, place: str, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for key in ("open/k", "closed/k"):
        mc("cp", "x", f"{place}/{key}")
    mc("anonymous", "set", "download", f"{place}/open/")
    assert _stranger(store, "GET", f"/{bucket}/open/k") == 200
    assert _stranger(store, "GET", f"/{bucket}/closed/k") == 403
    assert _stranger(store, "GET", f"/{bucket}?prefix=open/") == 200
    assert _stranger(store, "GET", f"/{bucket}?prefix=closed/") == 403
    assert "open" in mc("anonymous", "list", place)


def test_the_small_mc_and_the_full_one_understand_each_other(
    mc: Mc, store: Store, place: str, tmp_path: Path
) -> None:
    """`mc anonymous` of the store's own image, on the same bucket."""
    environment = clean_environment(
        MC_HOST_it=f"http://{store.access_key}:{store.secret_key}@{store.host}", HOME=str(tmp_path)
    )

    def small(*words: str) -> str:
        return tools.run(Path(sys.executable), "-m", "stack.mc", *words, env=environment)

    for shape in ("download", "upload", "public", "private"):
        small("anonymous", "set", shape, place)
        assert f"`{shape}`" in mc("anonymous", "get", place)
    for shape in ("download", "upload", "public", "private"):
        mc("anonymous", "set", shape, place)
        assert f"`{shape}`" in small("anonymous", "get", place)
