"""The doctor is shown each fault in turn, and must name it and only it."""

from __future__ import annotations

import gzip
import re
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from stack.doctor.checks import CHECKS, Check
from stack.doctor.doors import Place, doors_of
from stack.doctor.examination import Examination, examine
from stack.doctor.surroundings import Surroundings
from stack.doctor.troubles import CATALOGUE
from stack.doctor.uses import uses_of
from stack.s3.client import S3
from stack.s3.signing import Credentials
from tests.bundle.commands.conftest import ROOT, SECRET
from tests.bundle.commands.meddler import Meddler
from tests.commands import Done, Run
from tests.serving import ServedStore, free_port

Examine = Callable[..., Done]


@pytest.fixture(autouse=True)
def machine_of_any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast this machine writes is none of the troubles that are looked for here."""
    monkeypatch.setattr("stack.doctor.checks.SLOW", 3600)


@pytest.fixture
def doctor(run: Run, own_store: ServedStore) -> Examine:
    """Run the doctor on the store; ``internal`` and ``external`` put something before it."""

    def make(*arguments: str, internal: str = "", external: str = "", **variables: str) -> Done:
        usual = {
            "OVERSIGHT_ROOT_USER": ROOT,
            "OVERSIGHT_ROOT_PASSWORD": SECRET,
            "OVERSIGHT_INTERNAL_ENDPOINT": internal or own_store.endpoint,
            "OVERSIGHT_EXTERNAL_ENDPOINT": external or own_store.endpoint,
            "OVERSIGHT_CONSOLE_URL": own_store.console,
        }
        patience = () if "--timeout" in arguments else ("--timeout", "60")
        return run("doctor", "--json", *patience, *arguments, **(usual | variables))

    return make


def codes(done: Done) -> set[str]:
    """The codes of the troubles that were named; the exit code must fit them."""
    troubles = done.value["troubles"]
    failed = any(each["severity"] == "failure" for each in troubles)
    assert done.code == int(failed), done.out
    for each in troubles:
        assert each["code"] in CATALOGUE
        assert each["sentence"].endswith(".")
        assert each["cure"].endswith((".", ")", "`"))
        assert "{" not in each["sentence"] + each["cure"]
    return {each["code"] for each in troubles}


def failures(done: Done) -> set[str]:
    """Names of the checks that failed."""
    return {each["check"] for each in done.value["results"] if each["verdict"] == "failed"}


@pytest.fixture
def keys(own_store: ServedStore) -> Callable[[], set[str]]:
    s3 = S3(own_store.endpoint, Credentials(ROOT, SECRET))
    return lambda: {entry.key for entry in s3.objects("langfuse")}


# -- nothing is wrong -----------------------------------------------------------------------------


def test_healthy_store_passes_every_check(doctor: Examine, keys: Callable[[], set[str]]) -> None:
    before = keys()
    done = doctor()
    assert codes(done) == set()
    verdicts = {each["check"]: each["verdict"] for each in done.value["results"]}
    assert set(verdicts) == {check.name for check in CHECKS}
    assert set(verdicts.values()) == {"passed"}, done.out
    assert keys() == before, "the doctor cleans up after itself"


def test_healthy_through_a_proxy_that_keeps_everything(
    doctor: Examine, own_store: ServedStore
) -> None:
    with Meddler(own_store.endpoint) as proxy:
        done = doctor(external=proxy.url)
    assert codes(done) == set()
    doors = {each["door"] for each in done.value["results"]}
    assert doors == {"", "internal", "external"}


def test_table_for_people(doctor: Examine, run: Run, own_store: ServedStore) -> None:
    done = run(
        "doctor", OVERSIGHT_ROOT_USER=ROOT, OVERSIGHT_ROOT_PASSWORD="not the secret",
        OVERSIGHT_EXTERNAL_ENDPOINT=own_store.endpoint,
    )  # fmt: skip
    assert done.code == 1
    assert "FAILED wrong-secret: The secret for the access key bundle-root is wrong." in done.out
    assert "Cure: Set LANGFUSE_S3_" in done.out
    assert "1 trouble." in done.out
    assert "not the secret" not in done.out + done.err


# -- reaching the store ---------------------------------------------------------------------------


def test_dead_internal_endpoint(doctor: Examine) -> None:
    done = doctor(internal=f"http://127.0.0.1:{free_port()}")
    assert codes(done) == {"endpoint-unreachable"}
    assert "nobody listens there" in done.value["troubles"][0]["sentence"]


def test_dead_external_endpoint_hides_media_from_browsers(doctor: Examine) -> None:
    assert codes(doctor(external=f"http://127.0.0.1:{free_port()}")) == {
        "presigned-host-unreachable"
    }


def test_external_endpoint_with_the_containers_name(doctor: Examine) -> None:
    done = doctor(external="http://minio.invalid:9000")
    assert codes(done) == {"presigned-host-unreachable"}
    assert "its name has no address here" in done.value["troubles"][0]["sentence"]


def test_localhost_for_a_langfuse_that_others_use(doctor: Examine) -> None:
    done = doctor(NEXTAUTH_URL="http://langfuse.example.com")
    assert codes(done) == {"presigned-host-unreachable"}


def test_names_of_containers_are_no_trouble_on_the_host(doctor: Examine) -> None:
    done = doctor(internal="http://no-such-container:9000")
    assert codes(done) == set()
    verdicts = {e["verdict"] for e in done.value["results"] if e["door"] == "internal"}
    assert verdicts == {"passed", "not applicable"}  # its address is sound


def test_silent_endpoint(doctor: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        done = doctor("--timeout", "6", internal=f"http://127.0.0.1:{deaf.getsockname()[1]}")
    assert codes(done) == {"endpoint-unreachable"}
    assert "did not answer within 6 s" in done.value["troubles"][0]["sentence"]


def test_proxy_that_takes_too_long(doctor: Examine, own_store: ServedStore) -> None:
    with Meddler(own_store.endpoint, delay=60) as proxy:
        done = doctor("--timeout", "6", external=proxy.url)
    assert codes(done) == {"presigned-host-unreachable"}


def test_slow_proxy_is_a_warning(
    doctor: Examine, own_store: ServedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.doctor.checks.SLOW", 0.3)
    with Meddler(own_store.endpoint, delay=0.4) as proxy:
        done = doctor(external=proxy.url)
    assert codes(done) == {"slow"}
    assert done.code == 0


def test_console_port_is_not_s3(doctor: Examine, own_store: ServedStore) -> None:
    assert codes(doctor(internal=own_store.console)) == {"not-s3"}


def test_store_that_starts(doctor: Examine, own_store: ServedStore) -> None:
    body = (
        b"<Error><Code>ServiceUnavailable</Code><Message>The store is starting. Please try "
        b"again.</Message></Error>"
    )
    with Meddler(own_store.endpoint, instead=lambda *_: (503, body)) as proxy:
        assert codes(doctor(internal=proxy.url)) == {"starting"}


# -- time, region, credentials, bucket ------------------------------------------------------------


def test_wrong_clock_here(own_store: ServedStore) -> None:
    found = _examine(own_store, clock=lambda: time.time() - 20 * 60)
    assert _codes(found) == {"clock-skew"}
    assert re.search(r"differ by 1[12]\d\d s", found.troubles[0].sentence)


def test_wrong_clock_that_no_date_tells(own_store: ServedStore) -> None:
    with Meddler(own_store.endpoint, answer=lambda headers: headers.pop("date", None)) as proxy:
        found = _examine(own_store, proxy.url, clock=lambda: time.time() + 20 * 60)
    assert _codes(found) == {"clock-skew"}


def test_wrong_clock_there(doctor: Examine, own_store: ServedStore) -> None:
    def yesterday(headers: dict[str, str]) -> None:
        headers["date"] = formatdate(time.time() - 86400, usegmt=True)

    with Meddler(own_store.endpoint, answer=yesterday) as proxy:
        assert codes(doctor(internal=proxy.url)) == {"clock-skew"}


def test_clock_that_is_off_a_little_is_a_warning(own_store: ServedStore) -> None:
    found = _examine(own_store, clock=lambda: time.time() + 6 * 60)
    assert _codes(found) == {"clock-skew"}
    assert found.healthy


def test_wrong_secret(doctor: Examine) -> None:
    done = doctor(
        OVERSIGHT_LANGFUSE_SECRET_KEY="another secret", OVERSIGHT_LANGFUSE_ACCESS_KEY=ROOT
    )
    assert codes(done) == {"wrong-secret"}
    assert "another secret" not in done.out


def test_unknown_access_key(doctor: Examine) -> None:
    assert codes(doctor(OVERSIGHT_LANGFUSE_ACCESS_KEY="nobody")) == {"unknown-access-key"}


def test_wrong_secret_of_one_purpose_names_its_variable(doctor: Examine) -> None:
    done = doctor(LANGFUSE_S3_BATCH_EXPORT_SECRET_ACCESS_KEY="another secret")
    assert codes(done) == {"wrong-secret"}
    assert "LANGFUSE_S3_BATCH_EXPORT_SECRET_ACCESS_KEY" in done.value["troubles"][0]["cure"]


@pytest.fixture(scope="module")
def regional_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    """A store that insists on a region and is reached with the published default password."""
    folder = tmp_path_factory.mktemp("regional")
    variables = {"OVERSIGHT_REGION": "eu-central-1"}
    with ServedStore(folder / "drive", folder / "log", ("--workers", "1"), variables) as served:
        yield served


def test_wrong_region(run: Run, regional_store: ServedStore) -> None:
    variables = {
        "OVERSIGHT_INTERNAL_ENDPOINT": regional_store.endpoint,
        "OVERSIGHT_EXTERNAL_ENDPOINT": regional_store.endpoint,
        "OVERSIGHT_CONSOLE_URL": regional_store.console,
    }
    done = run("doctor", "--json", **variables)
    assert codes(done) == {"wrong-region"}
    assert "LANGFUSE_S3_EVENT_UPLOAD_REGION=eu-central-1" in done.value["troubles"][0]["cure"]
    # With the right one, the same store's default password comes to light.
    done = run("doctor", "--json", OVERSIGHT_REGION="eu-central-1", **variables)
    assert codes(done) == {"default-credentials"}
    assert done.code == 0, "on this machine alone it is a warning"


def test_default_password_that_others_can_reach(
    regional_store: ServedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests still go to the loopback; the name alone says that others can come."""
    resolve = socket.getaddrinfo

    def at_home(host: str, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "s3.example.com" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", at_home)
    environ = _environ(regional_store, "minio", "miniosecret")
    environ["LANGFUSE_S3_MEDIA_UPLOAD_REGION"] = "eu-central-1"
    door = doors_of([use for use in uses_of("web", environ)[0] if use.browser], Place(False), 10)[0]
    reachable_by_others = f"http://s3.example.com:{regional_store.port}"
    object.__setattr__(door.use, "endpoint", reachable_by_others)
    check = next(check for check in CHECKS if check.name == "default-credentials")
    found = examine(Surroundings([door]), [Check(check.name, check.title, check.run)])
    assert _codes(found) == {"default-credentials"}
    assert not found.healthy


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "http://", "http://host:port", "http://host:9000/path", "ftp://host"]
)
def test_an_endpoint_that_is_none(run: Run, endpoint: str) -> None:
    done = run("doctor", LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT=endpoint)
    assert done.code == 1
    assert "web's LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT" in done.err
    assert "must be like http://host:9000" in done.err


