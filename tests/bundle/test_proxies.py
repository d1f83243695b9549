"""The shipped snippets for nginx and Caddy, in those proxies with TLS, in front of a real store.

The proxies are Debian's. Of a snippet only names, ports and certificates are replaced.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.client
import io
import json
import os
import socket
import ssl
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import yaml
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stack.s3.client import S3
from stack.s3.signing import Credentials
from tests.bundle import docker, stacks
from tests.serving import ACCESS_KEY, SECRET_KEY, ServedStore, free_port

SNIPPETS = docker.ROOT / "compose" / "proxy"
IMAGE = "oversight-test/proxies:bookworm"
BUCKET = "langfuse"
BODY = os.urandom(8 * 2**20 + 1)
#: Paths that a helpful proxy would tidy.
ODD_KEYS = (
    "a//b",
    "a/../b",
    "a/./b",
    "sp ace+plus",
    "p%2Fercent",
    "ümläut/日本",
    "a/b/",
    "q?x&y=#",
)


@dataclass(frozen=True)
class Proxy:
    """A proxy in front of ``store``; ``authority``: the file that makes its certificate trusted."""

    endpoint: str
    authority: Path
    store: ServedStore

    def client(self) -> S3:
        return S3(self.endpoint, Credentials(ACCESS_KEY, SECRET_KEY), timeout=60, attempts=1)

    def boto(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.endpoint, verify=str(self.authority),
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", retries={"max_attempts": 1}),
        )  # fmt: skip

    def open(self, request: urllib.request.Request | str) -> Any:
        context = ssl.create_default_context(cafile=str(self.authority))
        return urllib.request.urlopen(request, timeout=60, context=context)


@pytest.fixture(scope="module")
def proxies_image(docker_available: None) -> str:
    stacks.build("proxies", IMAGE)
    return IMAGE


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    folder = tmp_path_factory.mktemp("store")
    environment = {
        "OVERSIGHT_PROMETHEUS_AUTH_TYPE": "public",
        "OVERSIGHT_TRUSTED_PROXIES": "127.0.0.1",
    }
    with ServedStore(folder / "data", folder / "log", environment=environment) as store:
        yield store


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest,
    proxies_image: str,
    upstream: ServedStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    prepare = {"nginx": _nginx, "caddy": _caddy}[request.param]
    folder, port = tmp_path_factory.mktemp(request.param), free_port()
    command, authority = prepare(folder, port, upstream)
    engine = docker.Engine()
    options = ("--network", "host", "--volume", f"{folder}:{folder}")
    container = engine.run(proxies_image, *command, options=options, publish=False)
    with pytest.MonkeyPatch.context() as patch:
        try:
            container.wait_for(lambda: authority.exists() and _serves(port, authority))
            patch.setenv("SSL_CERT_FILE", str(authority))
            yield Proxy(f"https://localhost:{port}", authority, upstream)
        finally:
            engine.close()


def _nginx(folder: Path, port: int, upstream: ServedStore) -> tuple[list[str], Path]:
    certificate, key = _certificate(folder)
    snippet = (SNIPPETS / "nginx.conf").read_text()
    for said, meant in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("127.0.0.1:9090", f"127.0.0.1:{upstream.port}"),
        ("server_name s3.example.com", "server_name localhost"),
        ("/etc/nginx/certificates/s3.example.com.pem", str(certificate)),
        ("/etc/nginx/certificates/s3.example.com.key", str(key)),
        ("/etc/nginx/certificates/langfuse.example.com.pem", str(certificate)),
        ("/etc/nginx/certificates/langfuse.example.com.key", str(key)),
    ):
        assert said in snippet
        snippet = snippet.replace(said, meant)
    (folder / "snippet.conf").write_text(snippet)
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; gzip on; gzip_types *; include {folder}/snippet.conf; }}\n"
    )
    return ["nginx", "-c", str(folder / "nginx.conf")], certificate


def _caddy(folder: Path, port: int, upstream: ServedStore) -> tuple[list[str], Path]:
    (folder / "Caddyfile").write_text((SNIPPETS / "Caddyfile").read_text())
    (folder / "Caddyfile.main").write_text(
        "{\n admin off\n skip_install_trust\n auto_https disable_redirects\n}\n"
        f"import {folder}/Caddyfile\n"
    )
    sites = {
        "S3_SITE": f"https://localhost:{port}",
        "S3_UPSTREAM": f"127.0.0.1:{upstream.port}",
        "LANGFUSE_SITE": f"https://langfuse.localhost:{port}",
        "XDG_DATA_HOME": str(folder),
        "HOME": str(folder),
    }
    main = str(folder / "Caddyfile.main")
    command = ["env", *(f"{name}={value}" for name, value in sites.items()),
               "caddy", "run", "--config", main, "--adapter", "caddyfile"]  # fmt: skip
    return command, folder / "caddy/pki/authorities/local/root.crt"


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private


def _serves(port: int, authority: Path) -> bool:
    """Whether a TLS handshake succeeds: Caddy listens before it has its certificate."""
    context = ssl.create_default_context(cafile=str(authority))
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as plain:
            context.wrap_socket(plain, server_hostname="localhost").close()
    except OSError:
        return False
    return True


# -- what must work through them ------------------------------------------------------------------


def test_a_signed_body_of_several_mib(proxy: Proxy) -> None:
    client = proxy.client()
    client.put(BUCKET, "signed", BODY)
    assert client.get(BUCKET, "signed").body == BODY


def test_langfuses_presigned_upload_and_download(proxy: Proxy) -> None:
    """As SDKs and browsers do: length, type and hash are signed, with the proxy's host."""
    client, key = proxy.client(), "media/project/picture.png"
    headers = {
        "content-length": str(len(BODY)),
        "content-type": "image/png",
        "x-amz-checksum-sha256": b64encode(hashlib.sha256(BODY).digest()).decode(),
    }
    path, _ = client.presigned("PUT", BUCKET, key, headers=headers)
    sent = {**headers, "x-ms-blob-type": "BlockBlob"}
    put = urllib.request.Request(proxy.endpoint + path, data=BODY, headers=sent, method="PUT")
    with proxy.open(put) as answer:
        assert answer.status == 200
    path, _ = client.presigned("GET", BUCKET, key)
    with proxy.open(proxy.endpoint + path) as answer:
        assert answer.headers["Content-Length"] == str(len(BODY))
        assert answer.headers["Content-Encoding"] is None
        assert answer.read() == BODY
    part = urllib.request.Request(proxy.endpoint + path, headers={"Range": "bytes=1000000-1000009"})
    with proxy.open(part) as answer:
        assert (answer.status, answer.read()) == (206, BODY[1000000:1000010])


