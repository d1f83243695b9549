"""A whole prefix, told to DataHub: only what changed, resumable, deletions included.

Order makes it safe to stop anywhere: a batch is described, sent, and only then written down in the
journal. What was deleted is looked for after a listing that came to its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stack.integrations.datahub.description import Describer, Description, removal
from stack.integrations.datahub.journal import Journal, Told
from stack.integrations.datahub.names import NameTooLong
from stack.integrations.datahub.objects import Address, Listed, NoSuchObject, Objects
from stack.integrations.datahub.sinks import Sink

#: Objects that are described and sent together, and how many are read from the store at once.
BATCH = 64
_READERS = 8
#: Goes up when descriptions change, so that a new release tells everything anew.
_REVISION = 1
_Item = TypeVar("_Item")


@dataclass
class Report:
    """What a run did, in objects. ``problems`` are sentences about single objects."""

    seen: int = 0
    described: int = 0
    unchanged: int = 0
    removed: int = 0
    left_out: int = 0
    problems: list[str] = field(default_factory=list)


class Sync:
    """One run over one prefix."""

    def __init__(
        self,
        objects: Objects,
        describer: Describer,
        sink: Sink,
        journal: Journal,
        watch: Callable[[Report], None] = lambda _: None,
    ) -> None:
        """``watch`` is called with the report whenever it grew."""
        self._objects, self._describer = objects, describer
        self._sink, self._journal, self._watch = sink, journal, watch
        saying = (_REVISION, describer.naming, describer.wishes, objects.endpoint)
        self._saying = hashlib.sha256(repr(saying).encode()).hexdigest()[:32]
        self.report = Report()

    def run(self, prefix: Address) -> Report:
        """Raises CommandError; what was sent until then is in the journal."""
        self._objects.check_bucket(prefix)
        with ThreadPoolExecutor(_READERS, thread_name_prefix="describe") as readers:
            for page in self._objects.pages(prefix):
                # Consoles make empty objects of such names to show folders, which containers do.
                objects = [each for each in page if not each.key.endswith("/")]
                self.report.seen += len(page)
                self.report.left_out += len(page) - len(objects)
                for batch in _batches(self._news(prefix, objects), BATCH):
                    self._describe(prefix, batch, readers)
        for gone in _batches(self._journal.gone(), BATCH):
            self._remove(gone)
        return self.report

    def _news(self, prefix: Address, objects: list[Listed]) -> list[Listed]:
        """The objects that DataHub does not know as they are."""
        news, known = [], set()
        for listed in objects:
            told = self._journal.find(_object(listed.key))
            if told is None or told.fingerprint != self._fingerprint(listed):
                news.append(listed)
                continue
            known.add(told.name)
            address = Address(prefix.bucket, listed.key)
            holders = self._describer.containers(address.bucket, address.folder)
            known.update(map(_container, holders))
        self._journal.saw(known)
        self._written_down()
        self.report.unchanged += len(objects) - len(news)
        self._watch(self.report)
        return news

    def _fingerprint(self, listed: Listed) -> str:
        facts = f"{self._saying}\0{listed.etag}\0{listed.size}\0{listed.modified}"
        return hashlib.sha256(facts.encode()).hexdigest()[:32]

    def _describe(
        self, prefix: Address, batch: Sequence[Listed], readers: ThreadPoolExecutor
    ) -> None:
        """Describe, send, write down."""
        addresses = [Address(prefix.bucket, listed.key) for listed in batch]
        proposals: list[Any] = []
        told: dict[str, Told] = {}
        described = 0
        for listed, found in zip(batch, readers.map(self._described, addresses), strict=True):
            if isinstance(found, str):
                self.report.left_out += 1
                self.report.problems += filter(None, [found])
                continue
            described += 1
            self.report.problems += filter(None, [found.problem])
            proposals += self._surroundings(prefix, listed.key, told)
            proposals += found.proposals
            name = _object(listed.key)
            before = self._journal.find(name)
            if before is not None and before.urn != found.urn:  # an entity of another kind now
                proposals += removal(before.urn)
            told[name] = Told(name, found.urn, self._fingerprint(listed))
        self._sink.emit(proposals)
        self._journal.told(told.values())
        self._written_down()
        self.report.described += described
        self._watch(self.report)

    def _described(self, address: Address) -> Description | str:
        """Or why it is left out; "" if it vanished since it was listed."""
        try:
            return self._describer.describe(self._objects.head(address))
        except NoSuchObject:
            return ""
        except NameTooLong as error:
            return str(error)

    def _surroundings(self, prefix: Address, key: str, told: dict[str, Told]) -> list[Any]:
        """Proposals of containers and projects that DataHub does not know yet; adds to ``told``."""
        address = Address(prefix.bucket, key)
        around = dict(self._describer.containers(address.bucket, address.folder))
        inside = list(around)[_depth_of(prefix) :]
        project = self._describer.project_of(address)
        if project:
            urn = self._describer.naming.langfuse_project(project)
            around[urn] = self._describer.project(project)
        proposals: list[Any] = []
        for urn, describing in around.items():
            name = _container(urn)
            if name in told:
                continue
            before = self._journal.find(name)
            if before is None or before.fingerprint != self._saying:
                proposals += describing
            told[name] = Told(name, urn, self._saying, removable=urn in inside)
        return proposals

    def _remove(self, gone: Sequence[Told]) -> None:
        self._sink.emit([proposal for each in gone for proposal in removal(each.urn)])
        self._journal.removed(gone)
        self._written_down()
        self.report.removed += sum(each.name.startswith(_OBJECT) for each in gone)
        self._watch(self.report)

    def _written_down(self) -> None:
        if self._sink.immediate:
            self._journal.commit()


_OBJECT, _CONTAINER = "object ", "container "


def _object(key: str) -> str:
    return _OBJECT + key


def _container(urn: str) -> str:
    return _CONTAINER + urn


def _depth_of(prefix: Address) -> int:
    """How many containers on the way to an object may hold others that a run does not list.

    The bucket always stays; of ``s3://b/x/y`` so does ``x``, and every folder ``y...`` may go.
    """
    return 1 + prefix.key.count("/") - (1 if prefix.key.endswith("/") else 0)


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
