"""The Langfuse view: traces of Langfuse's own SDK and of others, usage, progress, and rights."""

from __future__ import annotations

import base64
import gzip
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from stack.client import Control
from tests.clients.langfuse_stand_in import PROJECT
from tests.console.agent import send_trace
from tests.console.conftest import Open, client_of, sign_in, until, until_there, visit
from tests.console.scene import furnish, png, trace_id
from tests.console.surroundings import violations
from tests.serving import ACCESS_KEY, ServedStore
from tests.serving import SECRET_KEY as ROOT_SECRET

axe = pytest.importorskip("axe_playwright_python.sync_playwright")
pytest.importorskip("langfuse", reason="the Langfuse SDK is not installed")
pytest.importorskip("opentelemetry.proto", reason="opentelemetry-proto is not installed")

URL = "https://langfuse.example.com"
#: Seconds that the index gets to come to what was written.
INDEXED = 60
AT = 1_794_301_200_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    """A store that knows where people open Langfuse."""
    folder = tmp_path_factory.mktemp("langfuse")
    settings = {"OVERSIGHT_LANGFUSE_URL": URL}
    with ServedStore(folder / "drive", folder / "log", ("--workers", "2"), settings) as store:
        furnish(client_of(store))
        until_there(f"{store.console}/console/")
        yield store


@pytest.fixture(scope="module")
def s3(served: ServedStore) -> Any:
    return client_of(served)


@pytest.fixture(scope="module")
def control(served: ServedStore) -> Control:
    return Control(served.console, ACCESS_KEY, ROOT_SECRET)


