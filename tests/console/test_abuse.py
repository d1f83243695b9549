"""What must not work: scripts in names, other pages' requests, frames, stolen or spent sessions."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import signal
import statistics
import time
import uuid
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from tests.console.conftest import (
    Ask,
    Open,
    Signed,
    sign_in,
    signed_in,
    until,
    until_there,
    visit,
)
from tests.console.scene import HOSTILE
from tests.console.surroundings import add_user, console_of, resident
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore

# -- what was stored ------------------------------------------------------------------------------


def test_hostile_names_are_shown_and_do_nothing(page: Any) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    visit(page, "browse", "datahub", "hostile/")
    page.wait_for_selector("tbody tr")
    shown = page.locator("tbody td:nth-child(2)").all_inner_texts()
    assert "<img src=x onerror=alert(1)>.txt" in shown
    assert "line⏎break.txt" in shown
    assert any("⟨U+202E⟩" in name for name in shown)
    assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("key", HOSTILE, ids=range(len(HOSTILE)))
def test_every_name_can_be_opened(page: Any, key: str) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    visit(page, "object", "datahub", key)
    page.wait_for_selector("dt:text-is('ETag')")
    # The stored page is text here, never a page.
    page.wait_for_selector(".preview pre:has-text('<script>alert(1)</script>'), .preview .empty")


def test_stored_pages_are_no_pages_here(ask: Ask, signed: Signed, page: Any) -> None:
    path = "/console/s3?.bucket=datahub&.key=hostile/a//b&.page="
    answer = ask("GET", path, **signed.headers)
    assert answer.status == 200
    assert answer.getheader("content-type") == "application/octet-stream"
    assert answer.getheader("x-oversight-content-type") == "text/html"
    assert answer.getheader("content-security-policy") == (
        "default-src 'none'; sandbox; frame-ancestors 'none'"
    )
    assert answer.getheader("x-content-type-options") == "nosniff"
    assert answer.getheader("cache-control") == "no-store"
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    told = page.evaluate("() => localStorage.getItem(`oversight-page:${location.pathname}`)")
    with page.expect_download():
        page.evaluate("url => { location = url }", path + told)


def test_stored_pictures_that_are_documents_run_nothing(page: Any, s3: Any) -> None:
    drawing = b"""<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)">
        <script>alert(2)</script><text y="20">drawn</text></svg>"""
    s3.put_object(Bucket="datahub", Key="x.svg", Body=drawing, ContentType="image/svg+xml")
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    told = page.evaluate("() => localStorage.getItem(`oversight-page:${location.pathname}`)")
    page.goto(
        page.url.partition("/console/")[0] + "/console/s3?.bucket=datahub&.key=x.svg&.page=" + told
    )
    assert page.locator("text").text_content() == "drawn"
    assert page.evaluate("() => self.origin") == "null"


@pytest.mark.parametrize("kind", ["text/javascript", "text/css", "text/plain"])
def test_a_stored_script_is_none_of_ours(page: Any, s3: Any, kind: str) -> None:
    """Scripts come from this origin, and so do stored bytes: markup that was smuggled into our
    page, and even knew what the page was told, gets none of them run."""
    put = partial(s3.put_object, Bucket="datahub", ContentType=kind)
    put(Key="gadget.js", Body=b"window.ran = true")
    put(Key="gadget.css", Body=b"body {opacity: 0.5}")
    told = page.evaluate("() => localStorage.getItem(`oversight-page:${location.pathname}`)")
    url = f"s3?.bucket=datahub&.page={told}&.key=gadget"
    smuggled = (
        f"<script src='{url}.js'></script><script type='module' src='{url}.js'></script>"
        f"<link rel='stylesheet' href='{url}.css'><link rel='modulepreload' href='{url}.js'>"
    )

    def inject(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("</head>", smuggled + "</head>"))

    page.route("**/console/", inject)
    page.reload()
    page.wait_for_selector(".shell h1")
    assert page.locator("head script[src*=gadget]").count() == 2
    imported = page.evaluate("url => import(url).then(() => true, () => false)", f"./{url}.js")
    assert not imported
    assert not page.evaluate("() => Boolean(window.ran)")
    assert page.evaluate("() => getComputedStyle(document.body).opacity") == "1"
    # What reads them as data gets them.
    assert page.evaluate("url => fetch(url).then(r => r.status)", f"{url}.js") == 200


MARKUP = "<img src=x onerror=alert(1)><svg onload=alert(2)>"


def test_what_is_written_beside_objects_does_nothing(page: Any, s3: Any) -> None:
    """Metadata, headers and bodies of events, which anybody who writes to a bucket chooses."""
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    s3.put_object(
        Bucket="datahub", Key="marked.txt", Body=MARKUP.encode(), ContentType=f"text/{MARKUP}",
        Metadata={"note": MARKUP}, ContentDisposition=MARKUP, CacheControl=MARKUP,
    )  # fmt: skip
    visit(page, "object", "datahub", "marked.txt")
    page.wait_for_selector("dt:text-is('ETag')")
    assert page.locator("main").inner_text().count("onerror=alert(1)") >= 2
    nested = {"a": MARKUP, MARKUP: [MARKUP, {"__proto__": MARKUP}]}
    s3.put_object(Bucket="datahub", Key="marked.json", Body=json.dumps(nested).encode())
    s3.put_object(Bucket="datahub", Key="marked.csv", Body=f'{MARKUP},b\n"{MARKUP}",2'.encode())
    for key, place in (("marked.json", ".tree"), ("marked.csv", ".preview table")):
        visit(page, "object", "datahub", key)
        page.wait_for_selector(f"{place}:has-text('onerror')")
    # Alone the icons and pictures of ours are there.
    assert page.locator("main img, main script, main svg[onload], main [onerror]").count() == 0


@pytest.mark.parametrize(
    "place",
    [
        ("browse", f"<b>{MARKUP}"), ("object", "datahub", MARKUP), ("settings", MARKUP),
        ("langfuse", MARKUP), ("langfuse", "support-bot", MARKUP), (MARKUP,),
        ("people", MARKUP), ("browse", "datahub", "javascript:alert(1)//"), ("__proto__",),
        ("constructor", "prototype"), ("browse", "..", ".."),
    ],
    ids=range(11),
)  # fmt: skip
def test_addresses_that_others_made_up_do_nothing(page: Any, place: tuple[str, ...]) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    visit(page, *place)
    assert "is not a function" not in page.locator("main").inner_text()
    assert page.locator("main img, main script, main svg[onload], main [onerror]").count() == 0
    assert page.locator("main a[href^='javascript']").count() == 0
    visit(page, "help")
    page.wait_for_selector("h1:text-is('Help')")


def test_an_answers_head_holds_no_line_of_others(ask: Ask, signed: Signed) -> None:
    for name in ("a%0d%0aSet-Cookie:%20x=y", "%0aX: y", "a%00b", "%22; filename=x.exe", "é" * 9):
        path = f"/console/s3?.bucket=datahub&.key=documents/handbook.md&.save={quote(name, '%')}"
        answer = ask("GET", path, **signed.headers)
        assert answer.status == 200
        assert answer.getheader("set-cookie") is None
        assert answer.getheader("content-disposition", "").startswith("attachment; filename*=")
    for path in ("/console", "/", "//evil.example", "/console//evil.example/", "/\\evil.example"):
        answer = ask("GET", path)
        assert answer.getheader("location") in (None, "console/"), path


def test_answers_with_secrets_are_kept_by_nobody(ask: Ask, signed: Signed) -> None:
    for path in ("session", "control/api/v1/me", "s3?.bucket=datahub", "zip?bucket=models"):
        answer = ask("GET", f"/console/{path}", **signed.headers)
        assert answer.status == 200
        assert answer.getheader("cache-control") == "no-store", path
        assert answer.getheader("cross-origin-resource-policy") == "same-origin"
        assert answer.getheader("referrer-policy") == "no-referrer"


def test_the_log_in_tells_no_key_by_its_time(served: ServedStore) -> None:
    """Unknown keys and wrong secrets take alike: medians, since single tries vary more. What would
    tell them apart does so in each of some rounds, what a busy machine does in one."""
    assert any(_takes_alike(served) for _ in range(3))


def _takes_alike(served: ServedStore) -> bool:
    known = add_user(served).key

    def tried(key: str, number: int) -> float:
        connection = http.client.HTTPConnection(
            "127.0.0.1", served.console_port, timeout=30,
            source_address=(f"127.0.{1 + number % 200}.{1 + number % 250}", 0),
        )  # fmt: skip
        body = json.dumps({"access_key": key, "secret_key": "wrong-secret"})
        connection.connect()
        began = time.perf_counter()
        connection.request("POST", "/api/v1/login", body, {"content-type": "application/json"})
        assert connection.getresponse().status == 401
        return time.perf_counter() - began

    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(80):
        for exists in (True, False):
            key = known if exists else f"AK{uuid.uuid4().hex[:18].upper()}"
            times[exists].append(tried(key, number))
    there, missing = (statistics.median(times[exists]) for exists in (True, False))
    return abs(there - missing) < max(0.003, 0.5 * missing)


# -- other pages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/console/session"),
        ("DELETE", "/console/session"),
        ("GET", "/console/control/api/v1/buckets"),
        ("POST", "/console/control/api/v1/buckets"),
        ("PUT", "/console/s3?.bucket=langfuse&.key=x"),
        ("DELETE", "/console/s3?.bucket=langfuse&.key=x"),
        ("POST", "/console/sign"),
    ],
)
def test_requests_that_the_console_did_not_make_are_refused(
    ask: Ask, signed: Signed, method: str, path: str
) -> None:
    body = [] if method in ("POST", "PUT") else None
    for mark in ("", "1", "none", signed.page[:-1], f"{signed.page}, {signed.page}"):
        headers = {"x_oversight_console": mark} if mark else {}
        answer = ask(method, path, body, cookie=signed.cookie, **headers)
        told = answer.read()
        assert answer.status == 403 or (path == "/console/session" and told == b"null")
    for origin in ("http://127.0.0.1:1", "null", "https://evil.example"):
        assert ask(method, path, body, **signed.headers, origin=origin).status == 403
    assert ask(method, path, body, **signed.headers, sec_fetch_site="same-site").status == 403
    assert ask(method, path, body, **signed.headers, sec_fetch_dest="iframe").status == 403


@pytest.mark.parametrize(
    "path", ["s3?.bucket=datahub&.key=documents/handbook.md", "zip?bucket=datahub"]
)
def test_other_pages_do_not_read_objects(ask: Ask, signed: Signed, path: str) -> None:
    """Browsers say where a request comes from on secure pages only: the URL has to prove it."""
    cookie, told = signed.cookie, f"/console/{path}&.page={signed.page}"
    assert ask("GET", told, cookie=cookie).status == 200
    assert ask("GET", told, cookie=cookie, sec_fetch_site="same-origin").status == 200
    assert ask("GET", told, cookie=cookie, sec_fetch_site="same-site").status == 403
    assert ask("GET", told, cookie=cookie, sec_fetch_dest="script").status == 403
    assert ask("GET", f"/console/{path}", cookie=cookie).status == 403
    assert ask("GET", f"/console/{path}&.page=", cookie=cookie).status == 403


def test_a_page_of_the_s3_port_gets_nothing(page: Any, s3: Any, served: ServedStore) -> None:
    """Stored HTML that is opened at the S3 port is of the same site: cookies go along."""
    script = (
        b"<script>Promise.all(['session', 's3?.bucket=datahub&.key=documents/handbook.md',"
        b"'control/api/v1/buckets'].map(path => fetch('%s/console/' + path, {credentials:"
        b"'include'}).then(r => r.text(), () => 'refused'))).then(all => document.title ="
        b"all.join())</script>" % served.console.encode()
    )
    s3.put_object(Bucket="datahub", Key="attack.html", Body=script, ContentType="text/html")
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": "datahub", "Key": "attack.html"}
    )
    page.goto(url)
    page.wait_for_function("() => document.title")
    assert page.title() == "refused,refused,refused"


def test_a_cookie_from_the_s3_port_signs_nobody_in(
    page: Any, open_page: Open, s3: Any, served: ServedStore, ask: Ask
) -> None:
    """Cookies do not know ports: a page stored in S3 can set one for the console's path."""
    attacker = signed_in(ask)
    script = (
        f"<script>for (const path of ['/', '/console/', '/console/session'])"
        f"document.cookie = '{attacker.cookie}; path=' + path; document.title = 'set'</script>"
    )
    s3.put_object(Bucket="datahub", Key="toss.html", Body=script.encode(), ContentType="text/html")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "datahub", "Key": "toss.html"})
    # Who was not signed in is not signed in as somebody else.
    victim = open_page()
    victim.goto(url)
    victim.wait_for_function("() => document.title === 'set'")
    assert attacker.cookie.split("=")[1] in {each["value"] for each in victim.context.cookies()}
    victim.goto(f"{served.console}/console/")
    victim.wait_for_selector("input[name=username]")
    # Who was, stays who they are.
    page.goto(url)
    page.wait_for_function("() => document.title === 'set'")
    page.goto(f"{served.console}/console/")
    page.wait_for_selector(".shell h1")
    assert ask("GET", "/console/control/api/v1/me", **attacker.headers).status == 200


