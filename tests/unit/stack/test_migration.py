"""What a migration takes for the same."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from stack.migration.settings import unordered

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ["*"]},
            "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": "arn:aws:s3:::b",
            "Condition": {"StringLike": {"s3:prefix": ["a*", "b*"]}},
        },
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": ["b/*"]},
    ],
}


def shuffled(value: Any, order: random.Random) -> Any:
    """The same policy, written in another way."""
    if isinstance(value, dict):
        items = [(name, shuffled(each, order)) for name, each in value.items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        values = [shuffled(each, order) for each in value]
        order.shuffle(values)
        return values[0] if len(values) == 1 and order.random() < 0.5 else values
    return [value] if order.random() < 0.3 and value != "2012-10-17" else value


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_a_policy_means_nothing(seed: int) -> None:
    assert unordered(shuffled(POLICY, random.Random(seed))) == unordered(POLICY)


@pytest.mark.parametrize(("name", "value"), [("Effect", "Deny"), ("Action", ["s3:GetObject"] * 2)])
def test_another_policy_is_another(name: str, value: object) -> None:
    other = copy.deepcopy(POLICY)
    other["Statement"][1][name] = value  # type: ignore[index]
    assert unordered(other) != unordered(POLICY)
