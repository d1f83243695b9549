"""The image in containers: how it is started, what it needs, what it refuses."""

from __future__ import annotations

from tests.bundle.docker import Engine


def test_default_command_serves(image: str, engine: Engine) -> None:
    engine.run(image).wait_until_ready()