def test_an_id_from_before_the_sign_in_is_worth_nothing_after_it(ask: Ask) -> None:
    fixed = "oversight_session=" + "f" * 43
    document = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    answer = ask("POST", "/console/session", document, x_oversight_console="none", cookie=fixed)
    assert answer.status == 200
    assert answer.getheader("set-cookie", "").partition(";")[0] != fixed
    told = json.loads(answer.read())["page"]
    refused = ask("GET", "/console/s3?.bucket=langfuse", cookie=fixed, x_oversight_console=told)
    assert refused.status == 401


def test_nobody_frames_the_console(page: Any, s3: Any, served: ServedStore, ask: Ask) -> None:
    answer = ask("GET", "/console/")
    assert answer.getheader("x-frame-options") == "DENY"
    assert "frame-ancestors 'none'" in answer.getheader("content-security-policy", "")
    frame = f"<iframe src='{served.console}/console/'></iframe>".encode()
    s3.put_object(Bucket="datahub", Key="frame.html", Body=frame, ContentType="text/html")
    page.goto(
        s3.generate_presigned_url("get_object", Params={"Bucket": "datahub", "Key": "frame.html"})
    )
    until(page, lambda: [each.url for each in page.frames[1:]] == ["chrome-error://chromewebdata/"])


# -- sessions -------------------------------------------------------------------------------------


