"""ACLs: Get and Put of BucketAcl and ObjectAcl, and what new buckets and objects get of them.

Sources: Amazon S3 API Reference, the operations of these names; Amazon S3 User Guide, "Access
control list (ACL) overview" and "Controlling ownership of objects and disabling ACLs".
"""

from __future__ import annotations

from collections.abc import Callable

from storage import errors
from storage.engine import interface as i
from storage.iam import acl, block, ownership
from storage.iam.acl import Acl, Asked, Grant
from storage.iam.policy import Decision
from storage.iam.resources import BLOCK, POLICY
from storage.s3 import headers, xml
from storage.s3.call import Call, Response
from storage.s3.errors import S3Error
from storage.s3.operations import access, versioning
from storage.s3.operations.body import has_body, read_document
from storage.s3.operations.documents import set_document
from storage.s3.operations.list_objects import owner_element

_TYPE = "http://www.w3.org/2001/XMLSchema-instance type"


# -- buckets --------------------------------------------------------------------------------------


async def get_bucket_acl(call: Call) -> Response:
    """The bucket's ACL; where ACLs are disabled, full control for its owner."""
    bucket = call.target
    stored = None if _disabled(bucket) else bucket.config.get(acl.DOCUMENT)
    return Response(200, [xml.CONTENT_TYPE], _document(call, bucket.owner, stored))


async def put_bucket_acl(call: Call) -> Response:
    """Replace the bucket's ACL."""
    body = await _body(call)

    def checked(bucket: i.Bucket) -> bytes | None:
        owner = bucket.owner
        _refuse_disabled(bucket)
        asked = _asked(call, body, owner, lambda name: acl.canned_for_bucket(name, owner))
        _refuse_public(bucket, asked)
        return acl.encode(asked, owner)

    await set_document(call, acl.DOCUMENT, checked)
    return Response(200, [])


def of_new_bucket(call: Call, owner: str) -> Acl:
    """The ACL that the headers of CreateBucket ask for; without any the default."""
    asked = _from_headers(call, owner, lambda name: acl.canned_for_bucket(name, owner))
    return acl.private(owner) if asked is None else asked


# -- objects --------------------------------------------------------------------------------------


async def get_object_acl(call: Call) -> Response:
    """The ACL of a version; where ACLs are disabled, full control for the bucket's owner."""
    bucket = call.target
    version = await _version(call)
    if _disabled(bucket):
        owner, stored = bucket.owner, None
    else:
        owner, stored = version.owner, version.meta.extra.get(acl.DOCUMENT)
    lines = [xml.CONTENT_TYPE, *versioning.version_header(bucket, version)]
    return Response(200, lines, _document(call, owner, stored))


async def put_object_acl(call: Call) -> Response:
    """Replace the ACL of a version, which stays the same version."""
    body = await _body(call)
    bucket = await access.renew(call)
    _refuse_disabled(bucket)
    while True:
        version = await _version(call)
        access.authorize_version(call, access.action_of(call), bucket, call.key, version)
        owner = version.owner
        asked = _asked(call, body, owner, _canned_for_object(owner, bucket))
        _refuse_public(bucket, asked)
        # Where an ACL is stored already, its grants count for its owner, and go on counting.
        stored = version.meta.extra.get(acl.DOCUMENT) is not None and owner != bucket.owner
        extra = {acl.DOCUMENT: acl.spell(asked) if stored else acl.encode(asked, owner)}
        try:
            await call.app.engine.commit(
                i.AmendObject(
                    bucket.id, call.key, version.seq, extra=extra, expect=access.seen(call, version)
                )
            )
        except (errors.NoSuchVersion, errors.Conflict):
            continue  # it was replaced or amended meanwhile: look again
        return Response(200, versioning.version_header(bucket, version))


async def _version(call: Call) -> i.Version:
    return await versioning.find(call, call.target, call.key, versioning.asked_version(call))


def _canned_for_object(owner: str, bucket: i.Bucket) -> Callable[[str], Acl]:
    return lambda name: acl.canned_for_object(name, owner, bucket.owner)


def of_new_object(call: Call) -> tuple[str, bytes | None]:
    """(owner, ACL to store, None for the default) of what ``call`` writes under its key.

    Whom the bucket's policy or ACL let in, not policies of its own, gets full control of what it
    writes stored, since nothing else would let it read that again. Raises AccessDenied,
    AccessControlListNotSupported, and whatever is wrong with the ACL.
    """
    bucket = call.target
    state = ownership.of(bucket.config.get(ownership.DOCUMENT))
    writer = call.auth.principal.id
    if headers.ACL_HEADERS.isdisjoint(call.headers):
        if state == ownership.ENFORCED:
            return bucket.owner, None
        owner = writer or acl.ANONYMOUS_ID
        return owner, _own(owner) if writer and _let_in_by(call, bucket) else None
    name = call.header(headers.CANNED_ACL)
    owner = ownership.owner_of_new(state, writer, bucket.owner, name)
    asked = _from_headers(call, owner, _canned_for_object(owner, bucket)) or acl.private(owner)
    is_default = asked == acl.private(owner)
    if state == ownership.ENFORCED:
        if not is_default or name not in ("", acl.GIVING):
            raise S3Error("AccessControlListNotSupported")
        return owner, None
    let_in_by = _let_in_by(call, bucket)
    if is_default:
        return owner, _own(owner) if let_in_by and owner == writer else None
    _refuse_public(bucket, asked)
    _authorize_acl(call, bucket, let_in_by, asked)
    return owner, acl.spell(asked)