@pytest.fixture(scope="module")
def agent(control: Control, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a trace that an agent sent with Langfuse's SDK."""
    sent = send_trace(s3, tmp_path_factory.mktemp("agent"))
    until_indexed(control, s3)
    return sent


def until_indexed(control: Control, s3: Any) -> None:
    """Wait until the index knows all that was written: it follows a moment behind, in the order of
    what happened, so that it knows all when it knows what is written now."""
    mark = uuid.uuid4().hex
    store(s3, "marks", [{"scopeSpans": [{"spans": [span(mark, 1, 0, "mark")]}]}])
    deadline = time.monotonic() + INDEXED
    while (
        control.get("langfuse")["state"] != "following"
        or not control.get("langfuse", "events", trace=mark, project="marks")["events"]
    ):
        assert time.monotonic() < deadline, "the index does not follow"
        time.sleep(0.1)


def look_at(page: Any, *place: str) -> None:
    """Visit a trace, and wait until it is read."""
    visit(page, "langfuse", "trace", *place)
    page.wait_for_selector(".tree-view .observation")


def rows(page: Any) -> list[tuple[str, str]]:
    """The tree: (name, level)."""
    found = page.eval_on_selector_all(
        ".tree-view .observation",
        "all => all.map(each => [each.querySelector('.what b').innerText, each.ariaLevel])",
    )
    return [(name, level) for name, level in found]


# -- a trace of the SDK ---------------------------------------------------------------------------


def test_a_trace_of_the_sdk_is_a_tree_with_all_that_was_said(page: Any, agent: str) -> None:
    look_at(page, PROJECT, agent)
    assert page.locator(".scores li:has-text('grounded')").count() == 1
    assert rows(page) == [
        ("The whole trace", "1"), ("support-agent", "2"), ("search-handbook", "3"),
        ("embed-query", "4"), ("plan", "3"), ("inventory", "3"), ("capacity_forecast", "3"),
        ("answer", "3"), ("shown-to-user", "3"),
    ]  # fmt: skip
    text = page.inner_text("main")
    for said in (
        "Capacity question", "ada@example.com", "shift-42", "storage", "2026.11",
        "1,302", "1,168 in, 134 out", "$0.000496", "1 error", "helpful", "0.9",
        "Figures and a next step.", "When is it full", "Drive 2 is full in about 19 days",
        "platform",
    ):  # fmt: skip
        assert said in text, said
    link = page.locator("a:has-text('Open in Langfuse')")
    assert link.get_attribute("href") == f"{URL}/project/{PROJECT}/traces/{agent}"
    assert link.get_attribute("rel") == "noopener noreferrer"


def test_a_generation_is_a_conversation_with_tools_and_media(page: Any, agent: str) -> None:
    look_at(page, PROJECT, agent)
    page.click(".observation:has-text('answer')")
    roles = page.locator(".detail .message > header b").all_inner_texts()
    assert [role.lower() for role in roles] == ["system", "user", "assistant", "tool", "assistant"]
    assert "capacity_forecast" in page.inner_text(".detail .message.assistant >> nth=0")
    assert "days_left" in page.inner_text(".detail .message.tool")
    page.wait_for_function(
        "() => document.querySelector('.message.user .media img')?.naturalWidth === 320"
    )
    assert "594 (498 in, 96 out)" in page.inner_text(".detail")
    page.click(".observation:has-text('plan')")
    detail = page.inner_text(".detail")
    for said in ("Time to first token", "cache_read_input_tokens 256", "$0.000179"):
        assert said in detail, said
    page.click(".detail summary:text-is('Model parameters')")
    page.wait_for_selector(".detail .tree :text('temperature')")
    page.click(".observation:has-text('inventory')")
    assert "the inventory did not answer within 2 s" in page.inner_text(".detail .note.bad")


def test_the_tree_is_used_by_keyboard(page: Any, agent: str) -> None:
    look_at(page, PROJECT, agent)
    focused = "() => document.activeElement.querySelector('.what b')?.innerText"
    page.focus(".tree-view [aria-selected=true]")
    for key, name in (
        ("ArrowDown", "support-agent"), ("ArrowRight", "search-handbook"),
        ("ArrowRight", "embed-query"), ("ArrowLeft", "search-handbook"), ("End", "shown-to-user"),
        ("ArrowLeft", "support-agent"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(focused) == name, key
    page.keyboard.press("ArrowLeft")
    assert [name for name, _ in rows(page)] == ["The whole trace", "support-agent"]
    assert page.evaluate(focused) == "support-agent"
    page.keyboard.press("ArrowRight")
    assert len(rows(page)) == 9
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.matches('.detail')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_trace_is_accessible(open_page: Open, agent: str, scheme: str) -> None:
    page = sign_in(open_page(color_scheme=scheme, viewport={"width": 1360, "height": 3000}))
    look_at(page, PROJECT, agent)
    checker, found = axe.Axe(), {}
    for name in ("answer", "plan", "inventory", "The whole trace"):
        page.click(f".observation:has-text('{name}')")
        found[name] = violations(checker, page)
    assert {name: why for name, why in found.items() if why} == {}


# -- other bodies ---------------------------------------------------------------------------------


def span(trace: str, number: int, parent: int, name: str, **said: Any) -> dict[str, Any]:
    """A span of OTLP in JSON."""
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": name,
        "startTimeUnixNano": str((AT + number) * 10**6),
        "endTimeUnixNano": str((AT + number + 40) * 10**6),
        "attributes": [
            {"key": key.replace("__", "."), "value": _value(value)} for key, value in said.items()
        ],
    }


def _value(value: Any) -> dict[str, Any]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def store(s3: Any, project: str, document: Any, *, packed: bool = False) -> None:
    """An object of the OTel layout."""
    body = json.dumps(document).encode()
    key = f"events/otel/{project}/2026/11/10/09/00/{uuid.uuid4()}.json"
    s3.put_object(Bucket="langfuse", Key=key, Body=gzip.compress(body) if packed else body)


def test_otlp_requests_in_gzip_with_ids_in_base64(page: Any, s3: Any, control: Control) -> None:
    trace = uuid.uuid4().hex
    coded = base64.b64encode(bytes.fromhex(trace)).decode()
    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "How many?"}]}])
    spans = [
        span(coded, 1, 0, "root"),
        span(
            coded, 2, 1, "chat", gen_ai__request__model="some-model",
            gen_ai__usage__input_tokens=7, gen_ai__usage__output_tokens=3,
            gen_ai__input__messages=asked, gen_ai__completion="Three.",
        ),
    ]  # fmt: skip
    store(s3, "otlp", {"resourceSpans": [{"scopeSpans": [{"spans": spans[1:]}]}]}, packed=True)
    store(s3, "otlp", [{"resourceSpans": [{"scopeSpans": [{"spans": spans[:1]}]}]}])
    until_indexed(control, s3)
    look_at(page, "otlp", trace)
    assert rows(page)[1:] == [("root", "2"), ("chat", "3")]
    page.click(".observation:has-text('chat')")
    detail = page.inner_text(".detail")
    assert "How many?" in page.inner_text(".detail .message.user")
    for said in ("Three.", "some-model", "10 (7 in, 3 out)"):
        assert said in detail, said