def test_missing_bucket(doctor: Examine) -> None:
    assert codes(doctor(OVERSIGHT_LANGFUSE_BUCKET="never-made")) == {"missing-bucket"}


def test_key_without_rights(doctor: Examine, run: Run, own_store: ServedStore) -> None:
    root = {"OVERSIGHT_CONSOLE_URL": own_store.console, "OVERSIGHT_ROOT_USER": ROOT}
    root["OVERSIGHT_ROOT_PASSWORD"] = SECRET
    run("user", "add", "reader", "--policy", "readonly", "--access-key", "reader",
        OVERSIGHT_NEW_SECRET_KEY="reader secret", **root)  # fmt: skip
    done = doctor(
        OVERSIGHT_LANGFUSE_ACCESS_KEY="reader", OVERSIGHT_LANGFUSE_SECRET_KEY="reader secret"
    )
    assert codes(done) == {"access-denied"}
    assert "listing objects is denied" in done.value["troubles"][0]["sentence"]


def test_key_that_may_not_delete(doctor: Examine, run: Run, own_store: ServedStore) -> None:
    root = {"OVERSIGHT_CONSOLE_URL": own_store.console, "OVERSIGHT_ROOT_USER": ROOT}
    root["OVERSIGHT_ROOT_PASSWORD"] = SECRET
    document = Path("policy.json")
    document.write_text(
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject",'
        '"s3:PutObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::*"]}]}'
    )
    run("policy", "put", "no-delete", str(document), **root)
    run("user", "add", "keeper", "--policy", "no-delete", "--access-key", "keeper",
        OVERSIGHT_NEW_SECRET_KEY="keeper secret", **root)  # fmt: skip
    done = doctor(
        OVERSIGHT_LANGFUSE_ACCESS_KEY="keeper", OVERSIGHT_LANGFUSE_SECRET_KEY="keeper secret"
    )
    assert codes(done) == {"access-denied"}
    assert failures(done) == {"delete"}


