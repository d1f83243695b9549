"""Migration of what is not an object: settings of buckets, policies, users and keys."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.client import Control
from stack.migration.admin import Admin, Unreadable, unseal
from stack.migration.settings import unordered
from stack.s3.client import S3
from stack.s3.errors import S3Error
from stack.s3.signing import Credentials
from tests.bundle.commands import old_store
from tests.bundle.commands.conftest import ROOT, SECRET, Migrate
from tests.clients import tools
from tests.commands import Done
from tests.serving import ServedStore, clean_environment

Mc = Callable[..., str]

RULE = (
    "<Rule><ID>{id}</ID><Status>Enabled</Status><Filter>{filter}</Filter>"
    "<Expiration><Days>{days}</Days></Expiration></Rule>"
)
TAG = "<Tag><Key>team</Key><Value>data</Value></Tag>"
CORS = (
    b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>"
    b"<AllowedOrigin>https://a.example</AllowedOrigin></CORSRule></CORSConfiguration>"
)


@pytest.fixture
def mc(minio: S3, tmp_path: Path) -> Mc:
    """MinIO's own client, with the old store as ``old``."""
    host = minio.endpoint.replace("://", f"://{old_store.USER}:{old_store.SECRET}@")
    environment = clean_environment(MC_HOST_old=host, MC_CONFIG_DIR=str(tmp_path / "mc"))

    def run(*words: str) -> str:
        return tools.run(tools.mc(), *words, env=environment)

    return run


def lifecycle(*rules: str) -> bytes:
    return f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>".encode()


def states(done: Done) -> dict[str, str]:
    """What became of each setting of the only bucket."""
    (found,) = done.value["buckets"]
    return {each["what"]: each["state"] for each in found["settings"]}


def test_settings_of_a_minio(minio: S3, new: S3, bucket: str, migrate: Migrate, mc: Mc) -> None:
    mc("mb", f"old/{bucket}")
    mc("anonymous", "set", "download", f"old/{bucket}")
    mc("tag", "set", f"old/{bucket}", "team=data&stage=a b")
    mc("ilm", "rule", "add", "--prefix", "events/", "--expire-days", "90", f"old/{bucket}")
    mc("ilm", "rule", "add", "--tags", "team=data", "--expire-days", "9", f"old/{bucket}")
    mc("version", "enable", f"old/{bucket}")
    minio.put(bucket, "events/a", b"for all")
    done = migrate(minio.endpoint, "--bucket", bucket, "--json")
    assert done.code == 0, done.out + done.err
    found = states(done)
    refused = [what for what in found if what.startswith("lifecycle rule ")]
    assert found == {
        "versioning": "carried", "bucket policy": "carried", "tags of the bucket": "carried",
        "lifecycle rules": "carried", refused[0]: "refused",
    }  # fmt: skip
    told = json.loads(new.document(bucket, "policy") or b"")
    assert unordered(told) == unordered(json.loads(minio.document(bucket, "policy") or b""))
    assert b"<Days>90</Days>" in (new.document(bucket, "lifecycle") or b"")
    assert b"<Days>9</Days>" not in (new.document(bucket, "lifecycle") or b"")
    assert b"<Value>a b</Value>" in (new.document(bucket, "tagging") or b"")
    anonymous = new.transport.send("GET", f"/{bucket}/events/a", {"host": new.transport.host})
    assert anonymous.body == b"for all"
    again = states(migrate(minio.endpoint, "--bucket", bucket, "--json"))
    assert set(again.values()) == {"equal", "refused"}, again
    assert again[refused[0]] == "refused", "it is said again, for it is still not there"
    said = migrate(minio.endpoint, "--bucket", bucket).out
    assert f"Not carried over: {bucket}: {refused[0]}: NotImplemented" in said


def test_settings_of_another_store(second: S3, new: S3, bucket: str, migrate: Migrate) -> None:
    second.create_bucket(bucket)
    second.put_document(bucket, "cors", CORS)
    block = (
        b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy>"
        b"</PublicAccessBlockConfiguration>"
    )
    second.put_document(bucket, "publicAccessBlock", block)
    done = migrate(second.endpoint, "--bucket", bucket, "--json")
    assert states(done) == {"CORS rules": "carried", "public access block": "carried"}
    for resource in ("cors", "publicAccessBlock"):
        assert new.document(bucket, resource) == second.document(bucket, resource)


