"""The store's image under testcontainers, in the place of ``MinioContainer``."""

from __future__ import annotations

from typing import Any

from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

import storage
from stack.testing import access

IMAGE = f"oversight-store/oversight:{storage.__version__}"
_READY = "/minio/health/ready"


class OversightContainer(DockerContainer):  # type: ignore[misc]
    """A store in a container, ready for use when ``start`` returns.

    Takes what ``MinioContainer`` takes and answers what it answers, so that
    ``from stack.testing import OversightContainer as MinioContainer`` is the whole change.
    The bucket ``langfuse`` is there with its prefixes.
    """

    def __init__(
        self,
        image: str = IMAGE,
        port: int = 9000,
        access_key: str = "minioadmin",
        secret_key: str = "minioadmin",  # noqa: S107 - MinioContainer's default
        **kwargs: Any,
    ) -> None:
        """``port``: inside the container. ``kwargs`` go to ``DockerContainer``."""
        wait = HttpWaitStrategy(port, _READY)
        super().__init__(image, **({"_wait_strategy": wait} | kwargs))
        self.port = port
        self.access_key = access_key
        self.secret_key = secret_key
        self.with_exposed_ports(port)
        self.with_env("MINIO_ROOT_USER", access_key)
        self.with_env("MINIO_ROOT_PASSWORD", secret_key)
        self.with_command(f"server /data --address :{port}")

    def get_client(self, **kwargs: Any) -> Any:
        """A client of minio-py. ``kwargs`` go to ``Minio``. ImportError if it is not installed."""
        from minio import Minio

        config = self.get_config()
        return Minio(
            endpoint=config["endpoint"],
            access_key=self.access_key,
            secret_key=self.secret_key,
            **({"secure": False} | kwargs),
        )

    def get_config(self) -> dict[str, str]:
        """``endpoint`` (host:port, without a scheme), ``access_key`` and ``secret_key``."""
        return {
            "endpoint": f"{self.get_container_host_ip()}:{self.get_exposed_port(self.port)}",
            "access_key": self.access_key,
            "secret_key": self.secret_key,
        }

    def get_url(self) -> str:
        """The URL of S3 as the machine that runs the tests reaches it."""
        return f"http://{self.get_config()['endpoint']}"

    def get_boto3_client(self, **config: Any) -> Any:
        """A client of boto3. ``config`` goes to botocore's Config. ImportError without boto3."""
        return access.boto3_client(self.get_url(), self.access_key, self.secret_key, **config)

    def get_environment(
        self, alias: str = "", bucket: str = access.LANGFUSE_BUCKET
    ) -> dict[str, str]:
        """Variables for AWS's SDKs and for Langfuse's S3 clients.

        ``alias``: the store's name in a network of Docker, for code in other containers; what is
        signed for browsers is still signed for ``get_url()``.
        """
        inside = f"http://{alias}:{self.port}" if alias else self.get_url()
        return access.environment(
            inside, self.access_key, self.secret_key, bucket, external_endpoint=self.get_url()
        )