def test_the_policy_lets_in_no_script_but_ours(ask: Ask, served: ServedStore) -> None:
    policy = ask("GET", "/console/").getheader("content-security-policy", "")
    page = ask("GET", "/console/").read()
    (written,) = re.findall(rb"<script>(.+?)</script>", page, re.DOTALL)
    named = base64.b64encode(hashlib.sha256(written).digest()).decode()
    assert f"default-src 'none'; script-src 'self' 'sha256-{named}';" in policy
    assert "unsafe" not in policy
    assert f"connect-src 'self' {served.endpoint};" in policy
    forged = ask("GET", "/console/", host="a b; script-src *").getheader(
        "content-security-policy", ""
    )
    assert "script-src *" not in forged


@pytest.mark.parametrize(
    "value", ["", "oversight_session=", "oversight_session=guess", "a=b; \x01"]
)
def test_without_a_session_nothing_is_told(ask: Ask, value: str) -> None:
    for path in ("control/api/v1/buckets", "s3?.bucket=langfuse", "zip?bucket=langfuse"):
        answer = ask("GET", f"/console/{path}", cookie=value, x_oversight_console="1")
        assert answer.status in (400, 401)


def test_a_signed_out_session_is_over_everywhere(ask: Ask, signed: Signed) -> None:
    wanted = [{"method": "GET", "bucket": "datahub", "key": "documents/handbook.md"}]
    answer = ask("POST", "/console/sign", wanted, **signed.headers)
    url = json.loads(answer.read())["urls"][0]
    path = "/" + url.split("/", 3)[3]
    host = url.split("/")[2]

    def fetched() -> int:
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", path)
        return connection.getresponse().status

    assert fetched() == 200
    assert ask("DELETE", "/console/session", **signed.headers).status == 204
    assert ask("GET", "/console/s3?.bucket=langfuse", **signed.headers).status == 401
    assert fetched() in (400, 403)


