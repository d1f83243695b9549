"""Stand-ins for services of the stacks whose images can't be had. None of them is the real one.

Each does with the store, PostgreSQL and Redis what the service does with them, on the variables
that its container gets, and nothing else: so the wiring of the compose files is what is tested.
The databases are real. ``STAND_IN_FOR`` says which service.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from stack.s3.client import S3
from stack.s3.errors import S3Error
from stack.s3.signing import Credentials
from stack.s3.transport import Unreachable

ROLE = os.environ["STAND_IN_FOR"]
PORTS = {"langfuse-web": 3000, "langfuse-worker": 3030, "clickhouse": 8123, "datahub-gms": 8080,
         "frontend": 9002, "opensearch": 9200}  # fmt: skip
OTHERS_PORT = 7777  # services whose own protocol nobody speaks here
EXTENSIONS = {"image/png": "png", "text/plain": "txt"}


# -- what it stands on ----------------------------------------------------------------------------


def sql(statement: str, **values: str) -> list[str]:
    """Rows of one column. ``:'name'`` in the statement is a value."""
    given = [f"--set={name}={value}" for name, value in values.items()]
    done = subprocess.run(
        ["psql", os.environ["DATABASE_URL"], "-qAt", "-v", "ON_ERROR_STOP=1", *given, "-f", "-"],
        input=statement, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout.splitlines()


def redis(*words: str) -> str:
    environ = dict(os.environ, REDISCLI_AUTH=os.environ["REDIS_AUTH"])
    command = ["redis-cli", "--no-auth-warning", "-h", os.environ["REDIS_HOST"],
               "-p", os.environ["REDIS_PORT"], *words]  # fmt: skip
    done = subprocess.run(
        command, text=True, capture_output=True, timeout=60, env=environ, check=False
    )
    if done.returncode or "NOAUTH" in done.stdout or "WRONGPASS" in done.stderr:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout.strip()


def use(name: str, endpoint: str = "ENDPOINT") -> tuple[S3, str, str]:
    """(client, bucket, prefix) of one of Langfuse's uses of the store."""

    def of(tail: str) -> str:
        return os.environ[f"LANGFUSE_S3_{name}_{tail}"]

    credentials = Credentials(of("ACCESS_KEY_ID"), of("SECRET_ACCESS_KEY"))
    return S3(of(endpoint), credentials, of("REGION"), timeout=60), of("BUCKET"), of("PREFIX")


# -- Langfuse -------------------------------------------------------------------------------------

SCHEMA = """
create table if not exists keys (public text primary key, hash text not null);
create table if not exists media (id text primary key, key text not null, uploaded boolean);
create table if not exists traces (
  key text primary key, body text not null, protobuf text not null
);
"""


def hashed(secret: str) -> str:
    return hashlib.sha256((os.environ["SALT"] + secret).encode()).hexdigest()


def migrate() -> None:
    sql(SCHEMA)
    public = os.environ.get("LANGFUSE_INIT_PROJECT_PUBLIC_KEY", "")
    if public and os.environ.get("LANGFUSE_INIT_ORG_ID"):
        sql("insert into keys values (:'public', :'hash') on conflict do nothing",
            public=public, hash=hashed(os.environ["LANGFUSE_INIT_PROJECT_SECRET_KEY"]))  # fmt: skip


