"""What the control API answers when something is wrong: ``application/problem+json`` (RFC 9457).

``detail`` is one sentence for people; ``code`` is the name for programs, the same as S3's where
S3 knows the trouble.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from storage import errors


class Problem(Exception):
    """An answer that is not what the caller hoped for."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers


#: Domain error -> status, code, sentence. Subclasses come before their bases.
_TRANSLATED: tuple[tuple[type[errors.StoreError], int, str, str], ...] = (
    (errors.NoSuchBucket, 404, "NoSuchBucket", "The bucket does not exist."),
    (errors.BucketExists, 409, "BucketAlreadyExists", "A bucket of this name exists already."),
    (errors.BucketNotEmpty, 409, "BucketNotEmpty", "The bucket is not empty: delete its objects "
     "first."),
    (errors.NoSuchKey, 404, "NoSuchKey", "The object does not exist."),
    (errors.PreconditionFailed, 412, "PreconditionFailed", "A condition of the request does not "
     "hold."),
    (errors.Conflict, 409, "OperationAborted", "Someone else changed this at the same time: "
     "look again and repeat."),
    (errors.StorageFull, 507, "XMinioStorageFull", "The drive is nearly full: delete something "
     "or give it more space."),
    (errors.ReadOnly, 503, "ReadOnly", "The store only reads, because a drive failed to write: "
     "see its log."),
    (errors.Unavailable, 503, "ServiceUnavailable", "The store cannot answer at the moment (it "
     "may be replaying its log): try again."),
    (errors.DataCorrupt, 500, "DataCorrupt", "The stored bytes do not match their checksum."),
)  # fmt: skip


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` as a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(errors.StoreError, _store_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def answer(problem: Problem) -> JSONResponse:
    """The response that says ``problem``."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": HTTPStatus(problem.status).phrase,
            "status": problem.status,
            "code": problem.code,
            "detail": problem.detail,
        },
        problem.status,
        problem.headers,
        media_type="application/problem+json",
    )


def _problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return answer(error)


def _store_error(_: Request, error: Exception) -> JSONResponse:
    for kind, status, code, detail in _TRANSLATED:
        if isinstance(error, kind):
            headers = {"Retry-After": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
            return answer(Problem(status, code, detail, headers))
    raise error


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """The first thing that does not fit. What was sent is not repeated: it may be a secret."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    if first["type"] == "json_invalid":
        where, what = "the body", "it is not JSON"
    else:
        what = str(first["msg"]).removeprefix("Value error, ")
    return answer(Problem(400, "InvalidArgument", f"{where}: {what}."))


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    sentence = {
        404: "There is nothing at this address: see /docs for what there is.",
        405: "This address does not answer to this method: see /docs for those that it does.",
    }.get(error.status_code, str(error.detail))
    code = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
    return answer(Problem(error.status_code, code, sentence, error.headers))


def _gone(_: Request, __: Exception) -> JSONResponse:
    """Nobody hears it; it keeps a client that went away from looking like a mistake of ours."""
    return answer(Problem(400, "IncompleteBody", "The body ended before it was complete."))


def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return answer(Problem(500, "InternalError", "The store made a mistake that its log describes."))
