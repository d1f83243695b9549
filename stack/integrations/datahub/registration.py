"""Single objects, told to DataHub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stack.integrations.datahub.description import Describer
from stack.integrations.datahub.objects import Address, Objects
from stack.integrations.datahub.sinks import Sink


@dataclass(frozen=True)
class Registered:
    """``urn`` is the entity's, ``kind`` one of ``Kind`` or ``container``."""

    url: str
    urn: str
    kind: str
    problem: str = ""


def register(
    objects: Objects,
    describer: Describer,
    sink: Sink,
    addresses: Sequence[Address],
    version_id: str = "",
) -> list[Registered]:
    """Describe each object with the containers around it, and send all of it at once.

    An address that ends in a slash, or has no key, is a folder or bucket: its containers alone.
    Raises CommandError before anything is sent, or if it can't be sent.
    """
    proposals: dict[str, list[Any]] = {}
    registered: list[Registered] = []
    for address in addresses:
        containers = describer.containers(address.bucket, address.folder)
        proposals |= containers
        if address.is_folder:
            objects.check_bucket(address)
            registered.append(Registered(address.url, list(containers)[-1], "container"))
            continue
        project = describer.project_of(address)
        if project:
            urn = describer.naming.langfuse_project(project)
            proposals[urn] = describer.project(project)
        found = describer.describe(objects.head(address, version_id))
        proposals[found.urn] = found.proposals
        registered.append(Registered(address.url, found.urn, found.kind, found.problem))
    sink.emit([each for entity in proposals.values() for each in entity])
    return registered
