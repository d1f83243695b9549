"""Who sent this form, and does it keep to the policy that they signed?

A policy document says until when it holds and what the fields of a form must be; whoever holds it
and its signature may upload once and again. Each field but a few must be in its conditions.

Sources: "Authenticating Requests in Browser-Based Uploads Using POST (AWS Signature Version 4)"
and "POST Policy" in the Amazon S3 API Reference; "Browser-based uploads using POST (AWS signature
version 2)" in the Amazon S3 User Guide.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from storage.iam.principal import ANONYMOUS, Credential
from storage.s3.auth import (
    VERSION_2,
    VERSION_4,
    AuthResult,
    Keyring,
    signing,
    sigv2,
    sigv4,
    version_2_refused,
)
from storage.s3.errors import S3Error

Fields = Mapping[str, bytes]
"""A form's fields by lower-case name; the file is not among them."""

#: Fields that authenticate, as they are spelled, in the order in which they are missed.
_VERSION_4 = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
_VERSION_2 = ("AWSAccessKeyId", "Signature")
_NAMES_4 = frozenset(name.lower() for name in _VERSION_4)
_NAMES_2 = frozenset(name.lower() for name in _VERSION_2)
#: Fields that need no condition.
_EXEMPT = frozenset(("policy", "file"))
_EXEMPT_4 = _EXEMPT | {"x-amz-signature"}
_EXEMPT_2 = _EXEMPT | _NAMES_2
#: The session token of temporary credentials; the policy must have a condition for it.
_TOKEN = "x-amz-security-token"  # noqa: S105 - its name
#: Fields of this prefix need none either.
IGNORED = "x-ignore-"
#: Nor do checksums: they bind whoever sends the file, and let nobody do more.
_UNCONDITIONAL = (IGNORED, "x-amz-checksum-")
#: Fields of which a form with one is signed.
AUTHENTICATING = _NAMES_4 | _NAMES_2 | {"policy"}

_EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z").fullmatch
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SIZE_MAX = 1 << 62


class Condition(msgspec.Struct, frozen=True):
    """What one field must be. ``operator``: "eq" or "starts-with"; ``field`` as in the policy."""

    operator: str
    field: str
    value: str

    def __str__(self) -> str:
        return json.dumps([self.operator, self.field, self.value], ensure_ascii=False)


class PostPolicy(msgspec.Struct, frozen=True):
    """A policy document. ``expires`` in seconds since the epoch, sizes of the file in bytes."""

    expires: float
    conditions: tuple[Condition, ...] = ()
    size_min: int = 0
    size_max: int = _SIZE_MAX

    def check(self, fields: Fields, bucket: str, exempt: frozenset[str]) -> None:
        """Hold the fields of a form for ``bucket`` against the conditions. Raises AccessDenied."""
        covered = set(exempt)
        for condition in self.conditions:
            name = condition.field.removeprefix("$").lower()
            values = [fields.get(name, b"")]
            if name == "bucket":
                values = [bucket.encode(), *([fields[name]] if name in fields else ())]
            if not condition.field.startswith("$") or not all(
                _holds(condition, name, value) for value in values
            ):
                raise _violated(f"Policy Condition failed: {condition}")
            covered.add(name)
        extra = [
            name
            for name in (*fields, "bucket")
            if name not in covered and not name.startswith(_UNCONDITIONAL)
        ]
        if extra:
            raise _violated(f"Extra input fields: {', '.join(dict.fromkeys(extra))}")

    def at_most(self, size: int) -> PostPolicy:
        """The same policy, for a file of at most ``size`` bytes."""
        return msgspec.structs.replace(self, size_max=min(self.size_max, size))

    def check_size(self, size: int) -> None:
        """Hold the size of the file against the range. Raises EntityTooSmall, EntityTooLarge."""
        if size > self.size_max:
            raise S3Error(
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
                ProposedSize=str(size),
                MaxSizeAllowed=str(self.size_max),
            )
        if size < self.size_min:
            raise S3Error(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                ProposedSize=str(size),
                MinSizeAllowed=str(self.size_min),
            )


