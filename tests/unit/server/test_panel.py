"""What the store says at start."""

from __future__ import annotations

import io
from pathlib import Path

from storage.config import Config
from storage.serving import panel


def shown(config: Config, *buckets: str) -> str:
    out = io.StringIO()
    panel.show(config, buckets, 0.5, out)
    return out.getvalue()


def test_default_credentials_come_with_a_warning(tmp_path: Path) -> None:
    text = shown(Config(drives=(str(tmp_path),)), "langfuse")
    assert "minio / miniosecret" in text
    assert "OVERSIGHT_ROOT_PASSWORD" in text
    assert "http://localhost:9090" in text
    assert "http://localhost:9091" in text
    assert str(tmp_path) in text
    assert "--user minio:miniosecret" in text
    assert "/langfuse/hello.txt" in text


def test_a_password_of_ones_own_is_never_shown(tmp_path: Path) -> None:
    config = Config(drives=(str(tmp_path),), root_user="root", root_password="very-secret-thing")
    text = shown(config, "langfuse")
    assert "very-secret-thing" not in text
    assert "--user root:SECRET" in text


def test_addresses_and_the_external_endpoint(tmp_path: Path) -> None:
    config = Config(
        drives=(str(tmp_path),),
        address=(("10.1.2.3", 9000), ("fe80::1", 9000), ("0.0.0.0", 9000)),
        external_endpoint="https://s3.example.com",
    )
    text = shown(config, "b")
    assert "http://10.1.2.3:9000  http://[fe80::1]:9000  http://localhost:9000" in text
    assert "https://s3.example.com/b/hello.txt" in text
