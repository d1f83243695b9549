"""A store for these tests alone: S3App over an engine in memory, on a free loopback port.

``python -m tests.s3.server`` prints its port and serves until its standard input closes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading

import uvicorn

from storage.config import Config
from storage.engine.memory import MemoryEngine
from storage.iam.users import Identity
from storage.s3.app import S3App

ROOT = ("s3testroot", "s3testsecret")
#: Further users, who may do everything in buckets of their own, for tests that need a second account.
OTHERS = (("s3testother", "s3testothersecret"),)


class FixedDirectory:
    """A directory whose identities never change."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def current(self) -> Identity | None:
        return self._identity

    async def refresh(self) -> Identity:
        return self._identity


def make_identity(root: tuple[str, str], others: tuple[tuple[str, str], ...]) -> Identity:
    from storage.iam import users

    store_key = bytes(32)
    records = []
    for number, (access_key, secret) in enumerate(others, 1):
        user = users.User(
            name=access_key, id=f"{number:064x}", policies=("ownbuckets",)
        )
        key = users.new_key(store_key, access_key, secret, owner=user.id, created=0)
        records += [users.encode(user), users.encode(key)]
    return Identity(records, root_user=root[0], root_secret=root[1], store_key=store_key)


def make_app() -> S3App:
    identity = make_identity(ROOT, OTHERS)
    assert not identity.problems, identity.problems
    return S3App(MemoryEngine(), FixedDirectory(identity), Config())


def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", int(os.environ.get("S3_TEST_PORT", "0"))))
    listener.listen(256)
    print(listener.getsockname()[1], flush=True)
    http: type | str = "httptools"
    if os.environ.get("S3_TEST_HTTP", "own") == "own":
        from storage.s3.http import S3Protocol

        http = S3Protocol
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(), http=http, loop="uvloop", lifespan="off", access_log=False, log_level="info"
        )
    )

    def stop_with_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_with_parent, daemon=True).start()
    asyncio.run(server.serve([listener]))


if __name__ == "__main__":
    main()
