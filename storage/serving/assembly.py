"""Where the planes meet the engine: each process's parts, put together in one place."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from storage import otel
from storage.config import Config
from storage.engine.embedded import board as boards
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import Engine
from storage.iam import users
from storage.s3.app import Hooks, S3App
from storage.serving.access_log import AccessLog
from storage.telemetry.board import UNKNOWN, Board
from storage.telemetry.endpoint import Endpoint

if TYPE_CHECKING:
    from storage.telemetry.observed import Observed


class DataPlane:
    """The S3 application of one worker with its counters and its log."""

    def __init__(
        self,
        engine: EmbeddedEngine,
        config: Config,
        directory: users.Directory,
        board: Board,
        index: int,
    ) -> None:
        self._slot = board.slot(index)
        self._log = AccessLog(config.access_log) if config.access_log else None
        endpoint = _endpoint(engine, config, directory, board)
        hooks = Hooks(on_response=self._on_response(), minio=endpoint)
        self._observed = _observed(config, index)
        if self._observed is None:
            self.app: Any = S3App(engine, directory, config, hooks)
        else:
            self.app = self._observed.application(engine, directory, config, hooks)

    def tick(self) -> None:
        """Once a second: publish what is not worth a write per request."""
        self._slot.set_in_flight(self.app.in_flight)
        if self._log is not None:
            self._slot.set_lost_log_lines(self._log.lost)

    def close(self) -> None:
        """Write out what the log still holds, and send what telemetry still holds."""
        if self._log is not None:
            self._log.close()
        if self._observed is not None:
            self._observed.close()

    def _on_response(self) -> Callable[[Any, int, int, int, float], None]:
        count = self._slot.recorder()
        log = None if self._log is None else self._log.record

        def on_response(
            call: Any, status: int, bytes_in: int, bytes_out: int, seconds: float
        ) -> None:
            try:
                operation = call.route.operation
            except AttributeError:  # it failed before it was recognised
                operation = UNKNOWN
            count(operation, status, bytes_in, bytes_out, seconds, call.bucket)
            if log is not None:
                log(call, operation, status, bytes_in, bytes_out, seconds)

        return on_response


def _observed(config: Config, index: int) -> Observed | None:
    """Telemetry, where it is wanted and can be had. Without it nothing of it is loaded."""
    if not config.otel or not otel.is_installed():
        return None
    from storage.telemetry.observed import Observed

    return Observed(config.otel, index)


async def data_plane(
    engine: EmbeddedEngine, config: Config, store_key: bytes, *, shared: int = -1, index: int = 0
) -> DataPlane:
    """The S3 plane over ``engine``. ``shared``: descriptor of the counters' memory."""
    directory = identities(engine, config, store_key)
    await directory.refresh()
    return DataPlane(engine, config, directory, Board(shared), index)


def telemetry(
    engine: EmbeddedEngine, config: Config, directory: users.Directory, shared: int
) -> Endpoint:
    """Health and metrics for a process that serves no S3 itself."""
    return _endpoint(engine, config, directory, Board(shared))


def _endpoint(
    engine: EmbeddedEngine, config: Config, directory: users.Directory, board: Board
) -> Endpoint:
    return Endpoint(
        engine,
        board,
        directory,
        state=lambda: boards.STATES[engine.board.state],
        public=config.prometheus_auth == "public",
        supervisor=os.getppid(),
    )


def identities(engine: Engine, config: Config, store_key: bytes) -> users.Directory:
    """Users and keys out of ``engine``'s system records."""

    async def load() -> list[users.Record]:
        return [
            (record.kind, record.name, record.value)
            for kind in users.KINDS
            for record in await engine.system(kind)
        ]

    return users.Directory(
        load,
        engine.generation,
        root_user=config.root_user,
        root_secret=config.root_password,
        store_key=store_key,
    )
