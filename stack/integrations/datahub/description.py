"""What DataHub is told about an object: entities, their aspects, containers and lineage.

Every aspect is a function of the object and of what the user said: no clock, no random name. So
telling it twice changes nothing. Owners and upstreams are *added* by patches, since people add
some in DataHub, too; all other aspects here are replaced as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from stack.integrations.datahub import langfuse, schema
from stack.integrations.datahub.kinds import Kind, kind_of, medium_of
from stack.integrations.datahub.names import LANGFUSE, ORCHESTRATOR, PLATFORM, Naming
from stack.integrations.datahub.objects import Address, Objects, StoredObject
from stack.store import CommandError

#: Whoever wrote the object, as far as DataHub is concerned, where nobody is named.
_ACTOR = "urn:li:corpuser:unknown"
_OWNER_METADATA = "owner"


@dataclass(frozen=True)
class Wishes:
    """What the user says about objects beyond what the store knows.

    ``kind`` None: by name and content type. ``owners``: URNs or names of users, ``group:NAME`` for
    groups; with none, the object's metadata ``owner`` names one. ``upstreams``: URNs of datasets,
    or addresses ``s3://...`` of objects. ``link``: template of the external URL with ``{bucket}``
    and ``{key}``, already quoted for a URL. ``project``: Langfuse's, "" to read it from keys
    in ``langfuse_bucket``.
    """

    kind: Kind | None = None
    name: str = ""
    description: str = ""
    owners: Sequence[str] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    upstreams: Sequence[str] = ()
    link: str = ""
    project: str = ""
    langfuse_bucket: str = "langfuse"
    langfuse_url: str = ""


@dataclass(frozen=True)
class Description:
    """An object's entity. ``problem`` says why its schema is missing, where one was expected."""

    urn: str
    kind: Kind
    proposals: list[Any]
    problem: str = ""


