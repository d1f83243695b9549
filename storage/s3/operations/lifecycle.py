"""Get, Put and Delete of BucketLifecycleConfiguration; ``x-amz-expiration``, ``x-amz-abort-*``.

Only what is carried out is accepted: Expiration, NoncurrentVersionExpiration and
AbortIncompleteMultipartUpload, by prefix. Transitions and filters by tag or size answer
NotImplemented, once the whole document was found well made. ``<Prefix>`` without ``<Filter>``, the
older form, is read back as it came.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from storage import lifecycle
from storage.engine import interface as i
from storage.lifecycle import Clock, Rule
from storage.s3 import headers, xml
from storage.s3.call import Call, HeaderList, Response
from storage.s3.errors import S3Error
from storage.s3.operations.body import read_document
from storage.s3.operations.documents import set_document

_ID_MAX = 255
_NUMBER = re.compile(r"[0-9]{1,10}\Z")
_SIZE = re.compile(r"[0-9]{1,19}\Z")
#: XML Schema's int, which S3's numbers of days are.
_INT_MAX = 2**31 - 1
#: 9999-12-31T00:00:00Z, ms: the last midnight that ISO 8601 and HTTP dates can tell.
_DATE_MAX = 253_402_214_400_000
_ACTIONS = ("Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
_CONDITIONS = ("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
_TRANSITIONS = {"Transition": ("Date", "Days"), "NoncurrentVersionTransition": ("NoncurrentDays",)}
#: From what size objects are transitioned by default. None are: S3's default is all there is.
_MINIMUM_SIZE = b"x-amz-transition-default-minimum-object-size"
_DEFAULT_MINIMUM_SIZE = b"all_storage_classes_128K"
_ABSENT = {
    "Transition": "Transitions are not implemented.",
    "NoncurrentVersionTransition": "Transitions are not implemented.",
    "And": "Lifecycle filters by tag or size are not implemented.",
    "Tag": "Lifecycle filters by tag are not implemented.",
    "ObjectSizeGreaterThan": "Lifecycle filters by size are not implemented.",
    "ObjectSizeLessThan": "Lifecycle filters by size are not implemented.",
}


async def get_bucket_lifecycle(call: Call) -> Response:
    """The rules as they were put. Raises NoSuchLifecycleConfiguration."""
    document = call.target.config.get(lifecycle.DOCUMENT)
    if document is None:
        raise S3Error("NoSuchLifecycleConfiguration", BucketName=call.bucket)
    text = "".join(map(_render, lifecycle.decode(document)))
    lines = [xml.CONTENT_TYPE, (_MINIMUM_SIZE, _DEFAULT_MINIMUM_SIZE)]
    return Response(200, lines, xml.document("LifecycleConfiguration", text))


async def put_bucket_lifecycle(call: Call) -> Response:
    """Replace the rules."""
    if call.headers.get(_MINIMUM_SIZE, _DEFAULT_MINIMUM_SIZE) != _DEFAULT_MINIMUM_SIZE:
        raise S3Error("NotImplemented", _ABSENT["Transition"], Header=_MINIMUM_SIZE.decode())
    root = xml.parse(await read_document(call), "LifecycleConfiguration")
    nodes = xml.items(root, "Rule")
    if not nodes:
        raise xml.malformed("Rule")
    if len(nodes) > lifecycle.RULES_MAX:
        raise S3Error(
            "InvalidRequest", "The number of lifecycle rules must not exceed the limit",
            Element="Rule",
        )  # fmt: skip
    rules = _with_ids([_parse_rule(node) for node in nodes])
    if len({rule.id for rule in rules}) < len(rules):
        raise S3Error(
            "InvalidArgument",
            "Rule ID must be unique. Found same ID for more than one rule",
            ArgumentName="ID",
        )
    _refuse_absent(root)
    await set_document(call, lifecycle.DOCUMENT, lifecycle.encode(rules))
    return Response(200, [(_MINIMUM_SIZE, _DEFAULT_MINIMUM_SIZE)])


async def delete_bucket_lifecycle(call: Call) -> Response:
    """Nothing expires any more."""
    await set_document(call, lifecycle.DOCUMENT, None)
    return Response(204, [])


def expiration_header(call: Call, bucket: i.Bucket, key: str, modified: int) -> HeaderList:
    """``x-amz-expiration`` of a visible object that a rule will take."""
    due = _due(lifecycle.expiring, call, bucket, key, modified)
    return [] if due is None else [(b"x-amz-expiration", b'expiry-date="%b", rule-id="%b"' % due)]


def abort_headers(call: Call, bucket: i.Bucket, key: str, initiated: int) -> HeaderList:
    """``x-amz-abort-date`` and ``x-amz-abort-rule-id`` of an upload that a rule will abort."""
    due = _due(lifecycle.aborting, call, bucket, key, initiated)
    return [] if due is None else [(b"x-amz-abort-date", due[0]), (b"x-amz-abort-rule-id", due[1])]


def _due(
    find: Callable[[tuple[Rule, ...], str, int, Clock], tuple[int, str]],
    call: Call,
    bucket: i.Bucket,
    key: str,
    since: int,
) -> tuple[bytes, bytes] | None:
    """When ``find`` says that a rule of the bucket will take something, and the rule's id in ASCII.
    None: never, or later than a date can tell."""
    document = bucket.config.get(lifecycle.DOCUMENT)
    if document is None:
        return None
    clock = Clock(time.time_ns() // 1_000_000, call.app.config.lifecycle_day)
    at, rule = find(lifecycle.decode(document), key, since, clock)
    if not 0 < at <= _DATE_MAX:
        return None
    return headers.http_date(at // 1000), quote(rule, safe=" ").encode()


# -- reading --------------------------------------------------------------------------------------


def _parse_rule(node: xml.Node) -> Rule:
    """One ``<Rule>``, without what is not implemented; its id may be empty.

    Raises MalformedXML, InvalidRequest and InvalidArgument, naming the element.
    """
    for child in node.children:
        if child.name in _TRANSITIONS:
            _check_transition(child)
    known = ("ID", "Status", "Prefix", "Filter", *_ACTIONS, *_TRANSITIONS)
    parts = _children(node, known, several=tuple(_TRANSITIONS))
    status = _leaf(parts, "Status")
    if status not in ("Enabled", "Disabled"):
        raise xml.malformed("Status")
    if ("Prefix" in parts) == ("Filter" in parts):
        raise xml.malformed("Filter")
    prefix = _leaf(parts, "Prefix") if "Prefix" in parts else _parse_filter(parts["Filter"])
    if len(prefix.encode()) > i.KEY_BYTES_MAX:
        raise S3Error("InvalidRequest", "The maximum size of a prefix is 1024.", Element="Prefix")
    if not any(name in parts for name in (*_ACTIONS, *_TRANSITIONS)):
        raise S3Error(
            "InvalidRequest", "At least one action needs to be specified in a rule.", Element="Rule"
        )
    rule_id = _leaf(parts, "ID") if "ID" in parts else ""
    if len(rule_id) > _ID_MAX:
        raise S3Error(
            "InvalidArgument",
            "ID length should not exceed allowed limit of 255",
            ArgumentName="ID",
            ArgumentValue=rule_id,
        )
    days, date, lone_markers = _parse_expiration(parts.get("Expiration"))
    noncurrent_days, kept = _parse_noncurrent(parts.get("NoncurrentVersionExpiration"))
    abort_days = _parse_abort(parts.get("AbortIncompleteMultipartUpload"))
    return Rule(
        rule_id, prefix, status == "Enabled", "Filter" in parts, days, date, lone_markers,
        noncurrent_days, kept, abort_days, "Filter" in parts and not parts["Filter"].children,
    )  # fmt: skip


def _with_ids(rules: list[Rule]) -> tuple[Rule, ...]:
    """S3 makes ids up. Made of the rules and their order, the same document stays the same."""
    named: list[Rule] = []
    seen: Counter[Rule] = Counter()
    for rule in rules:
        made = hashlib.sha256(repr((rule, seen[rule])).encode()).hexdigest()[:32]
        named.append(rule if rule.id else msgspec.structs.replace(rule, id=made))
        seen[rule] += 1
    return tuple(named)


def _parse_filter(node: xml.Node) -> str:
    """The prefix. Raises MalformedXML: what is not implemented must be well made, too."""
    parts = _children(node, (*_CONDITIONS, "And"))
    if len(parts) > 1:
        raise xml.malformed(node.name)
    conditions = list(parts.values())
    if "And" in parts:
        _children(parts["And"], _CONDITIONS, several=("Tag",))
        conditions = parts["And"].children
    for condition in conditions:
        if condition.name == "Tag":
            xml.fields(condition, ("Key", "Value"), required=("Key", "Value"))
        elif condition.name != "Prefix" and _SIZE.match(xml.leaf(condition).strip()) is None:
            raise xml.malformed(condition.name)
    return _leaf(parts, "Prefix") if "Prefix" in parts else ""


def _refuse_absent(node: xml.Node) -> None:
    """Raises NotImplemented, naming the element, for what is well made and not carried out."""
    if node.name in _ABSENT:
        raise S3Error("NotImplemented", _ABSENT[node.name], Element=node.name)
    for child in node.children:
        _refuse_absent(child)


def _parse_expiration(node: xml.Node | None) -> tuple[int, int, str]:
    """(days, date, lone markers), exactly one of them given."""
    if node is None:
        return 0, 0, ""
    parts = _children(node, ("Days", "Date", "ExpiredObjectDeleteMarker"))
    if len(parts) != 1:
        raise xml.malformed("Expiration")
    if "Days" in parts:
        return _days(parts, "Days"), 0, ""
    if "Date" in parts:
        return 0, _date(_leaf(parts, "Date")), ""
    value = _leaf(parts, "ExpiredObjectDeleteMarker").lower()
    if value not in ("true", "false"):
        raise xml.malformed("ExpiredObjectDeleteMarker")
    return 0, 0, value


def _parse_noncurrent(node: xml.Node | None) -> tuple[int, int]:
    if node is None:
        return 0, 0
    parts = _children(node, ("NoncurrentDays", "NewerNoncurrentVersions"))
    if "NoncurrentDays" not in parts:
        raise xml.malformed("NoncurrentDays")
    kept = 0
    if "NewerNoncurrentVersions" in parts:
        kept = _days(parts, "NewerNoncurrentVersions")
        if kept > 100:
            raise S3Error(
                "InvalidArgument",
                "'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be a "
                "positive integer of at most 100",
                ArgumentName="NewerNoncurrentVersions",
                ArgumentValue=str(kept),
            )
    return _days(parts, "NoncurrentDays"), kept


def _parse_abort(node: xml.Node | None) -> int:
    if node is None:
        return 0
    return _days(_children(node, ("DaysAfterInitiation",)), "DaysAfterInitiation")


def _check_transition(node: xml.Node) -> None:
    """Raises MalformedXML and InvalidArgument: a mistake is worth more than "not implemented"."""
    when = _TRANSITIONS[node.name]
    parts = _children(node, (*when, "NewerNoncurrentVersions", "StorageClass"))
    _leaf(parts, "StorageClass")
    given = [name for name in when if name in parts]
    if len(given) != 1:
        raise xml.malformed(node.name)
    text = _leaf(parts, given[0]).strip()
    if given[0] == "Date":
        _date(text)
    elif _NUMBER.match(text) is None:  # 0 days are fine here
        raise xml.malformed(given[0])


def _children(
    node: xml.Node, allowed: tuple[str, ...], several: tuple[str, ...] = ()
) -> dict[str, xml.Node]:
    """Children by name, each known, and at most once but those of ``several``."""
    found: dict[str, xml.Node] = {}
    for child in xml.children(node):
        if child.name not in allowed or (child.name in found and child.name not in several):
            raise xml.malformed(child.name)
        found[child.name] = child
    return found


def _leaf(parts: dict[str, xml.Node], name: str) -> str:
    node = parts.get(name)
    if node is None:
        raise xml.malformed(name)
    return xml.leaf(node)


def _days(parts: dict[str, xml.Node], name: str) -> int:
    text = _leaf(parts, name).strip()
    if _NUMBER.match(text) is None or int(text) > _INT_MAX:
        raise xml.malformed(name)
    if int(text) == 0:
        raise S3Error(
            "InvalidArgument",
            f"'{name}' for a lifecycle action must be a positive integer",
            ArgumentName=name,
            ArgumentValue=text,
        )
    return int(text)


def _date(text: str) -> int:
    moment = headers.parse_iso_date(text.strip())
    if not 0 < moment <= _DATE_MAX:
        raise xml.malformed("Date")
    if moment % (lifecycle.DAY_SECONDS * 1000):
        raise S3Error(
            "InvalidArgument",
            "'Date' must be at midnight GMT",
            ArgumentName="Date",
            ArgumentValue=text,
        )
    return moment


# -- writing --------------------------------------------------------------------------------------


def _render(rule: Rule) -> str:
    prefix = xml.element("Prefix", rule.prefix)
    text = f"{xml.element('ID', rule.id)}"
    if rule.in_filter:
        text += "<Filter/>" if rule.bare_filter else f"<Filter>{prefix}</Filter>"
    else:
        text += prefix
    text += f"<Status>{'Enabled' if rule.enabled else 'Disabled'}</Status>"
    if rule.days:
        text += f"<Expiration><Days>{rule.days}</Days></Expiration>"
    elif rule.date:
        text += f"<Expiration><Date>{headers.iso_date(rule.date)}</Date></Expiration>"
    elif rule.lone_markers:
        text += (
            f"<Expiration><ExpiredObjectDeleteMarker>{rule.lone_markers}"
            "</ExpiredObjectDeleteMarker></Expiration>"
        )
    if rule.noncurrent_days:
        kept = rule.noncurrent_kept
        text += (
            f"<NoncurrentVersionExpiration><NoncurrentDays>{rule.noncurrent_days}</NoncurrentDays>"
            f"{f'<NewerNoncurrentVersions>{kept}</NewerNoncurrentVersions>' if kept else ''}"
            "</NoncurrentVersionExpiration>"
        )
    if rule.abort_days:
        text += (
            "<AbortIncompleteMultipartUpload>"
            f"<DaysAfterInitiation>{rule.abort_days}</DaysAfterInitiation>"
            "</AbortIncompleteMultipartUpload>"
        )
    return f"<Rule>{text}</Rule>"