# -- settings -------------------------------------------------------------------------------------


def test_virtual_host_style(doctor: Examine) -> None:
    done = doctor(LANGFUSE_S3_EVENT_UPLOAD_FORCE_PATH_STYLE="false")
    assert codes(done) == {"path-style"}


def test_mixed_content(own_store: ServedStore) -> None:
    environ = _environ(own_store) | {"NEXTAUTH_URL": "https://langfuse.example.com"}
    environ["LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT"] = "http://s3.example.com"
    found = _examine(own_store, environ=environ)
    assert _codes(found) == {"mixed-content"}


def test_service_without_its_bucket(run: Run, own_store: ServedStore) -> None:
    environ = _environ(own_store)
    environ["LANGFUSE_S3_EVENT_UPLOAD_BUCKET"] = ""
    found = _examine(own_store, environ=environ)
    assert _codes(found) == {"missing-setting"}
    assert "LANGFUSE_S3_EVENT_UPLOAD_BUCKET" in found.troubles[0].sentence


def test_a_services_own_variables(run: Run, own_store: ServedStore) -> None:
    environ = _environ(own_store)
    environ["LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT"] = f"http://127.0.0.1:{free_port()}"
    done = run("doctor", "--json", "--service", "web", "--container", **environ)
    assert codes(done) == {"endpoint-unreachable"}
    assert "LANGFUSE_S3_EVENT_UPLOAD_ENDPOINT" in done.value["troubles"][0]["cure"]


