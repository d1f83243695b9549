"""Policies of buckets: a strict parser, and whether such a policy is public.

Sources: "IAM JSON policy elements reference" in the AWS IAM user guide; "Bucket policies for Amazon
S3" and "Blocking public access to your Amazon S3 storage" (the meaning of "public") in the Amazon
S3 user guide. What this store does not know is an error that names it, never ignored.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

from storage.iam import actions, patterns
from storage.iam.errors import PolicyError
from storage.iam.policy import Policy, compile_document
from storage.iam.principals import Principals

NAME = "the bucket"
_ARN = "arn:aws:s3:::"
_CANONICAL_ID = re.compile(r"[0-9a-f]{64}\Z")
_ACCOUNT = re.compile(r"[0-9]{12}\Z|[0-9a-f]{64}\Z")
_ACCOUNT_NAME = re.compile(r"[A-Za-z0-9_+.@-]{1,64}\Z")
_USER = re.compile(r"user/([A-Za-z0-9_+.@-]{1,64})\Z")
_SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com\Z")


def parse_bucket_policy(document: str | bytes, bucket: str) -> Policy:
    """Parse and compile the policy of ``bucket``. Raises PolicyError naming what is wrong."""

    def refine(element: dict[str, Any], number: int) -> Principals:
        _check_actions(element, number)
        _check_resources(element, bucket)
        return _principals(element, number)

    return compile_document(document, NAME, refine=refine, public=is_public)


@lru_cache(maxsize=1024)
def stored_policy(document: bytes) -> Policy:
    """The compiled form of a policy that was checked when it was put. Raises PolicyError."""
    return compile_document(document, NAME, refine=_principals, public=is_public)


# -- actions and conditions -----------------------------------------------------------------------


def _check_actions(element: dict[str, Any], number: int) -> None:
    """Known actions, and condition keys that one of them has. Raises PolicyError."""
    meant: set[str] = set()
    for action in _texts(element.get("Action", element.get("NotAction"))):
        found = actions.matching(action)
        if not found:
            raise PolicyError(f"Policy has invalid action: {action}.")
        meant.update(found)
    if "NotAction" in element:
        meant = set(actions.ACTIONS)
    conditions = element.get("Condition")
    for keys in conditions.values() if isinstance(conditions, dict) else ():
        for key in keys if isinstance(keys, dict) else ():
            if not actions.is_condition_key(key.lower()):
                raise PolicyError(f"Policy has an invalid condition key: {key}.")
            if not actions.has_condition_key(meant, key.lower()):
                raise PolicyError(
                    "Conditions do not apply to combination of actions and resources in statement "
                    f"{element.get('Sid') or number}: none of its actions has {key}."
                )


# -- resources ------------------------------------------------------------------------------------


def _check_resources(element: dict[str, Any], bucket: str) -> None:
    """Resources that can be in the bucket. Raises PolicyError."""
    for resource in _texts(element.get("Resource")):
        if resource == "*":
            continue
        name = resource.removeprefix(_ARN).partition("/")[0]
        if not resource.startswith(_ARN) or not _may_name(name, bucket):
            raise PolicyError(f"Policy has invalid resource: {resource} is not in {bucket}.")
    for resource in _texts(element.get("NotResource")):
        if resource != "*" and not resource.startswith(_ARN):
            raise PolicyError(f"Policy has invalid resource: {resource}.")


def _may_name(pattern: str, bucket: str) -> bool:
    """Whether ``pattern`` matches the bucket, whatever stands for its variables."""
    open_pattern = re.sub(r"\$\{[^{}*?$]+\}", "*", pattern)
    return patterns.compile_pattern(open_pattern)(bucket)


# -- principals -----------------------------------------------------------------------------------


def _principals(element: dict[str, Any], number: int) -> Principals:
    """Whom a statement is about. Raises PolicyError."""
    if ("Principal" in element) == ("NotPrincipal" in element):
        raise PolicyError(f"Statement {number} needs either Principal or NotPrincipal.")
    negated = "NotPrincipal" in element
    if negated and element.get("Effect") == "Allow":
        raise PolicyError("NotPrincipal with Effect Allow would allow it to everybody else.")
    value = element["NotPrincipal" if negated else "Principal"]
    if value == "*":
        return Principals(everybody=True, negated=negated)
    if not isinstance(value, dict) or not value:
        raise _invalid_principal(value)
    everybody, accounts, users = False, set(), set()
    for kind, names in value.items():
        for name in _principal_names(kind, names):
            if name == "*":
                everybody = True
            elif kind == "Service":
                continue  # none of AWS's services is a caller here
            elif kind == "CanonicalUser":
                accounts.add(name)
            elif (user := _user(name)) is not None:
                users.add(user)
            else:
                accounts.add(_account(name))
    return Principals(
        everybody=everybody,
        accounts=frozenset(accounts),
        users=frozenset(users),
        negated=negated,
    )


def _principal_names(kind: str, names: Any) -> list[str]:
    """The names of one kind, each well-formed. Raises PolicyError."""
    texts = [names] if isinstance(names, str) else names
    if not isinstance(texts, list) or not texts:
        raise _invalid_principal({kind: names})
    valid = _KINDS.get(kind)
    for text in texts:
        if valid is None or not isinstance(text, str) or not valid(text):
            raise _invalid_principal({kind: text})
    return texts


def _valid_aws(text: str) -> bool:
    if text == "*" or _ACCOUNT.match(text):
        return True
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[:4] != ["arn", "aws", "iam", ""]:
        return False
    account, rest = parts[4], parts[5]
    if account and _ACCOUNT_NAME.match(account) is None:
        return False
    return bool(account) if rest == "root" else _USER.match(rest) is not None


def _valid_canonical(text: str) -> bool:
    return _CANONICAL_ID.match(text) is not None


def _valid_service(text: str) -> bool:
    return _SERVICE.match(text) is not None


_KINDS = {"AWS": _valid_aws, "CanonicalUser": _valid_canonical, "Service": _valid_service}


def _user(name: str) -> tuple[str, str] | None:
    """(account, user name) of a user's ARN."""
    parts = name.split(":", 5)
    found = _USER.match(parts[5]) if len(parts) == 6 else None
    return None if found is None else (parts[4], found[1])