def test_guessing_is_slowed_down_by_the_guessers_address(ask: Ask, open_page: Open) -> None:
    wrong = {"access_key": "nobody", "secret_key": "wrong-wrong"}
    answers = [ask("POST", "/console/session", wrong, x_oversight_console="1") for _ in range(6)]
    assert [answer.status for answer in answers][-1] == 429
    sign_in(open_page())  # another key, from the same address


def test_nobody_claims_to_be_the_console(ask: Ask) -> None:
    """The address of a caller is believed from the console's process alone."""
    wrong = {"access_key": "somebody", "secret_key": "wrong-wrong"}
    found = [
        ask(
            "POST", "/api/v1/login", wrong, content_type="application/json",
            x_oversight_caller=f"10.0.0.{number}", x_oversight_proof="guess",
        ).status
        for number in range(6)
    ]  # fmt: skip
    assert found[-1] == 429


def test_its_memory_is_bounded(served: ServedStore, ask: Ask) -> None:
    """150 MB were allowed; half of that must do, large answers and zips included."""
    assert ask("GET", "/console/").status == 200
    os.kill(console_of(served), signal.SIGKILL)  # what others asked of it does not count
    until_there(f"{served.console}/console/")
    signed = signed_in(ask)
    assert len(ask("GET", "/console/zip?bucket=models", **signed.headers).read()) > 3_500_000
    path = "/console/s3?.bucket=models&.key=ranker/v3/model.bin"
    for _ in range(5):
        assert len(ask("GET", path, **signed.headers).read()) == 3_500_000
    assert resident(console_of(served)) < 75 * 1024


def test_a_console_that_died_is_started_again(served: ServedStore, ask: Ask) -> None:
    assert ask("GET", "/console/").status == 200
    died = console_of(served)
    os.kill(died, signal.SIGKILL)
    assert ask("GET", "/console/").status == 200
    assert console_of(served) != died
