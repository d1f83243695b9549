"""The control plane as a FastAPI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI

import storage
from storage.config import Config
from storage.control import (
    buckets,
    doctor,
    explaining,
    monitoring,
    objects,
    pages,
    people,
    problems,
    rights,
    signing_in,
    status,
)
from storage.control import langfuse as langfuse_view
from storage.control.guard import App, Guard
from storage.control.plane import Plane
from storage.engine.interface import Engine
from storage.iam.users import Directory
from storage.langfuse.index import Reader
from storage.telemetry.monitor import Monitor

_DESCRIPTION = (
    "Buckets, users, access keys, policies and the state of an Oversight store, and its objects "
    "for programs without an S3 SDK."
)


def create_control(
    engine: Engine,
    directory: Directory,
    config: Config,
    *,
    store_key: bytes,
    rekey: Callable[[str], Awaitable[None]] | None = None,
    minio: App | None = None,
    langfuse: str = "",
    monitor: Monitor | None = None,
) -> FastAPI:
    """The control plane over one engine.

    ``store_key`` seals the secrets of new access keys and signs tokens. ``rekey`` puts the store
    key under a new root password. ``minio`` is an ASGI application for /minio/* (health and
    metrics). ``langfuse`` is the folder that holds the index of Langfuse's objects, if one is
    kept; ``monitor`` is what watches the store. Nothing is opened or closed here: that belongs to
    whoever made the engine.
    """
    app = FastAPI(
        title="Oversight control API",
        version=storage.__version__,
        description=_DESCRIPTION,
        # Those pages load scripts from elsewhere; ours are in storage.control.pages.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    reader = Reader(langfuse) if langfuse else None
    app.state.plane = Plane(engine, directory, config, store_key, rekey, reader, monitor)
    for router in (
        pages.router, signing_in.router, buckets.router, rights.router, objects.router,
        people.router, explaining.router, langfuse_view.router,
        monitoring.router, doctor.router, status.router,
    ):  # fmt: skip
        app.include_router(router)
    if minio is not None:
        app.mount("/minio", minio)
    problems.install(app)
    app.add_middleware(Guard)
    return app
