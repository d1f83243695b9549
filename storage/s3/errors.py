"""S3's errors: one table of the codes in use, and the translation from domain errors.

Everything on the S3 plane raises ``S3Error``; ``storage.s3.app`` alone turns it into XML.
Codes, statuses and wordings follow "Error responses" of the Amazon S3 API Reference.
"""

from __future__ import annotations

from storage import errors

#: code -> (HTTP status, message used when the raiser gives none).
CODES: dict[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs."),
    "AccessDenied": (403, "Access Denied"),
    "AccessForbidden": (403, "Access Forbidden"),
    "AmbiguousGrantByEmailAddress": (400, "The email address you provided is associated with more "
                                     "than one account."),
    "AuthorizationHeaderMalformed": (400, "The authorization header you provided is invalid."),
    "AuthorizationQueryParametersError": (400, "The authorization query is malformed."),
    "BadDigest": (400, "The Content-MD5 or checksum value that you specified did not match "
                  "what the server received."),
    "BadRequest": (400, "The request is not valid."),
    "BucketAlreadyExists": (409, "The requested bucket name is not available. The bucket "
                            "namespace is shared by all users of the system. Select a "
                            "different name and try again."),
    "BucketAlreadyOwnedByYou": (409, "The bucket that you tried to create already exists, and "
                                "you own it."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty"),
    "ConditionalRequestConflict": (409, "A conflicting operation occurred during processing of "
                                   "this request. Retry."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed object "
                       "size."),
    "ExpiredToken": (400, "The provided token has expired."),
    "IllegalLocationConstraintException": (400, "The specified location constraint is not valid "
                                           "for this endpoint."),
    "IllegalVersioningConfigurationException": (400, "The Versioning element must be specified"),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the "
                       "Content-Length HTTP header."),
    "IncorrectNumberOfFilesInPostRequest": (400, "POST requires exactly one file upload per "
                                            "request."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (403, "The access key ID that you provided does not exist in our "
                           "records."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketAclWithBlockPublicAccessError": (400, "Bucket cannot have public ACLs set with "
                                                   "BlockPublicAccess enabled"),
    "InvalidBucketAclWithObjectOwnership": (400, "Bucket cannot have ACLs set with "
                                            "ObjectOwnership's BucketOwnerEnforced setting"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidChunkSizeError": (400, "Only the last chunk is allowed to have a size less than "
                              "8192 bytes"),
    "InvalidDigest": (400, "The Content-MD5 or checksum value that you specified is not valid."),
    "InvalidLocationConstraint": (400, "The specified location constraint is not valid."),
    "InvalidPart": (400, "One or more of the specified parts could not be found. The part might "
                    "not have been uploaded, or the specified entity tag might not have matched "
                    "the part's entity tag."),
    "InvalidPartNumber": (416, "The requested partnumber is not satisfiable"),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order. The parts list must "
                         "be specified in order by part number."),
    "InvalidPolicyDocument": (400, "The content of the form does not meet the conditions "
                              "specified in the policy document."),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRequest": (400, "Invalid Request"),
    "InvalidSecurity": (403, "The provided security credentials are not valid."),
    "InvalidStorageClass": (400, "The storage class you specified is not valid"),
    "InvalidTag": (400, "The tag provided was not a valid tag."),
    "InvalidToken": (400, "The provided token is malformed or otherwise not valid."),
    "InvalidURI": (400, "The specified URI couldn't be parsed."),
    "KeyTooLongError": (400, "Your key is too long."),
    "MalformedACLError": (400, "The XML you provided was not well-formed or did not validate "
                          "against our published schema"),
    "MalformedPolicy": (400, "The policy is not valid."),
    "MalformedPOSTRequest": (400, "The body of your POST request is not well-formed "
                             "multipart/form-data."),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate against "
                     "our published schema"),
    "MalformedTrailerError": (400, "The request contained trailing data that was not well-formed "
                              "or did not conform to our published schema."),
    "MaxMessageLengthExceeded": (400, "Your request was too large."),
    "MaxPostPreDataLengthExceededError": (400, "Your POST request fields preceding the upload "
                                          "file were too large."),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingAuthenticationToken": (403, "The request was not signed."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": (400, "Request Body is empty"),
    "MissingSecurityHeader": (400, "Your request is missing a required header."),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist"),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist"),
    "NoSuchPublicAccessBlockConfiguration": (404, "The public access block configuration was not "
                                             "found"),
    "NoSuchTagSet": (404, "The TagSet does not exist"),
    "NoSuchUpload": (404, "The specified multipart upload does not exist. The upload ID might be "
                     "invalid, or the multipart upload might have been aborted or completed."),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": (404, "The specified bucket does not have a website "
                                   "configuration"),
    "NotImplemented": (501, "A header or query you provided implies functionality that is not "
                       "implemented."),
    "NotModified": (304, "Not Modified"),
    "ObjectLockConfigurationNotFoundError": (404, "Object Lock configuration does not exist for "
                                             "this bucket"),
    "OperationAborted": (409, "A conflicting conditional operation is currently in progress "
                         "against this resource. Try again."),
    "OwnershipControlsNotFoundError": (404, "The bucket ownership controls were not found"),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "ReplicationConfigurationNotFoundError": (404, "The replication configuration was not found"),
    "RequestExpired": (400, "Request has expired"),
    "RequestHeaderSectionTooLarge": (400, "Your request header section exceeds the maximum "
                                     "allowed size."),
    "RequestTimeout": (400, "Your socket connection to the server was not read from or written "
                       "to within the timeout period."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the server's time "
                             "is too large."),
    "ServerSideEncryptionConfigurationNotFoundError": (404, "The server side encryption "
                                                       "configuration was not found"),
    "ServiceUnavailable": (503, "Please reduce your request rate."),
    "SignatureDoesNotMatch": (403, "The request signature we calculated does not match the "
                              "signature you provided. Check your key and signing method."),
    "SlowDown": (503, "Please reduce your request rate."),
    "TooManyBuckets": (400, "You have attempted to create more buckets than allowed."),
    "UnexpectedContent": (400, "This request does not support content"),
    "UnresolvableGrantByEmailAddress": (400, "The email address you provided does not match any "
                                        "account on record."),
    "UnsupportedSignature": (400, "The provided request is signed with an unsupported signature "
                             "version."),
    "XAmzContentChecksumMismatch": (400, "The provided checksum does not match the computed one."),
    "XAmzContentSHA256Mismatch": (400, "The provided 'x-amz-content-sha256' header does not match "
                                  "what was computed."),
    "XMinioStorageFull": (507, "Storage backend has reached its minimum free drive threshold. "
                          "Please delete a few objects to proceed."),
    "XMinioObjectReadOnly": (503, "The store can only read: a write to its drive failed."),
}  # fmt: skip


