"""A prefix told to DataHub: once, again, interrupted, and with objects deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.datahub import need_datahub

need_datahub()

from stack.integrations.datahub import sync as syncing  # noqa: E402
from stack.integrations.datahub.description import Describer, Wishes  # noqa: E402
from stack.integrations.datahub.journal import Journal  # noqa: E402
from stack.integrations.datahub.kinds import Kind  # noqa: E402
from stack.integrations.datahub.names import Naming  # noqa: E402
from stack.integrations.datahub.objects import Address, Objects  # noqa: E402
from stack.integrations.datahub.sinks import RestSink  # noqa: E402
from stack.integrations.datahub.sync import Report, Sync  # noqa: E402
from stack.store import CommandError  # noqa: E402
from tests.datahub.gms_stand_in import GmsStandIn  # noqa: E402

Put = Callable[..., None]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def tell(objects: Objects, bucket: str, journal: Path, gms: GmsStandIn) -> Callable[..., Report]:
    """Run `sync` over the bucket, or a prefix of it."""

    def tell(prefix: str = "", **wishes: Any) -> Report:
        book = Journal(journal)
        describer = Describer(objects, Naming(), Wishes(**wishes))
        try:
            sink = RestSink(gms.url)
            report = Sync(objects, describer, sink, book).run(Address(bucket, prefix))
            sink.close()
            return report
        finally:
            book.close()

    return tell


def test_everything_becomes_an_entity(filled: str, tell: Any, gms: GmsStandIn) -> None:
    report = tell()
    assert (report.seen, report.described, report.problems) == (7, 7, [])
    assert len(gms.alive("dataset")) == 5
    assert len(gms.alive("mlModel")) == 1
    assert len(gms.alive("document")) == 1
    assert len(gms.alive("container")) == 7, "the bucket and six folders"


def test_second_run_says_nothing(filled: str, tell: Any, gms: GmsStandIn) -> None:
    tell()
    before = len(gms.proposals)
    report = tell()
    assert (report.described, report.unchanged) == (0, 7)
    assert len(gms.proposals) == before


def test_forgetful_run_says_the_same_again(
    filled: str, tell: Any, gms: GmsStandIn, journal: Path
) -> None:
    """Whoever lost the journal tells all anew, and nothing in DataHub changes by it."""
    tell()
    said, known = list(gms.proposals), _latest(gms)
    journal.unlink()
    tell()
    assert gms.proposals == said * 2
    assert _latest(gms) == known


def test_only_what_changed_is_told(filled: str, tell: Any, gms: GmsStandIn, put: Put) -> None:
    tell()
    before = len(gms.proposals)
    put("root.csv", b"id,name,more\n1,ada,x\n")
    assert tell().described == 1
    urns = {urn for urn, _, _ in gms.proposals[before:]}
    (urn,) = urns
    fields = gms.aspect(urn, "schemaMetadata")["fields"]
    assert [each["fieldPath"] for each in fields] == ["id", "name", "more"]


def test_other_wishes_are_told(filled: str, tell: Any) -> None:
    tell()
    assert tell(owners=("ada",)).described == 7


def test_deleted_objects_and_their_folders_are_soft_deleted(
    filled: str, tell: Any, gms: GmsStandIn, boto_client: Any
) -> None:
    tell()
    before = gms.alive()
    for key in ("root.csv", "models/churn.onnx", "papers/why.pdf"):
        boto_client.delete_object(Bucket=filled, Key=key)
    assert tell().removed == 3
    gone = {urn.split(":")[2] for urn in before - gms.alive()}
    assert gone == {"dataset", "mlModel", "document", "container"}
    assert len(before - gms.alive()) == 5, "three objects, two folders that are empty now"
    assert tell().removed == 0


def test_returning_object_is_back(
    filled: str, tell: Any, gms: GmsStandIn, boto_client: Any, put: Put
) -> None:
    tell()
    before = gms.alive()
    boto_client.delete_object(Bucket=filled, Key="models/churn.onnx")
    tell()
    assert gms.alive() != before
    put("models/churn.onnx", b"onnx")
    tell()
    assert gms.alive() == before


def test_emptied_prefix_leaves_what_is_above_it(
    filled: str, tell: Any, gms: GmsStandIn, boto_client: Any
) -> None:
    tell("tables/2026/")
    containers = gms.alive("container")
    assert len(containers) == 3
    for name in ("rows.parquet", "rows.jsonl"):
        boto_client.delete_object(Bucket=filled, Key=f"tables/2026/{name}")
    tell("tables/2026/")
    assert gms.alive("dataset") == set()
    assert len(gms.alive("container")) == 2, "the bucket and `tables` may hold others"


def test_interrupted_run_goes_on(
    bucket: str, put: Put, tell: Any, gms: GmsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "BATCH", 2)
    for number in range(6):
        put(f"{number}.txt")
    gms.fail_after = 30
    with pytest.raises(CommandError, match=r"did not take .* goes on where it stopped"):
        tell(kind=Kind.DATASET)
    assert gms.refused
    gms.refused.clear()
    done = len(gms.alive("dataset"))
    assert 0 < done < 6
    gms.fail_after = None
    report = tell(kind=Kind.DATASET)
    assert (report.unchanged, report.described) == (done, 6 - done)
    assert len(gms.alive("dataset")) == 6


def test_interrupted_run_removes_nothing(
    filled: str, tell: Any, gms: GmsStandIn, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that broke off says nothing about what it did not reach."""
    tell()
    before = gms.alive()
    whole = list(objects.pages(Address(filled)))

    def broken(_: Address) -> Any:
        yield whole[0][:2]
        raise CommandError("the store has gone")

    with monkeypatch.context() as patched:
        patched.setattr(objects, "pages", broken)
        with pytest.raises(CommandError):
            tell()
    assert gms.alive() == before
    assert tell().removed == 0


