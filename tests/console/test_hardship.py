"""What hangs, is many, or dies; and whose address counts: attacks that need no browser."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.console.conftest import Ask, Signed, client_of, signed_in, until_there
from tests.console.surroundings import add_user, below, command_of, console_of, resident
from tests.serving import ServedStore


def asker(served: ServedStore, source: str) -> Ask:
    """Send requests to the console port from another address of this machine."""

    def send(method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(
            "127.0.0.1", served.console_port, timeout=60, source_address=(source, 0)
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = json.dumps(body) if body is not None else None
        connection.request(method, path, data, named)
        return connection.getresponse()

    return send


def test_a_body_of_unknown_length_is_stored(
    served: ServedStore, ask: Ask, signed: Signed, s3: Any
) -> None:
    path = "/console/s3?.bucket=datahub&.key=chunked"
    pieces = [b"x" * 70_000, b"", b"y" * 5]
    connection = http.client.HTTPConnection("127.0.0.1", served.console_port, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in signed.headers.items()}
    connection.request("PUT", path, (each for each in pieces), headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    assert s3.get_object(Bucket="datahub", Key="chunked")["Body"].read() == b"".join(pieces)


def test_policies_see_the_browsers_address(served: ServedStore, s3: Any) -> None:
    """Not the console's, which sends the request on; and nobody but the console may name one."""
    s3.create_bucket(Bucket="addresses")
    s3.put_object(Bucket="addresses", Key="a", Body=b"1")
    statement = {
        "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::addresses/*",
        "Condition": {"NotIpAddress": {"aws:SourceIp": "127.0.0.2/32"}},
    }  # fmt: skip
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    person = add_user(served, "readwrite")
    s3.put_bucket_policy(Bucket="addresses", Policy=json.dumps(policy))

    path = "/console/s3?.bucket=addresses&.key=a"
    inside, outside = asker(served, "127.0.0.2"), asker(served, "127.0.0.3")
    session = signed_in(inside, person.key, person.secret)
    assert inside("GET", path, **session.headers).status == 200
    assert outside("GET", path, **session.headers).status == 403
    forged = {"x_forwarded_for": "127.0.0.2", "x_oversight_caller": "127.0.0.2",
              "x_oversight_proof": "f" * 64}  # fmt: skip
    assert outside("GET", path, **session.headers, **forged).status == 403