class Describer:
    """Describes objects of one store. Its methods may be called from several threads."""

    def __init__(self, objects: Objects, naming: Naming, wishes: Wishes) -> None:
        """Raises CommandError if a wish can't be understood."""
        self.naming, self.wishes = naming, wishes
        self._objects = objects
        self._upstreams = [self._upstream(each) for each in wishes.upstreams]
        self._link = wishes.link or f"{objects.endpoint}/{{bucket}}/{{key}}"
        for owner in wishes.owners:
            _owner_urn(owner)
        _linked(self._link, Address("bucket", "key"))

    def describe(self, stored: StoredObject) -> Description:
        """The object's entity; its containers are apart. Raises CommandError."""
        kind = self.wishes.kind or kind_of(stored.address.key, stored.content_type)
        urn = self.naming.entity(stored.address, kind)
        fields, problem = self._fields(stored, kind)
        aspects = [*self._facts(stored, kind, bool(fields)), *self._place(stored.address, kind)]
        if fields:
            aspects.append(_schema(stored, fields))
        proposals = _proposals(urn, aspects)
        proposals += self._owned(urn, stored) + self._led(urn, stored, kind)
        return Description(urn, kind, proposals, problem)

    @lru_cache(maxsize=256)  # noqa: B019 - a describer lives as long as one command
    def containers(self, bucket: str, folder: str) -> Mapping[str, list[Any]]:
        """Proposals of a bucket and of each folder on the way to ``folder``, by their URNs.

        Outermost first. ``folder`` has no slash at its end and is "" for objects at the top.
        """
        from datahub.emitter.mcp_builder import gen_containers
        from datahub.ingestion.source.common.subtypes import DatasetContainerSubTypes

        found: dict[str, list[Any]] = {}
        parent = None
        subtype = DatasetContainerSubTypes.S3_BUCKET
        for name, key in self.naming.containers(bucket, folder):
            units = gen_containers(key, name, [str(subtype)], parent_container_key=parent)
            path = _proposals(key.as_urn(), [self._browse_path(list(found))])
            found[key.as_urn()] = [unit.metadata for unit in units] + path
            parent, subtype = key, DatasetContainerSubTypes.FOLDER
        return found

    def project_of(self, address: Address) -> str:
        """The project of Langfuse that an object comes from, "" if none."""
        if self.wishes.project or address.bucket != self.wishes.langfuse_bucket:
            return self.wishes.project
        return langfuse.project_of(address.key)

    def project(self, project: str) -> list[Any]:
        """Proposals that make a project of Langfuse an entity, with its platform."""
        from datahub.emitter.mce_builder import make_data_platform_urn
        from datahub.metadata import schema_classes as models

        platform = models.DataPlatformInfoClass(
            name=LANGFUSE,
            displayName="Langfuse",
            type=models.PlatformTypeClass.OTHERS,
            datasetNameDelimiter=".",
        )
        base = self.wishes.langfuse_url.rstrip("/")
        properties = models.DatasetPropertiesClass(
            name=project,
            externalUrl=f"{base}/project/{quote(project)}" if base else None,
        )
        aspects = [properties, models.SubTypesClass(["Project"]), models.StatusClass(removed=False)]
        return [
            *_proposals(make_data_platform_urn(LANGFUSE), [platform]),
            *_proposals(self.naming.langfuse_project(project), aspects),
        ]

    # -- aspects ---------------------------------------------------------------------------------

    def _fields(self, stored: StoredObject, kind: Kind) -> tuple[list[Any], str]:
        if kind is not Kind.DATASET:
            return [], ""
        try:
            return schema.fields_of(self._objects, stored), ""
        except schema.Unreadable as error:
            return [], f"{stored.address.url}: no schema, because {error}."

    def _facts(self, stored: StoredObject, kind: Kind, has_schema: bool) -> list[Any]:
        """Name, properties, link and what the entity is."""
        properties = self._properties(stored)
        if has_schema:
            properties["schema_inferred_from"] = stored.address.url
        properties |= self.wishes.properties
        if kind is Kind.MODEL:
            return self._model_facts(stored, properties)
        if kind is Kind.DOCUMENT:
            return self._document_facts(stored, properties)
        medium = medium_of(stored.address.key, stored.content_type) or "media"
        subtype = medium.capitalize() if kind is Kind.MEDIA else "Object"
        return self._dataset_facts(stored, properties, subtype)

    def _properties(self, stored: StoredObject) -> dict[str, str]:
        """The store's facts win over metadata of the same name; names as DataHub's source has."""
        facts = {
            "size_in_bytes": str(stored.size),
            "number_of_files": "1",
            "etag": stored.etag,
            "version_id": stored.version_id,
            "content_type": stored.content_type,
            "content_encoding": stored.content_encoding,
            "storage_class": stored.storage_class,
        }
        return dict(stored.metadata) | {name: value for name, value in facts.items() if value}

    def _dataset_facts(
        self, stored: StoredObject, properties: dict[str, str], subtype: str
    ) -> list[Any]:
        from datahub.metadata import schema_classes as models

        changed = models.OperationClass(
            timestampMillis=stored.modified,
            operationType=models.OperationTypeClass.UPDATE,
            lastUpdatedTimestamp=stored.modified,
        )
        facts = models.DatasetPropertiesClass(
            name=self._title(stored),
            qualifiedName=stored.address.url,
            description=self.wishes.description,
            customProperties=properties,
            externalUrl=_linked(self._link, stored.address),
            lastModified=models.TimeStampClass(time=stored.modified),
        )
        return [facts, models.SubTypesClass([subtype]), changed]

    def _model_facts(self, stored: StoredObject, properties: dict[str, str]) -> list[Any]:
        from datahub.metadata import schema_classes as models

        version = models.VersionTagClass(versionTag=stored.version_id)
        facts = models.MLModelPropertiesClass(
            name=self._title(stored),
            description=self.wishes.description or None,
            customProperties=properties,
            externalUrl=_linked(self._link, stored.address),
            lastModified=models.TimeStampClass(time=stored.modified),
            version=version if stored.version_id else None,
            trainingJobs=[self.naming.job(stored.address)] if self._sources(stored) else None,
        )
        return [facts]

    def _document_facts(self, stored: StoredObject, properties: dict[str, str]) -> list[Any]:
        from datahub.metadata import schema_classes as models

        modified = models.AuditStampClass(time=stored.modified, actor=_ACTOR)
        facts = models.DocumentInfoClass(
            title=self._title(stored),
            status=models.DocumentStatusClass(state=models.DocumentStateClass.PUBLISHED),
            contents=models.DocumentContentsClass(text=self.wishes.description),
            created=modified,
            lastModified=modified,
            customProperties=properties,
            source=models.DocumentSourceClass(
                sourceType=models.DocumentSourceTypeClass.EXTERNAL,
                externalUrl=_linked(self._link, stored.address),
                externalId=stored.address.url,
            ),
            relatedAssets=[models.RelatedAssetClass(asset=each) for each in self._sources(stored)]
            or None,
        )
        return [facts]

    def _title(self, stored: StoredObject) -> str:
        return self.wishes.name or stored.address.name

    def _place(self, address: Address, kind: Kind) -> list[Any]:
        """Where the entity stands: platform, container, way to browse there, and that it exists."""
        from datahub.emitter.mce_builder import (
            make_data_platform_urn,
            make_dataplatform_instance_urn,
        )
        from datahub.metadata import schema_classes as models

        instance = self.naming.instance
        platform = models.DataPlatformInstanceClass(
            platform=make_data_platform_urn(PLATFORM),
            instance=make_dataplatform_instance_urn(PLATFORM, instance) if instance else None,
        )
        holders = list(self.containers(address.bucket, address.folder))
        places = [models.StatusClass(removed=False), platform, self._browse_path(holders)]
        if kind is not Kind.DOCUMENT:  # documents lie in no container, but are browsed there
            places.append(models.ContainerClass(container=holders[-1]))
        return places

    def _browse_path(self, containers: Iterable[str]) -> Any:
        from datahub.emitter.mce_builder import make_dataplatform_instance_urn
        from datahub.metadata import schema_classes as models

        urns = list(containers)
        if self.naming.instance:
            urns.insert(0, make_dataplatform_instance_urn(PLATFORM, self.naming.instance))
        return models.BrowsePathsV2Class([models.BrowsePathEntryClass(each, each) for each in urns])

    # -- people and lineage ----------------------------------------------------------------------

    def _owned(self, urn: str, stored: StoredObject) -> list[Any]:
        from datahub.metadata import schema_classes as models
        from datahub.specific.aspect_helpers.ownership import HasOwnershipPatch

        owners = [_owner_urn(each) for each in self.wishes.owners] or _owner_of(stored)
        patch = HasOwnershipPatch(urn)
        for owner in owners:
            patch.add_owner(models.OwnerClass(owner, models.OwnershipTypeClass.DATAOWNER))
        return list(patch.build())

    def _sources(self, stored: StoredObject) -> list[str]:
        """URNs of what an object comes from."""
        project = self.project_of(stored.address)
        own = [self.naming.langfuse_project(project)] if project else []
        return [*own, *self._upstreams]

    def _led(self, urn: str, stored: StoredObject, kind: Kind) -> list[Any]:
        """Lineage. A dataset names its upstreams, a document its related assets (in its facts).

        A model can only name the job that made it, so it gets one, which names the upstreams.
        """
        sources = self._sources(stored)
        if not sources or kind is Kind.DOCUMENT:
            return []
        return self._job(stored, sources) if kind is Kind.MODEL else _upstream_patch(urn, sources)

    def _job(self, stored: StoredObject, sources: list[str]) -> list[Any]:
        from datahub.emitter.mce_builder import make_data_platform_urn
        from datahub.metadata import schema_classes as models

        platform = models.DataPlatformInfoClass(
            name=ORCHESTRATOR,
            displayName="Oversight",
            type=models.PlatformTypeClass.OTHERS,
            datasetNameDelimiter=".",
        )
        address = stored.address
        alive = models.StatusClass(removed=False)
        flow = models.DataFlowInfoClass(name=address.bucket, env=self.naming.env)
        job = models.DataJobInfoClass(
            name=f"How {address.name} was made", type="LINEAGE", env=self.naming.env
        )
        lineage = models.DataJobInputOutputClass(inputDatasets=sources, outputDatasets=[])
        return [
            *_proposals(make_data_platform_urn(ORCHESTRATOR), [platform]),
            *_proposals(self.naming.flow(address), [flow, alive]),
            *_proposals(self.naming.job(address), [job, lineage, alive]),
        ]

    def _upstream(self, named: str) -> str:
        """The URN of an upstream. Raises CommandError."""
        if named.startswith("urn:li:dataset:("):
            return named
        if named.startswith("urn:"):
            raise CommandError(f"Only a dataset can be upstream, and {named} is none.")
        return self.naming.entity(Address.parse(named), Kind.DATASET)