def test_external_name_that_only_containers_know(own_store: ServedStore) -> None:
    environ = _environ(own_store)
    environ["LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT"] = "http://minio:9000"
    found = _examine(own_store, environ=environ, container=True)
    assert _codes(found) == {"presigned-host-unreachable"}
    assert "only the containers know the name minio" in found.troubles[0].sentence


def test_inside_a_container_browsers_doors_may_be_closed(own_store: ServedStore) -> None:
    environ = _environ(own_store)
    environ["LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT"] = f"http://localhost:{free_port()}"
    assert _codes(_examine(own_store, environ=environ, container=True)) == set()


# -- what stands between --------------------------------------------------------------------------


def test_proxy_that_changes_host(doctor: Examine, own_store: ServedStore) -> None:
    def change(headers: dict[str, str]) -> None:
        headers["host"] = "minio:9000"

    with Meddler(own_store.endpoint, change) as proxy:
        done = doctor(external=proxy.url)
    assert codes(done) == {"proxy-host"}
    assert "changes the Host header to minio:9000" in done.value["troubles"][0]["sentence"]


def test_proxy_that_changes_host_before_a_store_that_does_not_say_what_it_saw(
    doctor: Examine, own_store: ServedStore
) -> None:
    def change(headers: dict[str, str]) -> None:
        headers["host"] = "minio:9000"

    with Meddler(own_store.endpoint, change, body=_forget_canonical) as proxy:
        assert codes(doctor(external=proxy.url)) == {"proxy-host"}


def test_wrong_secret_at_a_store_that_does_not_say_what_it_saw(
    doctor: Examine, own_store: ServedStore
) -> None:
    with Meddler(own_store.endpoint, body=_forget_canonical) as proxy:
        done = doctor(
            internal=proxy.url, external=proxy.url, OVERSIGHT_LANGFUSE_SECRET_KEY="another secret",
            OVERSIGHT_LANGFUSE_ACCESS_KEY=ROOT,
        )  # fmt: skip
    assert codes(done) == {"wrong-secret"}


