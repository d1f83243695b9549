"""Forms for PostObject as applications sign them and pages send them, a real browser's included."""

from __future__ import annotations

import datetime
import hashlib
import http.server
import json
import os
import re
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.clients import tools
from tests.conftest import Store
from tests.serving import clean_environment

FORMS = tools.JS_FOLDER / "forms.mjs"
JAVASCRIPT = re.findall(r'^  async "?([a-z-]+)"?\(\)', FORMS.read_text(), re.MULTILINE)


@pytest.mark.parametrize("version", ["s3v4", "s3", None], ids=["v4", "v2", "default"])
def test_boto3(make_boto_client: Any, bucket: str, version: str | None) -> None:
    """As its documentation shows it, sent with requests."""
    requests = pytest.importorskip("requests", reason="requests is not installed")
    client = make_boto_client(signature_version=version)
    post = client.generate_presigned_post(
        bucket, "in/${filename}", Conditions=[["content-length-range", 1, 10]]
    )
    files = {"file": ("a ü.txt", b"content")}
    answer = requests.post(post["url"], data=post["fields"], files=files, timeout=60)
    assert answer.status_code == 204, answer.text
    assert client.get_object(Bucket=bucket, Key="in/a ü.txt")["Body"].read() == b"content"
    files = {"file": ("large", b"x" * 11)}
    answer = requests.post(post["url"], data=post["fields"], files=files, timeout=60)
    assert (answer.status_code, "EntityTooLarge" in answer.text) == (400, True)


def test_minio_py(store: Store, boto_client: Any, bucket: str) -> None:
    minio = pytest.importorskip("minio", reason="minio-py is not installed")
    import urllib3
    from minio.datatypes import PostPolicy

    client = minio.Minio(store.host, store.access_key, store.secret_key, secure=False)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    policy = PostPolicy(bucket, until)
    policy.add_starts_with_condition("key", "in/")
    policy.add_content_length_range_condition(1, 1024)
    fields = client.presigned_post_policy(policy)
    fields |= {"key": "in/a b", "file": ("x.txt", b"content")}
    http_pool = urllib3.PoolManager(retries=False, timeout=60)
    answer = http_pool.request("POST", f"{store.endpoint}/{bucket}", fields=fields)
    assert answer.status == 204, answer.data
    assert boto_client.get_object(Bucket=bucket, Key="in/a b")["Body"].read() == b"content"


@pytest.mark.parametrize("client", JAVASCRIPT)
def test_javascript(client: str, store: Store, bucket: str) -> None:
    environment = clean_environment(
        S3_ENDPOINT=store.endpoint,
        S3_ACCESS_KEY=store.access_key,
        S3_SECRET_KEY=store.secret_key,
        S3_BUCKET=bucket,
    )
    tools.run(tools.node(), FORMS, client, env=environment)


def test_every_client_is_found() -> None:
    assert tools.run(tools.node(), FORMS, "--list").split() == JAVASCRIPT


def test_curl(store: Store, boto_client: Any, bucket: str, tmp_path: Path) -> None:
    """Large enough that curl asks for leave to send it (Expect: 100-continue)."""
    curl = shutil.which("curl")
    if not curl:
        pytest.skip("curl is missing")
    (tmp_path / "photo.png").write_bytes(os.urandom(3_000_000))
    post = boto_client.generate_presigned_post(bucket, "in/${filename}")
    fields = [word for name, value in post["fields"].items() for word in ("-F", f"{name}={value}")]
    url = f"{store.endpoint}/{bucket}"
    shown = ("--silent", "--show-error", "--fail-with-body", "--max-time", "30")
    tools.run(curl, *shown, *fields, "-F", f"file=@{tmp_path}/photo.png;type=image/png", url)
    stored = boto_client.get_object(Bucket=bucket, Key="in/photo.png")["Body"].read()
    assert stored == (tmp_path / "photo.png").read_bytes()


# -- a browser ------------------------------------------------------------------------------------

