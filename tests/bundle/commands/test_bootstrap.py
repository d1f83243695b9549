"""Bootstrap on a real store: makes what is missing, finds what is there, says what differs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.client import Control
from stack.s3.client import S3
from stack.s3.errors import S3Error
from stack.s3.signing import Credentials
from tests.bundle.commands.conftest import ROOT, SECRET, wait_for_console
from tests.bundle.commands.meddler import Meddler
from tests.commands import Done, Run
from tests.serving import ServedStore, free_port

KEYS = {
    "OVERSIGHT_LANGFUSE_ACCESS_KEY": "langfuse-key",
    "OVERSIGHT_LANGFUSE_SECRET_KEY": "langfuse-secret",
    "OVERSIGHT_DATAHUB_ACCESS_KEY": "datahub-key",
    "OVERSIGHT_DATAHUB_SECRET_KEY": "datahub-secret",
}
Bootstrap = Callable[..., Done]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ServedStore]:
    """A store that nobody has used."""
    root = {"OVERSIGHT_ROOT_USER": ROOT, "OVERSIGHT_ROOT_PASSWORD": SECRET}
    with ServedStore(tmp_path / "drive", tmp_path / "log", ("--workers", "1"), root) as served:
        wait_for_console(served)
        yield served


@pytest.fixture
def bootstrap(run: Run, fresh: ServedStore) -> Bootstrap:
    """Run `oversight bootstrap` for the fresh store."""

    def make(*arguments: str, **variables: str) -> Done:
        usual = {
            "OVERSIGHT_ROOT_USER": ROOT,
            "OVERSIGHT_ROOT_PASSWORD": SECRET,
            "OVERSIGHT_EXTERNAL_ENDPOINT": fresh.endpoint,
            "OVERSIGHT_INTERNAL_ENDPOINT": fresh.endpoint,
            "OVERSIGHT_CONSOLE_URL": fresh.console,
        }
        return run("bootstrap", *arguments, **(usual | variables))

    return make


def outcomes(done: Done) -> dict[tuple[str, str], str]:
    return {(step["what"], step["name"]): step["outcome"] for step in done.value["steps"]}


def test_second_run_changes_nothing(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    first = bootstrap("--json", **KEYS)
    assert first.code == 0, first.out + first.err
    made = {name for name, outcome in outcomes(first).items() if outcome == "made"}
    assert made == {
        ("bucket", "datahub"), ("bucket", "artifacts"), ("access", "langfuse"),
        ("policy", "readwrite-langfuse"), ("policy", "readwrite-datahub"),
        ("policy", "readonly-artifacts"), ("policy", "readonly-langfuse-exports"),
        ("user", "langfuse"), ("user", "datahub"),
    }  # fmt: skip
    before = _everything(fresh)
    second = bootstrap("--json", **KEYS)
    assert second.code == 0
    assert set(outcomes(second).values()) == {"found"}
    assert second.value["made"] == 0
    assert _everything(fresh) == before
    assert "langfuse-secret" not in first.out + first.err + second.out


def test_nobody_opens_langfuses_bucket_by_accident(
    bootstrap: Bootstrap, fresh: ServedStore
) -> None:
    bootstrap(**KEYS)
    root = S3(fresh.endpoint, Credentials(ROOT, SECRET))
    block = root.request("GET", "langfuse", query=[("publicAccessBlock", "")]).body
    assert block.count(b">true<") == 4
    ownership = root.request("GET", "langfuse", query=[("ownershipControls", "")]).body
    assert b"BucketOwnerEnforced" in ownership
    policy = (
        b'{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",'
        b' "Resource": "arn:aws:s3:::langfuse/media/*"}}'
    )
    with pytest.raises(S3Error) as caught:
        root.request("PUT", "langfuse", query=[("policy", "")], body=policy)
    assert caught.value.code == "AccessDenied"
    # Who opens it on purpose is not overruled.
    opened = block.replace(b"true", b"false")
    root.request("PUT", "langfuse", query=[("publicAccessBlock", "")], body=opened)
    root.request("PUT", "langfuse", query=[("policy", "")], body=policy)
    again = bootstrap("--json", **KEYS)
    steps = {step["what"]: step for step in again.value["steps"] if step["name"] == "langfuse"}
    assert (steps["access"]["outcome"], again.code) == ("found", 0)
    assert "left so" in steps["access"]["detail"]
    assert root.request("GET", "langfuse", query=[("publicAccessBlock", "")]).body == opened


def test_what_was_opened_before_stays_open(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    root = S3(fresh.endpoint, Credentials(ROOT, SECRET))
    policy = (
        b'{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",'
        b' "Resource": "arn:aws:s3:::langfuse/media/*"}}'
    )
    root.request("PUT", "langfuse", query=[("policy", "")], body=policy)
    done = bootstrap("--json", **KEYS)
    assert outcomes(done)["access", "langfuse"] == "found"
    with pytest.raises(S3Error) as caught:
        root.request("GET", "langfuse", query=[("publicAccessBlock", "")])
    assert caught.value.code == "NoSuchPublicAccessBlockConfiguration"


def test_keys_may_do_their_own_work_only(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    bootstrap(**KEYS)
    langfuse = S3(fresh.endpoint, Credentials("langfuse-key", "langfuse-secret"))
    datahub = S3(fresh.endpoint, Credentials("datahub-key", "datahub-secret"))
    langfuse.put("langfuse", "events/x.json", b"[]")
    langfuse.put("langfuse", "exports/x.csv", b"a")
    langfuse.delete("langfuse", ["events/x.json"])
    datahub.put("datahub", "document.pdf", b"%PDF")
    assert datahub.get("langfuse", "exports/x.csv").body == b"a"
    assert [entry.key for entry in datahub.objects("artifacts")] == []
    for s3, bucket, key in (
        (langfuse, "datahub", "x"),
        (datahub, "langfuse", "exports/y.csv"),
        (datahub, "artifacts", "x"),
    ):
        with pytest.raises(S3Error) as refused:
            s3.put(bucket, key, b"x")
        assert refused.value.code == "AccessDenied"
    with pytest.raises(S3Error):
        datahub.get("langfuse", "media/x")


def test_key_with_another_secret_is_reported_and_left(
    bootstrap: Bootstrap, fresh: ServedStore, run: Run
) -> None:
    bootstrap(**KEYS)
    changed = KEYS | {"OVERSIGHT_LANGFUSE_SECRET_KEY": "another-secret"}
    done = bootstrap("--json", **changed)
    assert done.code == 1
    (step,) = [step for step in done.value["steps"] if step["outcome"] == "differs"]
    assert step["name"] == "langfuse-key"
    assert "oversight key remove langfuse-key" in step["detail"]
    assert "another-secret" not in done.out
    S3(fresh.endpoint, Credentials("langfuse-key", "langfuse-secret")).put("langfuse", "x", b"x")
    # The cure that was named.
    root = {"OVERSIGHT_CONSOLE_URL": fresh.console, "OVERSIGHT_ROOT_USER": ROOT}
    run("key", "remove", "langfuse-key", OVERSIGHT_ROOT_PASSWORD=SECRET, **root)
    assert bootstrap(**changed).code == 0
    S3(fresh.endpoint, Credentials("langfuse-key", "another-secret")).put("langfuse", "x", b"x")


def test_rights_that_are_missing_are_given(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    bootstrap(**KEYS)
    done = bootstrap("--json", OVERSIGHT_LANGFUSE_BUCKET="second-one", **KEYS)
    assert done.code == 0, done.out
    assert outcomes(done)["user", "langfuse"] == "made"
    (user,) = [user for user in _control(fresh).get("users") if user["name"] == "langfuse"]
    assert user["policies"] == ["readwrite-langfuse", "readwrite-second-one"]


def test_policy_changed_by_hand_stays(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    bootstrap(**KEYS)
    document = _control(fresh).get("policies", "readonly-artifacts")["document"]
    document["Statement"].pop()
    _control(fresh).call("PUT", "policies", "readonly-artifacts", body=document)
    done = bootstrap("--json", **KEYS)
    assert outcomes(done)["policy", "readonly-artifacts"] == "found"
    assert _control(fresh).get("policies", "readonly-artifacts")["document"] == document


def test_two_at_once(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    """Both stacks start their one-shot service at the same moment."""
    from stack.bootstrap.making import make_all
    from stack.bootstrap.wanted import wanted
    from stack.settings import Stack

    environ = {"OVERSIGHT_ROOT_USER": ROOT, "OVERSIGHT_ROOT_PASSWORD": SECRET, **KEYS}
    failed: list[BaseException] = []

    def work() -> None:
        s3 = S3(fresh.endpoint, Credentials(ROOT, SECRET))
        try:
            steps = list(make_all(wanted(Stack.of(environ)), s3, lambda: _control(fresh), 10))
            assert "differs" not in {step.outcome for step in steps}
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert bootstrap("--json", **KEYS).value["made"] == 0


def test_root_key_needs_no_user(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    done = bootstrap("--json")
    assert done.code == 0
    assert _control(fresh).get("users") == []


def test_origin_that_the_store_does_not_allow(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    def strip(headers: dict[str, str]) -> None:
        headers.pop("access-control-allow-origin", None)

    with Meddler(fresh.endpoint, answer=strip) as proxy:
        done = bootstrap("--json", OVERSIGHT_INTERNAL_ENDPOINT=proxy.url)
    assert done.code == 1
    assert {s["what"] for s in done.value["steps"] if s["outcome"] == "differs"} == {"CORS"}
    assert "OVERSIGHT_CORS_ALLOW_ORIGIN" in done.out
    with pytest.raises(S3Error) as error:  # what did not help is not left behind
        S3(fresh.endpoint, Credentials(ROOT, SECRET)).request(
            "GET", "langfuse", query=[("cors", "")]
        )
    assert error.value.code == "NoSuchCORSConfiguration"


def test_rules_of_the_buckets_own_are_left_as_they_are(
    bootstrap: Bootstrap, fresh: ServedStore
) -> None:
    s3 = S3(fresh.endpoint, Credentials(ROOT, SECRET))
    rules = (
        b"<CORSConfiguration><CORSRule><AllowedOrigin>https://else.example</AllowedOrigin>"
        b"<AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
    )
    s3.request("PUT", "langfuse", query=[("cors", "")], body=rules)
    done = bootstrap("--json")
    assert done.code == 1
    assert {s["what"] for s in done.value["steps"] if s["outcome"] == "differs"} == {"CORS"}
    assert "CORS rules of its own" in done.out
    assert b"https://else.example" in s3.request("GET", "langfuse", query=[("cors", "")]).body


def test_a_bucket_gets_a_rule_where_the_store_lets_nobody_in(run: Run, tmp_path: Path) -> None:
    settings = {
        "OVERSIGHT_ROOT_USER": ROOT,
        "OVERSIGHT_ROOT_PASSWORD": SECRET,
        "OVERSIGHT_CORS_ALLOW_ORIGIN": "none",
    }
    with ServedStore(tmp_path / "d", tmp_path / "l", ("--workers", "1"), settings) as served:
        wait_for_console(served)
        done = run(
            "bootstrap", "--json", OVERSIGHT_ROOT_USER=ROOT, OVERSIGHT_ROOT_PASSWORD=SECRET,
            OVERSIGHT_EXTERNAL_ENDPOINT=served.endpoint, OVERSIGHT_CONSOLE_URL=served.console,
            OVERSIGHT_INTERNAL_ENDPOINT=served.endpoint,
        )  # fmt: skip
        assert done.code == 0, done.out
        assert {o for (what, _), o in outcomes(done).items() if what == "CORS"} == {"made"}


def test_store_of_another_kind(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    nowhere = {"OVERSIGHT_CONSOLE_URL": f"http://127.0.0.1:{free_port()}"}
    done = bootstrap("--json", **KEYS, **nowhere)
    assert done.code == 1
    assert outcomes(done)["bucket", "artifacts"] == "made"
    assert outcomes(done)["key", "langfuse-key"] == "differs"
    bootstrap(**KEYS)  # somebody makes the users
    done = bootstrap("--json", **KEYS, **nowhere)
    assert (done.code, outcomes(done)["key", "langfuse-key"]) == (0, "found")


def test_waits_for_a_store_that_starts(bootstrap: Bootstrap, fresh: ServedStore) -> None:
    fresh.stop()
    starter = threading.Timer(1.0, fresh.start)
    starter.start()
    try:
        done = bootstrap("--json", "--wait", "90", **KEYS)
    finally:
        starter.join()
    assert done.code == 0, done.err


def test_waits_no_longer_than_it_was_told(run: Run) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("bootstrap", "--wait", "0.3", "--endpoint", url)
    assert done.code == 1
    assert done.err == (
        f"The store does not answer at {url}: nobody listens there. Waited 0.3 s; "
        "--wait SECONDS waits longer.\n"
    )


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"OVERSIGHT_ROOT_PASSWORD": "not the secret"}, "OVERSIGHT_ROOT_PASSWORD"),
        ({"OVERSIGHT_ROOT_USER": "nobody"}, "OVERSIGHT_ROOT_USER"),
    ],
)
def test_wrong_root_user(bootstrap: Bootstrap, variables: dict[str, str], says: str) -> None:
    done = bootstrap("--wait", "90", **variables)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert says in done.err


def test_settings_that_cannot_be_used(run: Run) -> None:
    done = run("bootstrap", OVERSIGHT_LANGFUSE_BUCKET="No Bucket")
    assert (done.code, done.out) == (2, "")
    assert "OVERSIGHT_LANGFUSE_BUCKET" in done.err.splitlines()[0]
    done = run("bootstrap", "--endpoint", "localhost:9000")
    assert (done.code, len(done.err.splitlines())) == (2, 1)


def _control(served: ServedStore) -> Control:
    return Control(served.console, ROOT, SECRET)


def _everything(served: ServedStore) -> Any:
    control, s3 = _control(served), S3(served.endpoint, Credentials(ROOT, SECRET))
    listings = {bucket: list(s3.objects(bucket)) for bucket in s3.buckets()}
    return listings, [control.get(name) for name in ("users", "keys", "policies")]
