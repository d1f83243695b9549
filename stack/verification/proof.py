"""The steps of the proof, each a small function that raises CommandError if it does not hold."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from stack.s3.client import S3
from stack.s3.errors import S3Error
from stack.s3.transport import Transport, Unreachable
from stack.settings import Stack
from stack.store import CommandError
from stack.verification.langfuse import Langfuse
from stack.verification.picture import picture

_PAUSE = 0.5

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """How one step went. ``detail``: what was seen, or what is wrong."""

    name: str
    verdict: Literal["passed", "failed", "left out"]
    seconds: float
    detail: str = ""


@dataclass
class Proof:
    """What the steps share. ``wait``: seconds to wait for each thing that takes its time."""

    langfuse: Langfuse
    s3: S3
    stack: Stack
    environ: Mapping[str, str]
    wait: float
    name: str = field(default_factory=lambda: f"oversight-verify-{uuid.uuid4().hex}")
    image: bytes = field(default_factory=picture)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    project: str = ""
    trace: str = ""

    @property
    def media_id(self) -> str:
        """Langfuse names media by what is in them."""
        digest = hashlib.sha256(self.image).digest()
        return base64.urlsafe_b64encode(digest).decode()[:22]

    @property
    def media_key(self) -> str:
        return f"{self.stack.media_prefix}{self.project}/{self.media_id}.png"

    # -- the steps: each returns what was seen ----------------------------------------------------

    def langfuse_answers(self) -> str:
        return f"{self.langfuse.url}, version {self.langfuse.health()}"

    def keys_are_right(self) -> str:
        self.project, name = self.langfuse.project()
        return f"project {name or self.project}"

    def trace_is_sent(self) -> str:
        self.trace = self.langfuse.send(self.name, self.image)
        return f"trace {self.trace}, image of {len(self.image):,} bytes"

    def event_is_stored(self) -> str:
        found = self._until(self._find_event)
        if not found:
            raise CommandError(
                f"No event of the trace came into {self.stack.event_bucket}/"
                f"{self.stack.event_prefix}otel/{self.project}/ within {self.wait:g} s: see the "
                "log of langfuse-web and `oversight doctor`."
            )
        return found

    def image_is_stored(self) -> str:
        body = self._until(self._stored_image)
        if body is None:
            raise CommandError(
                f"{self.stack.media_bucket}/{self.media_key} did not come within {self.wait:g} s: "
                "does Langfuse sign media URLs for an address that works from here? See "
                "`oversight doctor`."
            )
        if body != self.image:
            raise CommandError(f"{self.media_key} does not hold the bytes that were sent.")
        return self.media_key

    def image_comes_back(self) -> str:
        parts = urlsplit(self.langfuse.media_url(self.media_id))
        endpoint = f"{parts.scheme}://{parts.netloc}"
        try:
            answer = Transport(endpoint, 15).send("GET", f"{parts.path}?{parts.query}", {})
            body = answer.body
        except Unreachable as error:
            raise CommandError(
                f"Langfuse signs URLs for {endpoint}, which cannot be reached from here "
                f"({error.detail}): set OVERSIGHT_EXTERNAL_ENDPOINT."
            ) from None
        if answer.status != 200 or body != self.image:
            raise CommandError(
                f"The signed URL at {endpoint} answered {answer.status} and "
                f"{len(body):,} bytes: see `oversight doctor`."
            )
        return endpoint

    def langfuse_shows_it(self) -> str:
        if not self._until(lambda: self.langfuse.shows(self.trace)):
            raise CommandError(
                f"Langfuse does not show the trace after {self.wait:g} s: see the log of "
                "langfuse-worker."
            )
        return "the worker has read the event"

    def datahub_knows_it(self) -> str:
        from stack.verification.datahub import register

        return register(self.s3, f"s3://{self.stack.media_bucket}/{self.media_key}", self.environ)

    # -- looking ----------------------------------------------------------------------------------

    def _find_event(self) -> str | None:
        """The event's key. OTel keys hold no trace id: it stands in the body."""
        for folder in self._folders():
            for entry in self.s3.objects(self.stack.event_bucket, folder):
                body = self.s3.get(self.stack.event_bucket, entry.key).body
                if self.name.encode() in body:
                    return f"{entry.key} ({entry.size:,} bytes)"
        return None

    def _folders(self) -> Iterator[str]:
        """Where Langfuse puts events, minute by minute since a little before we began."""
        minute = self.began.replace(second=0) - timedelta(minutes=1)
        while minute <= datetime.now(UTC) + timedelta(minutes=1):
            yield (
                f"{self.stack.event_prefix}otel/{self.project}/{minute.strftime('%Y/%m/%d/%H/%M')}/"
            )
            minute += timedelta(minutes=1)

    def _stored_image(self) -> bytes | None:
        try:
            return self.s3.get(self.stack.media_bucket, self.media_key).body
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise

    def _until(self, look: Callable[[], T]) -> T:
        """What ``look`` finds, asked again until it is something or time is up."""
        deadline = time.monotonic() + self.wait
        while not (found := look()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return found


def steps_of(proof: Proof, *, datahub: bool) -> list[tuple[str, Callable[[], str]]]:
    """(name, step) in their order."""
    steps = [
        ("Langfuse answers", proof.langfuse_answers),
        ("Its API keys are right", proof.keys_are_right),
        ("A trace with an image is sent", proof.trace_is_sent),
        ("The event is in the bucket", proof.event_is_stored),
        ("The image is in the bucket", proof.image_is_stored),
        ("The image comes back by its signed URL", proof.image_comes_back),
        ("Langfuse shows the trace", proof.langfuse_shows_it),
    ]
    return [*steps, ("DataHub knows the image", proof.datahub_knows_it)] if datahub else steps


def prove(
    steps: list[tuple[str, Callable[[], str]]], tell: Callable[[str], None]
) -> Iterator[Step]:
    """Do the steps. What comes after a failed one is left out."""
    failed = False
    for name, do in steps:
        if failed:
            yield Step(name, "left out", 0.0)
            continue
        tell(name)
        began = time.monotonic()
        try:
            detail = do()
        except (CommandError, S3Error, Unreachable) as error:
            failed, detail = True, _sentence(error)
        yield Step(
            name, "failed" if failed else "passed", round(time.monotonic() - began, 2), detail
        )


def _sentence(error: Exception) -> str:
    if isinstance(error, CommandError):
        return str(error)
    return f"The store refused: {error}." if isinstance(error, S3Error) else f"Lost: {error}."


def base_url(environ: Mapping[str, str], stack: Stack) -> str:
    """Where Langfuse is."""
    return environ.get("LANGFUSE_BASE_URL") or environ.get("LANGFUSE_HOST") or stack.nextauth_url


def api_keys(environ: Mapping[str, str], stack: Stack) -> tuple[str, str]:
    """(public, secret) key of the project that is used. Raises CommandError."""
    public = environ.get("LANGFUSE_PUBLIC_KEY") or stack.init_public_key
    secret = environ.get("LANGFUSE_SECRET_KEY") or stack.init_secret_key
    if not public or not secret:
        raise CommandError(
            "Put a project's API keys into LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY (Langfuse "
            "shows them in the project's settings), or let `oversight env` make a project."
        )
    return public, secret