def test_events_of_the_ingestion_api(page: Any, s3: Any, control: Control) -> None:
    """Both layouts may speak of one trace; an update adds to what was there."""
    trace = f"my trace/{uuid.uuid4()}"

    def event(kind: str, folder: str, **body: Any) -> None:
        number = uuid.uuid4()
        found = {"id": str(number), "type": kind, "timestamp": "2026-11-10T09:00:00Z", "body": body}
        s3.put_object(
            Bucket="langfuse", Key=f"events/older/{folder}/{body['id']}/{number}.json",
            Body=json.dumps([found]).encode(),
        )  # fmt: skip

    event("trace-create", "trace", id=trace, name="An older trace", userId="grace", tags=["v2"])
    event("span-create", "observation", id="s", traceId=trace, name="step",
          startTime="2026-11-10T09:00:01Z")  # fmt: skip
    event("span-update", "observation", id="s", traceId=trace, output={"rows": 3},
          endTime="2026-11-10T09:00:03.500Z")  # fmt: skip
    event("generation-create", "observation", id="g", traceId=trace, parentObservationId="s",
          name="ask", model="m-1", input=[{"role": "user", "content": "Hello"}], output="Hi",
          usage={"promptTokens": 4, "completionTokens": 2}, startTime="2026-11-10T09:00:02Z",
          endTime="2026-11-10T09:00:03Z")  # fmt: skip
    event("score-create", "score", id="sc", traceId=trace, name="kind", value=1, comment="polite")
    until_indexed(control, s3)
    look_at(page, "older", trace)
    assert rows(page)[1:] == [("step", "2"), ("ask", "3")]
    text = page.inner_text("main")
    for said in ("An older trace", "grace", "v2", "2.50 s", "4 in, 2 out", "polite"):
        assert said in text, said
    page.click(".observation:has-text('ask')")
    assert "Hello" in page.inner_text(".detail .message.user")