#: What holds for a form without a policy.
ANYTHING = PostPolicy(expires=0.0)


def _holds(condition: Condition, name: str, value: bytes) -> bool:
    expected = condition.value.encode("utf-8", "surrogatepass")
    if condition.operator == "eq":
        return value == expected
    if name == "content-type":  # several types are a list, each of which must fit
        return all(item.strip().startswith(expected) for item in value.split(b","))
    return value.startswith(expected)


# -- the signature ------------------------------------------------------------------------------


def authenticate_form(
    fields: Fields,
    bucket: str,
    keyring: Keyring,
    region: str,
    now: float | None = None,
    *,
    version_2: bool = True,
) -> tuple[AuthResult, PostPolicy]:
    """Verify who signed the policy of a form, and check its fields; but for the file's size.

    A form without policy and signature is anonymous. Raises InvalidArgument (a field is missing),
    AuthorizationQueryParametersError, InvalidAccessKeyId, InvalidToken, ExpiredToken,
    SignatureDoesNotMatch, InvalidPolicyDocument and AccessDenied (unsigned, expired, not
    according to the policy).
    """
    given_4, given_2 = _NAMES_4 & fields.keys(), _NAMES_2 & fields.keys()
    if "policy" not in fields:
        if given_4 or given_2:
            raise missing("policy")
        return AuthResult(ANONYMOUS), ANYTHING
    text = fields["policy"]
    if given_4:
        credential, algorithm = _verify_4(fields, text, keyring, region), VERSION_4
        exempt = _EXEMPT_4
    elif given_2:
        if not version_2:
            raise version_2_refused()
        credential, algorithm = _verify_2(fields, text, keyring), VERSION_2
        exempt = _EXEMPT_2
    else:
        raise S3Error("AccessDenied")
    policy = parse(text)
    if (time.time() if now is None else now) > policy.expires:
        raise _violated("Policy expired.")
    policy.check(fields, bucket, exempt)
    return (
        AuthResult(
            credential.principal,
            credential.access_key,
            "post",
            algorithm=algorithm,
            credential=credential,
            form_time=fields.get("x-amz-date", b"") if given_4 else b"",
        ),
        policy,
    )


