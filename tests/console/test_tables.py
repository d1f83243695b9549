"""Tables from strangers: shown where they can be, and a sentence where not."""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.console import parquet
from tests.console.conftest import Open, sign_in, until, visit
from tests.console.surroundings import add_user, below, console_of, resident
from tests.serving import ServedStore

_MIB = 1024 * 1024


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    name = f"tables-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


Table = Callable[[str], tuple[int, dict[str, Any]]]


@pytest.fixture
def table(page: Any, bucket: str) -> Table:
    """Ask the console for the beginning of a table, as its page does."""

    def asked(key: str) -> tuple[int, dict[str, Any]]:
        query = urlencode({"bucket": bucket, "key": key, "version": ""})
        status, text = page.evaluate(
            """async (path) => {
                const { table } = await import(document.querySelector('script[type=module]').src
                    .replace('main.js', 'api.js'));
                const query = new URLSearchParams(path);
                try {
                    const found = await table(query.get('bucket'), query.get('key'), '');
                    return [200, JSON.stringify(found)];
                } catch (error) {
                    const told = {code: error.code, detail: error.message};
                    return [error.status, JSON.stringify(told)];
                }
            }""",
            query,
        )
        return status, json.loads(text)

    return asked


def test_values_of_every_type_are_text(table: Table, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="types.parquet", Body=parquet.types())
    status, found = table("types.parquet")
    assert status == 200
    assert found["total"] == {"rows": 3000, "columns": 13, "groups": 1}
    assert len(found["rows"]) <= 1000
    cells = dict(zip((each["name"] for each in found["columns"]), found["rows"][7], strict=True))
    assert cells == {
        "id": "7",
        "name": None,
        "kind": "kind 1",
        "day": "2026-01-08",
        "at": "2026-01-01 00:00:07+00",
        "cost": "0.07",
        "raw": "\\x07\\x00\\xFF",
        "list": "[7, NULL]",
        "nested": "{'a': 7, 'b': {'c': x}}",
        "map": "{k=7}",
        "share": "nan",
        'odd "name" <b>': "<img src=x onerror=alert(1)>\u202e7",
        "long": "x" * (found["cut"] + 1),
    }
    kinds = {each["name"]: each["type"] for each in found["columns"]}
    assert kinds["cost"] == "DECIMAL(38,2)"
    assert kinds["nested"] == "STRUCT(a BIGINT, b STRUCT(c VARCHAR))"


def test_a_parquet_file_is_a_table_in_the_page(page: Any, s3: Any, bucket: str) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    s3.put_object(Bucket=bucket, Key="shown.parquet", Body=parquet.types())
    visit(page, "object", bucket, "shown.parquet")
    page.wait_for_selector(".preview th:has-text('nested') small:has-text('STRUCT(a BIGINT')")
    page.wait_for_selector(".preview .note:has-text('of 3,000 rows are shown')")
    assert page.locator(".preview tbody tr").count() < 1000
    (first, *_) = page.locator(".preview tbody tr >> nth=0").all()
    assert first.locator("td.nil").all_inner_texts() == ["null"]
    assert "⟨U+202E⟩" in first.inner_text()
    assert page.locator("main .preview img").count() == 0
    # The rest comes as it is scrolled to.
    before = page.locator(".preview tbody tr").count()
    page.wait_for_function(
        """(before) => {
            document.querySelector(".sheet").scrollTop = 1e9;
            return document.querySelectorAll(".preview tbody tr").length > before;
        }""",
        arg=before,
    )


def test_ten_thousand_columns_are_a_hundred(table: Table, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="wide.parquet", Body=parquet.wide())
    status, found = table("wide.parquet")
    assert status == 200
    assert found["total"]["columns"] == 10_000
    assert [each["name"] for each in found["columns"]] == [f"c{i}" for i in range(100)]
    assert found["rows"][2] == ["2"] * 100


def test_only_what_is_shown_is_read(
    table: Table, s3: Any, bucket: str, served: ServedStore
) -> None:
    """Of many row groups the first, and of each column a part."""
    s3.put_object(
        Bucket=bucket, Key="long.parquet",
        Body=parquet.types(40_000, row_group_size=2000, compression="none", use_dictionary=False),
    )  # fmt: skip
    size = s3.head_object(Bucket=bucket, Key="long.parquet")["ContentLength"]
    assert size > 300 * _MIB  # more than a preview may read at all
    status, found = table("long.parquet")
    assert status == 200
    assert found["total"]["groups"] == 20