def _own(owner: str) -> bytes:
    """The default, spelled out."""
    return acl.spell(acl.private(owner))


def _let_in_by(call: Call, bucket: i.Bucket) -> str:
    """What of the bucket's lets the caller write here, "" where the caller's own policies do."""
    principal = call.auth.principal
    config = bucket.config
    if POLICY not in config and acl.DOCUMENT not in config:
        return ""
    if principal.root or principal.id == bucket.owner:
        return ""
    found = _decision(call, bucket, "s3:PutObject")
    return found.source if found.allowed and found.source in acl.BY_GRANT else ""


def lets_in(call: Call, action: str) -> bool:
    """Whether nothing but the bucket's ACL allows the caller to do ``action``."""
    if call.auth.principal.root or acl.DOCUMENT not in call.target.config:
        return False
    return _decision(call, call.target, action).source == "bucket ACL"


def _authorize_acl(call: Call, bucket: i.Bucket, let_in_by: str, asked: Acl) -> None:
    """Permit the ACL of a new object. Raises AccessDenied.

    Whoever owns an object by grace of the bucket's ACL may set its own, and whom the bucket's
    policy lets write may grant something to the bucket's owner (S3: the policy may demand just
    that); nobody must deny it. Whoever writes by policies of its own needs the permission there:
    a stored ACL would otherwise give it more than they do.
    """
    found = _decision(call, bucket, "s3:PutObjectAcl")
    those = (bucket.owner, call.auth.principal.id)
    free = let_in_by == "bucket ACL" or (
        let_in_by == "bucket policy" and all(grant.grantee in those for grant in asked)
    )
    if not found.allowed and (found.source or not free):
        raise S3Error("AccessDenied")


def _decision(call: Call, bucket: i.Bucket, action: str) -> Decision:
    """What is decided about an object that is yet to be written."""
    found = access.decision(call, action, bucket, call.key)
    assert found is not None  # there is nothing that would have to be looked up first
    return found


# -- what all of them refuse ----------------------------------------------------------------------


def _disabled(bucket: i.Bucket) -> bool:
    return ownership.of(bucket.config.get(ownership.DOCUMENT)) == ownership.ENFORCED


def _refuse_disabled(bucket: i.Bucket) -> None:
    """Raise AccessControlListNotSupported where ACLs are disabled."""
    if _disabled(bucket):
        raise S3Error("AccessControlListNotSupported")


def _refuse_public(bucket: i.Bucket, asked: Acl) -> None:
    """Raise AccessDenied where the bucket blocks public ACLs."""
    if block.of(bucket.config.get(BLOCK)).block_public_acls and acl.is_public(asked):
        raise S3Error("AccessDenied")


def refuse_blocked(bucket: i.Bucket, meta: i.Meta) -> None:
    """Raise AccessDenied where an upload would make an object whose ACL was public when it was
    asked for, and is blocked by now."""
    stored = meta.extra.get(acl.DOCUMENT)
    if stored is not None and not _disabled(bucket):
        _refuse_public(bucket, acl.decode(stored))


# -- reading --------------------------------------------------------------------------------------


async def _body(call: Call) -> bytes:
    return await read_document(call) if has_body(call) else b""


def _asked(call: Call, body: bytes, owner: str, canned: Callable[[str], Acl]) -> Acl:
    """The ACL of a Put request, by headers or by its document.

    Raises UnexpectedContent where it is both, MissingSecurityHeader where neither, AccessDenied
    where it names another owner, and whatever is wrong with the ACL.
    """
    asked = _from_headers(call, owner, canned)
    if asked is None:
        if not body:
            raise S3Error("MissingSecurityHeader", MissingHeaderName="x-amz-acl")
        return _parse(call, body, owner)
    if body:
        raise S3Error("UnexpectedContent")
    return asked