def test_what_strangers_wrote_breaks_nothing(page: Any, s3: Any, control: Control) -> None:
    """Markup, circles of parents, a broken object, one that is too large: the rest is shown."""
    trace = uuid.uuid4().hex
    markup = "<img src=x onerror=alert(1)>\u202e"
    nested: Any = "deep"
    for _ in range(200):
        nested = [nested]
    spans = [
        span(trace, 1, 2, markup, langfuse__observation__input=markup,
             langfuse__observation__type="<b>", langfuse__observation__level=markup),
        span(trace, 2, 1, "circle", langfuse__observation__input=json.dumps(nested)),
        span(trace, 3, 3, "its own parent", langfuse__observation__output="x" * 100_000),
        span(trace, 4, 99, "an orphan", langfuse__observation__input=json.dumps(
            [{"role": "__proto__", "content": {"__proto__": {"a": 1}}},
             {"role": "user", "content": [None, 5, {"type": "image_url", "image_url": {
                 "url": "javascript:alert(1)"}}]}])),
        *(span(trace, number, number - 1, f"step {number}") for number in range(10, 700)),
    ]  # fmt: skip
    store(s3, "hostile", [{"scopeSpans": [{"spans": spans}]}, {"scopeSpans": 5}, None, 7])
    mention = f'[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace}"'
    for end in ("", 'x"' * 5_000_000):
        key = f"events/otel/hostile/2026/11/10/09/00/{uuid.uuid4()}.json"
        s3.put_object(Bucket="langfuse", Key=key, Body=f"{mention}{end}".encode())
    until_indexed(control, s3)
    look_at(page, "hostile", trace)
    page.wait_for_selector("main .note:has-text('2 objects could not be read')")
    first = len(rows(page))
    page.click(".tree-view button:has-text('more')")
    names = [name for name, _ in rows(page)]
    assert len(names) == 4 + 690 + 1 > first
    assert {"circle", "its own parent", "an orphan", "step 10"} <= set(names)
    assert any("⟨U+202E⟩" in name for name in names)
    assert page.locator("main img[src=x]").count() == 0
    page.click(".observation:has-text('an orphan')")
    page.wait_for_selector(".detail .message.user")
    assert page.locator(".detail a[href^='javascript:']").count() == 0
    page.click(".observation:has-text('its own parent')")
    page.click("button:has-text('Show all 100000 characters')")
    assert len(page.inner_text(".detail .said")) == 100_000


def ingested(s3: Any, project: str, folder: str, kind: str, at: str, **body: Any) -> None:
    """An event of the ingestion API, as an object of its own."""
    number = uuid.uuid4()
    event = {"id": str(number), "type": kind, "timestamp": f"2026-11-10T{at}Z", "body": body}
    entity = "x" if isinstance(body["id"], dict) else body["id"]
    s3.put_object(
        Bucket="langfuse", Key=f"events/{project}/{folder}/{entity}/{number}.json",
        Body=json.dumps([event]).encode(),
    )  # fmt: skip


def test_values_of_every_wrong_type_break_nothing(page: Any, s3: Any, control: Control) -> None:
    trace = uuid.uuid4().hex
    odd: list[Any] = [None, 5, -1, True, "x", [], [[1]], {}, {"toString": 1}, {"data": "x"}, 1e308]
    spans = [span(trace, 1, 0, "sound"), span(trace, 2, 1, "of another time")]
    spans[1] |= {"startTimeUnixNano": "9" * 24, "endTimeUnixNano": "9" * 24}
    for at, field in enumerate((*spans[0], "events", "status")):
        for number, value in enumerate(odd):
            if field != "traceId":
                spans.append(span(trace, 100 + at * 20 + number, 1, "odd") | {field: value})
    named = ("langfuse.observation.usage_details", "langfuse.trace.tags", "langfuse.user.id")
    for number, value in enumerate(odd):
        said = [{"key": name, "value": {"stringValue": json.dumps(value)}} for name in named]
        more = [value, {"key": value}, {"key": "input", "value": {"arrayValue": value}}]
        spans.append(span(trace, 900 + number, 1, "odd") | {"attributes": [*said, *more]})
    for each in spans:
        each["traceId"] = trace
    store(s3, "odd", [{"scopeSpans": 5}, {"scopeSpans": [None, {"scope": 5, "spans": spans}]}])
    worst = {"toString": 1, "valueOf": 1}
    ingested(s3, "odd", "trace", "trace-create", "09:00:00", id=trace, name=worst, userId=worst,
             sessionId=[1], tags=worst, input=worst, version=worst)  # fmt: skip
    ingested(s3, "odd", "observation", "span-create", "09:00:00", id=worst, traceId=trace,
             name=worst, level=worst, startTime=worst, usage=worst, promptName=worst,
             input=[{"role": "user", "name": worst, "content": [{"type": worst}]}])  # fmt: skip
    ingested(s3, "odd", "score", "score-create", "09:00:00", id="s", traceId=trace, name=worst,
             value=worst, comment=worst)  # fmt: skip
    until_indexed(control, s3)
    look_at(page, "odd", trace)
    assert page.locator(".scores li").count() == 1
    assert page.locator("main .note").count() == 0, page.inner_text("main .note")
    # The sound one took 40 ms: what took place in the year 33,658 is no part of that.
    assert " d " not in page.inner_text("main .stats")
    told = page.evaluate(
        """() => [...document.querySelectorAll('.observation')].map(({ dataset }) => {
            document.querySelector(`[data-id="${CSS.escape(dataset.id)}"]`).click();
            return document.querySelectorAll('.detail h2').length;
        })"""
    )
    assert len(told) > 100, "nothing of one span hides another"
    assert set(told) == {1}


