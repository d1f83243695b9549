"""Stories of people in front of the console, each through a real browser."""

from __future__ import annotations

import json
import uuid
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.console.conftest import (
    Open,
    context_of,
    leave_for,
    sign_in,
    until,
    until_said,
    until_shown,
    visit,
)
from tests.console.scene import HOSTILE, trace_id
from tests.console.surroundings import violations
from tests.serving import SECRET_KEY, ServedStore

axe = pytest.importorskip("axe_playwright_python.sync_playwright")


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket."""
    name = f"story-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


def keys(s3: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def settled(page: Any) -> None:
    """Wait until no transfer is under way any more."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.works li')].every(each => each.dataset.state)"
    )


# -- signing in -----------------------------------------------------------------------------------


def test_a_wrong_secret_is_said_and_nothing_more(open_page: Open) -> None:
    page = open_page()
    page.fill("input[name=username]", "minio")
    page.fill("input[name=password]", "wrong-secret")
    page.click("button[type=submit]")
    page.wait_for_selector("text=The access key or its secret is wrong.")
    assert page.locator(".shell").count() == 0


def test_signing_out_ends_the_session_in_every_tab(open_page: Open) -> None:
    page = sign_in(open_page())
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".shell h1")
    page.click("button[aria-label='Sign out']")
    page.wait_for_selector("input[name=username]")
    other.wait_for_selector("input[name=username]")


def test_the_cookie_is_all_that_the_browser_has(page: Any) -> None:
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert SECRET_KEY not in cookie["value"]
    stored = page.evaluate("() => JSON.stringify([localStorage, sessionStorage])")
    assert SECRET_KEY not in stored
    told = page.evaluate(
        """() => fetch('session', {headers: {'x-oversight-console':
            localStorage.getItem(`oversight-page:${location.pathname}`)}}).then(r => r.text())"""
    )
    assert '"user"' in told
    assert "token" not in told
    assert "secret" not in told


# -- buckets --------------------------------------------------------------------------------------


def test_a_bucket_is_made_set_up_and_deleted(page: Any, s3: Any) -> None:
    name = f"made-{uuid.uuid4().hex[:8]}"
    page.click("button:has-text('Create a bucket')")
    page.fill("dialog input:not([type=checkbox])", name)
    page.check("dialog input[type=checkbox]")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f".crumbs :text('{name}')")
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    s3.put_object(Bucket=name, Key="a", Body=b"1")
    s3.delete_object(Bucket=name, Key="a")

    visit(page, "settings", name)
    page.click("section:has(h2:text-is('Delete the bucket')) button")
    page.fill("dialog input", "something else")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .error:not(:empty)")
    page.fill("dialog input", name)
    page.click("dialog button[type=submit]")
    until_said(page, f"The bucket {name} is deleted.")
    assert name not in {each["Name"] for each in s3.list_buckets()["Buckets"]}


def test_settings_are_kept_as_s3_has_them(page: Any, s3: Any, bucket: str) -> None:
    visit(page, "settings", bucket)
    section = "section.card:has(> header h2:text-is('{}'))".format

    page.click(f"{section('Tags')} button:has-text('Add a tag')")
    page.fill(f"{section('Tags')} input >> nth=0", "team")
    page.fill(f"{section('Tags')} input >> nth=1", "Straße @1")
    page.click(f"{section('Tags')} header button")
    until_said(page, "Tags saved.")
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "team", "Value": "Straße @1"}]

    page.click(f"{section('CORS')} button:has-text('Add a rule')")
    page.fill(f"{section('CORS')} textarea >> nth=0", "https://app.example.com")
    page.click(f"{section('CORS')} > header button")
    until_said(page, "CORS saved.")
    (rule,) = s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
    assert rule["AllowedOrigins"] == ["https://app.example.com"]
    assert rule["AllowedMethods"] == ["GET"]

    page.click(f"{section('Lifecycle')} button:has-text('Add a rule')")
    page.fill(f"{section('Lifecycle')} input[placeholder='events/']", "events/")
    page.fill(f"{section('Lifecycle')} input[type=number] >> nth=0", "30")
    page.click(f"{section('Lifecycle')} > header button")
    until_said(page, "Lifecycle saved.")
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["Filter"] == {"Prefix": "events/"}
    assert rule["Expiration"] == {"Days": 30}


