"""A store inside the test's own process."""

from __future__ import annotations

from typing import Any

from stack.testing import access
from storage.throwaway import ThrowawayStore


class LocalStore(ThrowawayStore):
    """A throw-away store on a free port, ready in a fraction of a second, gone with ``stop``.

    ``with LocalStore() as store:`` is all it takes; buckets other than ``langfuse`` are named with
    ``buckets=``. It can't be reached from other machines or containers.
    """

    def client(self, **config: Any) -> Any:
        """A new client of boto3. ``config`` goes to botocore's Config."""
        return access.boto3_client(self.endpoint, self.access_key, self.secret_key, **config)

    def environment(self, bucket: str = access.LANGFUSE_BUCKET) -> dict[str, str]:
        """Variables for AWS's SDKs and for Langfuse's S3 clients."""
        return access.environment(self.endpoint, self.access_key, self.secret_key, bucket)
