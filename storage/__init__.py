"""Oversight: an S3-compatible object store for Langfuse and DataHub stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from storage.settings import Settings

__version__ = "0.1.0"


def create_app(settings: Settings | None = None) -> FastAPI:
    """One FastAPI application with both planes: see ``storage.embedding``.

    Imported when called, so that the store's own processes do not load what they never use.
    """
    from storage.embedding import create_app as create

    return create(settings)
