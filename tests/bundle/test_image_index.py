"""The image's packages from an index of one's own: with an address, a password, a certificate.

The index is a real HTTPS server of this machine that serves what compose/wheels holds.
"""

from __future__ import annotations

import base64
import datetime
import http.server
import ipaddress
import shutil
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.bundle import docker

USER, PASSWORD = "reader", "not-in-the-image"


@pytest.fixture(scope="module", autouse=True)
def needs_docker() -> None:
    if docker.missing():
        pytest.skip(docker.missing())


class Index(http.server.BaseHTTPRequestHandler):
    """PEP 503 for a folder of wheels, for who gives the password."""

    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {credentials}":
            self._answer(401, b"", ("WWW-Authenticate", 'Basic realm="packages"'))
            return
        self.asked.append(self.path)
        first, _, name = self.path.strip("/").partition("/")
        if first == "files":
            self._answer(200, (self.folder / name).read_bytes())
            return
        found = self.folder.glob(f"{name.replace('-', '_')}-*.whl")
        links = "".join(f'<a href="/files/{each.name}">{each.name}</a>' for each in found)
        self._answer(200, links.encode(), ("Content-Type", "text/html"))

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Key and certificate of a server on loopback that nobody else has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "packages of a test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "authority.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def index(authority: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of the index, and what it was asked for."""
    docker.ensure_wheels()
    asked: list[str] = []
    handler = type("Index", (Index,), {"folder": docker.ROOT / "compose/wheels", "asked": asked})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}/simple/", asked
    server.shutdown()
    server.server_close()


def context_without_wheels(folder: Path) -> Path:
    """What a fresh clone has of the files that are built from."""
    for name in docker.CONTEXT:
        source, target = docker.ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    for name in ("wheels", "pip"):
        (folder / "compose" / name).mkdir()
        shutil.copy(docker.ROOT / "compose" / name / ".gitignore", folder / "compose" / name)
    return folder


def build(folder: Path, tag: str, *options: str) -> tuple[int, str]:
    done = docker.run(
        # The machine's own network: the index is on its loopback.
        "docker", "build", "--network", "host", "--build-arg", f"BASE={docker.base()}",
        "--file", folder / "compose/Dockerfile", "--tag", tag, *options, folder,
        timeout=600,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_packages_from_an_index_with_a_password_and_a_certificate(
    tmp_path: Path, authority: Path, index: tuple[str, list[str]]
) -> None:
    address, asked = index
    folder = context_without_wheels(tmp_path / "clone")
    shutil.copy(authority, folder / "compose/pip/network.crt")
    (folder / "compose/pip/pip.conf").write_text(
        f"[global]\nindex-url = https://{USER}:{PASSWORD}@{address}\n"
    )
    tag = docker.unique("index")
    status, said = build(folder, tag)
    try:
        assert status == 0, said
        assert any(path.startswith("/files/uvicorn-") for path in asked)
        assert any(path.startswith("/files/setuptools-") for path in asked)
        assert "0.1.0" in docker.docker("run", "--rm", "--network", "none", tag, "--version")
        history = docker.docker("history", "--no-trunc", tag)
        assert PASSWORD not in history + said
        assert "/build" not in history.replace("COPY --from=build", "")
        files = docker.docker(
            "run", "--rm", "--network", "none", "--entrypoint", "sh", tag, "-c",
            f"ls /build /root/.config 2>&1; grep -rl {PASSWORD} /etc /opt /usr/local /root || true",
        )  # fmt: skip
        assert "No such file" in files
        assert "/etc/" not in files
        assert "/opt/" not in files
    finally:
        docker.docker("rmi", tag, check=False)


def test_an_index_that_cannot_be_used_is_told_with_its_cure(
    tmp_path: Path, index: tuple[str, list[str]]
) -> None:
    """Named by a build argument, as Compose hands it on; its certificate is missing."""
    folder = context_without_wheels(tmp_path / "clone")
    address = f"https://{index[0]}"
    status, said = build(
        folder, docker.unique("index"), "--target", "build", "--build-arg",
        f"PIP_INDEX_URL={address}",
    )  # fmt: skip
    assert status
    assert "docs/container.md says how to name it" in said
    assert index[1] == []