def _forget_canonical(body: bytes) -> bytes:
    """MinIO's error, which does not show the canonical request."""
    if b"<CanonicalRequest>" not in body:
        return body
    head, _, rest = body.partition(b"<CanonicalRequest>")
    return head + rest.partition(b"</CanonicalRequest>")[2]


def test_proxy_that_drops_the_length(doctor: Examine, own_store: ServedStore) -> None:
    with Meddler(own_store.endpoint, chunked=True) as proxy:
        assert codes(doctor(external=proxy.url)) == {"proxy-length"}


def test_proxy_that_drops_signed_headers(doctor: Examine, own_store: ServedStore) -> None:
    def drop(headers: dict[str, str]) -> None:
        headers.pop("amz-sdk-request", None)

    with Meddler(own_store.endpoint, drop) as proxy:
        done = doctor(external=proxy.url)
    assert codes(done) == {"proxy-headers"}
    assert "amz-sdk-request" in done.value["troubles"][0]["sentence"]


def test_proxy_below_a_path(doctor: Examine, own_store: ServedStore) -> None:
    with Meddler(own_store.endpoint, path=lambda path: path.replace("/events/", "/e/")) as proxy:
        assert codes(doctor(internal=proxy.url)) == {"proxy-path"}


def test_proxy_with_a_body_limit(doctor: Examine, own_store: ServedStore) -> None:
    with Meddler(own_store.endpoint, limit=1 << 20) as proxy:
        done = doctor(external=proxy.url)
    assert codes(done) == {"proxy-body-limit"}
    assert failures(done) == {"export"}


def test_proxy_that_compresses(doctor: Examine, own_store: ServedStore) -> None:
    def squeeze(headers: dict[str, str]) -> None:
        if headers.get("content-type") == "application/json":
            headers["content-encoding"] = "gzip"

    def body(content: bytes) -> bytes:
        return gzip.compress(content) if content.startswith(b"[{") else content

    with Meddler(own_store.endpoint, answer=squeeze, body=body) as proxy:
        assert codes(doctor(external=proxy.url)) == {"proxy-answer"}


def test_proxy_that_strips_cors(doctor: Examine, own_store: ServedStore) -> None:
    def strip(headers: dict[str, str]) -> None:
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]

    with Meddler(own_store.endpoint, answer=strip) as proxy:
        assert codes(doctor(external=proxy.url)) == {"cors"}


def test_proxy_that_forbids_preflights(doctor: Examine, own_store: ServedStore) -> None:
    def forbid(method: str, path: str) -> tuple[int, bytes] | None:
        return (405, b"") if method == "OPTIONS" else None

    with Meddler(own_store.endpoint, instead=forbid) as proxy:
        done = doctor(external=proxy.url)
    assert codes(done) == {"cors"}
    assert "answered with 405" in done.value["troubles"][0]["sentence"]


def test_origin_that_is_not_allowed(doctor: Examine, tmp_path: Path, run: Run) -> None:
    variables = {"OVERSIGHT_CORS_ALLOW_ORIGIN": "https://other.example.com"}
    variables |= {"OVERSIGHT_ROOT_USER": ROOT, "OVERSIGHT_ROOT_PASSWORD": SECRET}
    with ServedStore(tmp_path / "drive", tmp_path / "log", ("--workers", "1"), variables) as served:
        done = doctor(internal=served.endpoint, external=served.endpoint)
    assert codes(done) == {"cors"}


def test_store_that_wants_another_checksum(doctor: Examine, own_store: ServedStore) -> None:
    body = (
        b"<Error><Code>MissingContentMD5</Code><Message>Missing required header for this "
        b"request: Content-Md5.</Message></Error>"
    )

    def insist(method: str, path: str) -> tuple[int, bytes] | None:
        return (400, body) if method == "POST" and path.endswith("delete=") else None

    with Meddler(own_store.endpoint, instead=insist) as proxy:
        done = doctor(internal=proxy.url)
    assert codes(done) == {"delete-checksum"}


# -- space ----------------------------------------------------------------------------------------


