"""Users, keys, their records, and the directory they are looked up in."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.iam import credentials, users
from storage.iam.canned import scoped_policy
from storage.iam.decide import decide
from storage.iam.errors import IdentityError, InvalidCredentials, PolicyError
from storage.iam.users import (
    ROOT_ID,
    AccessKey,
    Directory,
    Identity,
    NamedPolicy,
    Record,
    User,
    check_new_key,
    encode,
    new_key,
)

STORE_KEY = bytes(range(32))
OBJECT = "arn:aws:s3:::langfuse/events/x"
ALICE = User(name="alice", id="a" * 64, policies=("readwrite",), created=1)


def key(access_key: str = "AKALICE", owner: str = ALICE.id, **changes: Any) -> AccessKey:
    made = new_key(STORE_KEY, access_key, "secretsecret", owner, created=1)
    return msgspec.structs.replace(made, **changes)


def identity(*records: User | AccessKey | NamedPolicy | Record, **changes: Any) -> Identity:
    plain = [one if isinstance(one, tuple) else encode(one) for one in records]
    settings = {"root_user": "minio", "root_secret": "miniosecret", "store_key": STORE_KEY}
    return Identity(plain, **{**settings, **changes})


def test_root_is_always_there() -> None:
    found = identity().keyring("minio")
    assert found is not None
    assert (found.secret, found.principal.root, found.principal.id) == (
        "miniosecret",
        True,
        ROOT_ID,
    )
    assert identity().keyring("other") is None


def test_user_key() -> None:
    made = identity(ALICE, key())
    found = made.keyring("AKALICE")
    assert found is not None
    assert found is made.keyring("AKALICE")
    assert (found.secret, found.enabled, found.principal.name) == ("secretsecret", True, "alice")
    assert decide(found.principal, "s3:GetObject", OBJECT).allowed
    assert made.policies_for(found.principal)[0].name == "readwrite"
    assert made.display_name(ALICE.id) == "alice"
    assert made.display_name(ROOT_ID) == "minio"
    assert made.display_name("gone") == ""


def test_secrets_do_not_show() -> None:
    found = identity(ALICE, key()).keyring("AKALICE")
    assert "secretsecret" not in repr(found)
    assert b"secretsecret" not in encode(key())[2]


def test_disabled_keys_and_users() -> None:
    for records in (
        (ALICE, key(status="disabled")),
        (msgspec.structs.replace(ALICE, status="disabled"), key()),
    ):
        found = identity(*records).keyring("AKALICE")
        assert found is not None
        assert not found.enabled


def test_key_without_its_user_opens_nothing() -> None:
    assert identity(key()).keyring("AKALICE") is None


def test_key_of_root_can_be_narrowed() -> None:
    made = identity(key("AKROOT", ROOT_ID, policy=scoped_policy("langfuse", access="readonly")))
    found = made.keyring("AKROOT")
    assert found is not None
    assert decide(found.principal, "s3:GetObject", OBJECT).allowed
    assert not decide(found.principal, "s3:PutObject", OBJECT).allowed
    assert not decide(found.principal, "admin:CreateUser", "").allowed


def test_own_policy() -> None:
    policy = NamedPolicy(name="only-langfuse", document=scoped_policy("langfuse"))
    made = identity(msgspec.structs.replace(ALICE, policies=("only-langfuse",)), key(), policy)
    principal = made.keyring("AKALICE").principal  # type: ignore[union-attr]
    assert decide(principal, "s3:PutObject", OBJECT).allowed
    assert not decide(principal, "s3:PutObject", "arn:aws:s3:::other/x").allowed


def test_canned_policies_can_not_be_replaced() -> None:
    wide = NamedPolicy(name="readonly", document=scoped_policy("langfuse"))
    made = identity(msgspec.structs.replace(ALICE, policies=("readonly",)), key(), wide)
    principal = made.keyring("AKALICE").principal  # type: ignore[union-attr]
    assert not decide(principal, "s3:PutObject", OBJECT).allowed


def test_missing_policy_takes_all_rights() -> None:
    """The policy that is gone may have been the one that denied."""
    made = identity(msgspec.structs.replace(ALICE, policies=("readwrite", "gone")), key())
    principal = made.keyring("AKALICE").principal  # type: ignore[union-attr]
    assert principal.policies == ()
    assert made.problems == ["user alice: policy gone does not exist"]


def test_damage_costs_only_its_owner() -> None:
    broken = key("AKBROKEN", sealed=b"\x01" + bytes(40))
    narrowed = key("AKNARROW", policy="{}")
    policy = encode(NamedPolicy(name="bad", document="{"))
    made = identity(
        ("user", "x", b"\xff"), ("key", "y", b""), policy, ALICE, key(), broken, narrowed
    )
    assert made.keyring("AKALICE") is not None
    assert made.keyring("AKBROKEN") is None
    assert made.keyring("AKNARROW") is None
    assert len(made.problems) == 5
    assert made.keyring("minio") is not None


def test_key_can_not_shadow_root() -> None:
    made = identity(ALICE, key("minio"))
    assert made.keyring("minio").secret == "miniosecret"  # type: ignore[union-attr]
    with pytest.raises(InvalidCredentials, match="already in use"):
        check_new_key(made, "minio")
    with pytest.raises(InvalidCredentials, match="already in use"):
        check_new_key(identity(ALICE, key()), "AKALICE")
    check_new_key(made, "AKNEW")


def test_records_round_trip() -> None:
    assert users.decode_user(encode(ALICE)[2]) == ALICE
    made = key(policy=scoped_policy("b"), description="of the worker")
    assert users.decode_key(encode(made)[2]) == made
    policy = NamedPolicy(name="p", document="{}", created=3)
    assert encode(policy)[:2] == ("policy", "p")
    assert users.decode_policy(encode(policy)[2]) == policy


@given(st.binary(max_size=80))
def test_any_record_is_one_or_damaged(value: bytes) -> None:
    for decode in (users.decode_user, users.decode_key, users.decode_policy):
        with pytest.raises(IdentityError):
            decode(value)


def test_other_store_key_opens_nothing() -> None:
    same = key()
    former = identity(ALICE, same)
    assert former.keyring("AKALICE") is not None
    assert identity(ALICE, same, store_key=bytes(32), former=former).keyring("AKALICE") is None


def test_opened_secrets_are_handed_on() -> None:
    same = key()
    former = identity(ALICE, same)
    assert former.keyring("AKALICE") is not None
    assert identity(ALICE, same, former=former)._secrets == former._secrets
    assert identity(ALICE, former=former)._secrets == {}


# -- the directory --------------------------------------------------------------------------------


class Store:
    """Records and their generation, as an engine has them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.generation = 0
        self.loads = 0

    def put(self, *records: User | AccessKey) -> None:
        self.records = [encode(one) for one in records]
        self.generation += 1

    async def load(self) -> list[Record]:
        self.loads += 1
        await asyncio.sleep(0)
        return self.records

    def directory(self) -> Directory:
        return Directory(
            self.load,
            lambda: self.generation,
            root_user="minio",
            root_secret="miniosecret",
            store_key=STORE_KEY,
        )