PAGE = """<!doctype html><meta charset="utf-8">
<form method="post" enctype="multipart/form-data" action="{url}">{inputs}
<input type="file" name="file"><input type="submit" name="submit" value="Upload"></form>
<script>
const content = Uint8Array.from({{length: {size}}}, (_, i) => i * 7 % 256);
const file = new File([content], {filename}, {{type: "image/png"}});
const form = document.querySelector("form");
const chosen = new DataTransfer();
chosen.items.add(file);
form.querySelector("[type=file]").files = chosen.files;
{act}
</script>"""
SUBMIT = 'form.querySelector("[type=submit]").click();'
FETCH = """fetch(form.action, {method: "POST", body: new FormData(form)}).then(async (answer) => {
  const told = {status: answer.status, etag: answer.headers.get("ETag"), text: await answer.text()};
  await fetch("/told", {method: "POST", body: JSON.stringify(told)});
}).catch((error) => fetch("/told", {method: "POST", body: JSON.stringify({error: `${error}`})}));"""


class Site:
    """An application's web server: one page, and what its visitor came back with."""

    def __init__(self) -> None:
        self.page = ""
        self.came_back: dict[str, str] = {}
        self.told = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                if path == "/done":
                    site.came_back = {name: each[0] for name, each in parse_qs(query).items()}
                    site.told.set()
                self.reply(site.page if path == "/" else "")

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                site.came_back = json.loads(self.rfile.read(length))
                site.told.set()
                self.reply("")

            def reply(self, text: str) -> None:
                body = text.encode()
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.stop()


def visit(site: Site, profile: Path) -> dict[str, str]:
    """Open the site in Chromium until it has come back with something."""
    command = [
        tools.chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-dev-shm-usage", "--disable-background-networking", "--no-proxy-server",
        f"--user-data-dir={profile}", f"--crash-dumps-dir={profile}", "--remote-debugging-port=0",
        site.url,
    ]  # fmt: skip
    log = profile.with_suffix(".log")
    with log.open("wb") as output:
        browser = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            assert site.told.wait(100), log.read_text(errors="replace")[-2000:]
        finally:
            browser.terminate()
            browser.wait(60)
    return site.came_back


@pytest.mark.parametrize("size", [1000, 2_000_000])
@pytest.mark.parametrize("act", [SUBMIT, FETCH], ids=["submit", "fetch"])
def test_chromium(
    site: Site, boto_client: Any, bucket: str, tmp_path: Path, act: str, size: int
) -> None:
    """A form that a person sends, and one that a page's script sends and reads the answer of."""
    name = 'my "photo" é %22.png'
    fields = {"Content-Type": "image/png", "x-amz-meta-by": "ü"}
    if act == SUBMIT:
        fields["success_action_redirect"] = f"{site.url}/done"
    else:
        fields["success_action_status"] = "201"
    post = boto_client.generate_presigned_post(
        bucket,
        "in/${filename}",
        Fields=dict(fields),
        Conditions=[{name: value} for name, value in fields.items()],
    )
    inputs = "".join(
        f'<input type="hidden" name="{field}" value="{value}">'
        for field, value in post["fields"].items()
    )
    site.page = PAGE.format(
        url=post["url"], inputs=inputs, size=size, filename=json.dumps(name), act=act
    )
    came_back = visit(site, tmp_path / "profile")
    content = bytes(number * 7 % 256 for number in range(size))
    etag = f'"{hashlib.md5(content).hexdigest()}"'
    key = "in/my %22photo%22 é %22.png"  # browsers escape quotation marks, and nothing else
    assert came_back["etag"] == etag, came_back
    if act == SUBMIT:
        assert came_back == {"bucket": bucket, "key": key, "etag": etag}
    else:
        assert came_back["status"] == 201
        assert f"<Bucket>{bucket}</Bucket>" in came_back["text"]
    stored = boto_client.get_object(Bucket=bucket, Key=key)
    assert stored["Body"].read() == content
    assert stored["ContentType"] == "image/png"
    assert urlsplit(post["url"]).path in (f"/{bucket}", f"/{bucket}/")
