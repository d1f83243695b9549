"""IAM policy documents."""

from __future__ import annotations


class Policy:
    """A compiled policy document."""