class S3Error(Exception):
    """An S3 error code on its way to the client.

    ``fields`` become child elements of ``<Error>`` beside Code, Message, Resource, RequestId and
    HostId; ``headers`` are added to the response. An unknown code needs a ``status``.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int = 0,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        **fields: str,
    ) -> None:
        known = CODES.get(code, (status or 400, code))
        self.code = code
        self.message = message or known[1]
        self.status = status or known[0]
        self.headers = headers
        self.fields = fields
        super().__init__(f"{code}: {self.message}")


_RETRY = ((b"retry-after", b"1"),)

_TRANSLATED: dict[type[errors.StoreError], str] = {
    errors.NoSuchBucket: "NoSuchBucket",
    errors.BucketNotEmpty: "BucketNotEmpty",
    errors.NoSuchKey: "NoSuchKey",
    errors.NoSuchVersion: "NoSuchVersion",
    errors.NoSuchUpload: "NoSuchUpload",
    errors.InvalidPart: "InvalidPart",
    errors.StorageFull: "XMinioStorageFull",
}


def translate(error: errors.StoreError) -> S3Error:
    """The S3 error that tells a client what ``error`` tells the store.

    ``BucketExists`` is translated by CreateBucket, which knows who asks.
    """
    code = _TRANSLATED.get(type(error))
    if code is not None:
        return S3Error(code)
    if isinstance(error, errors.PreconditionFailed):
        return S3Error("PreconditionFailed", Condition=error.condition)
    if isinstance(error, errors.PartTooSmall):
        return S3Error(
            "EntityTooSmall",
            ProposedSize=str(error.size),
            MinSizeAllowed=str(error.minimum),
            PartNumber=str(error.number),
        )
    if isinstance(error, errors.Conflict):
        return S3Error("OperationAborted")
    if isinstance(error, errors.ReadOnly):
        return S3Error("XMinioObjectReadOnly", headers=_RETRY)
    if isinstance(error, errors.Unavailable):
        return S3Error("ServiceUnavailable", headers=_RETRY)
    return S3Error("InternalError")


def slow_down() -> S3Error:
    """The refusal of a request beyond the bound of requests in flight."""
    return S3Error("SlowDown", headers=_RETRY)