def test_a_policy_is_checked_saved_and_explained(page: Any, s3: Any, bucket: str) -> None:
    visit(page, "settings", bucket)
    section = "section.card:has(> header h2:text-is('Policy'))"
    page.fill(f"{section} textarea", '{\n  "Version": "2012-10-17",\n  oops\n}')
    page.wait_for_selector(f"{section} .error:has-text('Line 3')")
    page.select_option(f"{section} select", "read")
    page.click(f"{section} > header button:text-is('Save')")
    until_said(page, "Policy saved.")
    kept = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    assert kept["Statement"][0]["Action"] == "s3:GetObject"
    page.click(f"{section} summary")
    page.fill(f"{section} details label:has-text('Object') input", "any")
    page.click(f"{section} details button:text-is('Ask')")
    page.wait_for_selector(f"{section} details .badge:text-is('Allowed')")


# -- objects --------------------------------------------------------------------------------------


def test_files_are_uploaded_straight_to_s3(
    page: Any, s3: Any, bucket: str, served: ServedStore
) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
    visit(page, "browse", bucket)
    large = bytes(17 * 1024 * 1024)
    page.set_input_files(
        "input[data-upload=files]",
        [
            {"name": "small é.txt", "mimeType": "text/plain", "buffer": b"hello"},
            {"name": "large.bin", "mimeType": "application/octet-stream", "buffer": large},
            {"name": "empty", "mimeType": "", "buffer": b""},
        ],
    )
    page.wait_for_selector("a:has-text('large.bin')")
    assert keys(s3, bucket) == ["empty", "large.bin", "small é.txt"]
    assert s3.get_object(Bucket=bucket, Key="small é.txt")["Body"].read() == b"hello"
    assert s3.head_object(Bucket=bucket, Key="small é.txt")["ContentType"] == "text/plain"
    parts = s3.head_object(Bucket=bucket, Key="large.bin")
    assert parts["ContentLength"] == len(large)
    assert parts["ETag"].endswith('-3"')
    known = s3.head_object(Bucket=bucket, Key="large.bin", ChecksumMode="ENABLED")
    assert known["ChecksumCRC32"].endswith("-3")
    direct = [each for each in sent if each.startswith(f"PUT {served.endpoint}/{bucket}/")]
    assert len(direct) == 5


def test_a_folder_is_uploaded_with_its_paths(
    page: Any, s3: Any, bucket: str, tmp_path: Path
) -> None:
    folder = tmp_path / "photos" / "2026"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder.parent / "b.txt").write_text("b")
    visit(page, "browse", bucket, "in/")
    page.set_input_files("input[data-upload=folder]", str(folder.parent))
    page.wait_for_selector("a:has-text('photos/')")
    settled(page)
    assert keys(s3, bucket) == ["in/photos/2026/a.txt", "in/photos/b.txt"]


def test_uploads_go_through_the_console_where_cors_leaves_it_out(
    page: Any, s3: Any, bucket: str
) -> None:
    s3.put_bucket_cors(
        Bucket=bucket,
        CORSConfiguration={
            "CORSRules": [{"AllowedOrigins": ["https://x.example"], "AllowedMethods": ["GET"]}]
        },
    )
    sums: dict[str, bool] = {}
    page.on(
        "request",
        lambda request: sums.update({request.url: "x-amz-checksum-crc32" in request.headers}),
    )
    visit(page, "browse", bucket)
    page.set_input_files(
        "input[data-upload=files]",
        [
            {"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"},
            {"name": "large.bin", "mimeType": "", "buffer": bytes(17 * 1024 * 1024)},
        ],
    )
    page.wait_for_selector("a:has-text('large.bin')")
    page.wait_for_selector(".works :text('OVERSIGHT_EXTERNAL_ENDPOINT')")
    assert keys(s3, bucket) == ["a.txt", "large.bin"]
    assert [with_sum for url, with_sum in sums.items() if "partNumber=" in url] == [True] * 3