def test_the_latest_word_counts_in_whichever_order_objects_are_read(page: Any) -> None:
    def event(kind: str, second: int, **body: Any) -> list[dict[str, Any]]:
        said = {"traceId": "t", **body}
        return [
            {"id": "e", "type": kind, "timestamp": f"2026-11-10T09:00:0{second}Z", "body": said}
        ]

    started = "2026-11-10T09:00:00Z"
    documents = [
        event("generation-create", 0, id="g", startTime=started, output="draft", model="m")
    ]
    for at in (4, 9, 1, 7, 3):
        documents += [
            event("trace-create", at, id="t", name=f"name {at}"),
            event("generation-update", at, id="g", output=f"output {at}"),
            event("score-create", at, id="s", name="kind", value=at),
        ]
    documents.append([
        *event("trace-create", 9, id="another", name="Another trace"),
        *event("score-create", 9, id="theirs", traceId="another", name="theirs", value=1),
    ])  # fmt: skip
    read = """async (documents) => {
        const base = document.querySelector("script[src$='main.js']").src;
        const { newTrace, read } = await import(base.replace("main.js", "observations.js"));
        const trace = newTrace();
        for (const each of documents) read(trace, each, "t", {});
        const { output, model } = trace.observations.get("g");
        return [trace.about.name, output, model, trace.scores.map(({ id, value }) => [id, value])];
    }"""
    for turned in (documents, documents[::-1], documents[5:] + documents[:5]):
        assert page.evaluate(read, turned) == ["name 9", "output 9", "m", [["s", 9]]]


def test_tokens_and_costs_are_those_of_langfuse(page: Any, s3: Any, control: Control) -> None:
    """Parts that do not overlap are summed up; what an outer span tells once more is not."""
    trace = uuid.uuid4().hex
    counts = {"input": 100, "input_cached_tokens": 40, "output": 10, "output_reasoning": 5}
    spans = [
        span(trace, 1, 0, "outer", ai__operationId="ai.generateText", ai__usage__promptTokens=999,
             ai__usage__completionTokens=999),
        span(trace, 2, 1, "inner", ai__operationId="ai.generateText.doGenerate",
             gen_ai__usage__input_tokens=50, ai__usage__promptTokens=50, gen_ai__usage__cost="0.5",
             gen_ai__usage__cache_read_input_tokens=30, gen_ai__usage__output_tokens=7),
        span(trace, 3, 0, "sdk", langfuse__observation__usage_details=json.dumps(counts),
             langfuse__observation__cost_details='{"input": 0.25, "cached": 0.125}'),
        span(trace, 4, 0, "agent", gen_ai__operation__name="invoke_agent",
             gen_ai__usage__input_tokens=777, gen_ai__usage__cost="7"),
        span(trace, 5, 0, "no numbers", gen_ai__usage__input_tokens="NaN",
             gen_ai__usage__output_tokens="many", gen_ai__usage__cost="x"),
    ]  # fmt: skip
    store(s3, "counts", [{"scopeSpans": [{"spans": spans}]}])
    until_indexed(control, s3)
    look_at(page, "counts", trace)
    tiles = page.inner_text("main .stats")
    for said in ("212", "190 in, 22 out", "$0.8750"):
        assert said in tiles, (said, tiles)
    page.click(".observation:has-text('inner')")
    assert "57 (50 in, 7 out)" in page.inner_text(".detail")
    assert "input_cached_tokens 30" in page.inner_text(".detail")
    assert "NaN" not in page.inner_text("main")


