"""URNs: the names of objects, buckets and folders in DataHub.

They are made by the SDK's own functions with the arguments that DataHub's ``s3`` source gives
them; tests/datahub compares the two with a run of that source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stack.integrations.datahub.kinds import Kind
from stack.integrations.datahub.objects import Address
from stack.store import CommandError

PLATFORM = "s3"
#: Flows (and with them the jobs that lead to models) belong to an orchestrator of this name.
ORCHESTRATOR = "oversight"
LANGFUSE = "langfuse"
#: GMS refuses longer ones.
URN_BYTES_MAX = 512


class NameTooLong(CommandError):
    """DataHub can't hold an entity of this name."""


@dataclass(frozen=True, slots=True)
class Naming:
    """``env`` is DataHub's fabric (PROD, DEV ...), ``instance`` a platform instance or ""."""

    env: str = "PROD"
    instance: str = ""

    def entity(self, address: Address, kind: Kind) -> str:
        """The URN of an object. Raises NameTooLong."""
        makers = {Kind.MODEL: self._model, Kind.DOCUMENT: self._document}
        return _checked(makers.get(kind, self._dataset)(address), address.url)

    def containers(self, bucket: str, folder: str) -> list[tuple[str, Any]]:
        """(name, container key) of a bucket and of each folder on the way to ``folder``.

        Outermost first. An empty folder name, as in ``a//b``, counts as one: the source's way.
        """
        from datahub.emitter.mcp_builder import BucketKey, FolderKey

        found: list[tuple[str, Any]] = [
            (bucket, BucketKey(bucket_name=bucket, **self._container_arguments()))
        ]
        names = folder.split("/") if folder else []
        for depth, name in enumerate(names, start=1):
            path = "/".join((bucket, *names[:depth]))
            found.append((name, FolderKey(folder_abs_path=path, **self._container_arguments())))
        return found

    def langfuse_project(self, project: str) -> str:
        """The URN of a project of Langfuse, which DataHub shows as a dataset."""
        from datahub.emitter.mce_builder import make_dataset_urn

        return _checked(make_dataset_urn(LANGFUSE, project, self.env), f"the project {project}")

    def flow(self, address: Address) -> str:
        """The flow that holds the jobs of a bucket's models."""
        from datahub.emitter.mce_builder import make_data_flow_urn

        return str(make_data_flow_urn(ORCHESTRATOR, address.bucket, self.env, self._instance))

    def job(self, address: Address) -> str:
        """The job that led from a model's upstream data to it. Raises NameTooLong."""
        from datahub.emitter.mce_builder import make_data_job_urn_with_flow

        return _checked(make_data_job_urn_with_flow(self.flow(address), address.key), address.url)

    @property
    def _instance(self) -> str | None:
        return self.instance or None

    def _dataset(self, address: Address) -> str:
        from datahub.emitter.mce_builder import make_dataset_urn_with_platform_instance

        name = f"{address.bucket}/{address.key}".strip("/")
        return str(
            make_dataset_urn_with_platform_instance(PLATFORM, name, self._instance, self.env)
        )

    def _model(self, address: Address) -> str:
        from datahub.metadata.urns import MlModelUrn

        name = f"{address.bucket}/{address.key}"
        return str(
            MlModelUrn(PLATFORM, f"{self.instance}.{name}" if self.instance else name, self.env)
        )

    def _document(self, address: Address) -> str:
        """Documents have one flat name: a digest keeps keys of any length and alphabet apart."""
        from datahub.emitter.mce_builder import datahub_guid
        from datahub.metadata.urns import DocumentUrn

        parts = {
            "platform": PLATFORM, "instance": self.instance, "env": self.env,
            "bucket": address.bucket, "key": address.key,
        }  # fmt: skip
        return str(
            DocumentUrn(datahub_guid({name: value for name, value in parts.items() if value}))
        )

    def _container_arguments(self) -> dict[str, Any]:
        """As in DataHub's data lake sources, their compatibility flag included."""
        return {
            "platform": PLATFORM, "instance": self._instance, "env": self.env,
            "backcompat_env_as_instance": True,
        }  # fmt: skip


def _checked(urn: str, what: str) -> str:
    if len(urn.encode()) > URN_BYTES_MAX:
        raise NameTooLong(
            f"DataHub takes no name over {URN_BYTES_MAX} bytes, so it can't hold {what}."
        )
    return urn