def test_an_upload_outlives_its_session(page: Any, s3: Any, bucket: str) -> None:
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    page.context.clear_cookies()
    page.set_input_files(
        "input[data-upload=files]", {"name": "late.txt", "mimeType": "", "buffer": b"late"}
    )
    page.wait_for_selector("dialog :text('Your session is over')")
    page.fill("dialog input[name=password]", SECRET_KEY)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("a:has-text('late.txt')")
    assert keys(s3, bucket) == ["late.txt"]


def test_a_broken_off_upload_goes_on_where_it_was(page: Any, s3: Any, bucket: str) -> None:
    visit(page, "browse", bucket)
    page.wait_for_selector("input[data-upload=files]", state="attached")
    size = 8 * 1024 * 1024
    content = bytes(size) + bytes(range(256)) * (size // 256) + b"end"
    upload = s3.create_multipart_upload(Bucket=bucket, Key="again.bin", ChecksumAlgorithm="CRC32")[
        "UploadId"
    ]
    # The second part is of another file, and so is the fourth, which this one has not.
    other = bytes(reversed(content[size:-3]))
    for number, part in ((1, content[:size]), (2, other), (4, b"more")):
        s3.upload_part(
            Bucket=bucket,
            Key="again.bin",
            UploadId=upload,
            PartNumber=number,
            Body=part,
            ChecksumAlgorithm="CRC32",
        )
    # What an earlier page left behind: the file's time is not known before it is chosen.
    page.evaluate(
        """([upload, bucket, size]) => {
            const get = Storage.prototype.getItem;
            Storage.prototype.getItem = function (name) {
                return name.startsWith('oversight-upload') ? upload : get.call(this, name);
            };
        }""",
        [upload, bucket, len(content)],
    )
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
    page.set_input_files(
        "input[data-upload=files]", {"name": "again.bin", "mimeType": "", "buffer": content}
    )
    page.wait_for_selector("a:has-text('again.bin')")
    assert s3.get_object(Bucket=bucket, Key="again.bin")["Body"].read() == content
    assert not [each for each in sent if each.startswith("PUT") and "partNumber=1&" in each]
    assert [each for each in sent if each.startswith("PUT") and "partNumber=2&" in each]


def test_many_objects_are_paged_and_filtered(page: Any, s3: Any, bucket: str) -> None:
    for number in range(230):
        s3.put_object(Bucket=bucket, Key=f"k{number:03}")
    visit(page, "browse", bucket)
    page.wait_for_selector("a:has-text('k199')")
    assert page.locator("tbody tr").count() == 200
    page.click("button:text-is('Next')")
    page.wait_for_selector("a:has-text('k229')")
    assert page.locator("tbody tr").count() == 30
    page.fill("input[type=search]", "k01")
    page.wait_for_selector("text=10 entries")
    assert page.locator("tbody tr").count() == 10


def test_chosen_objects_are_copied_moved_and_deleted(page: Any, s3: Any, bucket: str) -> None:
    for key in ("a/1", "a/b/2", "c.txt"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"kept": "yes"})
    visit(page, "browse", bucket)
    page.check("input[aria-label='Choose a/']")
    page.click(".bar button:has-text('Copy to')")
    page.fill("dialog input", "copies/")
    page.click("dialog button[type=submit]")
    until(page, lambda: "copies/a/b/2" in keys(s3, bucket))
    assert s3.head_object(Bucket=bucket, Key="copies/a/1")["Metadata"] == {"kept": "yes"}
    page.wait_for_selector("a:has-text('copies/')")
    page.check("input[aria-label='Choose c.txt']")
    page.click(".bar button:has-text('Move to')")
    page.fill("dialog input", "moved/")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("a:has-text('moved/')")
    until(page, lambda: "c.txt" not in keys(s3, bucket))
    assert "moved/c.txt" in keys(s3, bucket)
    page.check("input[aria-label='Choose a/']")
    page.click(".bar button:has-text('Delete')")
    page.click("dialog button[type=submit]")
    until(page, lambda: not [key for key in keys(s3, bucket) if key.startswith("a/")])