def _from_headers(call: Call, owner: str, canned: Callable[[str], Acl]) -> Acl | None:
    """The ACL that the headers ask for, None where they say nothing of one.

    Raises InvalidArgument, InvalidRequest, Unresolvable- and AmbiguousGrantByEmailAddress.
    """
    name = call.header(headers.CANNED_ACL)
    granting = [p for p, header in headers.GRANTS.items() if header in call.headers]
    if not granting:
        return _canned(name, canned) if name else None
    if name:
        raise S3Error(
            "InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed"
        )
    asked: list[Asked] = []
    for permission in granting:
        header = headers.GRANTS[permission]
        text = call.header(header)
        try:
            asked += acl.parse_grantees(text, permission)
        except acl.MalformedGrants as error:
            raise _invalid(str(error), header.decode(), text) from None
    return _resolve(call, asked, owner)


def _canned(name: str, canned: Callable[[str], Acl]) -> Acl:
    try:
        return canned(name)
    except acl.UnknownCanned:
        raise _invalid("", "x-amz-acl", name) from None


def _resolve(call: Call, asked: list[Asked], owner: str) -> Acl:
    """``asked`` with everybody found. Raises as ``_from_headers``, and MalformedACLError."""
    identity = call.app.directory.current()

    def known(canonical_id: str) -> bool:
        if canonical_id == owner:
            return True
        return identity is not None and identity.principal(canonical_id) is not None

    def by_email(address: str) -> list[str]:
        if identity is None:
            return []
        return [
            user.id for user in identity.users.values() if user.email.lower() == address.lower()
        ]

    try:
        return acl.resolve(asked, known, by_email)
    except acl.UnknownGrantee as error:
        if error.kind == "uri":
            raise _invalid("Invalid group uri", "uri", error.value) from None
        raise _invalid("Invalid id", "CanonicalUser/ID", error.value) from None
    except acl.UnresolvableEmail as error:
        code = "AmbiguousGrantByEmailAddress" if error.ambiguous else None
        raise S3Error(code or "UnresolvableGrantByEmailAddress") from None
    except acl.MalformedGrants as error:
        raise S3Error("MalformedACLError", str(error)) from None


def _invalid(message: str, name: str, value: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)


# -- documents ------------------------------------------------------------------------------------

_OWNER = frozenset(("ID", "DisplayName"))
#: xsi:type of a grantee -> (what kind of name it has, the element that holds it, all its elements).
_GRANTEES: dict[str, tuple[acl.GranteeKind, str, frozenset[str]]] = {
    "CanonicalUser": ("id", "ID", _OWNER),
    "Group": ("uri", "URI", frozenset(("URI",))),
    "AmazonCustomerByEmail": ("emailAddress", "EmailAddress", frozenset(("EmailAddress",))),
}


def _parse(call: Call, body: bytes, owner: str) -> Acl:
    """An AccessControlPolicy. Raises MalformedACLError, AccessDenied, and as ``_resolve``."""
    try:
        parts = _children(xml.parse(body, "AccessControlPolicy"), "Owner", "AccessControlList")
        named = xml.fields(parts["Owner"], _OWNER, ("ID",))["ID"]
        asked = [_parse_grant(node) for node in xml.items(parts["AccessControlList"], "Grant")]
    except S3Error as error:
        if error.code != "MalformedXML":
            raise
        malformed = S3Error("MalformedACLError")
        malformed.fields = error.fields
        raise malformed from None
    if named != owner:
        raise S3Error("AccessDenied")
    return _resolve(call, asked, owner)


def _children(node: xml.Node, *names: str) -> dict[str, xml.Node]:
    """The children of ``node``, which must be these, each once. Raises MalformedXML."""
    found = xml.parts(node, names)
    for name in names:
        if name not in found:
            raise xml.malformed(name)
    return found


def _parse_grant(node: xml.Node) -> Asked:
    parts = _children(node, "Grantee", "Permission")
    permission = next((p for p in acl.PERMISSIONS if p == parts["Permission"].text), None)
    if permission is None or parts["Permission"].children:
        raise xml.malformed("Permission")
    grantee = parts["Grantee"]
    kind = _GRANTEES.get(grantee.attributes.get(_TYPE, "").rpartition(":")[2])
    if kind is None:
        raise xml.malformed("Grantee")
    named, element, allowed = kind
    value = xml.fields(grantee, allowed, (element,))[element]
    return Asked(named, value, permission)


def _document(call: Call, owner: str, stored: bytes | None) -> bytes:
    grants = "".join(_render(call, grant) for grant in acl.shown(stored, owner))
    return xml.document(
        "AccessControlPolicy",
        f"{owner_element(call, owner)}<AccessControlList>{grants}</AccessControlList>",
    )


def _render(call: Call, grant: Grant) -> str:
    if grant.grantee in acl.GROUPS:
        kind, named = "Group", xml.element("URI", grant.grantee)
    else:
        kind = "CanonicalUser"
        named = xml.element("ID", grant.grantee)
        named += xml.element("DisplayName", call.app.display_name(grant.grantee))
    return (
        '<Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:type="{kind}">{named}</Grantee><Permission>{grant.permission}</Permission></Grant>'
    )
