"""Forms for PostObject: encoded as browsers do, signed or not."""

from __future__ import annotations

from typing import Any

from tests.s3.raw import Answer, RawClient

BOUNDARY = "----WebKitFormBoundaryW0DET1iaBMeAOBg3"
FORM_DATA = f"multipart/form-data; boundary={BOUNDARY}"


def encode(
    fields: dict[str, str],
    file: bytes | None,
    filename: str = "photo.jpg",
    after: dict[str, str] | None = None,
) -> bytes:
    """A form's body; ``after``: fields behind the file."""
    parts = [_part(f'name="{name}"', value.encode()) for name, value in fields.items()]
    if file is not None:
        parts.append(_part(f'name="file"; filename="{filename}"', file))
    parts += [_part(f'name="{name}"', value.encode()) for name, value in (after or {}).items()]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _part(described: str, content: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {described}\r\n\r\n"
    return head.encode() + content + b"\r\n"


class Form:
    """What one bucket's forms have in common."""

    def __init__(self, raw: RawClient, client: Any, bucket: str) -> None:
        self.raw = raw
        self.client = client
        self.bucket = bucket

    def sign(
        self, key: str, fields: dict[str, str], conditions: list[Any] | None = None
    ) -> dict[str, str]:
        """Fields with a policy that covers them; ``conditions`` stand in the place of theirs."""
        if conditions is None:
            conditions = [{name: value} for name, value in fields.items()]
        post = self.client.generate_presigned_post(
            self.bucket, key, Fields=dict(fields), Conditions=list(conditions)
        )
        signed: dict[str, str] = post["fields"]
        return signed

    def post(
        self,
        fields: dict[str, str],
        file: bytes | None = b"content",
        *,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> Answer:
        """Send a form to the bucket."""
        return self.send(encode(fields, file, **more), headers)

    def send(self, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        """Send a body that is said to be a form."""
        lines = {"content-type": FORM_DATA} | (headers or {})
        return self.raw.request("POST", f"/{self.bucket}", body=body, headers=lines, sign=False)

    def upload(
        self,
        key: str,
        file: bytes = b"content",
        conditions: list[Any] | None = None,
        headers: dict[str, str] | None = None,
        **fields: str,
    ) -> Answer:
        """Sign and send. ``-`` in names of fields is written ``_``, but in success_action_*."""
        named = {
            name if name.startswith("success") else name.replace("_", "-"): value
            for name, value in fields.items()
        }
        return self.post(self.sign(key, named, conditions), file, headers=headers)

    def stored(self, key: str) -> bytes:
        """The content of an object."""
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def keys(self) -> list[str]:
        """Every key of the bucket."""
        page = self.client.list_objects_v2(Bucket=self.bucket)
        return [found["Key"] for found in page.get("Contents", ())]