def _account(name: str) -> str:
    """The account of an account id, or of the ARN of an account's root."""
    return name.split(":", 5)[4] if name.startswith("arn:") else name


def _invalid_principal(value: Any) -> PolicyError:
    return PolicyError(f"Invalid principal in policy: {value!r:.200}.")


# -- public ---------------------------------------------------------------------------------------

#: Condition keys whose fixed values say who may use a permission, whoever that is.
_TRUSTED_KEYS = (
    "aws:principalaccount aws:principalarn aws:principalorgid aws:sourceaccount aws:sourcearn "
    "aws:sourceorgid aws:sourceowner aws:sourcevpc aws:sourcevpce aws:userid aws:username "
    "aws:vpceaccount aws:vpceorgid s3:dataaccesspointaccount s3:dataaccesspointarn "
    "s3:x-amz-server-side-encryption-aws-kms-key-id"
)
_TRUSTED = frozenset(_TRUSTED_KEYS.split())
_FIXING = re.compile(
    r"(ForAnyValue:)?(StringEquals|StringEqualsIgnoreCase|StringLike|ArnEquals|ArnLike)\Z"
)
#: Broader ranges than these contain addresses of anybody's.
_PREFIX_MIN = {4: 8, 6: 32}
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)


def is_public(statements: list[dict[str, Any]]) -> bool:
    """Whether a policy allows anything to everybody: a principal that is not fixed, and no
    condition that fixes where or whom the request comes from."""
    return any(
        one.get("Effect") == "Allow" and _names_everybody(one) and not _is_fixed(one)
        for one in statements
    )


def _names_everybody(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal", "*")
    if isinstance(principal, dict):
        return "*" in _texts(principal.get("AWS"))
    return True


def _is_fixed(statement: dict[str, Any]) -> bool:
    conditions = statement.get("Condition", {})
    return any(
        _fixes(operator, key.lower(), _texts(value))
        for operator, keys in conditions.items()
        for key, value in keys.items()
    )


def _fixes(operator: str, key: str, values: list[str]) -> bool:
    """Whether a condition lets through nothing but what its author named."""
    if key == "aws:sourceip":
        return operator in ("IpAddress", "ForAnyValue:IpAddress") and all(map(_is_narrow, values))
    if key not in _TRUSTED or _FIXING.match(operator) is None:
        return False
    if key == "s3:dataaccesspointarn":
        # The name may be any, the account not: arn:aws:s3:region:account:accesspoint/name
        values = [value.rpartition(":")[0] for value in values]
    return not any(char in value for value in values for char in ("*", "?", "${"))


def _is_narrow(text: str) -> bool:
    network = ipaddress.ip_network(text, strict=False)
    if network.prefixlen >= _PREFIX_MIN[network.version]:
        return True
    return any(
        network.version == private.version and network.subnet_of(private)  # type: ignore[arg-type]
        for private in _PRIVATE
    )


def _texts(value: Any) -> list[str]:
    """A text or a list of texts as a list; what else there may be is not one."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
