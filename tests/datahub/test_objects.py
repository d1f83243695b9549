"""Which store the commands for DataHub read, and by whose key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stack.integrations.datahub.objects import Address, Objects
from tests.conftest import Store

_FOREIGN = ("OVERSIGHT_", "MINIO_", "AWS_")


def test_settings_of_the_stacks_file(
    store: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every other command: where a .env lies, its keys count."""
    for name in os.environ:
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no file of AWS's, either
    (tmp_path / ".env").write_text(
        f"OVERSIGHT_EXTERNAL_ENDPOINT={store.endpoint}\n"
        f"OVERSIGHT_ACCESS_KEY={store.access_key}\nOVERSIGHT_SECRET_KEY={store.secret_key}\n"
    )
    monkeypatch.chdir(tmp_path)
    objects = Objects.from_environment()
    assert objects.endpoint == store.endpoint
    objects.check_bucket(Address.parse(f"s3://{bucket}/"))
