"""Settings of a bucket, carried over as documents: what the source tells is put into the target.

A setting that the target has of its own is kept, and said to differ. One that an earlier run
brought follows the source, as long as nobody changed it in the target since. Of lifecycle rules the
target takes those that it carries out; the others are named with its reason.
"""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from stack.migration.memory import Brought, Memory
from stack.s3.client import S3
from stack.s3.errors import S3Error, parse
from stack.s3.transport import Unreachable

#: What becomes of a setting, a policy or a user.
CARRIED, EQUAL, KEPT, REFUSED, LEFT, WOULD = (
    "carried", "equal", "kept", "refused", "left", "would be carried"
)  # fmt: skip
#: States in which something of the source is not in the target.
NOT_CARRIED = (KEPT, REFUSED, LEFT)

#: (sub-resource, root element of its document, what it is called), in the order of carrying: a
#: block of public access would refuse the policy that the source has beside it.
_CARRIED = (
    ("ownershipControls", "OwnershipControls", "object ownership"),
    ("policy", "", "bucket policy"),
    ("publicAccessBlock", "PublicAccessBlockConfiguration", "public access block"),
    ("cors", "CORSConfiguration", "CORS rules"),
    ("tagging", "Tagging", "tags of the bucket"),
    ("lifecycle", "LifecycleConfiguration", "lifecycle rules"),
)
#: (sub-resource, root element, an element that is there if something is set, what it is called)
_LEFT = (
    ("notification", "NotificationConfiguration", "*", "notifications"),
    ("encryption", "ServerSideEncryptionConfiguration", "Rule", "default encryption"),
    ("object-lock", "ObjectLockConfiguration", "ObjectLockEnabled", "object lock"),
    ("replication", "ReplicationConfiguration", "Rule", "replication"),
)
_ANEW = "not carried over: make it anew"


@dataclass
class Setting:
    """What became of one setting; ``why``: a half sentence, where it is not in the target."""

    what: str
    state: str
    why: str = ""


class Settings:
    """Carries the settings of buckets from ``source`` to ``target``."""

    def __init__(self, source: S3, target: S3, memory: Memory) -> None:
        self._source, self._target, self._memory = source, target, memory

    def carry(self, bucket: str, *, dry: bool) -> list[Setting]:
        """Bring what differs, or only tell (``dry``). Raises Unreachable."""
        found: list[Setting] = []
        for resource, root, what in _CARRIED:
            try:
                found += self._one(bucket, resource, root, what, dry)
            except S3Error as error:
                found.append(Setting(what, LEFT, reason(error)))
        return [*found, *self._left(bucket)]

    def _one(self, bucket: str, resource: str, root: str, what: str, dry: bool) -> list[Setting]:
        there = _document(self._source, bucket, resource, root)
        here = _document(self._target, bucket, resource, root)
        known = self._memory.setting(bucket, resource)
        ours = known is not None and _print(here) == known.target
        if there is None:
            return self._take_away(bucket, resource, what, dry) if here and ours else []
        if known and ours and _print(there) == known.source:
            return [Setting(what, EQUAL), *_refusals(known.refused)]
        if _print(there) == _print(here):
            return [Setting(what, EQUAL)]
        if here is not None and not ours:
            return [Setting(what, KEPT, "the target has others than the source, and keeps them")]
        if dry:
            return [Setting(what, WOULD)]
        put = self._put_rules if resource == "lifecycle" else self._put
        refused = put(bucket, resource, what, there)
        arrived = _document(self._target, bucket, resource, root)
        if arrived is None:
            return _refusals(refused)
        brought = Brought(_print(there), _print(arrived), refused)
        self._memory.remember_setting(bucket, resource, brought)
        return [Setting(what, CARRIED), *_refusals(refused)]

    def _put(self, bucket: str, resource: str, what: str, document: bytes) -> list[tuple[str, str]]:
        """What was refused: nothing, or all of it."""
        try:
            self._target.put_document(bucket, resource, document)
        except S3Error as error:
            return [(what, reason(error))]
        return []

    def _put_rules(
        self, bucket: str, resource: str, what: str, document: bytes
    ) -> list[tuple[str, str]]:
        """Put all rules; if they are refused, those that are not when they are put one by one."""
        if not self._put(bucket, resource, what, document):
            return []
        taken: list[ET.Element] = []
        refused: list[tuple[str, str]] = []
        for place, rule in enumerate(parse(document).iter("Rule"), 1):
            configuration = ET.Element("LifecycleConfiguration")
            configuration.extend([*taken, rule])
            try:
                self._target.put_document(bucket, resource, ET.tostring(configuration))
            except S3Error as error:
                name = rule.findtext("ID") or f"number {place}"
                refused.append((f"lifecycle rule {name}", reason(error)))
            else:
                taken.append(rule)
        return refused

    def _take_away(self, bucket: str, resource: str, what: str, dry: bool) -> list[Setting]:
        """What an earlier run brought and the source has no more."""
        if dry:
            return [Setting(what, WOULD)]
        self._target.delete_document(bucket, resource)
        self._memory.forget_setting(bucket, resource)
        return [Setting(f"removal of {what}", CARRIED)]

    def _left(self, bucket: str) -> Iterator[Setting]:
        for resource, root, element, what in _LEFT:
            try:
                document = _document(self._source, bucket, resource, root)
            except S3Error:
                continue  # we may not see it
            if document is not None and parse(document).find(element) is not None:
                yield Setting(what, LEFT, _ANEW)


def reason(error: S3Error | Unreachable) -> str:
    """Why a store refused, without the full stop."""
    return str(error).rstrip(".")


def _refusals(refused: list[tuple[str, str]]) -> list[Setting]:
    return [Setting(what, REFUSED, why) for what, why in refused]


def _document(s3: S3, bucket: str, resource: str, root: str) -> bytes | None:
    """A setting's document. Stores that do not know it answer with something else, or nothing."""
    body = s3.document(bucket, resource)
    if not body or not root:
        return body or None
    try:
        return body if parse(body).tag == root else None
    except ET.ParseError:
        return None


def _print(document: bytes | None) -> str:
    """A fingerprint that spelling, the order of rules and that of their values do not change."""
    if document is None:
        return ""
    readers: tuple[Callable[[], object], ...] = (
        lambda: unordered(json.loads(document)),
        lambda: _plain(parse(document)),
    )
    value: object = document.decode("utf-8", "replace")
    for read in readers:
        try:
            value = read()
            break
        except (ValueError, ET.ParseError):
            continue
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def unordered(policy: Any) -> Any:
    """A policy in one form of all that mean the same: MinIO tells lists in another order each time,
    and one value with its list or without."""
    if isinstance(policy, dict):
        return {name: unordered(value) for name, value in policy.items()}
    if isinstance(policy, list):
        values = sorted(map(unordered, policy), key=partial(json.dumps, sort_keys=True))
        return values[0] if len(values) == 1 else values
    return policy


def _plain(element: ET.Element) -> object:
    children = sorted((_plain(child) for child in element), key=json.dumps)
    return [element.tag, (element.text or "").strip(), children]