def test_a_text_that_names_thousands_of_media_asks_for_a_few(
    page: Any, s3: Any, control: Control
) -> None:
    trace = uuid.uuid4().hex
    s3.put_object(Bucket="langfuse", Key="media/many/waves.png", Body=png(40, 30))
    names = ("waves", "wave", *(f"m{number}" for number in range(1000)))
    text = " ".join(f"@@@langfuseMedia:type=image/png|id={n}|source=bytes@@@" for n in names)
    store(s3, "many", [{"scopeSpans": [{"spans": [
        span(trace, 1, 0, "media", langfuse__observation__input=text)]}]}])  # fmt: skip
    until_indexed(control, s3)
    asked: list[str] = []
    page.on(
        "request", lambda request: asked.append(request.url) if "list-type" in request.url else None
    )
    look_at(page, "many", trace)
    page.wait_for_selector(".media img")
    page.wait_for_selector(".media button")
    assert 0 < len(asked) <= 60
    assert page.locator(".media img").count() == 1, "another id that begins alike is another one"
    page.locator(".media button").first.click()
    page.wait_for_function("() => document.querySelectorAll('.media button').length === 941")


def test_numbers_as_people_read_them(page: Any) -> None:
    found = page.evaluate(
        """async () => {
            const base = document.querySelector("script[src$='main.js']").src;
            const trace = await import(base.replace("main.js", "trace.js"));
            const format = await import(base.replace("main.js", "format.js"));
            return [
                [0, 0.2, 0.9996, 9.96, 999.7, 59996, 119999, 3599600, 18e6, 3456e7]
                    .map(trace.took),
                [0, 4e-8, 0.000496, 0.875, 12.5, -0.5, 2.5e6, 1e300].map(trace.dollars),
                [1023, 1024, 1048575, 1048576 * 1023.999].map(format.bytes),
                [9999, 12345, -20000, 1e300].map(format.compact),
            ];
        }"""
    )
    assert found == [
        ["0 ms", "200 µs", "1.0 ms", "10 ms", "1.00 s", "1 min 0 s", "2 min 0 s", "1 h 0 min",
         "5 h 0 min", "400 d 0 h"],
        ["$0", "< $0.00001", "$0.000496", "$0.8750", "$12.50", "\u2212$0.5000", "$2.5M",
         "$1.00e+300"],
        ["1023 B", "1.00 KiB", "1.00 MiB", "1.00 GiB"],
        ["9,999", "12.3K", "-20K", "1.00e+300"],
    ]  # fmt: skip


# -- usage, search, progress ----------------------------------------------------------------------


def test_usage_across_projects(page: Any, s3: Any, control: Control, agent: str) -> None:
    today = datetime.now(UTC).strftime("%Y/%m/%d/%H/%M")
    body = b"[" + bytes(1_000_000).replace(b"\0", b" ") + b"]"
    s3.put_object(Bucket="langfuse", Key=f"events/otel/new-bot/{today}/a.json", Body=body)
    until_indexed(control, s3)
    visit(page, "langfuse")
    page.wait_for_selector(".plot rect")
    legend = page.locator(".legend span").all_inner_texts()
    assert {"new-bot", PROJECT} <= set(legend)
    page.select_option("select[aria-label='Split by']", "kind")
    page.wait_for_selector(".legend span:text-is('OpenTelemetry')")
    page.select_option("select[aria-label='Shown']", "objects")
    page.click("figure summary:text-is('As a table')")
    page.wait_for_selector("figure tbody td")
    cells = page.locator("figure tbody td").all_inner_texts()
    assert sum(int(cell.replace(",", "")) for cell in cells) >= 3, "what the agent sent today"
    line = page.inner_text("tr:has(td a:has-text('support-bot'))")
    assert "OpenTelemetry 60" in line
    page.focus(".plot")
    page.keyboard.press("End")
    last = page.inner_text(".readout b")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text(".readout b") < last
    assert page.get_attribute(".readout", "aria-live") == "polite"


