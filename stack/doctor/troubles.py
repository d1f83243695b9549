"""Every trouble that the doctor can name: one sentence, one cure. ``docs/doctor.md`` says more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["failure", "warning"]


@dataclass(frozen=True)
class Trouble:
    """A trouble that was found. ``code`` is for programs and stays the same over releases."""

    code: str
    severity: Severity
    sentence: str
    cure: str


class Found(Exception):
    """Raised by a check that has found a trouble."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.sentence)
        self.trouble = trouble


class Inapplicable(Exception):
    """Raised by a check that cannot say anything here, with the reason."""


#: code -> (severity, sentence, cure); both are formats.
CATALOGUE: dict[str, tuple[Severity, str, str]] = {
    # -- reaching the store
    "endpoint-unreachable": (
        "failure",
        "The store cannot be reached at {endpoint}: {detail}.",
        "Start the store, or set the endpoint to where it listens as seen from here ({variable}).",
    ),
    "presigned-host-unreachable": (
        "failure",
        "Browsers and SDKs cannot reach {endpoint}, for which Langfuse signs URLs: {detail}.",
        "Set OVERSIGHT_EXTERNAL_ENDPOINT to an address of the store that works in the browsers "
        "of your users, and publish its port.",
    ),
    "not-s3": (
        "failure",
        "What answers at {endpoint} is no S3 store: {detail}.",
        "Point {variable} to the S3 port (9000 in the container, 9090 on the host), not to the "
        "console (9001, 9091) or another service.",
    ),
    "starting": (
        "failure",
        "The store at {endpoint} is starting and not ready yet.",
        "Wait; after a crash it replays its log first. Its log shows what it does.",
    ),
    "slow": (
        "warning",
        "A request of 2 KB took {seconds:.1f} s at {endpoint}.",
        "Look at the drive, the load of the store's machine and the proxy between.",
    ),
    # -- time, region, credentials
    "clock-skew": (
        "failure",
        "The clocks differ by {seconds:.0f} s: here it is {here}, at {endpoint} {there}.",
        "Set both clocks by NTP; signatures are refused from 15 minutes on. In Docker Desktop or "
        "a virtual machine that slept, restart it.",
    ),
    "wrong-region": (
        "failure",
        "The store wants requests signed for the region {expected}, and {variable} says {given}.",
        "Set {variable}={expected}, or take OVERSIGHT_REGION away from the store: without it any "
        "region is accepted.",
    ),
    "unknown-access-key": (
        "failure",
        "The store at {endpoint} knows no access key {access_key}.",
        "Create it with `oversight bootstrap`, or set {variable} to a key that exists "
        "(`oversight key list`).",
    ),
    "wrong-secret": (
        "failure",
        "The secret for the access key {access_key} is wrong.",
        "Set {variable} to the secret that the store has; if it is lost, `oversight key remove "
        "{access_key}` and `oversight bootstrap` make it anew.",
    ),
    "access-denied": (
        "failure",
        "The access key {access_key} has no right to the bucket {bucket}: {action} is denied.",
        "Give its user a policy that allows it: `oversight bootstrap` does, or `oversight policy "
        "put NAME --bucket {bucket}` and `oversight user policy USER NAME`.",
    ),
    "default-credentials": (
        "failure",
        "The store at {endpoint} lets in {access_key} with its published default password.",
        "Run `oversight env` for generated secrets, or set OVERSIGHT_ROOT_PASSWORD; for a store "
        "that holds data, change it with `oversight rekey`.",
    ),
    # -- buckets and settings
    "missing-bucket": (
        "failure",
        "The bucket {bucket} does not exist, and Langfuse does not make it.",
        "Run `oversight bootstrap`, or `oversight bucket create {bucket}`.",
    ),
    "missing-setting": (
        "failure",
        "{service} has no {variable}.",
        "Set it in the service's environment; docs/doctor.md lists what Langfuse reads.",
    ),
    "path-style": (
        "failure",
        "{service} asks for {bucket}.{host}, a name that does not exist: {variable} is not true.",
        "Set {variable}=true.",
    ),
    "mixed-content": (
        "failure",
        "Browsers block {endpoint} on the pages of {page}: http is not allowed inside of https.",
        "Put HTTPS in front of the store and set OVERSIGHT_EXTERNAL_ENDPOINT to it.",
    ),
    # -- what stands between
    "proxy-host": (
        "failure",
        "A proxy at {endpoint} changes the Host header{detail}, so that no signature fits.",
        "Let it keep the client's Host: nginx `proxy_set_header Host $http_host;`, Apache "
        "`ProxyPreserveHost On`; Caddy and Traefik keep it by themselves.",
    ),
    "proxy-headers": (
        "failure",
        "A proxy at {endpoint} changes or drops signed headers: {names}.",
        "Let it pass the request's headers on unchanged.",
    ),
    "proxy-path": (
        "failure",
        "A proxy at {endpoint} changes the path or the query of requests.",
        "Let it pass the path on as it came: in nginx `proxy_pass` with no path behind the port, "
        "no rewrites, and the store at the root of its host.",
    ),
    "proxy-length": (
        "failure",
        "A proxy at {endpoint} drops or changes the length of bodies.",
        "Let it stream bodies as they come: nginx `proxy_http_version 1.1; "
        "proxy_request_buffering off;` without filters that change bodies.",
    ),
    "proxy-body-limit": (
        "failure",
        "A proxy at {endpoint} refuses bodies of {mebibytes} MiB.",
        "Lift its limit: nginx `client_max_body_size 0;`, Traefik without a buffering middleware.",
    ),
    "connection-lost": (
        "failure",
        "{action} at {endpoint} came to no end: {detail}.",
        "If a proxy stands between, raise its time limits and let it stream bodies; else look "
        "at the network and at the store's log.",
    ),
    "proxy-answer": (
        "failure",
        "Something between changes what {endpoint} answers: {detail}.",
        "Turn off compression, caching and rewriting of answers for the store's host.",
    ),
    # -- what browsers need
    "cors": (
        "failure",
        "A browser on {origin} may not upload to {endpoint}: {detail}.",
        "Set OVERSIGHT_CORS_ALLOW_ORIGIN to {origin} or *, or add a rule for it where the bucket "
        "has CORS rules of its own; let a proxy pass OPTIONS and the Access-Control headers on.",
    ),
    # -- integrity and space
    "delete-checksum": (
        "failure",
        "{endpoint} refuses DeleteObjects with the checksum that Langfuse sends: {detail}.",
        "Langfuse cannot delete there. Take a store that knows x-amz-checksum-crc32, or a proxy "
        "that lets it through.",
    ),
    "disk-full": (
        "failure",
        "The store refuses writes, because its drive is full.",
        "Free space: delete what is not needed, set a lifecycle rule on events/, or give the "
        "store a larger drive. Deleting and reading work meanwhile.",
    ),
    "disk-low": (
        "warning",
        "Only {free} of {total} are free on the store's drive.",
        "Set a lifecycle rule on events/, which otherwise grows without end, or enlarge the drive.",
    ),
    "inodes-low": (
        "warning",
        "Only {free} of {total} inodes are free on the store's drive.",
        "Give the store a file system of its own, or one that makes inodes as it needs them (xfs).",
    ),
    "drives-offline": (
        "failure",
        "{count} of the store's drives are offline.",
        "See `oversight drives` and the store's log.",
    ),
    "control-unreachable": (
        "warning",
        "The control API does not answer: {detail}",
        "Set OVERSIGHT_CONSOLE_URL to the store's console port, or take it away where the store "
        "has none.",
    ),
    "unexpected": (
        "failure",
        "{action} failed at {endpoint}: {detail}.",
        "The store's log says more; please report it if the cure is not clear from there.",
    ),
}


def trouble(code: str, severity: Severity | None = None, **values: object) -> Trouble:
    """A trouble of the catalogue, with the values of its sentence and cure."""
    usual, sentence, cure = CATALOGUE[code]
    return Trouble(code, severity or usual, sentence.format(**values), cure.format(**values))
