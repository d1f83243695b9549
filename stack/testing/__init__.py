"""The store in other people's tests: in a container, or inside the test's own process.

``OversightContainer`` takes the place of testcontainers' ``MinioContainer``; ``LocalStore`` needs
no Docker. The fixtures of ``stack.testing.plugin`` are there in every run of pytest on a machine
that has the package. docs/testing.md shows all of it.

What is named here loads when it is first used: pytest imports this package at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stack.testing.container import OversightContainer
    from stack.testing.local import LocalStore

__all__ = ["LocalStore", "OversightContainer"]


def __getattr__(name: str) -> Any:
    if name == "OversightContainer":
        from stack.testing.container import OversightContainer

        return OversightContainer
    if name == "LocalStore":
        from stack.testing.local import LocalStore

        return LocalStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
