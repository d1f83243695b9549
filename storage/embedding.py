"""Both planes in one FastAPI application, to put the store into another program or a test.

Paths: the control plane answers below ``/_oversight`` (no bucket's name can begin with an
underscore), everything else is S3, because S3's signatures cover the path as it was sent. So the
application must be served at the root of its host and port, not below a prefix. Routes that the
embedding program adds to it come first.

Engine, committer, background work and both planes live in this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from storage.config import Config
from storage.control.app import create_control
from storage.serving import assembly, bootstrap
from storage.serving.starting import Switch

if TYPE_CHECKING:
    from storage.settings import Settings

CONTROL = "/_oversight"


class _Planes:
    """Sends each request to the plane that its path names; 503 before start and after stop."""

    def __init__(self) -> None:
        self.control, self.s3 = Switch(), Switch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root: str = scope.get("root_path", "")
        path: str = scope["path"].removeprefix(root)
        if path == CONTROL or path.startswith(CONTROL + "/"):
            scope = {**scope, "root_path": root + CONTROL, "app_root_path": root}
            await self.control(scope, receive, send)
        else:
            await self.s3(scope, receive, send)


def create_app(settings: Settings | None = None) -> FastAPI:
    """One application with both planes; ``settings`` None reads the environment.

    Raises SettingsError. The store opens when the application starts (its lifespan) and closes
    when it stops; a drive that is refused fails the start with DriveRefused, a wrong root password
    with WrongRootSecret.
    """
    if settings is None:
        from storage.settings import Settings

        settings = Settings()
    # Where the application will be served is not known here.
    config = msgspec.structs.replace(settings.config(), workers=1, address=(), console_address=())
    planes = _Planes()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _opened(config, planes):
            yield

    app = FastAPI(
        title="Oversight", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan,
        redirect_slashes=False,
    )  # fmt: skip
    # Not a mount: Starlette's patterns of paths stop at line breaks, which keys may hold.
    app.router.default = planes
    return app


@asynccontextmanager
async def _opened(config: Config, planes: _Planes) -> AsyncIterator[None]:
    from storage.engine.embedded.engine import EmbeddedEngine
    from storage.services.upkeep import Upkeep

    engine = await EmbeddedEngine.local(config)
    try:
        store_key, _ = await bootstrap.prepare(engine, config)
        data: Any = await assembly.data_plane(engine, config, store_key)
        monitor = assembly.monitor(engine, data.board)
        control = create_control(
            engine,
            assembly.identities(engine, config, store_key),
            config,
            store_key=store_key,
            rekey=partial(bootstrap.rekey, engine, store_key),
            langfuse=engine.drive.root,
            monitor=monitor,
        )
        upkeep = Upkeep(engine)
        upkeep.start()
        monitor.start()
        before = planes.control.app, planes.s3.app
        planes.control.app, planes.s3.app = control, data.app
        try:
            yield
        finally:
            planes.control.app, planes.s3.app = before
            await monitor.close()
            await upkeep.close()
            data.close()
    finally:
        await engine.close()
