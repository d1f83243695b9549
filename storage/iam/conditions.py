"""Conditions of policy statements: operators, their negations, sets and absent keys.

Source: "IAM JSON policy elements: Condition operators" in the AWS IAM user guide.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from storage.iam import patterns
from storage.iam.errors import PolicyError


class Doubtful(tuple[str, ...]):
    """Values of a key that has one value: nobody can tell which of them is meant.

    (Condition keys ignore case, and names of tags don't.) A permission must hold for each of them,
    a denial for any.
    """


class Context(Protocol):
    """Facts about a request by lower-case condition key; a tuple where a key has several values.

    A mapping is one.
    """

    def get(self, key: str, /) -> str | tuple[str, ...] | None: ...


Facts = Callable[[str], tuple[str, ...] | None]
"""Looks up the values of a lower-case key; None where the request has none."""

#: (the request's value, the policy's value) -> whether they agree.
_Test = Callable[[str, Any], bool]


class Condition(msgspec.Struct, frozen=True, eq=False):
    """One operator on one key: ``key`` of the request against any of ``values``."""

    key: str
    test: _Test
    values: tuple[Any, ...]
    negated: bool = False
    if_exists: bool = False
    each: str = ""
    """"any" and "all" for ForAnyValue and ForAllValues."""
    null: bool = False
    textual: bool = False
    """Values are texts that hold variables."""

    def holds(self, facts: Facts, *, allow: bool) -> bool:
        """Whether the condition of a statement that allows, or denies, is true for these facts."""
        given = facts(self.key)
        if self.null:
            return (given is None) in self.values
        if given is None:
            if self.each:
                return self.each == "all" or self.if_exists
            return self.if_exists or self.negated
        values = self._expanded(facts) if self.textual else self.values
        if self.negated and allow and len(values) < len(self.values):
            return False  # a variable without a value: nobody knows what is excepted
        if len(given) == 1:
            return self._agrees(given[0], values)
        if isinstance(given, Doubtful):
            each = [self.holds(_with(facts, self.key, one), allow=allow) for one in given]
            return all(each) if allow else any(each)
        if self.each == "all":
            return all(self._agrees(one, values) for one in given)
        if self.negated and not self.each:
            return all(self._agrees(one, values) for one in given)
        return any(self._agrees(one, values) for one in given)

    def _agrees(self, given: str, values: Sequence[Any]) -> bool:
        if len(values) == 1:
            return self.test(given, values[0]) != self.negated
        return any(self.test(given, value) for value in values) != self.negated

    def _expanded(self, facts: Facts) -> list[str]:
        def lookup(key: str) -> str | None:
            found = facts(key)
            return found[0] if found else None

        expanded = (patterns.expand(value, lookup) for value in self.values)
        return [value for value in expanded if value is not None]


def _with(facts: Facts, key: str, value: str) -> Facts:
    """``facts`` where ``key`` has one value."""
    return lambda asked: (value,) if asked == key else facts(asked)


def parse_conditions(element: Any, *, with_variables: bool) -> tuple[Condition, ...]:
    """Compile the value of a Condition element. Raises PolicyError naming what is wrong."""
    if not isinstance(element, dict):
        raise PolicyError("Condition must be an object of operators.")
    conditions = []
    for operator, keys in element.items():
        if not isinstance(keys, dict) or not keys:
            raise PolicyError(f"Condition {operator} must be an object of condition keys.")
        for key, value in keys.items():
            conditions.append(_parse_one(operator, key, value, with_variables))
    return tuple(conditions)


def _parse_one(operator: str, key: str, value: Any, with_variables: bool) -> Condition:
    base, each = operator, ""
    for prefix, mode in (("ForAnyValue:", "any"), ("ForAllValues:", "all")):
        if base.startswith(prefix):
            base, each = base.removeprefix(prefix), mode
    if_exists = base.endswith("IfExists") and base != "Null"
    base = base.removesuffix("IfExists")
    if ":" not in key:
        raise PolicyError(f"Condition key {key} has no service prefix.")
    texts = _texts(operator, value)
    if base == "Null" and not each and not if_exists:
        absent = tuple(_boolean(operator, text) for text in texts)
        return Condition(key.lower(), _never, absent, null=True)
    known = _OPERATORS.get(base)
    if known is None:
        raise PolicyError(f"Condition operator {operator} is not supported.")
    test, negated, convert = known
    textual = convert is None and any("${" in text for text in texts)
    return Condition(
        key.lower(),
        test,
        _patterns(texts, with_variables)
        if convert is None
        else _converted(operator, texts, convert),
        negated=negated,
        if_exists=if_exists,
        each=each,
        textual=textual,
    )


def _texts(operator: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise PolicyError(f"Condition {operator} has no values.")
    texts = []
    for one in values:
        if isinstance(one, bool):
            texts.append("true" if one else "false")
        elif isinstance(one, str | int | float):
            texts.append(str(one))
        else:
            raise PolicyError(f"Condition {operator} has a value that is no text or number.")
    return texts


def _patterns(texts: list[str], with_variables: bool) -> tuple[str, ...]:
    """Texts ready for expansion. Before version 2012-10-17 ``${`` has no meaning."""
    if not with_variables:
        return tuple(text.replace("$", "${$}") for text in texts)
    for text in texts:
        try:
            patterns.variables(text)
        except ValueError as error:
            raise PolicyError(f"Condition value: {error}.") from None
    return tuple(texts)


def _converted(operator: str, texts: list[str], convert: Callable[[str], Any]) -> tuple[Any, ...]:
    try:
        return tuple(convert(text) for text in texts)
    except (ValueError, OverflowError):
        raise PolicyError(f"Condition {operator} has a value of the wrong kind.") from None


def _boolean(operator: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise PolicyError(f"Condition {operator} must be true or false.")
    return text.lower() == "true"


# -- tests --------------------------------------------------------------------------------------


def _never(given: str, value: Any) -> bool:
    return False


def _equals(given: str, value: str) -> bool:
    return given == patterns.literal(value)


def _equals_ignoring_case(given: str, value: str) -> bool:
    return given.casefold() == patterns.literal(value).casefold()


def _like(given: str, value: str) -> bool:
    return patterns.compile_pattern(value)(given)


def _arn_like(given: str, value: str) -> bool:
    """Each of the six parts of an ARN matches for itself: a star does not cross a colon."""
    parts, expected = given.split(":", 5), value.split(":", 5)
    return len(parts) == len(expected) == 6 and all(map(_like, parts, expected))


def _address_in(given: str, network: Any) -> bool:
    try:
        address = ipaddress.ip_address(given)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in network


def _network(text: str) -> Any:
    return ipaddress.ip_network(text, strict=False)


def _moment(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time or of a number of seconds."""
    try:
        return _number(text)
    except ValueError:
        moment = datetime.datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()


def _binary(text: str) -> bytes:
    """The bytes that a policy writes in base64."""
    return base64.b64decode(text, validate=True)


def _number(text: str) -> float:
    number = float(text)
    if number != number:
        raise ValueError(text)
    return number


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _compare(convert: Callable[[str], Any], relation: Callable[[Any, Any], bool]) -> _Test:
    def test(given: str, value: Any) -> bool:
        try:
            return relation(convert(given), value)
        except (ValueError, OverflowError):
            return False

    return test


_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "LessThan": lambda a, b: a < b,
    "LessThanEquals": lambda a, b: a <= b,
    "GreaterThan": lambda a, b: a > b,
    "GreaterThanEquals": lambda a, b: a >= b,
}


def _same(a: Any, b: Any) -> bool:
    return bool(a == b)


def _ordered(kind: str, convert: Callable[[str], Any]) -> dict[str, tuple[_Test, bool, Any]]:
    table: dict[str, tuple[_Test, bool, Any]] = {
        f"{kind}Equals": (_compare(convert, _same), False, convert),
        f"{kind}NotEquals": (_compare(convert, _same), True, convert),
    }
    for name, relation in _RELATIONS.items():
        table[f"{kind}{name}"] = (_compare(convert, relation), False, convert)
    return table


#: operator -> (test, negated, conversion of the policy's value; None for texts).
_OPERATORS: dict[str, tuple[_Test, bool, Callable[[str], Any] | None]] = {
    "StringEquals": (_equals, False, None),
    "StringNotEquals": (_equals, True, None),
    "StringEqualsIgnoreCase": (_equals_ignoring_case, False, None),
    "StringNotEqualsIgnoreCase": (_equals_ignoring_case, True, None),
    "StringLike": (_like, False, None),
    "StringNotLike": (_like, True, None),
    "ArnEquals": (_arn_like, False, None),
    "ArnNotEquals": (_arn_like, True, None),
    "ArnLike": (_arn_like, False, None),
    "ArnNotLike": (_arn_like, True, None),
    "BinaryEquals": (_compare(str.encode, _same), False, _binary),
    "Bool": (_compare(_bool, _same), False, _bool),
    "IpAddress": (_address_in, False, _network),
    "NotIpAddress": (_address_in, True, _network),
    **_ordered("Numeric", _number),
    **_ordered("Date", _moment),
}