@pytest.mark.parametrize("name", sorted(parquet.lies()))
def test_a_file_that_lies_is_said_to(table: Table, s3: Any, bucket: str, name: str) -> None:
    s3.put_object(Bucket=bucket, Key=f"{name}.parquet", Body=parquet.lies()[name])
    status, found = table(f"{name}.parquet")
    assert (status, found["code"]) == (422, "TableBroken")
    assert found["detail"]
    assert "object://" not in found["detail"]


def test_damage_never_breaks_more_than_the_table(table: Table, s3: Any, bucket: str) -> None:
    codes = {200: None, 422: "TableBroken", 413: "TableTooLarge", 504: "TableTooSlow"}
    for number in range(12):
        s3.put_object(Bucket=bucket, Key="damaged.parquet", Body=parquet.damaged(number))
        status, found = table("damaged.parquet")
        assert codes[status] == found.get("code"), number


def test_a_bomb_stays_packed(
    page: Any, table: Table, s3: Any, bucket: str, served: ServedStore
) -> None:
    s3.put_object(Bucket=bucket, Key="bomb.parquet", Body=parquet.bomb())
    console = console_of(served)
    before = resident(console)
    began = time.monotonic()
    status, found = table("bomb.parquet")
    assert (status, found["code"]) == (413, "TableTooLarge")
    assert time.monotonic() - began < 20
    visit(page, "object", bucket, "bomb.parquet")
    page.wait_for_selector(".preview :text('too large for a preview')")
    # Nothing of it stays: the reader has ended, the console is as it was.
    until(page, lambda: below(console) == [])
    assert resident(console) < before + 16 * 1024


def test_a_damaged_file_is_explained_in_the_page(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="broken.parquet", Body=parquet.types(200)[:5000])
    visit(page, "object", bucket, "broken.parquet")
    page.wait_for_selector('.preview h2:text-is("This Parquet file can\'t be read")')


def test_who_may_not_read_an_object_sees_no_table(
    open_page: Open, s3: Any, bucket: str, served: ServedStore
) -> None:
    s3.put_object(Bucket=bucket, Key="secret.parquet", Body=parquet.types(10))
    theirs = sign_in(open_page(), *add_user(served, "writeonly")[1:])
    refused = theirs.evaluate(
        """async (bucket) => {
            const { table } = await import(
                document.querySelector('script[type=module]').src.replace('main.js', 'api.js'));
            return table(bucket, 'secret.parquet', '').catch(error => error.status);
        }""",
        bucket,
    )
    assert refused == 403


# -- packed text ----------------------------------------------------------------------------------


def gzip_bomb(gibibytes: int) -> bytes:
    """GiBs of spaces in gzip, made of one MiB that is repeated packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(b" " * _MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(b" " * _MIB)
    block = head * (1024 * gibibytes)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block


def packed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def test_packed_files_are_shown_unpacked(page: Any, s3: Any, bucket: str) -> None:
    put = s3.put_object
    put(Bucket=bucket, Key="a.csv.gz", Body=packed(b"name,age\nAda,36\nGrace,85\n"))
    put(Bucket=bucket, Key="a.json.gz", Body=packed(b'{"layers": 12}'))
    put(Bucket=bucket, Key="a.log.gz", Body=packed(b"one line\n"), ContentType="application/gzip")
    put(Bucket=bucket, Key="broken.txt.gz", Body=packed(b"before " * 50_000)[:200])
    put(Bucket=bucket, Key="none.txt.gz", Body=b"this is no gzip")
    visit(page, "object", bucket, "a.csv.gz")
    page.wait_for_selector(".preview th:has-text('age')")
    page.wait_for_selector(".preview td:text-is('Grace')")
    visit(page, "object", bucket, "a.json.gz")
    page.wait_for_selector(".tree span:text-is('layers')")
    visit(page, "object", bucket, "a.log.gz")
    page.wait_for_selector(".preview pre:has-text('one line')")
    visit(page, "object", bucket, "none.txt.gz")
    page.wait_for_selector(".preview h2:has-text('the file may be damaged')")


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_zip_bomb_is_shown_in_part(page: Any, s3: Any, bucket: str, encoding: str) -> None:
    """Ten GiB in ten MiB, by its name or by its Content-Encoding."""
    bomb = gzip_bomb(10)
    options = {"ContentEncoding": encoding} if encoding else {}
    key = "bomb.txt" if encoding else "bomb.txt.gz"
    s3.put_object(Bucket=bucket, Key=key, Body=bomb, ContentType="text/plain", **options)
    visit(page, "object", bucket, key)
    page.wait_for_selector(".preview .note:has-text('unpacked')")
    assert page.evaluate("() => document.querySelector('.preview pre').textContent.length") == _MIB