def test_drive_that_refuses_writes(doctor: Examine, tmp_path: Path) -> None:
    variables = {"OVERSIGHT_ROOT_USER": ROOT, "OVERSIGHT_ROOT_PASSWORD": SECRET}
    log = tmp_path / "log"
    with ServedStore(tmp_path / "drive", log, ("--workers", "1"), variables):
        pass  # its first start needs room for the bucket
    variables["OVERSIGHT_FREE_MIN"] = "900TiB"
    with ServedStore(tmp_path / "drive", log, ("--workers", "1"), variables) as served:
        done = doctor(
            internal=served.endpoint, external=served.endpoint,
            OVERSIGHT_CONSOLE_URL=served.console,
        )  # fmt: skip
    assert codes(done) == {"disk-full"}


@pytest.mark.parametrize(("free", "severity"), [(0.5, None), (0.08, "warning"), (0.02, "failure")])
def test_space_and_inodes(free: float, severity: str | None) -> None:
    around = Surroundings([])
    around._answers["status"] = {
        "capacity": {"free": int(free * 10**12), "total": 10**12}, "drives_offline": 0,
    }  # fmt: skip
    around._answers["drives"] = {"inodes_free": int(free * 10**6), "inodes_total": 10**6}
    found = examine(around, [check for check in CHECKS if check.scope == "stack"])
    assert {t.code: t.severity for t in found.troubles} == (
        {"disk-low": severity, "inodes-low": severity} if severity else {}
    )


def test_named_control_api_that_is_not_there(doctor: Examine) -> None:
    done = doctor(OVERSIGHT_CONSOLE_URL=f"http://127.0.0.1:{free_port()}")
    assert codes(done) == {"control-unreachable"}
    assert done.code == 0


# -- the doctor itself ----------------------------------------------------------------------------


def test_what_a_killed_run_left_is_removed(
    own_store: ServedStore, keys: Callable[[], set[str]]
) -> None:
    left = "events/.oversight-doctor/killed/event.json"
    S3(own_store.endpoint, Credentials(ROOT, SECRET)).put("langfuse", left, b"x")
    _examine(own_store)
    assert left in keys(), "it may belong to a run that goes on"
    door_later = _examine(own_store, clock=lambda: time.time() + 280, stale=240)
    assert door_later.healthy
    assert left not in keys()


def test_checks_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def load(self) -> list[Check]:
            return [Check("theirs", "Theirs", lambda around: None, scope="stack")]

    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [Point()] * (group == "oversight.checks")
    )
    found = examine(Surroundings([]))
    assert ("theirs", "passed") in {(r.check, r.verdict) for r in found.results}


def test_every_trouble_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    documented = {line[4:].strip("` ") for line in text.splitlines() if line.startswith("### ")}
    assert documented == set(CATALOGUE)


def _environ(served: ServedStore, user: str = ROOT, secret: str = SECRET) -> dict[str, str]:
    """A web container's variables."""
    found = {"NEXTAUTH_URL": "http://localhost:3000", "LANGFUSE_S3_BATCH_EXPORT_ENABLED": "true"}
    for use in ("EVENT_UPLOAD", "MEDIA_UPLOAD", "BATCH_EXPORT"):
        found |= {
            f"LANGFUSE_S3_{use}_BUCKET": "langfuse",
            f"LANGFUSE_S3_{use}_ENDPOINT": served.endpoint,
            f"LANGFUSE_S3_{use}_ACCESS_KEY_ID": user,
            f"LANGFUSE_S3_{use}_SECRET_ACCESS_KEY": secret,
            f"LANGFUSE_S3_{use}_FORCE_PATH_STYLE": "true",
            f"LANGFUSE_S3_{use}_PREFIX": {"E": "events/", "M": "media/"}.get(use[0], "exports/"),
        }
    return found


def _examine(
    served: ServedStore,
    endpoint: str = "",
    environ: dict[str, str] | None = None,
    clock: Callable[[], float] = time.time,
    container: bool = False,
    stale: float | None = None,
) -> Examination:
    found = environ or _environ(served)
    if endpoint:
        found = {n: endpoint if n.endswith("_ENDPOINT") else v for n, v in found.items()}
    uses, missing = uses_of("web", found)
    around = Surroundings(
        doors_of(uses, Place(container), 60, clock), [("web", each) for each in missing]
    )
    with pytest.MonkeyPatch.context() as patch:
        if stale is not None:
            patch.setattr("stack.doctor.examination._STALE", stale)
        return examine(around)


def _codes(found: Examination) -> set[str]:
    return {each.code for each in found.troubles}