@pytest.mark.parametrize("work", ["Copy to", "Move to"])
@pytest.mark.parametrize(
    ("folder", "chosen", "prefix"),
    [
        ("", ["a/"], "a/"),
        ("", ["a/"], "a/deeper/"),
        ("", ["Choose all"], "b/"),
        ("", ["Choose all"], ""),
        ("", ["c", "dc"], "d"),  # c would be written over dc
        ("a/", ["a/"], ""),  # a/a/a/1 would be written over a/a/1
    ],
)
def test_nothing_goes_into_itself(
    page: Any, s3: Any, bucket: str, work: str, folder: str, chosen: list[str], prefix: str
) -> None:
    names = ["a/1", "a/a/1", "a/a/a/1", "b/2", "c", "dc"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    visit(page, "browse", bucket, folder)
    for name in chosen:
        label = "Choose all on this page" if name == "Choose all" else f"Choose {name}"
        page.check(f"input[aria-label='{label}']")
    page.click(f".bar button:has-text('{work}')")
    page.fill("dialog input", prefix)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .error:has-text('choose another destination')")
    assert page.locator(".works li").count() == 0
    assert keys(s3, bucket) == names


@pytest.mark.parametrize("name", ["a/a", "a", "a/b/c"])
def test_a_folder_is_not_renamed_into_itself(page: Any, s3: Any, bucket: str, name: str) -> None:
    s3.put_object(Bucket=bucket, Key="a/1", Body=b"1")
    visit(page, "browse", bucket)
    page.click("tbody tr button")
    page.click("[role=menuitem]:has-text('Rename')")
    page.fill("dialog input", name)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .error:has-text('choose another destination')")
    assert keys(s3, bucket) == ["a/1"]
    page.fill("dialog input", "aa")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("a:has-text('aa/')")
    assert keys(s3, bucket) == ["aa/1"]


@pytest.mark.parametrize("key", ["one", "one\x01", "folder/one"])
@pytest.mark.parametrize("moment", ["before the copy", "before the deletion"])
def test_what_changes_while_it_is_moved_is_kept(
    page: Any, s3: Any, bucket: str, key: str, moment: str
) -> None:
    for name in (key, f"{key} too"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"old")
    copies = moment == "before the copy"

    def meanwhile(route: Any) -> None:
        asked = route.request
        if copies:
            now = asked.headers.get("x-amz-copy-source", "").endswith(quote(key))
        else:
            now = asked.method == "DELETE" or "delete=" in asked.url
        if now:
            s3.put_object(Bucket=bucket, Key=key, Body=b"new")
        route.continue_()

    visit(page, "browse", bucket)
    page.check("input[aria-label='Choose all on this page']")
    page.route("**/s3?*", meanwhile)
    page.click(".bar button:has-text('Move to')")
    page.fill("dialog input", "moved/")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(".works li[data-state=failed]:has-text('not moved, changed meanwhile')")
    assert "1 failed" in page.locator(".works li").inner_text()
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"new"
    assert s3.get_object(Bucket=bucket, Key=f"moved/{key} too")["Body"].read() == b"old"
    assert s3.list_objects_v2(Bucket=bucket, Prefix=f"{key} too")["KeyCount"] == 0
    copied = s3.list_objects_v2(Bucket=bucket, Prefix=f"moved/{key}")["KeyCount"]
    assert copied == (1 if copies else 2)


def test_a_bucket_with_nameless_characters_is_emptied(page: Any, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for name in ("odd\x01", "odd\x01", "plain"):
        s3.put_object(Bucket=bucket, Key=name, Body=b"1")
    s3.delete_object(Bucket=bucket, Key="odd\x01")
    sent: list[bytes] = []
    page.on("request", lambda request: sent.append(request.post_data_buffer or b""))
    visit(page, "settings", bucket)
    page.click("section:has(h2:text-is('Delete the bucket')) button")
    page.fill("dialog input", bucket)
    page.click("dialog button[type=submit]")
    until_said(page, f"The bucket {bucket} is deleted.")
    assert [each for each in sent if b"<Key>plain</Key>" in each]
    assert not [each for each in sent if b"\x01" in each]
    assert bucket not in {each["Name"] for each in s3.list_buckets()["Buckets"]}


def test_a_new_folder_replaces_nothing(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="x/", Body=b"kept")
    visit(page, "browse", bucket)
    page.click("button:has-text('New folder')")
    page.fill("dialog input", "x")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .error:has-text('x/ exists already')")
    assert s3.get_object(Bucket=bucket, Key="x/")["Body"].read() == b"kept"
    page.fill("dialog input", "y")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(".crumbs [aria-current] bdi:text-is('y')")
    assert keys(s3, bucket) == ["x/", "y/"]


def test_a_folder_is_downloaded_as_zip(page: Any) -> None:
    visit(page, "browse", "datahub", "hostile/")
    page.wait_for_selector("tbody tr")
    with page.expect_download() as waiting:
        page.click("a:has-text('Download as zip')")
    archive = zipfile.ZipFile(waiting.value.path())
    assert archive.testzip() is None
    assert len(archive.namelist()) == len(HOSTILE)
    assert not [name for name in archive.namelist() if name.startswith("/") or ".." in name]


def test_a_shared_link_opens_without_signing_in(page: Any, open_page: Open) -> None:
    visit(page, "object", "datahub", "documents/handbook.md")
    page.click("button:has-text('Share')")
    url = page.inner_text("dialog pre")
    assert page.locator("dialog svg.qr").count() == 1
    answer = page.context.request.fetch(url, headers={"cookie": ""})
    assert answer.status == 200
    assert answer.body().startswith(b"# Handbook")


# -- one object -----------------------------------------------------------------------------------


def test_an_image_is_previewed_with_all_that_is_known_of_it(page: Any) -> None:
    visit(page, "object", "langfuse", "media/support-bot/waves.png")
    page.wait_for_function("() => document.querySelector('.preview img')?.naturalWidth === 960")
    page.wait_for_selector("dt:has-text('Checksum SHA256')")
    page.wait_for_selector("dd:text-is('0001')")
    page.wait_for_selector("h2:text-is('Tags')")
    tags = page.eval_on_selector_all(
        "section:has(h2:text-is('Tags')) input", "all => all.map(({ value }) => value)"
    )
    assert sorted(tags) == ["kind", "screenshot", "support", "team"]


def test_json_is_a_tree_and_csv_a_table(page: Any, s3: Any) -> None:
    (event, *_) = s3.list_objects_v2(Bucket="langfuse", Prefix="events/otel/")["Contents"]
    visit(page, "object", "langfuse", event["Key"])
    page.wait_for_selector(".tree span:text-is('scopeSpans')")
    visit(page, "object", "langfuse", "exports/1790000000000-lf-traces-export-support-bot.csv")
    page.wait_for_selector(".preview th:has-text('latency_ms')")
    assert page.locator(".preview tbody tr").count() == 400


def test_a_huge_json_is_shown_in_part(page: Any, s3: Any, bucket: str) -> None:
    s3.put_object(
        Bucket=bucket, Key="huge.json", Body=b'["' + b"x" * 20_000_000 + b'"]',
        ContentType="application/json",
    )  # fmt: skip
    visit(page, "object", bucket, "huge.json")
    page.wait_for_selector(".preview pre")
    assert len(page.inner_text(".preview pre")) <= 1024 * 1024


def test_an_older_version_is_brought_back(page: Any, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="v.txt", Body=b"first")
    s3.put_object(Bucket=bucket, Key="v.txt", Body=b"second")
    visit(page, "object", bucket, "v.txt")
    page.wait_for_selector("h2:text-is('Versions')")
    page.click("button[aria-label='Bring back']")
    until(page, lambda: s3.get_object(Bucket=bucket, Key="v.txt")["Body"].read() == b"first")


# -- people ---------------------------------------------------------------------------------------


def test_a_user_is_added_and_sees_only_what_is_theirs(page: Any, open_page: Open) -> None:
    name = f"reader-{uuid.uuid4().hex[:8]}"
    visit(page, "people", "users")
    page.click("button:has-text('Add a user')")
    page.fill("dialog input >> nth=0", name)
    page.uncheck("dialog label:has-text('readwrite') input")
    page.check("dialog label:has-text('readonly') input")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog :text('Keep this secret now')")
    access_key, secret = page.locator("dialog .secret code").all_inner_texts()
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f"td:has-text('{name}')")

    theirs = sign_in(open_page(), access_key, secret)
    assert theirs.locator("button:has-text('Create a bucket')").count() == 0
    assert theirs.locator(".nav a:has-text('Monitoring')").count() == 0
    refused = theirs.evaluate(
        """() => fetch('s3?.bucket=langfuse&.key=x',
            {method: 'PUT', body: 'x', headers: {'x-oversight-console':
                localStorage.getItem(`oversight-page:${location.pathname}`)}}
        ).then(r => r.status)"""
    )
    assert refused == 403

    page.click(f"tr:has-text('{name}') button[aria-haspopup=menu]")
    page.click("[role=menuitem]:has-text('Disable')")
    page.wait_for_selector(f"tr:has-text('{name}') .badge:text-is('disabled')")
    leave_for(theirs, "buckets")
    theirs.wait_for_selector("dialog :text('Your session is over')")


def test_a_key_is_made_rotated_and_removed(page: Any) -> None:
    visit(page, "people", "keys")
    page.click("button:has-text('New access key')")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog :text('Keep this secret now')")
    access_key = page.locator("dialog .secret code").first.inner_text()
    page.click("dialog button[type=submit]")
    page.click(f"tr:has-text('{access_key}') button[aria-haspopup=menu]")
    page.click("[role=menuitem]:has-text('Remove')")
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f"tr:has-text('{access_key}')", state="detached")


