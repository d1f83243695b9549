"""Policies that exist without being written, and a maker of narrow ones."""

from __future__ import annotations

import json
from typing import Any

from storage.iam import patterns
from storage.iam.errors import PolicyError
from storage.iam.policy import Policy, parse_policy

_EVERYTHING = "arn:aws:s3:::*"

_READ = ["s3:GetObject", "s3:GetObjectTagging", "s3:GetObjectAttributes", "s3:GetObjectVersion"]
_WRITE = [
    "s3:PutObject",
    "s3:PutObjectTagging",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
]
_DELETE = ["s3:DeleteObject", "s3:DeleteObjectTagging", "s3:DeleteObjectVersion"]

#: What a scoped policy may grant -> (actions on objects, whether listing belongs to it).
ACCESS: dict[str, tuple[list[str], bool]] = {
    "readwrite": (_READ + _WRITE + _DELETE, True),
    "readonly": (_READ, True),
    "writeonly": (_WRITE, False),
}


def _document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=1)


def _allow(actions: list[str], resource: str = "", **elements: Any) -> dict[str, Any]:
    target = {"Resource": [resource]} if resource else {}
    return {"Effect": "Allow", "Action": actions, **target, **elements}


_DOCUMENTS = {
    # MinIO's meaning: readonly reads objects whose names one knows, it does not list.
    "readwrite": _document(_allow(["s3:*"], _EVERYTHING)),
    "readonly": _document(_allow(["s3:GetBucketLocation", "s3:GetObject"], _EVERYTHING)),
    "writeonly": _document(_allow(["s3:PutObject"], _EVERYTHING)),
    "consoleAdmin": _document(
        _allow(["admin:*"]), _allow(["kms:*"]), _allow(["s3:*"], _EVERYTHING)
    ),
    # Make buckets, and do everything in one's own: what an AWS account may do in itself.
    "ownbuckets": _document(
        _allow(["s3:CreateBucket", "s3:ListAllMyBuckets"], _EVERYTHING),
        _allow(
            ["s3:*"],
            _EVERYTHING,
            Condition={"StringEquals": {"s3:ResourceAccount": "${aws:PrincipalAccount}"}},
        ),
    ),
}

#: Canned policies by name; records can't replace them.
CANNED: dict[str, Policy] = {
    name: parse_policy(document, name) for name, document in _DOCUMENTS.items()
}


def scoped_policy(bucket: str, prefix: str = "", access: str = "readwrite") -> str:
    """A policy document for one bucket, or for the keys of it that start with ``prefix``.

    ``access`` is a key of ``ACCESS``. Listing is granted where reading is, and only below the
    prefix. Characters that mean something in policies are taken literally.
    """
    if access not in ACCESS:
        raise PolicyError(f"Access {access} is none of {', '.join(ACCESS)}.")
    actions, listing = ACCESS[access]
    name, start = patterns.escape(bucket), patterns.escape(prefix)
    statements = [
        _allow(actions, f"arn:aws:s3:::{name}/{start}*"),
        _allow(["s3:GetBucketLocation"], f"arn:aws:s3:::{name}"),
    ]
    if listing:
        below = {"Condition": {"StringLike": {"s3:prefix": [f"{start}*"]}}} if prefix else {}
        actions = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
        statements.append(_allow(actions, f"arn:aws:s3:::{name}", **below))
    return _document(*statements)
