"""DataHub's SDK, asked for in one place: it is heavy, optional, and would report its use."""

from __future__ import annotations

import os
import sys

from stack.store import CommandError

MISSING = (
    "This needs DataHub's SDK, which is not installed: run `make datahub` in a checkout, elsewhere "
    f"`{sys.executable} -m pip install boto3 'acryl-datahub[s3,datahub-rest]>=1.7'`."
)


def require() -> None:
    """Make ``datahub`` importable, with its telemetry off unless the user turned it on.

    Must run before the first import of ``datahub``, which reads the variable then. Raises
    CommandError if the SDK or its S3 part is missing. A folder ``datahub`` in the working
    directory imports as an empty namespace, so only a module inside says that the SDK is there.
    """
    os.environ.setdefault("DATAHUB_TELEMETRY_ENABLED", "false")
    try:
        import boto3  # noqa: F401
        import pyarrow  # noqa: F401
        from datahub.emitter import mcp_builder  # noqa: F401
    except ImportError:
        raise CommandError(MISSING) from None