def test_directory_follows_the_generation() -> None:
    async def run() -> None:
        store = Store()
        directory = store.directory()
        assert directory.current() is None
        assert directory.credential("minio") is None
        first = await directory.refresh()
        assert directory.current() is first
        assert directory.credential("AKALICE") is None
        store.put(ALICE, key())
        assert directory.current() is None
        await directory.refresh()
        assert directory.credential("AKALICE") is not None
        assert directory.display_name(ALICE.id) == "alice"
        store.put(ALICE)
        await directory.refresh()
        assert directory.credential("AKALICE") is None

    asyncio.run(run())


def test_directory_keeps_what_did_not_change() -> None:
    """A new bucket changes the generation too; nobody's credential is made anew for it."""

    async def run() -> None:
        store = Store()
        store.put(ALICE, key())
        directory = store.directory()
        first = await directory.refresh()
        found = first.keyring("AKALICE")
        store.generation += 1
        assert await directory.refresh() is first
        assert directory.credential("AKALICE") is found

    asyncio.run(run())


def test_directory_reads_once_for_all_who_wait() -> None:
    async def run() -> None:
        store = Store()
        directory = store.directory()
        made = await asyncio.gather(*(directory.refresh() for _ in range(10)))
        assert store.loads == 1
        assert all(one is made[0] for one in made)

    asyncio.run(run())


def test_directory_misses_no_change_during_a_read() -> None:
    async def run() -> None:
        store = Store()
        directory = store.directory()
        load = store.load

        async def overtaken() -> list[Record]:
            records = await load()
            store.put(ALICE, key())
            return records

        directory._load = overtaken
        await directory.refresh()
        assert directory.current() is None
        directory._load = load
        await directory.refresh()
        assert directory.credential("AKALICE") is not None

    asyncio.run(run())


# -- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [
        ("ab", "miniosecret", "at least 3 characters"),
        ("minio", "1234567", "at least 8 characters"),
        ("", "", "at least 3 characters"),
        ("a=b", "miniosecret", "'='"),
        ("a b", "miniosecret", "spaces"),
        ("caf\u00e9", "miniosecret", "ASCII"),
        ("minio", "secret\n\n\n", "printable"),
        ("minio", "\udcff" * 9, "printable"),
    ],
)
def test_root_credentials_are_checked(user: str, password: str, words: str) -> None:
    with pytest.raises(InvalidCredentials, match=words) as caught:
        credentials.check_root(user, password)
    assert str(caught.value).count(".") <= 1 + str(caught.value).count("'='")
    assert password not in str(caught.value) or not password


def test_good_root_credentials() -> None:
    credentials.check_root("minio", "miniosecret")
    credentials.check_root("abc", "12345678")
    credentials.check_root("team/minio", "pass word \u00e9\u00e8")


def test_new_keys_obey_the_rules() -> None:
    access_key, secret = credentials.new_access_key(), credentials.new_secret()
    assert (len(access_key), len(secret)) == (20, 40)
    credentials.check_access_key(access_key)
    credentials.check_secret(secret)
    assert access_key != credentials.new_access_key()
    assert len(credentials.new_canonical_id()) == 64


def test_new_key_refuses_bad_parts() -> None:
    for access_key, secret in (
        ("ab", "secretsecret"),
        ("AKGOOD", "short"),
        ("a,b", "secretsecret"),
    ):
        with pytest.raises(InvalidCredentials):
            new_key(STORE_KEY, access_key, secret, ALICE.id, created=1)
    with pytest.raises(PolicyError):
        new_key(STORE_KEY, "AKGOOD", "secretsecret", ALICE.id, created=1, policy="{}")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "\u00e9", "x" * 65, "a\n"])
def test_user_names(name: str) -> None:
    with pytest.raises(InvalidCredentials):
        credentials.check_user_name(name)
    credentials.check_user_name("alice.b-c_d+e@example.com")


def test_same_secret() -> None:
    assert credentials.same_secret("a\u00e9", "a\u00e9")
    assert not credentials.same_secret("a", "b")
    assert not credentials.same_secret("\ud800", "b")