# -- Langfuse, monitoring, doctor -----------------------------------------------------------------


def test_a_trace_is_found_and_read(page: Any) -> None:
    until_shown(page, ("langfuse",), "td a:has-text('support-bot')")
    page.click("td a:has-text('support-bot')")
    page.wait_for_selector(".crumbs [aria-current]:has-text('support-bot')")
    page.wait_for_selector(".chart rect")
    day = ("langfuse", "day", "support-bot", "2026-11-10")
    until_shown(page, ("langfuse", "project", "support-bot"), f"tbody a:text-is('{day[-1]}')")
    page.click(f"main tbody a:text-is('{day[-1]}')")
    page.wait_for_selector(f".crumbs [aria-current]:has-text('{day[-1]}')")
    trace = page.inner_text("main tbody .mono >> nth=0")
    page.fill("main input[type=search]", trace[:12])
    page.keyboard.press("Enter")
    page.wait_for_selector(f".crumbs [aria-current]:has-text('{trace[:12]}')")
    page.click(f"main tbody tr:has(.mono:has-text('{trace}')) a")
    page.wait_for_selector("h3:text-is('Input')")
    page.wait_for_selector(".message:has-text('You help operators of a store.')")
    assert page.locator(".badge:text-is('damaged')").count() == 0


def test_media_of_a_trace_are_shown(page: Any, s3: Any) -> None:
    listed = s3.list_objects_v2(Bucket="langfuse", Prefix="events/otel/")["Contents"]
    found = next(
        each["Key"]
        for each in listed
        if b"langfuseMedia" in s3.get_object(Bucket="langfuse", Key=each["Key"])["Body"].read()
    )
    trace = found.rpartition("/")[2].removesuffix(".json").replace("-", "")
    until_shown(page, ("langfuse", "trace", "support-bot", trace), ".media img")