def test_a_setting_follows_its_source_until_it_is_changed_here(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    ninety = lifecycle(RULE.format(id="a", filter="", days=90))
    second.put_document(bucket, "lifecycle", ninety)
    migrate(second.endpoint, "--bucket", bucket)
    second.put_document(bucket, "lifecycle", lifecycle(RULE.format(id="a", filter="", days=80)))
    done = migrate(second.endpoint, "--bucket", bucket, "--json")
    assert states(done) == {"lifecycle rules": "carried"}
    assert b"<Days>80</Days>" in (new.document(bucket, "lifecycle") or b"")
    second.delete_document(bucket, "lifecycle")
    done = migrate(second.endpoint, "--bucket", bucket, "--json")
    assert states(done) == {"removal of lifecycle rules": "carried"}
    assert new.document(bucket, "lifecycle") is None
    own = lifecycle(RULE.format(id="own", filter="", days=7))
    new.put_document(bucket, "lifecycle", own)
    second.put_document(bucket, "lifecycle", ninety)
    done = migrate(second.endpoint, "--bucket", bucket, "--json")
    assert states(done) == {"lifecycle rules": "kept"}
    assert b"<ID>own</ID>" in (new.document(bucket, "lifecycle") or b"")


def test_a_refused_setting_is_named_with_its_reason(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    open_to_all = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                       "Resource": f"arn:aws:s3:::{bucket}/*"}],
    }  # fmt: skip
    second.put_document(bucket, "policy", json.dumps(open_to_all).encode())
    new.create_bucket(bucket)
    block = (
        b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy>"
        b"</PublicAccessBlockConfiguration>"
    )
    new.put_document(bucket, "publicAccessBlock", block)
    done = migrate(second.endpoint, "--bucket", bucket)
    assert done.code == 0
    assert f"Not carried over: {bucket}: bucket policy: AccessDenied" in done.out
    assert new.document(bucket, "policy") is None


def test_dry_run_tells_what_would_be_carried(
    second: S3, new: S3, bucket: str, migrate: Migrate
) -> None:
    second.create_bucket(bucket)
    second.put_document(bucket, "cors", CORS)
    done = migrate(second.endpoint, "--bucket", bucket, "--dry-run")
    assert f"{bucket}: CORS rules: would be carried." in done.out
    assert not new.has_bucket(bucket)


def test_notifications_stay_behind(minio: S3, bucket: str, migrate: Migrate, mc: Mc) -> None:
    mc("mb", "--with-lock", f"old/{bucket}")
    done = migrate(minio.endpoint, "--bucket", bucket, "--json")
    assert states(done)["object lock"] == "left"
    assert "notifications" not in states(done)


# -- policies, users, keys ------------------------------------------------------------------------


