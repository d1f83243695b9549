"""Access control lists: what they say, how clients write them, what is stored, what they grant.

An ACL is a tuple of grants. Who owns the bucket or object is told by itself, not by its ACL. The
default, full control for the owner alone, is stored as nothing: it grants nothing that policies
don't, and costs ordinary objects nothing. A bucket keeps its ACL as the configuration document
``DOCUMENT``, an object in ``Meta.extra`` under the same name.

Source: Amazon S3 User Guide, "Access control list (ACL) overview".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal

import msgspec

from storage.iam.errors import IdentityError
from storage.iam.policy import Decision

DOCUMENT = "acl"
#: What let somebody else's grant decide (``Decision.source``).
BY_GRANT = frozenset(("bucket policy", "bucket ACL"))
#: Grants of an ACL at most (S3).
GRANTS_MAX = 100

Permission = Literal["READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"]
#: In the order in which the grant headers are read.
PERMISSIONS: tuple[Permission, ...] = ("READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL")

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
GROUPS = frozenset((ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY))
_PUBLIC = frozenset((ALL_USERS, AUTHENTICATED_USERS))

#: Owns what was written without credentials (S3's id for that).
ANONYMOUS_ID = "65a011a29cdf8ec533ec3d1ccaae921c"
#: Whom ``aws-exec-read`` lets read: Amazon EC2, under the id that S3 shows for it.
EC2_ID = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c"
#: Display names of ids that belong to no user.
NAMES = {ANONYMOUS_ID: "anonymous", EC2_ID: "za-team"}


class AclError(IdentityError):
    """An ACL can't be what is asked for."""


class UnknownCanned(AclError):
    """No canned ACL has this name, or none for a bucket or an object."""


class MalformedGrants(AclError):
    """The grants break the rules: their syntax or their number."""


class UnknownGrantee(AclError):
    """A grant is for somebody who does not exist. ``kind``: "id" or "uri"."""

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(f"There is no grantee of the {kind} {value}.")
        self.kind = kind
        self.value = value


class UnresolvableEmail(AclError):
    """An e-mail address belongs to no user (or, ``ambiguous``, to several)."""

    def __init__(self, address: str, *, ambiguous: bool) -> None:
        super().__init__(f"{address} belongs to {'several users' if ambiguous else 'no user'}.")
        self.ambiguous = ambiguous


