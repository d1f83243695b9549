"""Start, stop, crash and heal, seen from outside: real processes, signals and sockets."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Start, children, role_of, until
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore, free_port, is_ready

ROOT = Path(__file__).parent.parent.parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
pytestmark = linux


def client(store: ServedStore, secret: str = SECRET_KEY, **config: Any) -> Any:
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config

    options = {"s3": {"addressing_style": "path"}, "proxies": {}, **config}
    return boto3.session.Session().client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4", **options),
    )


def pid_of(store: ServedStore) -> int:
    assert store.process is not None
    return store.process.pid


def all_children(store: ServedStore, workers: int) -> list[int]:
    """Process ids of a store's children, once all of them are there and no other."""
    several = {"committer": 1, "worker": workers, "control": 1, "services": 1}
    wanted = several if workers > 1 else {"worker": 1}

    def found() -> list[int] | None:
        by_role = children(pid_of(store))
        if {role: len(pids) for role, pids in by_role.items()} != wanted:
            return None
        return [pid for pids in by_role.values() for pid in pids]

    return list(until(found))


def get(url: str, method: str = "GET") -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, method=method), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_start_serve_stop(start: Start, workers: str) -> None:
    store = start("--workers", workers)
    s3 = client(store)
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["langfuse"]
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="langfuse")["Contents"]]
    assert keys == ["events/", "exports/", "media/"]
    s3.put_object(Bucket="langfuse", Key="events/a.json", Body=b"{}")
    until(lambda: get(f"{store.console}/minio/health/ready")[0] == 200)
    all_children(store, int(workers))
    assert store.stop() == 0
    store.start()
    assert client(store).get_object(Bucket="langfuse", Key="events/a.json")["Body"].read() == b"{}"


def test_no_secret_in_arguments_or_environment_of_children(start: Start) -> None:
    secret = "a-secret-of-this-test"
    store = start("--workers", "2", OVERSIGHT_ROOT_PASSWORD=secret)
    for pid in all_children(store, 2):
        for source in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{pid}/{source}").read_bytes()
    assert secret not in store.output()