class Web(BaseHTTPRequestHandler):
    """The calls of Langfuse's SDK, and those with which a test looks at what became of them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in ("/api/public/health", "/api/public/ready"):
            return self.answer(200, {"status": "OK", "version": "stand-in"})
        if not self.known():
            return self.answer(401, {"message": "wrong keys"})
        if path == "/api/public/projects":
            return self.answer(
                200, {"data": [{"id": "stand-in", "name": "stand-in", "metadata": {}}]}
            )
        if path.startswith("/api/public/media/"):
            return self.media(path.rpartition("/")[2])
        if path.startswith("/api/public/traces/"):
            return self.trace(path.rpartition("/")[2])
        if path == "/api/public/traces":
            return self.answer(
                200, {"data": [json.loads(row) for row in sql("select body from traces")]}
            )
        return self.answer(404, {"message": "the stand-in does not know this call"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if not self.known():
            return self.answer(401, {"message": "wrong keys"})
        if self.path == "/api/public/media":
            return self.announce(json.loads(body))
        if self.path == "/api/public/otel/v1/traces":
            return self.export(body)
        return self.answer(404, {"message": "the stand-in does not know this call"})

    def do_PATCH(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sql("update media set uploaded = true where id = :'id'", id=self.path.rpartition("/")[2])
        self.answer(200, {})

    def announce(self, wanted: dict[str, str]) -> None:
        client, bucket, prefix = use("MEDIA_UPLOAD")
        media_id = base64.urlsafe_b64encode(base64.b64decode(wanted["sha256Hash"])).decode()[:22]
        key = f"{prefix}stand-in/{media_id}.{EXTENSIONS[wanted['contentType']]}"
        sql(
            "insert into media values (:'id', :'key', false) on conflict do nothing",
            id=media_id,
            key=key,
        )
        headers = {
            "content-length": str(wanted["contentLength"]),
            "content-type": wanted["contentType"],
            "x-amz-checksum-sha256": wanted["sha256Hash"],
        }
        path, _ = client.presigned("PUT", bucket, key, headers=headers, expires=3600)
        self.answer(201, {"mediaId": media_id, "uploadUrl": client.endpoint + path})

    def media(self, media_id: str) -> None:
        client, bucket, _ = use("MEDIA_UPLOAD")
        found = sql("select key from media where id = :'id'", id=media_id)
        if not found:
            return self.answer(404, {"message": "no such media"})
        path, _ = client.presigned("GET", bucket, found[0], expires=3600)
        return self.answer(200, {"mediaId": media_id, "url": client.endpoint + path})

    def trace(self, trace_id: str) -> None:
        """Whether the worker has read an export that names it."""
        found = sql("select key from traces where position(:'id' in protobuf) > 0", id=trace_id)
        self.answer(200 if found else 404, {"id": trace_id})

    def export(self, body: bytes) -> None:
        client, bucket, prefix = use("EVENT_UPLOAD")
        minute = time.strftime("%Y/%m/%d/%H/%M", time.gmtime())
        key = f"{prefix}otel/stand-in/{minute}/{uuid.uuid4()}.json"
        # Langfuse writes the spans as JSON; here what can be read of them is enough.
        readable = [text.decode() for text in re.findall(rb"[ -~]{4,}", body)]
        document = json.dumps({"protobuf": body.hex(), "text": readable}).encode()
        client.put(bucket, key, document, {"content-type": "application/json"})
        redis("RPUSH", "events", key)
        self.answer(200, {})

    def known(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        public, _, secret = base64.b64decode(given).decode().partition(":")
        return scheme == "Basic" and sql(
            "select hash from keys where public = :'public'", public=public
        ) == [hashed(secret)]

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def take(key: str) -> None:
    """Read one export from the store."""
    client, bucket, _ = use("EVENT_UPLOAD")
    events = client.get(bucket, key).body
    client, bucket, prefix = use("MEDIA_UPLOAD")  # by the worker's own endpoint
    media = sum(1 for _ in client.objects(bucket, prefix))
    body = json.dumps({"key": key, "bytes": len(events), "media": media})
    sql("insert into traces values (:'key', :'body', :'protobuf')",
        key=key, body=body, protobuf=json.loads(events)["protobuf"])  # fmt: skip


def work() -> None:
    """Langfuse's worker: what stands in the queue is read from the store and put into a table."""
    key = ""
    while True:
        try:
            if not key:
                popped = redis("BLPOP", "events", "1").splitlines()
                if len(popped) != 2:
                    continue
                key = popped[1]
            take(key)
            key = ""  # until then it is tried again
        except (RuntimeError, S3Error, Unreachable, subprocess.TimeoutExpired) as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            time.sleep(1)


# -- DataHub --------------------------------------------------------------------------------------


class Gms(Web):
    """DataHub's documents: one endpoint for its own calls and for what browsers are given."""

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/health":
            return self.answer(200, {"status": "stand-in"})
        client, bucket = documents()
        if path == "/presigned":
            method, key = query["method"][0], query["key"][0]
            signed, _ = client.presigned(method, bucket, key, expires=600)
            return self.answer(200, {"url": client.endpoint + signed})
        if path == "/document":
            try:
                return self.answer(200, {"text": client.get(bucket, query["key"][0]).body.decode()})
            except (S3Error, Unreachable) as error:
                return self.answer(502, {"message": f"{type(error).__name__}: {error}"})
        return self.answer(404, {"message": "the stand-in does not know this call"})


def documents() -> tuple[S3, str]:
    given = os.environ
    credentials = Credentials(given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"])
    client = S3(given["AWS_ENDPOINT_URL"], credentials, given["AWS_REGION"], timeout=30, attempts=1)
    return client, given["DATAHUB_BUCKET_NAME"]


# -- every one ------------------------------------------------------------------------------------


class Plain(Web):
    """A service of which nothing but its being there is needed."""

    def do_GET(self) -> None:
        self.answer(200, {"status": f"stand-in for {ROLE}"})


def healthy() -> bool:
    try:
        with socket.create_connection(("127.0.0.1", PORTS.get(ROLE, OTHERS_PORT)), 3):
            return True
    except OSError:
        return False


def main() -> None:
    if sys.argv[1:] == ["healthy"]:
        sys.exit(0 if healthy() else 1)
    if ROLE == "system-update":
        return
    if ROLE == "langfuse-web":
        migrate()
    if ROLE == "langfuse-worker":
        threading.Thread(target=work, daemon=True).start()
    handler = {"langfuse-web": Web, "datahub-gms": Gms}.get(ROLE, Plain)
    server = ThreadingHTTPServer(("0.0.0.0", PORTS.get(ROLE, OTHERS_PORT)), handler)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server.serve_forever()


if __name__ == "__main__":
    main()
