"""The benchmarks' own promises: requests are signed right, processes counted, targets judged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from benchmarks import __main__ as command
from benchmarks import processes, report, work
from benchmarks.load import Load
from benchmarks.requests import Body, Signer, write_requests

BODY = Body.random(2048, 5)


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    line, *rest = head.decode().removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = line.split(" ")
    assert version == "HTTP/1.1"
    return method, target, dict(field.split(": ", 1) for field in rest)


def _signature_of_botocore(method: str, target: str, headers: dict[str, str], body: bytes) -> str:
    names = re.search(r"SignedHeaders=([^,]+)", headers["authorization"])
    assert names is not None
    signed = {name: headers[name] for name in names[1].split(";")}
    request = AWSRequest(method, "http://" + headers["host"] + target, signed, body)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = S3SigV4Auth(Credentials("minio", "miniosecret"), "s3", "us-east-1")
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (Signer().put("langfuse", "events/otel/p/ä b+c.json", BODY), BODY.data),
        (Signer().get("langfuse", "a/../b"), b""),
        (Signer().list("flat", after="x/ÿ &", delimiter="/"), b""),
    ],
    ids=["put", "get", "list"],
)
def test_a_request_is_signed_as_another_implementation_signs_it(head: bytes, body: bytes) -> None:
    method, target, headers = _parse(head)
    signature = headers["authorization"].rpartition("Signature=")[2]
    assert signature == _signature_of_botocore(method, target, headers, body)


def test_no_two_requests_carry_the_same_signature() -> None:
    signer = Signer()
    assert signer.get("langfuse", "a") != signer.get("langfuse", "a")


def test_a_request_file_holds_lengths_bodies_and_heads(tmp_path: Path) -> None:
    path = tmp_path / "requests"
    assert write_requests(path, [(b"GET / HTTP/1.1\r\n\r\n", 0), (b"PUT", 7)]) == 2
    assert path.read_bytes() == b"00018000GET / HTTP/1.1\r\n\r\n00003007PUT"


def test_cpu_of_a_tree_counts_children_that_are_gone() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    before = processes.cpu_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert processes.cpu_seconds(os.getpid()) - before > 0.2


def test_the_mix_reads_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MIX_DISTANCE", 16)
    written = set(islice(work.event_keys("mix0", 0), 16))
    reads = 0
    for head, body in work.Mix().requests(200, 3):
        method, target, _ = _parse(head)
        key = target.removeprefix("/langfuse/").partition("?")[0]
        if method == "PUT":
            assert body
            written.add(key)
        else:
            reads += 1
            assert key in {quote(one) for one in written}
    assert reads == 20


def _sample(item: str, server: str, cpu: float, errors: int = 0) -> work.Sample:
    load = Load(1000, 1.0, 0.0005, 0.001, errors, 0.01)
    return work.Sample(item, server, 16, load, cpu, processes.Peak())


def test_targets_are_met_missed_or_not_measured() -> None:
    results = work.Results(
        [
            _sample("GET 4 KiB", "oversight", 0.07),
            _sample("GET 4 KiB", "floor", 0.035),
            _sample("GET 4 KiB", "minio", 0.2),
            _sample("GET 4 KiB", "oversight", 0.07, errors=1),
        ]
    )
    found = {target.name: target for target in report.targets(results)}
    assert found["GET 4 KiB: CPU per operation / floor"].met is True
    assert found["GET 4 KiB: operations per CPU second against minio"].met is False
    assert found["PUT 4 KiB: CPU per operation / floor"].met is None
    assert found["errors"].met is False


def test_every_option_stands_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    options = re.findall(r"--[a-z-]+", command._parser().format_help())
    assert [name for name in options if name != "--help" and name not in page] == []