def test_the_uploading_line_of_the_panel_works(start: Start, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    store = start("--workers", "2")
    (line,) = until(lambda: re.findall(r"Try it\s+(.*)", store.output()))
    subprocess.run(["sh", "-ec", line], cwd=tmp_path, check=True, timeout=60)
    body = client(store).get_object(Bucket="langfuse", Key="hello.txt")["Body"].read()
    assert body == b"hello\n"


def begin_upload(store: ServedStore, key: str, size: int) -> socket.socket:
    """A connection on which the store waits for the ``size`` bytes of an object.

    "100 Continue" tells that the request is in flight: a sent one may still lie in a queue.
    """
    parameters = {"Bucket": "langfuse", "Key": key}
    url = client(store).generate_presigned_url("put_object", Params=parameters)
    upload = socket.create_connection(("127.0.0.1", store.port), timeout=60)
    head = (
        f"PUT {url.removeprefix(store.endpoint)} HTTP/1.1\r\nhost: 127.0.0.1:{store.port}\r\n"
        f"content-length: {size}\r\nexpect: 100-continue\r\n\r\n"
    )
    upload.sendall(head.encode())
    assert upload.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return upload


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_lets_an_upload_finish(start: Start, workers: str) -> None:
    store = start("--workers", workers)
    # Several blocks and pieces, and no more: they must arrive within the 7.5 s that a drain has.
    blocks = [os.urandom(1024 * 1024) for _ in range(4)]
    with begin_upload(store, "big", 4 * 1024 * 1024) as upload:
        upload.sendall(blocks[0])
        supervisor = store.process
        assert supervisor is not None
        supervisor.send_signal(signal.SIGTERM)
        until(lambda: refuses(store.port))
        for block in blocks[1:]:
            upload.sendall(block)
        answer = upload.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b"connection: close" in answer
    assert supervisor.wait(60) == 0
    store.process = None
    store.start()
    stored = client(store).get_object(Bucket="langfuse", Key="big")["Body"].read()
    assert hashlib.md5(stored).digest() == hashlib.md5(b"".join(blocks)).digest()


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def test_sigterm_ends_an_upload_that_stalls(start: Start) -> None:
    """By the drain, that is, and not by the 60 s after which a stalled body ends anyway."""
    store = start("--workers", "2", OVERSIGHT_DRAIN="1")
    with begin_upload(store, "stalled", 1_000_000) as upload:
        upload.sendall(b"some")
        assert store.stop() == 0
    store.start()
    with pytest.raises(client(store).exceptions.ClientError):
        client(store).head_object(Bucket="langfuse", Key="stalled")


def test_a_second_signal_ends_at_once(start: Start) -> None:
    store = start("--workers", "2")
    with begin_upload(store, "stalled", 1_000_000) as upload:
        upload.sendall(b"some")
        assert store.process is not None
        pids = all_children(store, 2)
        store.process.send_signal(signal.SIGINT)
        until(lambda: refuses(store.port))
        store.process.send_signal(signal.SIGINT)
        assert store.process.wait(60) == 130  # a drain that comes to its end would make it 0
    assert not any(role_of(pid) for pid in pids)
    store.process = None


def ignores_sighup(pid: int) -> bool:
    """Whether a process has come so far that it does."""
    ignored = re.search(r"^SigIgn:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return ignored is not None and bool(int(ignored[1], 16) >> (signal.SIGHUP - 1) & 1)


def test_sighup_changes_nothing(start: Start) -> None:
    store = start("--workers", "2")
    assert store.process is not None
    all_children(store, 2)
    until(lambda: get(f"{store.console}/minio/health/ready")[0] == 200)
    before = children(pid_of(store))
    until(lambda: all(ignores_sighup(pid) for pids in before.values() for pid in pids))
    store.process.send_signal(signal.SIGHUP)
    for pids in before.values():
        os.kill(pids[0], signal.SIGHUP)
    assert client(store).list_buckets()["Buckets"]
    assert children(pid_of(store)) == before


@pytest.mark.parametrize("role", ["worker", "committer", "services", "control"])
def test_a_killed_child_is_replaced(start: Start, role: str) -> None:
    store = start("--workers", "2")
    s3 = client(store, retries={"total_max_attempts": 10, "mode": "standard"})
    s3.put_object(Bucket="langfuse", Key="before", Body=b"1")
    until(lambda: get(f"{store.console}/minio/health/ready")[0] == 200)
    all_children(store, 2)
    victim = children(pid_of(store))[role][0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: (found := children(pid_of(store)).get(role, [])) and victim not in found)
    until(lambda: len(children(pid_of(store))[role]) == (2 if role == "worker" else 1))
    s3.put_object(Bucket="langfuse", Key="after", Body=b"2")
    assert s3.get_object(Bucket="langfuse", Key="before")["Body"].read() == b"1"
    assert s3.get_object(Bucket="langfuse", Key="after")["Body"].read() == b"2"
    until(lambda: get(f"{store.console}/minio/health/ready")[0] == 200)
    assert re.search(rf"The {role}[ 01]* process ended \(SIGKILL\)", store.output())
    assert store.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_nobody_outlives_the_supervisor(start: Start, workers: str) -> None:
    store = start("--workers", workers)
    pids = all_children(store, int(workers))
    assert store.process is not None
    os.kill(store.process.pid, signal.SIGKILL)
    store.process.wait()
    until(lambda: not any(role_of(pid) for pid in pids))
    store.process = None
    store.start()


def run_serve(drive: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``oversight serve`` that is expected to end by itself."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "stack.cli", "serve", "--drives", str(drive), *options],
        cwd=ROOT,
        env={**keep, "OVERSIGHT_ROOT_PASSWORD": SECRET_KEY, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def ports() -> tuple[str, ...]:
    return (
        "--address", f"127.0.0.1:{free_port()}", "--console-address", f"127.0.0.1:{free_port()}",
    )  # fmt: skip


def sentences(ended: subprocess.CompletedProcess[str]) -> list[str]:
    lines = (ended.stdout + ended.stderr).splitlines()
    return [line for line in lines if line and not line.startswith("Warning: ")]


@pytest.mark.parametrize("which", ["--address", "--console-address"])
def test_a_busy_port_is_one_sentence(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        ended = run_serve(tmp_path / "drive", *ports(), which, f"127.0.0.1:{port}")
    assert ended.returncode == 1
    (sentence,) = sentences(ended)
    assert str(port) in sentence
    assert "in use" in sentence
    assert which in sentence
    assert not (tmp_path / "drive").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_wrong_root_secret_is_one_sentence_and_destroys_nothing(
    start: Start, workers: str
) -> None:
    store = start("--workers", workers)
    client(store).put_object(Bucket="langfuse", Key="kept", Body=b"kept")
    store.stop()
    ended = run_serve(
        store.drive, "--workers", workers, *ports(), OVERSIGHT_ROOT_PASSWORD="not-the-right-one"
    )
    assert ended.returncode == 1
    (sentence,) = sentences(ended)
    assert "OVERSIGHT_ROOT_PASSWORD_OLD" in sentence
    assert "not-the-right-one" not in sentence
    store.start()
    assert client(store).get_object(Bucket="langfuse", Key="kept")["Body"].read() == b"kept"


def test_the_root_secret_can_be_changed_at_start(start: Start) -> None:
    store = start("--workers", "2")
    store.stop()
    store.environment = {
        "OVERSIGHT_ROOT_PASSWORD": "another-secret",
        "OVERSIGHT_ROOT_PASSWORD_OLD": SECRET_KEY,
    }
    store.start()
    store.stop()
    del store.environment["OVERSIGHT_ROOT_PASSWORD_OLD"]
    store.start()
    assert client(store, "another-secret").list_buckets()["Buckets"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_refused_drive_is_one_sentence(tmp_path: Path, workers: str) -> None:
    (tmp_path / "drive" / ".minio.sys").mkdir(parents=True)
    ended = run_serve(tmp_path / "drive", "--workers", workers, *ports())
    assert ended.returncode == 1
    (sentence,) = sentences(ended)
    assert "oversight migrate" in sentence
    assert [path.name for path in (tmp_path / "drive").iterdir()] == [".minio.sys"]


def test_a_drive_in_use_is_one_sentence(start: Start) -> None:
    store = start("--workers", "2")
    ended = run_serve(store.drive, *ports())
    assert ended.returncode == 1
    (sentence,) = sentences(ended)
    assert "in use" in sentence
    assert client(store).list_buckets()["Buckets"]


def test_empty_directories_and_settings_become_buckets(start: Start, tmp_path: Path) -> None:
    (tmp_path / "drive" / "from-mkdir").mkdir(parents=True)
    (tmp_path / "drive" / "lost+found").mkdir()
    store = start("--workers", "2", OVERSIGHT_BUCKETS="first,second/with/prefix/")
    s3 = client(store)
    names = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert names == ["first", "from-mkdir", "langfuse", "second"]
    assert s3.list_objects_v2(Bucket="second")["Contents"][0]["Key"] == "with/prefix/"
    store.stop()
    store.start()
    again = [bucket["Name"] for bucket in client(store).list_buckets()["Buckets"]]
    assert again == names


def test_the_port_answers_while_the_engine_starts(tmp_path: Path) -> None:
    """``live`` is 200 and S3 is 503 with Retry-After until the committer has replayed."""
    store = ServedStore(tmp_path / "drive", tmp_path / "log", ("--workers", "2"))
    with store:
        supervisor = pid_of(store)
        victim = children(supervisor)["worker"][0]
        committer = children(supervisor)["committer"][0]
        os.kill(committer, signal.SIGSTOP)
        for pid in children(supervisor)["worker"]:
            os.kill(pid, signal.SIGKILL)
        until(lambda: victim not in children(supervisor).get("worker", [victim]))
        until(lambda: get(f"{store.endpoint}/minio/health/live")[0] == 200)
        assert get(f"{store.endpoint}/minio/health/ready")[0] == 503
        status, body = get(f"{store.endpoint}/langfuse/x")
        assert status == 503
        assert b"<Code>ServiceUnavailable</Code>" in body
        os.kill(committer, signal.SIGCONT)
        until(lambda: is_ready(store.endpoint))


def test_metrics_and_health_on_both_ports(start: Start) -> None:
    store = start("--workers", "2", MINIO_PROMETHEUS_AUTH_TYPE="public")
    s3 = client(store)
    for number in range(20):
        s3.put_object(Bucket="langfuse", Key=f"events/{number}", Body=b"x" * 100)
    with pytest.raises(s3.exceptions.ClientError):
        s3.get_object(Bucket="langfuse", Key="missing")
    until(lambda: get(f"{store.console}/minio/health/ready")[0] == 200)
    for url in (store.endpoint, store.console):
        for probe in ("live", "ready", "cluster", "cluster/read"):
            assert get(f"{url}/minio/health/{probe}")[0] == 200
            assert get(f"{url}/minio/health/{probe}", "HEAD")[0] == 200
        assert get(f"{url}/minio/health/cluster?maintenance=true")[0] == 412
        text = get(f"{url}/minio/v2/metrics/cluster")[1].decode()
        assert re.search(r'minio_s3_requests_total{api="putobject",.*} 20\n', text)
        assert re.search(r'minio_s3_requests_4xx_errors_total{api="getobject",.*} 1\n', text)
        assert re.search(r"minio_cluster_usage_object_total{.*} 23\n", text)
        text = get(f"{url}/minio/v2/metrics/bucket")[1].decode()
        one = 'bucket="langfuse"'
        assert re.search(rf'minio_bucket_requests_total{{api="putobject",{one},.*}} 20\n', text)
        assert re.search(rf"minio_bucket_traffic_received_bytes{{{one},.*}} 2000\n", text)


def test_the_access_log_names_what_was_done_and_no_secret(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    store = start("--workers", "2", OVERSIGHT_ACCESS_LOG=str(log))
    s3 = client(store)
    s3.put_object(Bucket="langfuse", Key="events/a", Body=b"x" * 100)
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "langfuse", "Key": "events/a"})
    assert get(url)[0] == 200
    assert store.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    # Two workers may have served them, and each writes its own lines when it gets to it.
    assert sorted((line["operation"], line["status"]) for line in lines) == [
        ("GetObject", 200),
        ("PutObject", 200),
    ]
    assert "ignature" not in log.read_text()


def test_no_outgoing_connection(tmp_path: Path) -> None:
    """Start, use and stop a store under strace: nothing but loopback and local sockets."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    drive = tmp_path / "drive"
    s3_port, console_port = free_port(), free_port()
    serve = (
        sys.executable, "-m", "stack.cli", "serve", "--drives", str(drive), "--workers", "2",
        "--address", f"127.0.0.1:{s3_port}", "--console-address", f"127.0.0.1:{console_port}",
    )  # fmt: skip
    calls = "--trace=connect,sendto,sendmsg,sendmmsg"
    command = ("strace", "-f", "-qq", calls, "--seccomp-bpf", "-o", str(trace), *serve)
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        command, cwd=ROOT, env={**keep, "OVERSIGHT_ROOT_PASSWORD": SECRET_KEY},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        store = ServedStore(drive, tmp_path / "log", port=s3_port, console_port=console_port)
        until(lambda: is_ready(store.endpoint))
        client(store).put_object(Bucket="langfuse", Key="a", Body=b"x" * 300_000)
        until(lambda: get(f"{store.console}/minio/health/ready")[0] == 200)
        (supervisor,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(supervisor), signal.SIGTERM)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = trace.read_text()
    assert "AF_UNIX" in text  # the trace did see something
    others = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', text)
    assert {address for pair in others for address in pair if address} <= {"127.0.0.1", "::1"}