def _verify_4(fields: Fields, policy: bytes, keyring: Keyring, region: str) -> Credential:
    for name in _VERSION_4:
        if not fields.get(name.lower()):
            raise missing(name)
    if fields["x-amz-algorithm"] != signing.ALGORITHM:
        raise sigv4.malformed_query('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    scope = sigv4.make_scope(fields["x-amz-credential"], b"host", sigv4.malformed_credential)
    date = fields["x-amz-date"]
    if signing.parse_time(date) is None:
        raise sigv4.malformed_query(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        )
    if date[:8] != scope.date:
        raise sigv4.malformed_query(
            f'Invalid credential date "{sigv4.shown(scope.date)}". This date is not the same as '
            f'X-Amz-Date: "{sigv4.shown(date[:8])}".'
        )
    credential = sigv4.find_credential(keyring, scope.access_key, fields.get(_TOKEN))
    if region:
        sigv4.check_region(scope.region, region, sigv4.malformed_credential)
    key = signing.signing_key(credential.secret, scope.date, scope.region)
    signature = fields["x-amz-signature"]
    if not signing.matches(key.sign(policy), signature):
        raise sigv2.mismatch(credential, policy, signature)
    return credential


def _verify_2(fields: Fields, policy: bytes, keyring: Keyring) -> Credential:
    for name in _VERSION_2:
        if not fields.get(name.lower()):
            raise missing(name)
    access_key = fields["awsaccesskeyid"].decode("utf-8", "replace")
    credential = sigv4.find_credential(keyring, access_key, fields.get(_TOKEN))
    signature = fields["signature"]
    if not signing.matches(sigv2.sign(credential.secret, policy), signature):
        raise sigv2.mismatch(credential, policy, signature)
    return credential


def missing(name: str) -> S3Error:
    """The refusal of a form that lacks a field, or has it behind the file."""
    return S3Error(
        "InvalidArgument",
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the "
        "order of the fields.",
        ArgumentName=name,
        ArgumentValue="",
    )


def _violated(how: str) -> S3Error:
    return S3Error("AccessDenied", f"Invalid according to Policy: {sigv4.printable(how)}")


# -- the document -------------------------------------------------------------------------------


def parse(text: bytes) -> PostPolicy:
    """The policy of a form, base64 as it is sent. Raises InvalidPolicyDocument."""
    try:
        decoded = base64.b64decode(b"".join(text.split()), validate=True).decode()
        document = json.loads(_ESCAPE.sub(_unescape, decoded))
    except (binascii.Error, ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("Invalid JSON.")
    for name in document:
        if name not in ("expiration", "conditions"):
            raise _invalid(f"Unexpected: '{name}'")
    for name in ("expiration", "conditions"):
        if name not in document:
            raise _invalid(f"Policy missing {name}.")
    if not isinstance(document["conditions"], list):
        raise _invalid("Invalid 'conditions' value: must be a list.")
    expires = _parse_expiration(document["expiration"])
    conditions: list[Condition] = []
    size_min, size_max = 0, _SIZE_MAX
    for item in document["conditions"]:
        if isinstance(item, list) and item and _operator(item) == "content-length-range":
            low, high = _parse_range(item)
            size_min, size_max = max(size_min, low), min(size_max, high)
        else:
            conditions.append(_parse_condition(item))
    return PostPolicy(expires, tuple(conditions), size_min, size_max)


def _unescape(match: re.Match[str]) -> str:
    r"""S3 has two escapes that JSON does not know: ``\$`` and ``\v``."""
    if match[1] == "$":
        return "$"
    return "\\u000b" if match[1] == "v" else match[0]


def _parse_expiration(value: Any) -> float:
    if isinstance(value, str) and _EXPIRATION(value) is not None:
        try:
            # From Python 3.11 on, digits beyond microseconds are cut off.
            return datetime.datetime.fromisoformat(value).timestamp()
        except ValueError:
            pass
    raise _invalid(f"Invalid 'expiration' value: '{value}'")


def _operator(item: list[Any]) -> str:
    return item[0].lower() if isinstance(item[0], str) else ""


def _parse_range(item: list[Any]) -> tuple[int, int]:
    sizes = [_size(value) for value in item[1:]]
    if len(sizes) != 2:
        raise _invalid("Invalid content-length-range: it must have a minimum and a maximum.")
    return sizes[0], sizes[1]


def _size(value: Any) -> int:
    text = str(value)
    if isinstance(value, (int, str)) and text.isascii() and text.isdigit() and len(text) <= 19:
        return int(text)
    raise _invalid(f"Invalid content-length-range value: '{value}'")


def _parse_condition(item: Any) -> Condition:
    if isinstance(item, dict):
        if len(item) != 1:
            raise _invalid(
                "Invalid Simple-Condition: Simple-Conditions must have exactly one property "
                "specified."
            )
        ((name, value),) = item.items()
        operator, field = "eq", f"${name}"
        if not isinstance(value, str):
            raise _invalid("Invalid Simple-Condition: value must be a string.")
    elif isinstance(item, list) and len(item) == 3 and all(isinstance(v, str) for v in item):
        operator, field, value = _operator(item), item[1], item[2]
        if operator not in ("eq", "starts-with"):
            raise _invalid(f"Unknown operation: '{item[0]}'")
    else:
        raise _invalid("Invalid Condition: it must be an operation, a field and a value.")
    return Condition(operator, field, value)


def _invalid(what: str) -> S3Error:
    return S3Error("InvalidPolicyDocument", f"Invalid Policy: {sigv4.printable(what)}")
