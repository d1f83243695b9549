"""What the console port's paths belong to: the console in its own process, all else to the API.

The console is started by the first request for one of its pages, so that a store nobody looks at
pays nothing for it. It ends with this process, or by itself after a while without visitors; the
next visit starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading

import msgspec

from storage.config import Config
from storage.origin import FORWARDED, Origin
from storage.proxies import Proxies
from storage.s3.caller import CALLER, PROOF
from storage.serving.children import environment
from storage.serving.handover import (
    Application,
    Broken,
    Busy,
    Gone,
    Receive,
    Scope,
    Send,
    hand_over,
)

_logger = logging.getLogger("storage.console")
#: Everything below it is the console's.
CONSOLE = "/console"
#: Largest request head that is handed over, in bytes.
HEAD_BYTES_MAX = 64 * 1024
#: Seconds that the console gets to end before it is killed.
_PATIENCE = 0.5
#: Seconds after which a process that was killed has ended.
_MOMENT = 0.1


class Birth(msgspec.Struct, frozen=True):
    """What the console's process is told when it starts, over its hatch and nowhere else.

    ``control`` and ``s3`` are (host, port) to connect to. ``proof`` is sent along with requests to
    the API, which then believes for whom they are made; ``caller_key`` proves the same to S3.
    """

    control: tuple[str, int]
    s3: tuple[str, int]
    external_endpoint: str
    region: str
    proof: str
    caller_key: bytes = b""


class Doorway:
    """ASGI application in front of the control plane."""

    def __init__(
        self,
        control: Application,
        config: Config,
        console_port: tuple[str, int],
        caller_key: bytes = b"",
    ) -> None:
        """``console_port``: where this process listens itself, as others connect to it.
        ``caller_key``: ``storage.s3.caller``'s."""
        self._control = control
        self._proxies = Proxies(config.trusted_proxies)
        self._proof = secrets.token_urlsafe(32)
        self._birth = Birth(
            control=console_port,
            s3=reachable(config.address[0]),
            external_endpoint=config.external_endpoint,
            region=config.region or "us-east-1",
            proof=self._proof,
            caller_key=caller_key,
        )
        self._console = Process(self._birth)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._proxies and scope["type"] == "http":
            scope = self._seen_through(scope)
        path = scope["path"] if scope["type"] == "http" else ""
        if path in ("/", CONSOLE) and scope["method"] in ("GET", "HEAD"):
            await _redirect(send, "console/")
        elif path.startswith(CONSOLE + "/"):
            if _size(scope) > HEAD_BYTES_MAX:
                await _say(send, 431, b"The head of the request is too large.")
                return
            await self._console(scope, receive, send)
        else:
            await self._control(self._believed(scope), receive, send)

    async def close(self) -> None:
        """End the console's process."""
        await self._console.close()

    def _believed(self, scope: Scope) -> Scope:
        """The scope with the address of whom the console calls for, if it is the console."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if PROOF not in headers:
            return scope
        proven = secrets.compare_digest(headers[PROOF], self._proof.encode())
        caller = headers.get(CALLER, b"").decode("latin-1")
        return _from(scope, Origin.parse(caller)) if proven and caller else scope

    def _seen_through(self, scope: Scope) -> Scope:
        """The scope with the origin of whoever is behind a trusted proxy."""
        addresses, scheme = (
            b",".join(value for name, value in scope["headers"] if name == wanted).decode("latin-1")
            for wanted in FORWARDED
        )
        peer = Origin((scope.get("client") or ("",))[0], scope["scheme"])
        return _from(scope, self._proxies.origin(peer, addresses, scheme))


def _from(scope: Scope, origin: Origin) -> Scope:
    """The scope as if its request came from ``origin``."""
    return {**scope, "client": (origin.address, 0), "scheme": origin.scheme}


class Process:
    """The console's process: started when it is needed and not there."""

    def __init__(self, birth: Birth) -> None:
        self._birth = birth
        self._hatch: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sent(message: object) -> None:
            nonlocal begun
            begun = True
            await send(message)  # type: ignore[arg-type]

        for _ in range(2):
            try:
                await hand_over(self._open(), scope, receive, sent)
            except Gone:
                self._forget()  # it may have ended of itself just now
                continue
            except Busy:
                await _unavailable(send, b"The console is busy. Please try again.")
                return
            except Broken:
                if begun:
                    _logger.warning("the console's process broke off an answer")
                    return  # uvicorn breaks off the connection
                if not await self._ended() or scope["method"] not in ("GET", "HEAD"):
                    break
                continue
            return
        await _unavailable(send, b"The console is being started again. Please try again.")

    def _open(self) -> socket.socket:
        if self._hatch is None or self._process is None or self._process.poll() is not None:
            self._forget()
            self._start()
        assert self._hatch is not None
        return self._hatch

    async def _ended(self) -> bool:
        """Whether a request was given up because the process had just ended."""
        await asyncio.sleep(_MOMENT)
        return self._process is None or self._process.poll() is not None

    def _start(self) -> None:
        self._hatch, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                # -P: a folder named "storage" in the working directory must not be imported.
                [sys.executable, "-P", "-m", "storage.console.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment(os.environ),
            )
        birth = msgspec.json.encode(self._birth)
        self._hatch.sendall(len(birth).to_bytes(4, "big") + birth)
        # From here on requests are sent: a process that takes none must not hold up this one.
        self._hatch.setblocking(False)

    def _forget(self) -> None:
        if self._hatch is not None:
            self._hatch.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            # Not here: a process that hangs in the kernel would hold up the whole console port.
            threading.Thread(target=self._process.wait, name="console's end", daemon=True).start()
        self._hatch = self._process = None

    async def close(self) -> None:
        """End the process; its end of the pair tells it."""
        if self._hatch is not None:
            self._hatch.close()
            self._hatch = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, _PATIENCE)
        self._forget()


def reachable(address: tuple[str, int]) -> tuple[str, int]:
    """Where to connect to from this machine for what listens on ``address``."""
    host, port = address[:2]
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104
    return everywhere.get(host, host), port


async def _redirect(send: Send, where: str) -> None:
    headers = [(b"location", where.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _size(scope: Scope) -> int:
    """Bytes of a request's head, as it was sent."""
    target = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    return target + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


async def _unavailable(send: Send, body: bytes) -> None:
    await _say(send, 503, body, (b"retry-after", b"1"))


async def _say(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