@pytest.fixture
def people(mc: Mc, tmp_path: Path) -> Iterator[str]:
    """Two users, a group, a policy and keys in the old store; what their names begin with."""
    mark = f"m{uuid.uuid4().hex[:8]}"
    document = tmp_path / "policy.json"
    statement = {
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{mark}/*"],
    }
    document.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    mc("admin", "policy", "create", "old", f"{mark}-read", str(document))
    for name in ("ada", "bob"):
        mc("admin", "user", "add", "old", f"{mark}-{name}", f"secret-of-{name}")
    mc("admin", "policy", "attach", "old", f"{mark}-read", "--user", f"{mark}-ada")
    mc("admin", "group", "add", "old", f"{mark}-team", f"{mark}-ada", f"{mark}-bob")
    mc("admin", "policy", "attach", "old", "readwrite", "--group", f"{mark}-team")
    mc("admin", "user", "disable", "old", f"{mark}-bob")
    key = ("admin", "user", "svcacct", "add", "old", f"{mark}-ada", "--secret-key", "secret-of-key")
    mc(*key, "--access-key", f"{mark}-wide")
    mc(*key, "--access-key", f"{mark}-narrow", "--policy", str(document))
    yield mark
    for name in ("ada", "bob"):
        mc("admin", "user", "remove", "old", f"{mark}-{name}")
    mc("admin", "policy", "remove", "old", f"{mark}-read")


def outcome(done: Done, mark: str) -> dict[str, str]:
    return {
        each["what"].replace(f"{mark}-", ""): each["state"]
        for each in done.value["people"]
        if mark in each["what"]
    }


def test_policies_and_users_of_a_minio(
    minio: S3, own_store: ServedStore, migrate: Migrate, mc: Mc, people: str, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text(
        f"{people}-ada secret-of-ada\n{people}-narrow secret-of-key\n\n{people}-bob secret-of-bob\n"
    )
    bucket = f"{people}-quota"
    mc("mb", f"old/{bucket}")
    mc("quota", "set", f"old/{bucket}", "--size", "1GiB")
    console = {"OVERSIGHT_CONSOLE_URL": own_store.console}
    done = migrate(minio.endpoint, "--dry-run", "--json", **console)
    assert set(outcome(done, people).values()) == {"would be carried", "left"}
    done = migrate(minio.endpoint, **console)
    assert done.code == 0, done.out + done.err
    command = f"oversight user add {people}-ada --policy {people}-read --policy readwrite"
    assert f"user {people}-ada: MinIO does not tell its secret: give it to `{command}" in done.out
    assert f"{bucket}: quota: 1.0 GiB" in done.out
    done = migrate(minio.endpoint, "--credentials", str(secrets), "--json", **console)
    assert outcome(done, people) == {
        "policy read": "equal", "user ada": "carried", "user bob": "carried",
        "access key narrow": "carried", "access key wide": "left",
    }  # fmt: skip
    control = Control(own_store.console, ROOT, SECRET)
    users = {each["name"]: each for each in control.get("users")}
    assert users[f"{people}-ada"]["policies"] == [f"{people}-read", "readwrite"]
    assert users[f"{people}-bob"]["status"] == "disabled"
    narrow = S3(own_store.endpoint, Credentials(f"{people}-narrow", "secret-of-key"))
    with pytest.raises(S3Error, match="AccessDenied"):
        narrow.put(bucket, "x", b"x")
    S3(own_store.endpoint, Credentials(f"{people}-ada", "secret-of-ada")).put(bucket, "x", b"x")
    done = migrate(minio.endpoint, "--credentials", str(secrets), "--json", **console)
    assert outcome(done, people)["user ada"] == "equal"
    assert "secret-of" not in done.out + done.err


def test_without_the_console_port_they_stay_behind(minio: S3, migrate: Migrate) -> None:
    assert (
        "name the new store's console port in OVERSIGHT_CONSOLE_URL" in migrate(minio.endpoint).out
    )


def test_a_secrets_file_that_is_none(second: S3, migrate: Migrate, tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("only-a-key\n")
    done = migrate(second.endpoint, "--credentials", str(file))
    assert (done.code, done.out) == (1, "")
    assert "line 1" in done.err
    assert "only-a-key" not in done.err


@pytest.mark.parametrize("size", [0, 1, (16 << 10) - 1, 16 << 10, (16 << 10) + 1, 50_000])
@pytest.mark.parametrize("cipher", [0, 1, 2])
def test_sealed_answers(size: int, cipher: int) -> None:
    body, secret = os.urandom(size), "a secret"
    sealed = _seal(body, secret, cipher)
    assert unseal(sealed, secret) == body
    wrong: tuple[tuple[bytes, str], ...] = (
        (sealed, "another"), (sealed[:-1], secret), (b"short", secret)
    )  # fmt: skip
    for data, key in wrong:
        with pytest.raises(Unreadable):
            unseal(data, key)


def _seal(body: bytes, secret: str, cipher: int) -> bytes:
    """As madmin's EncryptData does it."""
    from stack.migration import admin

    salt, nonce = os.urandom(32), os.urandom(8)
    box: Any = admin._box(cipher, secret.encode(), salt)
    bound = box.encrypt(nonce + bytes(4), b"", b"")
    pieces = [body[at : at + (16 << 10)] for at in range(0, len(body), 16 << 10)] or [b""]
    sealed = b""
    for number, piece in enumerate(pieces, 1):
        mark = b"\x80" if number == len(pieces) else b"\0"
        sealed += box.encrypt(nonce + number.to_bytes(4, "little"), piece, mark + bound)
    return salt + bytes([cipher]) + nonce + sealed


def test_the_admin_api_of_a_real_minio(minio: S3, people: str) -> None:
    admin = Admin(minio)
    assert admin.users()[f"{people}-bob"]["status"] == "disabled"
    assert admin.groups()[f"{people}-team"]["policy"] == "readwrite"
    assert set(admin.access_keys()[f"{people}-ada"]) == {f"{people}-wide", f"{people}-narrow"}
    assert admin.access_key(f"{people}-wide")["impliedPolicy"] is True