def test_behind_a_trusted_proxy_its_client_counts(tmp_path: Path) -> None:
    settings = {"OVERSIGHT_TRUSTED_PROXIES": "127.0.0.2"}
    with ServedStore(tmp_path / "drive", tmp_path / "log", environment=settings) as served:
        until_there(f"{served.console}/console/")
        proxy, stranger = asker(served, "127.0.0.2"), asker(served, "127.0.0.3")
        behind = {"x_forwarded_for": "203.0.113.7", "x_forwarded_proto": "https"}

        s3 = client_of(served)
        s3.put_object(Bucket="langfuse", Key="a", Body=b"1")
        statement = {
            "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::langfuse/*",
            "Condition": {
                "NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"},
            },
        }  # fmt: skip
        plain = {**statement, "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
        policy = {"Version": "2012-10-17", "Statement": [statement, plain]}
        s3.put_bucket_policy(Bucket="langfuse", Policy=json.dumps(policy))
        person = add_user(served, "readwrite")
        session = signed_in(proxy, person.key, person.secret)
        path = "/console/s3?.bucket=langfuse&.key=a"
        read = {
            (source, *given.values()): source("GET", path, **session.headers, **given).status
            for source in (proxy, stranger)
            for given in (behind, {}, {"x_forwarded_for": "203.0.113.7"})
        }
        assert [given for given, status in read.items() if status == 200] == [
            (proxy, *behind.values())
        ]
        assert set(read.values()) == {200, 403}

        wrong = {"access_key": "nobody", "secret_key": "wrong-wrong"}
        guesses = [
            (source, f"198.51.100.{number}") for source in (proxy, stranger) for number in range(7)
        ]
        answers = [
            source(
                "POST", "/console/session", wrong, x_oversight_console="1", x_forwarded_for=address
            ).status
            for source, address in guesses
        ]
        assert answers == [401] * 7 + [401] * 5 + [429] * 2


def test_a_stalled_client_is_not_waited_for(served: ServedStore) -> None:
    """A head that does not come to its end, and a connection that says nothing."""
    address = ("127.0.0.1", served.console_port)
    silent = [socket.create_connection(address, timeout=60) for _ in range(50)]
    slow = [socket.create_connection(address, timeout=60) for _ in range(50)]
    for each in slow:
        each.sendall(b"GET /console/ HTTP/1.1\r\nHost: x\r\nX-A: ")
    began = time.monotonic()
    while slow and time.monotonic() - began < 45:
        alive = []
        for each in slow:
            try:
                each.sendall(b"a")
                each.setblocking(False)
                alive += [each] if each.recv(1) else []
            except BlockingIOError:
                alive.append(each)
            except OSError:
                continue
            each.setblocking(True)
        slow = alive
        time.sleep(0.5)
    assert slow == []
    for each in silent:
        each.settimeout(30)
        assert each.recv(1) == b""


def test_many_sign_in_at_once(served: ServedStore) -> None:
    """Two hundred at a time, right and wrong: all are answered, and the console lives on."""
    known = [add_user(served, "readonly") for _ in range(4)]
    # Twenty wrong tries of an address shut it out for a minute: whoever is right has another one.
    ask, guess = asker(served, "127.0.0.77"), asker(served, "127.0.0.79")
    answers: list[int] = []

    def sign(number: int) -> None:
        person, right = known[number % len(known)], number % 5 > 0
        document = {
            "access_key": person.key, "secret_key": person.secret if right else "wrong-secret",
        }  # fmt: skip
        send = ask if right else guess
        answers.append(
            send("POST", "/console/session", document, x_oversight_console="none").status
        )

    with ThreadPoolExecutor(200) as pool:
        list(pool.map(sign, range(1000)))
    assert len(answers) == 1000
    assert set(answers) <= {200, 401, 429, 503}
    assert answers.count(200) >= 4
    assert ask("GET", "/console/").status == 200
    assert resident(console_of(served)) < 150 * 1024


def test_a_console_that_dies_in_mid_request_is_an_error_and_no_half_answer(
    served: ServedStore, ask: Ask, signed: Signed, s3: Any
) -> None:
    s3.put_object(Bucket="models", Key="big.bin", Body=bytes(40_000_000))
    connection = http.client.HTTPConnection("127.0.0.1", served.console_port, timeout=30)
    headers = {name.replace("_", "-"): value for name, value in signed.headers.items()}
    connection.request("GET", "/console/s3?.bucket=models&.key=big.bin", None, headers)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.read(1000)
    os.kill(console_of(served), signal.SIGKILL)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    # What it knew is gone with it: who was signed in signs in again.
    assert ask("GET", "/console/control/api/v1/me", **signed.headers).status == 401
    assert ask("GET", "/console/").status == 200
    signed_in(ask)


def test_no_secret_is_in_any_log(served: ServedStore) -> None:
    ask = asker(served, "127.0.0.78")
    _, key, secret = add_user(served, "readonly")
    session = signed_in(ask, key, secret)
    ask("GET", "/console/s3?.bucket=datahub&.key=none", **session.headers)
    ask("POST", "/console/session", {"access_key": key, "secret_key": secret + "x"},
        x_oversight_console="none")  # fmt: skip
    ask("POST", "/console/session", {"access_key": [secret]}, x_oversight_console="none")
    ask("DELETE", "/console/session", **session.headers)
    written = served.output()
    for found in (secret, session.page, session.cookie.partition("=")[2]):
        assert found not in written
    assert "X-Amz-Signature" not in written
    assert "Traceback" not in written
    for pid in below(os.getpid()):
        assert secret.encode() not in b" ".join(command_of(pid))


def test_a_sign_out_while_the_store_hangs_is_made_up_for(
    served: ServedStore, ask: Ask, signed: Signed
) -> None:
    """What was signed with the session ends as soon as the store takes changes again."""
    wanted = [{"method": "GET", "bucket": "datahub", "key": "documents/handbook.md"}]
    answer = ask("POST", "/console/sign", wanted, **signed.headers)
    _, _, host, path = json.loads(answer.read())["urls"][0].split("/", 3)

    def fetched() -> int:
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", f"/{path}")
        return connection.getresponse().status

    assert fetched() == 200
    committer = process_of(served, b"committer")
    os.kill(committer, signal.SIGSTOP)
    try:
        answer = ask("DELETE", "/console/session", **signed.headers)
        assert answer.status == 202
        assert "told again" in json.loads(answer.read())["detail"]
        assert "Max-Age=0" in answer.getheader("set-cookie", "")
        assert ask("GET", "/console/s3?.bucket=datahub", **signed.headers).status == 401
    finally:
        os.kill(committer, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while fetched() == 200:
        assert time.monotonic() < deadline, "the link outlives the sign-out"
        time.sleep(0.2)


def process_of(served: ServedStore, role: bytes) -> int:
    """The store's process of that role."""
    assert served.process
    (found,) = (pid for pid in below(served.process.pid) if role in command_of(pid))
    return found
