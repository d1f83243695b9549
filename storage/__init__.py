"""Oversight: an S3-compatible object store for Langfuse and DataHub stacks."""

from __future__ import annotations

__version__ = "0.1.0"
