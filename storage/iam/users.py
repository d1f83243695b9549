"""Users and access keys: their records, and the directory that requests are looked up in.

Records are plain (kind, name, value) tuples; whoever composes the store keeps them in the engine
as system records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeVar

import msgspec

from storage.iam import sealing
from storage.iam.canned import CANNED
from storage.iam.credentials import check_access_key, check_secret
from storage.iam.errors import (
    IdentityError,
    InvalidCredentials,
    PolicyError,
    SealBroken,
    TokenExpired,
    TokenInvalid,
)
from storage.iam.policy import Policy, parse_policy
from storage.iam.principal import Credential, Principal
from storage.iam.sessions import Session, Sessions

USER, KEY, POLICY = "user", "key", "policy"
#: A session that its user ended: named by its access key; the value is ``encode_end``'s.
SESSION_END = "session-end"
#: Up to when a key's sessions began that are all over: named by that key; the value is
#: ``encode_floor``'s. It stands for many ends at once.
SESSION_FLOOR = "session-floor"
#: The kinds of records that a directory is built from.
KINDS = (USER, KEY, POLICY, SESSION_END, SESSION_FLOOR)

#: The root user's canonical id. It is MinIO's for every object, so that owners in listings stay
#: what they were, and does not change with the root user's name.
ROOT_ID = "02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4"

Record = tuple[str, str, bytes]
"""(kind, name, value)"""
Status = Literal["enabled", "disabled"]
_R = TypeVar("_R")
#: A moment that no session is begun after.
_NEVER = 2**63
#: Session tokens whose credentials are remembered.
_SESSIONS_MAX = 1024


class User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user. ``id`` owns buckets and never changes; ``policies`` are names; times in ms.

    ``email`` is an address that ACLs may name the user by, "" for none."""

    name: str
    id: str
    display_name: str = ""
    status: Status = "enabled"
    policies: tuple[str, ...] = ()
    created: int = 0
    email: str = ""


class AccessKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An access key. ``owner`` is the canonical id of its user (``ROOT_ID`` for root's own).

    ``sealed`` is the secret as ``sealing.seal`` left it. ``policy`` is a policy document that
    narrows what the owner may do, "" for none; times in ms.
    """

    access_key: str
    sealed: bytes
    owner: str
    status: Status = "enabled"
    created: int = 0
    policy: str = ""
    description: str = ""


class NamedPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A policy that users name. ``document`` is its JSON text; times in ms."""

    name: str
    document: str
    created: int = 0


_encoder = msgspec.msgpack.Encoder()
_users = msgspec.msgpack.Decoder(User)
_keys = msgspec.msgpack.Decoder(AccessKey)
_policies = msgspec.msgpack.Decoder(NamedPolicy)
_ends: msgspec.msgpack.Decoder[int | tuple[int, str]] = msgspec.msgpack.Decoder(
    int | tuple[int, str]
)
_floors = msgspec.msgpack.Decoder(int)


def encode(record: User | AccessKey | NamedPolicy) -> Record:
    """The record to keep: (kind, name, value). Its layout is in docs/identity.md."""
    if isinstance(record, User):
        return USER, record.name, _encoder.encode(record)
    if isinstance(record, AccessKey):
        return KEY, record.access_key, _encoder.encode(record)
    return POLICY, record.name, _encoder.encode(record)


def decode_user(value: bytes) -> User:
    """The inverse of ``encode``. Raises IdentityError where the record is damaged."""
    return _decode(_users, value)


def decode_key(value: bytes) -> AccessKey:
    """The inverse of ``encode``. Raises IdentityError where the record is damaged."""
    return _decode(_keys, value)


def decode_policy(value: bytes) -> NamedPolicy:
    """The inverse of ``encode``. Raises IdentityError where the record is damaged."""
    return _decode(_policies, value)


def encode_end(expires: int, parent: str) -> bytes:
    """The value of a SESSION_END record: from when on (seconds) nobody needs it any more, and the
    access key that the session stood for."""
    return _encoder.encode((expires, parent))


def decode_end(value: bytes) -> tuple[int, str]:
    """The inverse of ``encode_end``; early records have no access key ("").

    Raises IdentityError where the record is damaged.
    """
    found = _decode(_ends, value)
    return (found, "") if isinstance(found, int) else found


def encode_floor(began: int) -> bytes:
    """The value of a SESSION_FLOOR record: sessions that began up to then (seconds) are over."""
    return _encoder.encode(began)


def decode_floor(value: bytes) -> int:
    """The inverse of ``encode_floor``. Raises IdentityError where the record is damaged."""
    return _decode(_floors, value)


def new_key(
    store_key: bytes, access_key: str, secret: str, owner: str, *, created: int, policy: str = ""
) -> AccessKey:
    """An access key whose secret is sealed. Raises InvalidCredentials, PolicyError."""
    check_access_key(access_key)
    check_secret(secret)
    if policy:
        parse_policy(policy)
    sealed = sealing.seal(store_key, KEY, access_key, secret)
    return AccessKey(
        access_key=access_key, sealed=sealed, owner=owner, created=created, policy=policy
    )


class Identity:
    """Everyone who may speak to the store, at one moment. Immutable but for what it remembers.

    A damaged record costs its own user or key their access and is named in ``problems``; it never
    widens anybody's rights, and never stops the others.
    """

    def __init__(
        self,
        records: Iterable[Record],
        *,
        root_user: str,
        root_secret: str,
        store_key: bytes,
        former: Identity | None = None,
    ) -> None:
        """``former`` lends the credentials that it has opened, where their records are the same."""
        self._store_key = store_key
        self.problems: list[str] = []
        self.users: dict[str, User] = {}
        self.keys: dict[str, AccessKey] = {}
        self.policies: dict[str, Policy] = {}
        self.ended: set[str] = set()
        """Access keys of sessions that were ended before their time."""
        self._floors: dict[str, int] = {}
        self._by_id: dict[str, User] = {}
        self._read(records)
        self._sessions = Sessions(store_key)
        self._opened: dict[str, tuple[Session, Credential]] = {}
        self._secrets: dict[bytes, str] = {} if former is None else former._secrets_of(self)
        self._principals: dict[str, Principal] = {}
        self.root = Principal(name=root_user, id=ROOT_ID, display_name=root_user, root=True)
        self._credentials: dict[str, Credential | None] = {
            root_user: Credential(access_key=root_user, secret=root_secret, principal=self.root)
        }

    def keyring(self, access_key: str, token: str = "") -> Credential | None:
        """The credential of an access key, None if there is none. Below 1 us when known.

        With a session ``token`` that of a session. Raises TokenInvalid, TokenExpired then.
        """
        if token:
            return self._of_session(access_key, token)
        known = self._credentials.get(access_key)
        if known is not None:
            return known
        if access_key not in self.keys:
            return None
        credential = self._open(self.keys[access_key])
        if credential is not None:
            self._credentials[access_key] = credential
        return credential

    def _of_session(self, access_key: str, token: str) -> Credential:
        """The credential of a session: the rights are those of the key that it stands for, now."""
        known = self._opened.get(token)
        if known is None:
            session = self._sessions.open(token)
            known = session, self.stand_in(session)
            if len(self._opened) >= _SESSIONS_MAX:
                self._opened.clear()
            self._opened[token] = known
        session, credential = known
        if self._sessions.is_over(session):
            raise TokenExpired
        if session.access_key != access_key:
            raise TokenInvalid
        return credential

    def stand_in(self, session: Session) -> Credential:
        """The credential of a session, with the rights of the key that it stands for, now.

        The session's time does not count. Raises TokenInvalid where it was ended otherwise.
        """
        parent = self.keyring(session.parent)
        if (
            parent is None
            or self.has_ended(session)
            or not self._sessions.proves(session, parent.secret)
        ):
            raise TokenInvalid
        return Credential(
            access_key=session.access_key,
            secret=self._sessions.secret(session.access_key),
            principal=parent.principal,
            enabled=parent.enabled,
            session=session,
        )

    def renewed(self, credential: Credential) -> Credential | None:
        """A credential that once verified, as it is now; None if it is no more.

        A session's time does not count: what was begun in it may be finished. Raises TokenInvalid
        where the session was ended otherwise.
        """
        if credential.session is not None:
            return self.stand_in(credential.session)
        found = self.keyring(credential.access_key)
        return found if found is not None and found.secret == credential.secret else None

    def has_ended(self, session: Session) -> bool:
        """Whether a session was ended before its time."""
        return session.access_key in self.ended or session.began <= self._floors.get(
            session.parent, 0
        )

    def display_name(self, canonical_id: str) -> str:
        """The name shown for an owner, "" where its user is gone."""
        if canonical_id == ROOT_ID:
            return self.root.display_name
        user = self._by_id.get(canonical_id)
        return "" if user is None else user.display_name or user.name

    def policies_for(self, principal: Principal) -> tuple[Policy, ...]:
        """The policies that speak for ``principal`` (none for root, who needs none)."""
        return principal.policies

    def principal(self, canonical_id: str) -> Principal | None:
        """The principal of a canonical id; None if its user is gone."""
        if canonical_id == ROOT_ID:
            return self.root
        user = self._by_id.get(canonical_id)
        return None if user is None else self._principal(user)

    # -- building -------------------------------------------------------------------------------

    def _read(self, records: Iterable[Record]) -> None:
        for kind, name, value in records:
            try:
                if kind == USER:
                    self._add_user(decode_user(value))
                elif kind == KEY:
                    key = decode_key(value)
                    self.keys[key.access_key] = key
                elif kind == POLICY:
                    policy = decode_policy(value)
                    self.policies[policy.name] = parse_policy(policy.document, policy.name)
                elif kind == SESSION_END:
                    self.ended.add(name)  # whatever the value: it can only take away
                elif kind == SESSION_FLOOR:
                    self._floors[name] = _NEVER  # a damaged one must not bring sessions back
                    self._floors[name] = decode_floor(value)
            except IdentityError as error:
                self.problems.append(f"{kind} {name}: {error}")
        self.policies.update(CANNED)

    def _add_user(self, user: User) -> None:
        self.users[user.name] = user
        self._by_id[user.id] = user

    def _secrets_of(self, successor: Identity) -> dict[bytes, str]:
        """Secrets opened so far whose sealed form still stands in ``successor``."""
        if successor._store_key != self._store_key:
            return {}
        kept = (key.sealed for key in successor.keys.values())
        return {sealed: self._secrets[sealed] for sealed in kept if sealed in self._secrets}

    def _principal(self, user: User) -> Principal:
        known = self._principals.get(user.name)
        if known is None:
            known = Principal(
                name=user.name,
                id=user.id,
                display_name=user.display_name or user.name,
                policies=self._policies_of(user),
            )
            self._principals[user.name] = known
        return known

    def _policies_of(self, user: User) -> tuple[Policy, ...]:
        """All of a user's policies, or none at all: one that is missing may have denied."""
        missing = [name for name in user.policies if name not in self.policies]
        if missing:
            self.problems.append(f"user {user.name}: policy {missing[0]} does not exist")
            return ()
        return tuple(self.policies[name] for name in user.policies)

    def _open(self, key: AccessKey) -> Credential | None:
        owner = self.principal(key.owner)
        if owner is None:
            return None
        try:
            secret = self._secrets.get(key.sealed)
            if secret is None:
                secret = sealing.unseal(self._store_key, KEY, key.access_key, key.sealed)
                self._secrets[key.sealed] = secret
            boundary = parse_policy(key.policy, f"key {key.access_key}") if key.policy else None
        except (SealBroken, PolicyError) as error:
            self.problems.append(f"key {key.access_key}: {error}")
            return None
        user = self._by_id.get(key.owner)
        return Credential(
            access_key=key.access_key,
            secret=secret,
            principal=owner if boundary is None else _narrowed(owner, boundary),
            enabled=key.status == "enabled" and (user is None or user.status == "enabled"),
        )


class Directory:
    """Keeps an ``Identity`` as new as the engine's records.

    ``load`` reads the records of ``KINDS``; ``generation`` is a number that changes whenever they
    may have changed. A request takes ``current()``, and awaits ``refresh()`` where that is None;
    after that ``credential`` and ``display_name`` answer without waiting.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Iterable[Record]]],
        generation: Callable[[], int],
        *,
        root_user: str,
        root_secret: str,
        store_key: bytes,
    ) -> None:
        self._load = load
        self._generation = generation
        self._root_user = root_user
        self._root_secret = root_secret
        self._store_key = store_key
        self._seen = -1
        self._records: list[Record] | None = None
        self._identity: Identity | None = None
        self._lock = asyncio.Lock()

    def current(self) -> Identity | None:
        """The identity if nothing has changed since it was built."""
        return self._identity if self._generation() == self._seen else None

    def credential(self, access_key: str) -> Credential | None:
        """The credential of an access key in the identity built last; None if there is none."""
        return None if self._identity is None else self._identity.keyring(access_key)

    def display_name(self, canonical_id: str) -> str:
        """The name shown for an owner, "" where it is not known."""
        return "" if self._identity is None else self._identity.display_name(canonical_id)

    async def refresh(self) -> Identity:
        """Read the records again and build the identity anew if they differ."""
        async with self._lock:
            identity = self.current()
            if identity is not None:
                return identity
            # Taken before reading: a change meanwhile leads to another refresh, never to a loss.
            generation = self._generation()
            records = list(await self._load())
            if self._identity is None or records != self._records:
                self._identity = Identity(
                    records,
                    root_user=self._root_user,
                    root_secret=self._root_secret,
                    store_key=self._store_key,
                    former=self._identity,
                )
                self._records = records
            self._seen = generation
            return self._identity


def check_new_key(identity: Identity, access_key: str) -> None:
    """Raise InvalidCredentials if ``access_key`` is taken, by a key or by the root user."""
    if access_key == identity.root.name or access_key in identity.keys:
        raise InvalidCredentials(f"The access key {access_key} is already in use.")


def _narrowed(owner: Principal, boundary: Policy) -> Principal:
    return msgspec.structs.replace(owner, boundary=boundary)


def _decode(decoder: msgspec.msgpack.Decoder[_R], value: bytes) -> _R:
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise IdentityError("The record is damaged.") from None
