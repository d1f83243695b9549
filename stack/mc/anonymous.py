"""`mc anonymous set`: what may be done without keys, as a bucket policy in MinIO's four shapes.

Spec: MinIO Client's reference, "mc anonymous"; Amazon S3, "Policies and permissions in Amazon S3".
"""

from __future__ import annotations

import json
from typing import Any

from stack.mc.aliases import find
from stack.mc.base import McError, Options
from stack.mc.commands import flags_of, place, say
from stack.mc.s3 import Client, S3Error

_USAGE = "mc anonymous set private|download|upload|public ALIAS/BUCKET[/PREFIX]"
_READ = ["s3:GetObject"]
_WRITE = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts",
          "s3:PutObject"]  # fmt: skip
#: Shape -> rights on the bucket, and on what is in it.
_SHAPES: dict[str, tuple[list[str], list[str]]] = {
    "download": (["s3:GetBucketLocation", "s3:ListBucket"], _READ),
    "upload": (["s3:GetBucketLocation", "s3:ListBucketMultipartUploads"], _WRITE),
    "public": (
        ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
        [*_READ, *_WRITE],
    ),
    "private": ([], []),
}
_SYNONYMS = {"none": "private"}
_LISTS = ("s3:ListBucket",)


def run(words: list[str], options: Options) -> int:
    """The exit code. Raises McError."""
    _, words = flags_of(words, {}, _USAGE)
    if len(words) != 2:
        raise McError(f"Say `{_USAGE}`.")
    shape = _SYNONYMS.get(words[0], words[0])
    name, bucket, prefix = place(words[1])
    if shape not in _SHAPES or not bucket:
        raise McError(f"Say `{_USAGE}`.")
    client = Client(find(name, options), options)
    try:
        _set(client, bucket, prefix.removesuffix("*"), shape)
    except S3Error as error:
        if error.code == "NotImplemented" and shape == "private":
            pass  # a store without bucket policies shows nothing to strangers
        elif error.code == "NotImplemented":
            raise McError(
                f"{words[1]} stays private: this store has no bucket policies. Share objects by "
                "presigned URLs instead."
            ) from None
        else:
            raise McError(f"{words[1]}: {error}") from None
    say(options, f"Access permission for `{words[1]}` is set to `{shape}`",
        bucket=words[1], permission=shape)  # fmt: skip
    return 0


def _set(client: Client, bucket: str, prefix: str, shape: str) -> None:
    statements = [
        each for each in _present(client, bucket) if not _is_ours(each, bucket, prefix)
    ] + statements_of(shape, bucket, prefix)
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
        client.call("PUT", f"/{bucket}", {"policy": ""}, body=policy).body()
    else:
        client.call("DELETE", f"/{bucket}", {"policy": ""}).body()


def _present(client: Client, bucket: str) -> list[dict[str, Any]]:
    """The statements that the bucket has now."""
    try:
        document = json.loads(client.call("GET", f"/{bucket}", {"policy": ""}).body())
    except S3Error as error:
        if error.code == "NoSuchBucketPolicy":
            return []
        raise
    except ValueError:
        raise McError(
            f"The policy of {bucket} can't be understood; it was left as it is."
        ) from None
    found = document.get("Statement", [])
    return found if isinstance(found, list) else [found]


def statements_of(shape: str, bucket: str, prefix: str) -> list[dict[str, Any]]:
    """The statements that make what lies below ``prefix`` as open as ``shape`` says."""
    on_bucket, on_objects = _SHAPES[shape]
    lists = [action for action in on_bucket if action in _LISTS and prefix]
    found = [
        _statement([each for each in on_bucket if each not in lists], _bucket(bucket)),
        _statement(lists, _bucket(bucket), prefix),
        _statement(on_objects, _objects(bucket, prefix)),
    ]
    return [each for each in found if each["Action"]]


def _statement(actions: list[str], resource: str, prefix: str = "") -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": actions,
        "Resource": [resource],
    }
    if prefix:
        statement["Condition"] = {"StringEquals": {"s3:prefix": [prefix]}}
    return statement


def _is_ours(statement: dict[str, Any], bucket: str, prefix: str) -> bool:
    """Whether an earlier `mc anonymous set` on the same place made the statement.

    What it made for the bucket as a whole goes too: the other places need no more than their own,
    and get the bucket's location from the statement that is added now.
    """
    anonymous = statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
    if not anonymous or statement.get("Effect") != "Allow":
        return False
    resource = statement.get("Resource")
    resources = resource if isinstance(resource, list) else [resource]
    if resources == [_objects(bucket, prefix)]:
        return True
    named = statement.get("Condition", {}).get("StringEquals", {}).get("s3:prefix")
    return resources == [_bucket(bucket)] and (named in ([prefix], prefix) if prefix else not named)


def _bucket(bucket: str) -> str:
    return f"arn:aws:s3:::{bucket}"


def _objects(bucket: str, prefix: str) -> str:
    return f"arn:aws:s3:::{bucket}/{prefix}*"
