"""The embedded engine: a log that is the truth, and an index that can be thrown away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.engine.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]


def __getattr__(name: str) -> Any:
    """Import the engine on first use: tools that only read formats stay light."""
    if name == "EmbeddedEngine":
        from storage.engine.embedded.engine import EmbeddedEngine

        return EmbeddedEngine
    raise AttributeError(name)