class Grant(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """``permission`` for ``grantee``: a canonical id, or the URI of one of ``GROUPS``."""

    grantee: str
    permission: Permission

    def reaches(self, caller: str, *, signed: bool) -> bool:
        """Whether the caller of this canonical id is the grantee, or one of the group."""
        if self.grantee == caller or self.grantee == ALL_USERS:
            return True
        return signed and self.grantee == AUTHENTICATED_USERS


Acl = tuple[Grant, ...]


def private(owner: str) -> Acl:
    """The default: full control for the owner, and nobody else."""
    return (Grant(owner, "FULL_CONTROL"),)


def canonical(grants: Iterable[Grant]) -> Acl:
    """``grants`` without repetitions, groups first, otherwise in their order.

    Raises MalformedGrants where there are too many.
    """
    once = dict.fromkeys(grants)
    if len(once) > GRANTS_MAX:
        raise MalformedGrants(f"An ACL has at most {GRANTS_MAX} grants.")
    return tuple(sorted(once, key=lambda grant: grant.grantee not in GROUPS))


def is_public(acl: Acl) -> bool:
    """Whether everybody, or everybody who has credentials, is granted anything (S3's meaning)."""
    return any(grant.grantee in _PUBLIC for grant in acl)


# -- canned ACLs ----------------------------------------------------------------------------------

_CANNED: dict[str, Acl] = {
    "private": (),
    "public-read": (Grant(ALL_USERS, "READ"),),
    "public-read-write": (Grant(ALL_USERS, "READ"), Grant(ALL_USERS, "WRITE")),
    "authenticated-read": (Grant(AUTHENTICATED_USERS, "READ"),),
    "aws-exec-read": (Grant(EC2_ID, "READ"),),
}
#: What a bucket's owner gets by those for objects; they say nothing about a bucket.
_TO_BUCKET_OWNER: dict[str, Permission] = {
    "bucket-owner-read": "READ",
    "bucket-owner-full-control": "FULL_CONTROL",
}
_LOGS = (Grant(LOG_DELIVERY, "WRITE"), Grant(LOG_DELIVERY, "READ_ACP"))
#: The canned ACL under which a bucket's owner may become the owner of an object.
GIVING = "bucket-owner-full-control"


def canned_for_bucket(name: str, owner: str) -> Acl:
    """The ACL that ``name`` means for a bucket. Raises UnknownCanned."""
    if name == "log-delivery-write":
        return (*_LOGS, *private(owner))
    if name in _TO_BUCKET_OWNER:  # S3 ignores them
        return private(owner)
    return _canned(name, owner)


def canned_for_object(name: str, owner: str, bucket_owner: str) -> Acl:
    """The ACL that ``name`` means for an object. Raises UnknownCanned."""
    permission = _TO_BUCKET_OWNER.get(name)
    if permission is None:
        return _canned(name, owner)
    if owner == bucket_owner:
        return private(owner)
    return (*private(owner), Grant(bucket_owner, permission))


def _canned(name: str, owner: str) -> Acl:
    grants = _CANNED.get(name)
    if grants is None:
        raise UnknownCanned(name)
    return canonical((*grants, *private(owner)))


# -- grants as clients write them -----------------------------------------------------------------

GranteeKind = Literal["id", "uri", "emailAddress"]


class Asked(msgspec.Struct, frozen=True):
    """A grant as a client asks for it. ``value`` is a canonical id, a URI or an address."""

    kind: GranteeKind
    value: str
    permission: Permission


_GRANTEE = re.compile(
    r'\s*(id|uri|emailAddress)\s*=\s*(?:"([^"]*)"|([^",;=\s]+))\s*(,|\Z)', re.IGNORECASE
)
_KINDS: dict[str, GranteeKind] = {"id": "id", "uri": "uri", "emailaddress": "emailAddress"}


def parse_grantees(text: str, permission: Permission) -> list[Asked]:
    """The grants of one ``x-amz-grant-*``: ``id="...", uri="...", emailAddress="..."``.

    Raises MalformedGrants.
    """
    asked: list[Asked] = []
    position = 0
    while True:
        match = _GRANTEE.match(text, position)
        if match is None:
            raise MalformedGrants("Argument format not recognized")
        kind, quoted, plain, end = match.groups()
        asked.append(Asked(_KINDS[kind.lower()], plain or quoted, permission))
        if not end:
            return asked
        position = match.end()


def resolve(
    asked: Iterable[Asked],
    known: Callable[[str], bool],
    by_email: Callable[[str], list[str]],
) -> Acl:
    """The ACL that ``asked`` amounts to.

    ``known`` tells whether there is a user of a canonical id; ``by_email`` gives the canonical ids
    of an address. Raises UnknownGrantee, UnresolvableEmail, MalformedGrants.
    """
    return canonical(_resolve(one, known, by_email) for one in asked)


def _resolve(
    one: Asked, known: Callable[[str], bool], by_email: Callable[[str], list[str]]
) -> Grant:
    grantee = one.value
    if one.kind == "emailAddress":
        found = by_email(grantee)
        if len(found) != 1:
            raise UnresolvableEmail(grantee, ambiguous=bool(found))
        grantee = found[0]
    elif one.kind == "uri":
        if grantee not in GROUPS:
            raise UnknownGrantee("uri", grantee)
    elif grantee not in NAMES and not known(grantee):
        raise UnknownGrantee("id", grantee)
    return Grant(grantee, one.permission)


# -- what is stored -------------------------------------------------------------------------------

_decoder = msgspec.msgpack.Decoder(Acl)


def encode(acl: Acl, owner: str) -> bytes | None:
    """What is stored of ``acl`` on something that ``owner`` owns; None for the default."""
    return None if acl == private(owner) else spell(acl)


def spell(acl: Acl) -> bytes:
    """What is stored of ``acl`` where even the default is to count."""
    return msgspec.msgpack.encode(acl)


@lru_cache(maxsize=1024)
def decode(document: bytes) -> Acl:
    """The inverse of ``encode``, of what was not None. Raises msgspec.DecodeError where damaged."""
    return _decoder.decode(document)


def shown(document: bytes | None, owner: str) -> Acl:
    """The ACL to show for what is stored."""
    return private(owner) if document is None else decode(document)


# -- what a grant allows --------------------------------------------------------------------------
# S3: "Mapping of ACL permissions and access policy permissions".

#: Actions that a bucket's ACL governs, and the permission that each needs.
BUCKET_ACTIONS: dict[str, Permission] = {
    "s3:ListBucket": "READ",
    "s3:ListBucketVersions": "READ",
    "s3:ListBucketMultipartUploads": "READ",
    "s3:PutObject": "WRITE",
    "s3:DeleteObject": "WRITE",
    # of one's own uploads, as S3 gives to whoever initiates one: OF_INITIATORS
    "s3:ListMultipartUploadParts": "WRITE",
    "s3:AbortMultipartUpload": "WRITE",
    "s3:GetBucketAcl": "READ_ACP",
    "s3:PutBucketAcl": "WRITE_ACP",
}
#: Actions that a bucket's ACL allows on uploads that the caller began, and on no others.
OF_INITIATORS = frozenset(("s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"))
#: Actions that an object's ACL governs.
OBJECT_ACTIONS: dict[str, Permission] = {
    "s3:GetObject": "READ",
    "s3:GetObjectVersion": "READ",
    "s3:GetObjectTorrent": "READ",
    "s3:GetObjectAcl": "READ_ACP",
    "s3:GetObjectVersionAcl": "READ_ACP",
    "s3:PutObjectAcl": "WRITE_ACP",
    "s3:PutObjectVersionAcl": "WRITE_ACP",
}


def permits(
    document: bytes | None,
    action: str,
    *,
    owner: str,
    grantee: str,
    signed: bool,
    ignore_public: bool,
) -> Decision | None:
    """The permission that an ACL gives for ``action``, or None.

    ``document`` is what is stored. None, the default, gives nothing: whoever was let in by
    policies of their own is bound by them, also on what they wrote. Whom somebody else let in gets
    an ACL that is stored (``storage.s3.operations.acl.Ownership``).

    ``grantee`` is the caller's canonical id, "" where none counts; ``signed``: the caller is one
    of "authenticated users"; ``ignore_public``: grants to groups don't count.
    """
    if document is None:
        return None
    on_bucket = action in BUCKET_ACTIONS
    needed = BUCKET_ACTIONS[action] if on_bucket else OBJECT_ACTIONS.get(action)
    if needed is None:
        return None
    kind = "bucket" if on_bucket else "object"
    for grant in decode(document):
        if ignore_public and grant.grantee in GROUPS:
            continue
        if grant.permission in (needed, "FULL_CONTROL") and grant.reaches(grantee, signed=signed):
            return Decision(True, f"allowed by the {kind}'s ACL: {_told(grant)}", f"{kind} ACL")
    if grantee and grantee == owner and needed in ("READ_ACP", "WRITE_ACP"):
        reason = f"the {kind}'s owner may always read and write its ACL"
        return Decision(True, reason, f"{kind} ACL")
    return None


def _told(grant: Grant) -> str:
    name = grant.grantee.rpartition("/")[2] if grant.grantee in GROUPS else grant.grantee
    return f"{grant.permission} for {name}"
