"""Rules for names, access keys and secrets, and how new ones are made."""

from __future__ import annotations

import hmac
import re
import secrets
import string

from storage.iam.errors import InvalidCredentials

ACCESS_KEY_MIN, ACCESS_KEY_MAX = 3, 128
SECRET_MIN, SECRET_MAX = 8, 256
_NEW_ACCESS_KEY, _NEW_SECRET = 20, 40
_UPPER = string.ascii_uppercase + string.digits
_ALPHANUMERIC = string.ascii_letters + string.digits

# "=" and "," would end the access key inside an Authorization header (MinIO refuses them too).
_ACCESS_KEY = re.compile(r"[!-+\--<>-~]+")
_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+")
_EMAIL_MAX = 254
_USER_NAME = re.compile(r"[A-Za-z0-9_+.@-]{1,64}")


def new_access_key() -> str:
    """A random access key id of 20 characters."""
    return "".join(secrets.choice(_UPPER) for _ in range(_NEW_ACCESS_KEY))


def new_secret() -> str:
    """A random secret of 40 letters and digits (238 bits): nothing that a shell or URL minds."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(_NEW_SECRET))


def new_canonical_id() -> str:
    """A random canonical id: 64 lower-case hex digits."""
    return secrets.token_hex(32)


def same_secret(a: str, b: str) -> bool:
    """Compare two secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(a.encode(errors="surrogatepass"), b.encode(errors="surrogatepass"))


def check_access_key(access_key: str) -> None:
    """Raise InvalidCredentials unless ``access_key`` can serve as one."""
    if not ACCESS_KEY_MIN <= len(access_key) <= ACCESS_KEY_MAX:
        raise InvalidCredentials(
            f"An access key must have {ACCESS_KEY_MIN} to {ACCESS_KEY_MAX} characters."
        )
    if _ACCESS_KEY.fullmatch(access_key) is None:
        raise InvalidCredentials(
            "An access key must be printable ASCII without spaces, '=' and ','."
        )


def check_secret(secret: str) -> None:
    """Raise InvalidCredentials unless ``secret`` is long enough and can be encoded."""
    if not SECRET_MIN <= len(secret) <= SECRET_MAX:
        raise InvalidCredentials(f"A secret key must have {SECRET_MIN} to {SECRET_MAX} characters.")
    if not secret.isprintable():
        raise InvalidCredentials("A secret key must consist of printable characters.")


def check_root(user: str, password: str) -> None:
    """Raise InvalidCredentials unless the root credentials fulfil MinIO's rules."""
    if len(user) < ACCESS_KEY_MIN:
        raise InvalidCredentials(
            f"The root user's name must have at least {ACCESS_KEY_MIN} characters."
        )
    if len(password) < SECRET_MIN:
        raise InvalidCredentials(
            f"The root user's password must have at least {SECRET_MIN} characters."
        )
    try:
        check_access_key(user)
        check_secret(password)
    except InvalidCredentials as error:
        raise InvalidCredentials(f"The root user is refused: {error}") from None


def check_user_name(name: str) -> None:
    """Raise InvalidCredentials unless ``name`` can name a user."""
    if _USER_NAME.fullmatch(name) is None:
        raise InvalidCredentials(
            "A user's name must have 1 to 64 letters, digits or characters of _+.@-"
        )


def check_email(email: str) -> None:
    """Raise InvalidCredentials unless ``email`` has the form of an address (RFC 5321's length)."""
    if len(email) > _EMAIL_MAX or _EMAIL.fullmatch(email) is None:
        raise InvalidCredentials(f"{email[:_EMAIL_MAX]!r} is not an e-mail address.")
