"""Oversight's image, as its commands recognise it. Imports nothing: `mc ready` reads it too."""

from __future__ import annotations

#: File that compose/Dockerfile makes: who sees it runs in the image.
MARKER = "/opt/oversight/oversight-image"