def test_of_two_periods_the_one_that_was_chosen_last_is_shown(page: Any, agent: str) -> None:
    """Also where its answer comes first."""
    visit(page, "langfuse")
    page.wait_for_selector(".plot rect")
    page.click("figure summary:text-is('As a table')")
    held: list[Any] = []
    page.route("**/langfuse/usage?*", lambda route: held.append(route))
    for days in ("365", "90"):
        page.select_option("select[aria-label='Period']", days)
    until(page, lambda: len(held) == 2)
    for route in reversed(held):
        with page.expect_response(route.request.url):
            route.continue_()
        page.wait_for_selector("figure tbody tr >> nth=89")
    assert page.locator("figure tbody tr").count() == 90


def test_progress_of_the_back_fill_is_shown_until_it_is_over(page: Any) -> None:
    unknown = {"done": None, "total": None, "behind": None}  # to who may not look at the store
    told: dict[str, Any] = {}
    page.route(
        "**/control/api/v1/langfuse", lambda route: route.fulfill(json=route.fetch().json() | told)
    )
    taking = {"state": "stocktaking", "progress": 0.4, "done": 400, "total": 1000, "lag": 3}
    told |= taking
    visit(page, "langfuse")
    page.wait_for_selector("text=400 of about 1,000 objects (40 %)")
    assert page.get_attribute("[role=progressbar]", "aria-valuenow") == "40"
    for answer, said in (
        (taking | {"progress": 0.9, "done": 900}, "900 of about 1,000 objects (90 %)"),
        (taking | {"progress": 0.95} | unknown, "The index is being built: 95 %. What"),
        ({"state": "following", "lag": 80} | unknown, "The index is 80 seconds behind: newer"),
        ({"state": "following", "behind": 5000, "lag": 90},
         "The index is 90 seconds behind (5,000 changes)"),
    ):  # fmt: skip
        told |= answer
        page.wait_for_selector(f"text={said}")
    told |= {"behind": 0, "lag": 0}
    page.wait_for_selector("text=is 90 seconds behind", state="detached")


# -- rights ---------------------------------------------------------------------------------------


@pytest.fixture
def reader(control: Control) -> tuple[str, str]:
    """Key and secret of a user who may list and read one project's objects only."""
    name = f"one-{uuid.uuid4().hex[:8]}"
    prefixes = [f"{folder}/support-bot/" for folder in ("events/otel", "events", "media")]
    statements = [
        {"Effect": "Allow", "Action": "s3:GetObject",
         "Resource": [f"arn:aws:s3:::langfuse/{prefix}*" for prefix in prefixes]},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::langfuse",
         "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}},
    ]  # fmt: skip
    document = {"Version": "2012-10-17", "Statement": statements}
    control.call("PUT", "policies", name, body=document)
    made = control.call("POST", "users", body={"name": name, "policies": [name]})
    return made["access_key"], made["secret_key"]


def test_who_may_read_one_project_sees_that_one(
    open_page: Open, reader: tuple[str, str], agent: str
) -> None:
    theirs = sign_in(open_page(), *reader)
    visit(theirs, "langfuse")
    theirs.wait_for_selector(".plot rect")
    assert theirs.locator("td a").all_inner_texts() == ["support-bot"]
    assert PROJECT not in theirs.inner_text("main")
    mine = trace_id(1)
    visit(theirs, "langfuse", "trace", "support-bot", mine)
    theirs.wait_for_selector(".media img")
    for place in (
        ("langfuse", "search", agent),
        ("langfuse", "trace", PROJECT, agent),
        ("langfuse", "trace", "support-bot", agent),
    ):
        visit(theirs, *place)
        theirs.wait_for_selector("text=No trace has this id.")
    visit(theirs, "langfuse", "search", mine)
    theirs.wait_for_selector(f"td :text('{mine}')")
