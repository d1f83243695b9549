"""Headers that an SDK can send: each is read, refused, or known to change nothing here."""

from __future__ import annotations

from pathlib import Path

import botocore.session

import storage
from storage.s3 import checksums
from storage.s3.headers import REFUSED
from storage.s3.routes import ROUTES

#: Read, by names put together: those of the source of a copy (the object's own behind a prefix),
#: and of checksums.
_PUT_TOGETHER = {
    f"x-amz-copy-source-if-{name}"
    for name in ("match", "none-match", "modified-since", "unmodified-since")
} | {name.decode() for name in checksums.HEADER.values()}
#: To leave them out takes no protection from anybody.
_HARMLESS = {
    "x-amz-bypass-governance-retention": "there is no object lock to bypass",
    "x-amz-confirm-remove-self-bucket-access": "who owns a bucket can always replace its policy",
    "x-amz-object-annotation-directive": "objects have no annotations",
    "x-amz-optional-object-attributes": "there is no RestoreStatus of objects that are all there",
    "x-amz-request-payer": "nobody pays",
}


def test_every_header_of_the_sdk_is_known() -> None:
    source = "".join(p.read_text() for p in Path(storage.__file__).parent.rglob("*.py")).lower()
    known = {name.decode() for name in REFUSED} | _HARMLESS.keys() | _PUT_TOGETHER
    model = botocore.session.get_session().get_service_model("s3")
    done = {route.operation for route in ROUTES if route.handler} & set(model.operation_names)
    sent = {
        member.serialization["name"].lower()
        for operation in done
        if (shape := model.operation_model(operation).input_shape)
        for member in shape.members.values()
        if member.serialization.get("location") == "header"
    }
    assert len(sent) > 50
    assert not {name for name in sent - known if f'"{name}"' not in source}