def removal(urn: str) -> list[Any]:
    """Proposals that soft-delete an entity: hidden, and back when it is described again."""
    from datahub.metadata import schema_classes as models

    return _proposals(urn, [models.StatusClass(removed=True)])


def _upstream_patch(urn: str, sources: list[str]) -> list[Any]:
    from datahub.metadata import schema_classes as models
    from datahub.specific.dataset import DatasetPatchBuilder

    patch = DatasetPatchBuilder(urn)
    for source in sources:
        patch.add_upstream_lineage(
            models.UpstreamClass(dataset=source, type=models.DatasetLineageTypeClass.TRANSFORMED)
        )
    return list(patch.build())


def _schema(stored: StoredObject, fields: list[Any]) -> Any:
    from datahub.emitter.mce_builder import make_data_platform_urn
    from datahub.metadata import schema_classes as models

    return models.SchemaMetadataClass(
        schemaName=stored.address.name,
        platform=make_data_platform_urn(PLATFORM),
        version=0,
        hash="",
        platformSchema=models.OtherSchemaClass(rawSchema=""),
        fields=fields,
    )


def _proposals(urn: str, aspects: Iterable[Any]) -> list[Any]:
    from datahub.emitter.mcp import MetadataChangeProposalWrapper

    return [MetadataChangeProposalWrapper(entityUrn=urn, aspect=each) for each in aspects]


def _owner_urn(owner: str) -> str:
    """Raises CommandError."""
    if owner.startswith(("urn:li:corpuser:", "urn:li:corpGroup:")):
        return owner
    kind, separator, name = owner.partition(":")
    if separator and kind == "group" and name:
        return f"urn:li:corpGroup:{name}"
    if separator or not owner.strip():
        raise CommandError(f"An owner is NAME, group:NAME or a URN of either, not {owner!r}.")
    return f"urn:li:corpuser:{owner}"


def _owner_of(stored: StoredObject) -> list[str]:
    """Who an object's metadata says owns it. Anybody may write that, so nonsense is no error."""
    try:
        return [_owner_urn(stored.metadata.get(_OWNER_METADATA, ""))]
    except CommandError:
        return []


def _linked(template: str, address: Address) -> str:
    """Raises CommandError if the template has other fields than ``bucket`` and ``key``."""
    try:
        return template.format(bucket=quote(address.bucket), key=quote(address.key))
    except (LookupError, ValueError, AttributeError):
        raise CommandError(
            f"A link is a URL with {{bucket}} and {{key}}, and {template} is none."
        ) from None
