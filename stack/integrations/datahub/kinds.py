"""Which kind of entity an object is, by its name or else by its content type."""

from __future__ import annotations

import mimetypes
from enum import StrEnum
from pathlib import PurePosixPath


class Kind(StrEnum):
    """What an object is in DataHub.

    ``DATASET`` and ``MEDIA`` are entities of the type dataset: DataHub has none for pictures or
    sound, so media carry a subtype that says so. ``DOCUMENT`` needs DataHub 1.3 or newer.
    """

    DATASET = "dataset"
    MODEL = "model"
    DOCUMENT = "document"
    MEDIA = "media"


_MODELS = frozenset(
    {
        *(".bin", ".ckpt", ".gguf", ".h5", ".joblib", ".keras", ".mlmodel", ".onnx", ".pb"),
        *(".pickle", ".pkl", ".pmml", ".pt", ".pth", ".safetensors", ".tflite", ".torchscript"),
    }
)
_DOCUMENTS = frozenset(
    {
        *(".adoc", ".doc", ".docx", ".epub", ".htm", ".html", ".md", ".odp", ".odt", ".pdf"),
        *(".ppt", ".pptx", ".rst", ".rtf", ".tex", ".txt"),
    }
)
_DOCUMENT_TYPES = frozenset({"application/pdf", "application/rtf", "text/html", "text/markdown"})
_MEDIA = ("image", "audio", "video")


def kind_of(key: str, content_type: str) -> Kind:
    """The kind that fits best; what is not recognised is a dataset."""
    suffix = PurePosixPath(key).suffix.lower()
    if suffix in _MODELS:
        return Kind.MODEL
    if suffix in _DOCUMENTS or _bare(content_type) in _DOCUMENT_TYPES:
        return Kind.DOCUMENT
    return Kind.MEDIA if medium_of(key, content_type) else Kind.DATASET


def medium_of(key: str, content_type: str) -> str:
    """``image``, ``audio`` or ``video``; "" if it is none of them."""
    guessed = mimetypes.guess_type(key)[0] or ""
    for each in (_bare(content_type), guessed):
        family = each.partition("/")[0]
        if family in _MEDIA:
            return family
    return ""


def _bare(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
