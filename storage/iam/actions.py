"""The actions of Amazon S3 that policies may name, and the condition keys that each has.

Source: "Actions, resources, and condition keys for Amazon S3" in the Service Authorization
Reference; ListenBucketNotification is MinIO's. Names are kept in lower case: policies write them in
any case.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.iam import patterns


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Condition keys that every action has (the service's own; the global ones begin with ``aws:``).
_COMMON = _words(
    "s3:accessgrantsinstancearn s3:accesspointnetworkorigin s3:authtype s3:dataaccesspointaccount "
    "s3:dataaccesspointarn s3:resourceaccount s3:signatureage s3:signatureversion s3:tlsversion "
    "s3:x-amz-content-sha256"
)
_GRANTS = (
    "s3:x-amz-acl s3:x-amz-grant-full-control s3:x-amz-grant-read s3:x-amz-grant-read-acp "
    "s3:x-amz-grant-write s3:x-amz-grant-write-acp"
)
_LISTING = "s3:delimiter s3:max-keys s3:prefix"
_EXISTING = "s3:existingobjecttag/"
_REQUEST_TAGS = "s3:requestobjecttag/ s3:requestobjecttagkeys"
_LOCK = (
    "s3:object-lock-legal-hold s3:object-lock-mode s3:object-lock-remaining-retention-days "
    "s3:object-lock-retain-until-date"
)
_WRITING = (
    f"{_GRANTS} {_REQUEST_TAGS} {_LOCK} s3:if-match s3:if-none-match s3:objectcreationoperation "
    "s3:x-amz-copy-source s3:x-amz-metadata-directive s3:x-amz-server-side-encryption "
    "s3:x-amz-server-side-encryption-aws-kms-key-id "
    "s3:x-amz-server-side-encryption-customer-algorithm s3:x-amz-storage-class "
    "s3:x-amz-website-redirect-location"
)

#: Actions with keys of their own.
_WITH_KEYS = {
    "BypassGovernanceRetention": f"{_GRANTS} {_REQUEST_TAGS} {_LOCK} s3:x-amz-copy-source "
    "s3:x-amz-metadata-directive s3:x-amz-server-side-encryption s3:x-amz-storage-class "
    "s3:x-amz-server-side-encryption-aws-kms-key-id s3:x-amz-website-redirect-location",
    "CreateBucket": f"{_GRANTS} s3:locationconstraint s3:x-amz-object-ownership",
    "DeleteObject": "s3:if-match",
    "DeleteObjectTagging": _EXISTING,
    "DeleteObjectVersion": "s3:if-match s3:versionid",
    "DeleteObjectVersionTagging": f"{_EXISTING} s3:versionid",
    "GetObject": f"{_EXISTING} s3:if-match s3:if-none-match",
    "GetObjectAcl": _EXISTING,
    "GetObjectAttributes": _EXISTING,
    "GetObjectTagging": _EXISTING,
    "GetObjectVersion": f"{_EXISTING} s3:versionid",
    "GetObjectVersionAcl": f"{_EXISTING} s3:versionid",
    "GetObjectVersionAttributes": f"{_EXISTING} s3:versionid",
    "GetObjectVersionTagging": f"{_EXISTING} s3:versionid",
    "ListBucket": _LISTING,
    "ListBucketMultipartUploads": _LISTING,
    "ListBucketVersions": _LISTING,
    "PutBucketAcl": _GRANTS,
    "PutBucketObjectLockConfiguration": "s3:object-lock-remaining-retention-days",
    "PutObject": _WRITING,
    "PutObjectAcl": f"{_EXISTING} {_GRANTS} s3:x-amz-storage-class",
    "PutObjectLegalHold": "s3:object-lock-legal-hold",
    "PutObjectRetention": _LOCK,
    "PutObjectTagging": f"{_EXISTING} {_REQUEST_TAGS}",
    "PutObjectVersionAcl": f"{_EXISTING} {_GRANTS} s3:versionid s3:x-amz-storage-class",
    "PutObjectVersionTagging": f"{_EXISTING} {_REQUEST_TAGS} s3:versionid",
    "ReplicateObject": f"{_REQUEST_TAGS} s3:x-amz-server-side-encryption "
    "s3:x-amz-server-side-encryption-aws-kms-key-id "
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "ReplicateTags": f"{_EXISTING} {_REQUEST_TAGS}",
}

#: Actions without.
_PLAIN = """
AbortMultipartUpload CreateBucketMetadataTableConfiguration DeleteBucket
DeleteBucketMetadataTableConfiguration DeleteBucketPolicy DeleteBucketWebsite
DeleteObjectAnnotation GetAccelerateConfiguration GetAnalyticsConfiguration GetBucketAbac
GetBucketAcl GetBucketCORS GetBucketLocation GetBucketLogging GetBucketMetadataTableConfiguration
GetBucketNotification GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy
GetBucketPolicyStatus GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging
GetBucketVersioning GetBucketWebsite GetEncryptionConfiguration
GetIntelligentTieringConfiguration GetInventoryConfiguration GetLifecycleConfiguration
GetMetricsConfiguration GetObjectAnnotation GetObjectLegalHold GetObjectRetention
GetObjectTorrent GetObjectVersionForReplication GetObjectVersionTorrent
GetReplicationConfiguration InitiateReplication ListAllMyBuckets ListMultipartUploadParts
ListObjectAnnotations ListTagsForResource ListenBucketNotification ObjectOwnerOverrideToBucketOwner
PutAccelerateConfiguration PutAnalyticsConfiguration PutBucketAbac PutBucketCORS PutBucketLogging
PutBucketNotification PutBucketOwnershipControls PutBucketPolicy PutBucketPublicAccessBlock
PutBucketRequestPayment PutBucketTagging PutBucketVersioning PutBucketWebsite
PutEncryptionConfiguration PutIntelligentTieringConfiguration PutInventoryConfiguration
PutLifecycleConfiguration PutMetricsConfiguration PutObjectAnnotation PutReplicationConfiguration
ReplicateDelete RestoreObject TagResource UntagResource
UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataInventoryTableConfiguration
UpdateBucketMetadataJournalTableConfiguration UpdateObjectEncryption
"""

#: action -> its condition keys; a key that ends in ``/`` goes on with the name of a tag.
ACTIONS: dict[str, frozenset[str]] = {
    **{f"s3:{name}".lower(): _COMMON for name in _PLAIN.split()},
    **{f"s3:{name}".lower(): _COMMON | _words(keys) for name, keys in _WITH_KEYS.items()},
}

_NAMES = {f"s3:{name}".lower(): f"s3:{name}" for name in (*_PLAIN.split(), *_WITH_KEYS)}

#: Condition keys of every service: "AWS global condition context keys" in the IAM user guide.
_GLOBAL = _words(
    """
    aws:calledvia aws:calledviafirst aws:calledvialast aws:currenttime aws:epochtime
    aws:federatedprovider aws:multifactorauthage aws:multifactorauthpresent aws:principalaccount
    aws:principalarn aws:principalisawsservice aws:principalorgid aws:principalorgpaths
    aws:principalservicename aws:principalservicenameslist aws:principaltype aws:referer
    aws:requestedregion aws:resourceaccount aws:resourceorgid aws:resourceorgpaths
    aws:securetransport aws:sourceaccount aws:sourcearn aws:sourceidentity aws:sourceip
    aws:sourceorgid aws:sourceorgpaths aws:sourceowner aws:sourcevpc aws:sourcevpcarn
    aws:sourcevpce aws:tagkeys aws:tokenissuetime aws:useragent aws:userid aws:username
    aws:viaawsservice aws:vpceaccount aws:vpceorgid aws:vpceorgpaths aws:vpcsourceip
    """
)
_GLOBAL_PREFIXES = ("aws:principaltag/", "aws:requesttag/", "aws:resourcetag/")
_SERVICE_KEYS: frozenset[str] = frozenset().union(*ACTIONS.values())


def matching(pattern: str) -> list[str]:
    """The actions that an element of Action means, in lower case; none: it is unknown."""
    lower = pattern.lower()
    if lower == "*":
        return list(ACTIONS)
    match = patterns.compile_pattern(lower)
    return [action for action in ACTIONS if match(action)]


def spelled(action: str) -> str:
    """An action as S3 spells it, "" where it has none of that name."""
    return _NAMES.get(action.lower(), "")


def of_version(action: str) -> str:
    """What a request that names a version asks for in the place of ``action``, which is spelled as
    S3 spells it: s3:GetObjectVersion for s3:GetObject, itself where there is no such action."""
    return spelled(action.replace("Object", "ObjectVersion", 1)) or action


def is_condition_key(key: str) -> bool:
    """Whether any action has the condition key (in lower case)."""
    return key in _GLOBAL or key.startswith(_GLOBAL_PREFIXES) or _in(key, _SERVICE_KEYS)


def has_condition_key(actions: Iterable[str], key: str) -> bool:
    """Whether one of ``actions`` has the condition key."""
    return key.startswith("aws:") or any(_in(key, ACTIONS[action]) for action in actions)


def has(action: str, key: str) -> bool:
    """Whether policies can ask for a condition key (in lower case) about ``action``. Of the
    service's own keys, actions that are not S3's have none."""
    if not key.startswith("s3:"):
        return True
    keys = ACTIONS.get(action.lower())
    return keys is not None and _in(key, keys)


def _in(key: str, keys: frozenset[str]) -> bool:
    family, slash, name = key.partition("/")
    return bool(name) and f"{family}/" in keys if slash else key in keys