def test_a_url_for_another_host_is_refused(proxy: Proxy) -> None:
    """What the store verifies is the proxy's own name: it was passed on, not made up."""
    client = S3(proxy.store.endpoint, Credentials(ACCESS_KEY, SECRET_KEY))
    path, _ = client.presigned("GET", BUCKET, "signed")
    with pytest.raises(urllib.error.HTTPError) as refused:
        proxy.open(proxy.endpoint + path)
    assert b"SignatureDoesNotMatch" in refused.value.read()


def test_an_sdks_multipart_upload_with_trailing_checksums(proxy: Proxy) -> None:
    boto = proxy.boto()
    boto.upload_fileobj(io.BytesIO(BODY * 2), BUCKET, "exports/multipart")
    assert boto.get_object(Bucket=BUCKET, Key="exports/multipart")["Body"].read() == BODY * 2


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_stay_as_they_are(proxy: Proxy, key: str) -> None:
    client = proxy.client()
    client.put(BUCKET, key, key.encode())
    assert client.get(BUCKET, key).body == key.encode()
    assert key in {entry.key for entry in client.objects(BUCKET)}
    client.delete(BUCKET, [key])


def test_uploads_are_not_buffered(proxy: Proxy) -> None:
    """The store sees a request whose body has only begun."""
    client = proxy.client()
    headers = {"content-length": str(len(BODY))}
    path, _ = client.presigned("PUT", BUCKET, "slow", headers=headers)
    host = urlsplit(proxy.endpoint)
    context = ssl.create_default_context(cafile=str(proxy.authority))
    before = _received(proxy.store)
    with (
        socket.create_connection(("127.0.0.1", host.port or 0), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        lines = f"PUT {path} HTTP/1.1\r\nHost: {host.netloc}\r\nContent-Length: {len(BODY)}\r\n\r\n"
        connection.sendall(lines.encode() + BODY[: 2**20])
        _wait(lambda: _in_flight(proxy.store) == 1)
        connection.sendall(BODY[2**20 :])
        assert connection.recv(15).startswith(b"HTTP/1.1 200")
    # The answer goes out before it is counted.
    _wait(lambda: _received(proxy.store) - before >= len(BODY))


def test_policies_see_who_is_behind_the_proxy(proxy: Proxy) -> None:
    """By address and TLS; what clients say in the proxies' headers is worth nothing."""
    client, host = proxy.client(), urlsplit(proxy.endpoint)
    client.put(BUCKET, "shared/a", b"1")
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/shared/*",
        "Condition": {
            "IpAddress": {"aws:SourceIp": "127.0.0.2/32"}, "Bool": {"aws:SecureTransport": "true"},
        },
    }  # fmt: skip
    client.delete_document(BUCKET, "publicAccessBlock")
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    client.put_document(BUCKET, "policy", json.dumps(policy).encode())
    context = ssl.create_default_context(cafile=str(proxy.authority))

    def status(source: str, tls: bool = True, **headers: str) -> int:
        to = {"timeout": 60, "source_address": (source, 0)}
        connection = (
            http.client.HTTPSConnection("localhost", host.port, context=context, **to)
            if tls
            else http.client.HTTPConnection("127.0.0.1", proxy.store.port, **to)
        )
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET", f"/{BUCKET}/shared/a", headers=named)
            return connection.getresponse().status

    assert status("127.0.0.2") == 200
    assert status("127.0.0.3") == 403
    assert status("127.0.0.3", x_forwarded_for="127.0.0.2") == 403
    forged = {"x_forwarded_for": "127.0.0.2", "x_forwarded_proto": "https"}
    assert status("127.0.0.2", tls=False, **forged) == 403, "not by TLS, whatever it says"
    assert status("127.0.0.3", tls=False, **forged) == 403
    client.delete_document(BUCKET, "policy")


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _in_flight(store: ServedStore) -> float:
    return _metric(store, "minio_s3_requests_inflight_total")


def _received(store: ServedStore) -> float:
    return _metric(store, "minio_s3_traffic_received_bytes")


def _metric(store: ServedStore, name: str) -> float:
    with urllib.request.urlopen(f"{store.console}/minio/v2/metrics/cluster") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name}{{")))


# -- the one that can't be run here ---------------------------------------------------------------


def test_traefiks_file_names_what_it_uses() -> None:
    http = yaml.safe_load((SNIPPETS / "traefik.yml").read_text())["http"]
    for router in http["routers"].values():
        assert router["service"] in http["services"]
    store = http["services"]["oversight-store"]["loadBalancer"]
    assert store["passHostHeader"] is True
    assert store["serversTransport"] in http["serversTransports"]
    assert "middlewares" not in http["routers"]["oversight-store"]
