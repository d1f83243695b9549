"""`mc anonymous`: what may be done without keys, as a bucket policy in MinIO's four shapes.

Spec: MinIO Client's reference, "mc anonymous"; Amazon S3, "Policies and permissions in Amazon S3".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stack.mc.aliases import find
from stack.mc.base import McError, Options
from stack.mc.commands import flags_of, place, say
from stack.mc.s3 import Client, S3Error

_SET = "mc anonymous set private|download|upload|public ALIAS/BUCKET[/PREFIX]"
_USAGES = {
    "set": _SET,
    "get": "mc anonymous get ALIAS/BUCKET[/PREFIX]",
    "set-json": "mc anonymous set-json FILE ALIAS/BUCKET",
    "get-json": "mc anonymous get-json ALIAS/BUCKET",
}
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
_EVERYBODY = ("*", {"AWS": "*"}, {"AWS": ["*"]})


def run(words: list[str], options: Options) -> int:
    """Carry out what stands behind `mc anonymous`; the exit code. Raises McError."""
    usage = _USAGES[words[0]]
    verb = words[0]
    _, words = flags_of(words[1:], {}, usage)
    if len(words) != usage.count("ALIAS") + (verb in ("set", "set-json")):
        raise McError(f"Say `{usage}`.")
    name, bucket, prefix = place(words[-1])
    if not bucket or (prefix and verb.endswith("-json")):
        raise McError(f"Say `{usage}`.")
    client = Client(find(name, options), options)
    prefix = prefix.removesuffix("*")
    try:
        if verb == "set":
            _set_shape(client, bucket, prefix, words, options)
        elif verb == "get":
            _get_shape(client, bucket, prefix, words[0], options)
        elif verb == "set-json":
            _set_json(client, bucket, words, options)
        else:
            print(client.call("GET", f"/{bucket}", {"policy": ""}).body().decode())
    except S3Error as error:
        raise McError(f"{words[-1]}: {error}") from None
    return 0


def _set_shape(
    client: Client, bucket: str, prefix: str, words: list[str], options: Options
) -> None:
    shape = _SYNONYMS.get(words[0], words[0])
    if shape not in _SHAPES:
        raise McError(f"Say `{_SET}`.")
    try:
        _set(client, bucket, prefix, shape)
    except S3Error as error:
        if error.code != "NotImplemented":
            raise
        if shape != "private":  # a store without bucket policies shows nothing to strangers
            raise McError(
                f"{words[1]} stays private: this store has no bucket policies. Share objects by "
                "presigned URLs instead."
            ) from None
    say(options, f"Access permission for `{words[1]}` is set to `{shape}`",
        bucket=words[1], permission=shape)  # fmt: skip


def _get_shape(client: Client, bucket: str, prefix: str, where: str, options: Options) -> None:
    shape = shape_of(_present(client, bucket), bucket, prefix)
    say(options, f"Access permission for `{where}` is `{shape}`", bucket=where, permission=shape)


def _set_json(client: Client, bucket: str, words: list[str], options: Options) -> None:
    try:
        policy = Path(words[0]).read_bytes()
    except OSError as error:
        raise McError(f"{words[0]} cannot be read: {error.strerror}.") from None
    client.call("PUT", f"/{bucket}", {"policy": ""}, body=policy).body()
    say(options, f"Access permission for `{words[1]}` is set from `{words[0]}`",
        bucket=words[1], permission="custom")  # fmt: skip


def shape_of(statements: list[dict[str, Any]], bucket: str, prefix: str) -> str:
    """What strangers may do below ``prefix``: one of the four shapes, or `custom`."""
    concerning = [each for each in statements if _covers(each, bucket, prefix)]
    if any(not _is_plain(each) for each in concerning):
        return "custom"
    actions = {action for each in concerning for action in _texts(each.get("Action"))}
    for shape, (_, on_objects) in _SHAPES.items():
        if actions == set(on_objects):
            return shape
    return "custom"


def _covers(statement: dict[str, Any], bucket: str, prefix: str) -> bool:
    """Whether a statement speaks about every object below ``prefix``."""
    if "Resource" not in statement:
        return True
    wanted = _objects(bucket, prefix)[:-1]
    return any(
        resource.endswith("*") and wanted.startswith(resource[:-1]) and "/" in resource
        for resource in _texts(statement["Resource"])
    )


def _is_plain(statement: dict[str, Any]) -> bool:
    """Whether a statement allows something to everybody without conditions."""
    everybody = statement.get("Principal") in _EVERYBODY
    return everybody and statement.get("Effect") == "Allow" and not statement.get("Condition")


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


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
    anonymous = statement.get("Principal") in _EVERYBODY
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