def test_object_of_another_kind_leaves_no_twin(filled: str, tell: Any, gms: GmsStandIn) -> None:
    tell("models/")
    tell("models/", kind=Kind.DATASET)
    assert gms.alive("mlModel") == set()
    assert len(gms.alive("dataset")) == 1


def test_folder_markers_are_folders(bucket: str, put: Put, tell: Any, gms: GmsStandIn) -> None:
    put("empty/", b"")
    put("full/", b"")
    put("full/x.bin")
    report = tell()
    assert (report.described, report.left_out) == (1, 2)
    assert len(gms.alive("container")) == 2


def test_name_that_datahub_cant_hold_is_left_out(
    bucket: str, put: Put, tell: Any, gms: GmsStandIn
) -> None:
    put("é" * 300 + ".csv", b"id\n1\n")
    put("ok.csv", b"id\n1\n")
    report = tell()
    assert (report.described, report.left_out) == (1, 1)
    assert "512 bytes" in report.problems[0]


def test_long_names_of_documents_are_no_problem(
    bucket: str, put: Put, tell: Any, gms: GmsStandIn
) -> None:
    put("x" * 900 + ".pdf")
    assert tell().described == 1
    assert len(gms.alive("document")) == 1


def test_many_pages(bucket: str, put: Put, tell: Any, gms: GmsStandIn, objects: Objects) -> None:
    client = objects._client
    for number in range(130):
        put(f"{number % 3}/{number:03}.dat")
    pages = client.get_paginator("list_objects_v2")
    assert sum(1 for _ in pages.paginate(Bucket=bucket, PaginationConfig={"PageSize": 50})) == 3
    assert tell().described == 130
    assert len(gms.alive("dataset")) == 130


def test_projects_of_langfuse_are_upstream(
    bucket: str, put: Put, tell: Any, gms: GmsStandIn
) -> None:
    keys = [
        "events/otel/cm1abc/2026/11/22/05/46/x.json",
        "events/cm1abc/trace/t1/e1.json",
        "media/cm1abc/0123456789abcdefghij-_.png",
        "exports/1700000000000-lf-observations-export-cm1abc.csv",
    ]
    for key in keys:
        put(key, b'{"id": 1}' if key.endswith("json") else b"id\n1\n")
    put("other.csv", b"id\n1\n")
    tell(langfuse_bucket=bucket, langfuse_url="http://localhost:3000")
    project = "urn:li:dataset:(urn:li:dataPlatform:langfuse,cm1abc,PROD)"
    assert gms.aspect(project, "datasetProperties")["externalUrl"].endswith("/project/cm1abc")
    assert gms.aspect("urn:li:dataPlatform:langfuse", "dataPlatformInfo")["name"] == "langfuse"
    led = [urn for urn, aspects in gms.entities.items() if "upstreamLineage" in aspects]
    assert len(led) == len(keys)
    for urn in led:
        (upstream,) = gms.aspect(urn, "upstreamLineage")["upstreams"].values()
        assert upstream["dataset"] == project


def test_journal_of_another_release_is_refused(tell: Any, journal: Path) -> None:
    tell()
    import sqlite3

    with sqlite3.connect(journal) as db:
        db.execute("UPDATE facts SET value = 99 WHERE name = 'version'")
    with pytest.raises(CommandError, match="another release"):
        tell()


def test_damaged_journal_is_one_sentence(tell: Any, journal: Path) -> None:
    journal.parent.mkdir()
    journal.write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(CommandError, match="delete it"):
        tell()


def _latest(gms: GmsStandIn) -> dict[str, dict[str, Any]]:
    """Entities with the last value of each series."""
    return {
        urn: {name: each[-1] if isinstance(each, list) else each for name, each in aspects.items()}
        for urn, aspects in gms.entities.items()
    }
