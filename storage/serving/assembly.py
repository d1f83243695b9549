"""Where the planes meet the engine: each process's parts, put together in one place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from storage import otel
from storage.config import Config
from storage.engine.embedded import board as boards
from storage.engine.embedded.engine import EmbeddedEngine
from storage.engine.interface import Engine
from storage.iam import users
from storage.s3.app import Hooks, S3App
from storage.s3.caller import caller_key
from storage.serving.access_log import AccessLog
from storage.telemetry.board import UNKNOWN, Board, Failure
from storage.telemetry.endpoint import Endpoint

if TYPE_CHECKING:
    from storage.telemetry.monitor import Monitor
    from storage.telemetry.observed import Observed


#: Refusals that programs ask for: what does not exist (yet), conditions that do not hold.
_ORDINARY = frozenset((404, 412))


class DataPlane:
    """The S3 application of one worker with its counters and its log."""

    def __init__(
        self,
        engine: EmbeddedEngine,
        config: Config,
        directory: users.Directory,
        board: Board,
        index: int,
        store_key: bytes,
    ) -> None:
        self.board = board
        self._slot = board.slot(index)
        self._log = AccessLog(config.access_log) if config.access_log else None
        endpoint = _endpoint(engine, config, directory, board)
        hooks = Hooks(
            on_response=self._on_response(), minio=endpoint, caller_key=caller_key(store_key)
        )
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
        note = self._slot.note_failure
        log = None if self._log is None else self._log.record

        def on_response(
            call: Any, status: int, bytes_in: int, bytes_out: int, seconds: float
        ) -> None:
            try:
                operation = call.route.operation
            except AttributeError:  # it failed before it was recognised
                operation = UNKNOWN
            count(operation, status, bytes_in, bytes_out, seconds, call.bucket)
            if status >= 400 and status not in _ORDINARY:
                note(_failure(call, operation, status, seconds))
            if log is not None:
                log(call, operation, status, bytes_in, bytes_out, seconds)

        return on_response


def _failure(call: Any, operation: str, status: int, seconds: float) -> Failure:
    return Failure(
        time=time.time_ns() // 1_000_000,
        status=status,
        microseconds=int(seconds * 1e6),
        request_id=call.request_id,
        operation=operation,
        bucket=call.bucket,
        key=call.key,
    )


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
    return DataPlane(engine, config, directory, Board(shared), index, store_key)


def telemetry(
    engine: EmbeddedEngine, config: Config, directory: users.Directory, shared: int
) -> Endpoint:
    """Health and metrics for a process that serves no S3 itself."""
    return _endpoint(engine, config, directory, Board(shared))


def monitor(engine: EmbeddedEngine, board: Board, supervisor: int = 0) -> Monitor:
    """What watches the store for the console; it begins with ``start``. ``supervisor``: the root
    of the process tree, 0: this process."""
    # Imported when used: no worker needs it.
    from storage.telemetry.monitor import Monitor
    from storage.telemetry.trends import Trends

    return Monitor(engine, board, Trends(engine.drive.root), supervisor)


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