def test_monitoring_counts_what_happens(page: Any, s3: Any) -> None:
    s3.list_buckets()
    visit(page, "monitoring")
    page.wait_for_selector("h2:text-is('Capacity')")
    page.wait_for_selector("td:has-text('drive')")


def test_the_doctor_examines_the_store(page: Any) -> None:
    visit(page, "doctor")
    page.click("button:has-text('Run the checks')")
    page.wait_for_selector("tr:has-text('Write an event') .badge:text-is('passed')")


# -- what holds for every page --------------------------------------------------------------------

#: Where one can go, and what is there when all of it is.
PLACES = {
    ("buckets",): "a.bucket",
    ("browse", "langfuse", "media/support-bot/"): "tbody tr",
    ("object", "langfuse", "media/support-bot/waves.png"): ".object:has(img) h2:text-is('Tags')",
    ("settings", "datahub"): "h2:text-is('Delete the bucket')",
    ("people", "users"): "section.card :is(table, .empty)",
    ("people", "policies"): "tbody tr",
    ("langfuse",): "td a:has-text('support-bot')",
    ("langfuse", "project", "support-bot"): ".chart rect",
    ("langfuse", "day", "support-bot", "2026-11-10"): "tbody tr",
    ("langfuse", "trace", "support-bot", trace_id(4)): ".detail :text('You help operators')",
    ("monitoring",): "h2:text-is('Last errors')",
    ("doctor",): "tbody tr",
    ("help",): "h1:text-is('Help')",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    checker = axe.Axe()
    found = {"sign-in": violations(checker, page)}
    sign_in(page)
    for place, shown in PLACES.items():
        until_shown(page, place, shown)
        found["/".join(place)] = violations(checker, page)
    assert {place: why for place, why in found.items() if why} == {}


@pytest.mark.parametrize("width", [360, 3840])
def test_every_page_fits_its_screen(open_page: Open, width: int) -> None:
    page = sign_in(open_page(viewport={"width": width, "height": 800}))
    for place, shown in PLACES.items():
        until_shown(page, place, shown)
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= width, place


def test_a_bucket_is_opened_by_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector("input[name=username]:focus")
    page.keyboard.type("minio")
    page.keyboard.press("Tab")
    page.keyboard.type(SECRET_KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".bucket")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.matches('.bucket')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector(".crumbs [aria-current]")


def test_the_chosen_colours_are_kept(page: Any) -> None:
    page.click("button[aria-label='Use dark colours']")
    page.reload()
    page.wait_for_selector(".shell h1")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"


def broken_off_once(context: Any, pattern: str) -> list[str]:
    """Break off the first request for ``pattern``, as a browser does when the network changes."""
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.abort("internetdisconnected")
        else:
            route.continue_()

    context.route(pattern, answer)
    return asked


#: All parts of a page came, and it will not be loaded again.
COMPLETE = "() => document.readyState === 'complete' && sessionStorage.length === 0"


@pytest.mark.parametrize("part", ["ui.js", "main.js", "style.css"])
def test_a_part_that_does_not_come_is_asked_for_again(
    served: ServedStore, browser: Any, part: str
) -> None:
    context = context_of(browser)
    try:
        asked = broken_off_once(context, f"**/static/*/{part}")
        page = context.new_page()
        page.goto(f"{served.console}/console/")
        page.wait_for_function(COMPLETE)
        sign_in(page)
        assert len(asked) >= 2
    finally:
        context.close()


def test_a_page_of_which_nothing_else_comes_is_loaded_again(
    served: ServedStore, browser: Any
) -> None:
    """So it is where the network changes while a page is loaded: all that is under way ends."""
    context = context_of(browser)
    try:
        loads: list[str] = []
        context.route("**/console/", lambda route: (loads.append("."), route.continue_()))
        context.route(
            "**/static/**",
            lambda route: (
                route.abort("internetdisconnected") if len(loads) < 2 else route.continue_()
            ),
        )
        page = context.new_page()
        page.goto(f"{served.console}/console/")
        page.wait_for_function(COMPLETE)
        sign_in(page)
        assert len(loads) == 2
    finally:
        context.close()


def test_a_part_that_never_comes_is_not_asked_for_without_end(
    served: ServedStore, browser: Any
) -> None:
    context = context_of(browser)
    try:
        asked: list[str] = []
        context.route("**/static/*/main.js", lambda route: (asked.append("."), route.abort()))
        page = context.new_page()
        page.goto(f"{served.console}/console/", wait_until="commit")
        until(page, lambda: len(asked) == 6)
        assert page.evaluate("sessionStorage.getItem('oversight-tries')") == "5"
        page.wait_for_selector("[role=alert]:has-text('Load it again')")
    finally:
        context.close()


def test_a_question_that_is_broken_off_is_asked_again(page: Any) -> None:
    asked = broken_off_once(page.context, "**/control/api/v1/users*")
    visit(page, "people")
    page.wait_for_selector("h1:text-is('Users and keys')")
    assert len(asked) >= 2
