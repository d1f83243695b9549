"""What DataHub is told about one object."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.datahub import need_datahub

need_datahub()

from stack.integrations.datahub.description import Describer, Wishes  # noqa: E402
from stack.integrations.datahub.kinds import Kind  # noqa: E402
from stack.integrations.datahub.names import NameTooLong, Naming  # noqa: E402
from stack.integrations.datahub.objects import Address, NoSuchObject, Objects  # noqa: E402
from stack.integrations.datahub.registration import Registered, register  # noqa: E402
from stack.integrations.datahub.sinks import RestSink  # noqa: E402
from stack.store import CommandError  # noqa: E402
from tests.datahub.gms_stand_in import GmsStandIn  # noqa: E402

Put = Callable[..., None]


@pytest.fixture
def tell(objects: Objects, bucket: str, gms: GmsStandIn) -> Callable[..., Registered]:
    """Register one object of the bucket."""

    def tell(key: str, naming: Naming = Naming(), **wishes: Any) -> Registered:  # noqa: B008
        sink = RestSink(gms.url)
        describer = Describer(objects, naming, Wishes(**wishes))
        (registered,) = register(objects, describer, sink, [Address(bucket, key)])
        sink.close()
        return registered

    return tell


def test_dataset(
    tell: Any, put: Put, bucket: str, gms: GmsStandIn, boto_client: Any, s3_endpoint: str
) -> None:
    put("a b/rows.csv", b"id\n1\n", ContentType="text/csv", Metadata={"Team": "ml", "owner": "ada"})
    head = boto_client.head_object(Bucket=bucket, Key="a b/rows.csv")
    told = tell("a b/rows.csv", description="Rows.", properties={"stage": "raw"})
    assert told.urn == f"urn:li:dataset:(urn:li:dataPlatform:s3,{bucket}/a b/rows.csv,PROD)"
    facts = gms.aspect(told.urn, "datasetProperties")
    modified = int(head["LastModified"].timestamp() * 1000)
    assert facts["name"] == "rows.csv"
    assert facts["qualifiedName"] == f"s3://{bucket}/a b/rows.csv"
    assert facts["description"] == "Rows."
    assert facts["externalUrl"] == f"{s3_endpoint}/{bucket}/a%20b/rows.csv"
    assert facts["lastModified"] == {"time": modified}
    assert facts["customProperties"] == {
        "content_type": "text/csv",
        "etag": head["ETag"].strip('"'),
        "number_of_files": "1",
        "owner": "ada",
        "schema_inferred_from": f"s3://{bucket}/a b/rows.csv",
        "size_in_bytes": "5",
        "stage": "raw",
        "storage_class": "STANDARD",
        "team": "ml",
    }
    assert gms.aspect(told.urn, "operation")[0]["lastUpdatedTimestamp"] == modified
    owners = gms.aspect(told.urn, "ownership")["owners"].values()
    assert [each["owner"] for each in owners] == ["urn:li:corpuser:ada"]


def test_metadata_cant_pose_as_a_fact(tell: Any, put: Put, gms: GmsStandIn) -> None:
    put("x.dat", b"1234", Metadata={"size_in_bytes": "999", "owner": "urn:li:nonsense:x"})
    told = tell("x.dat")
    assert gms.aspect(told.urn, "datasetProperties")["customProperties"]["size_in_bytes"] == "4"
    assert "ownership" not in gms.entities[told.urn]


def test_owners_of_others_stay(tell: Any, put: Put, gms: GmsStandIn) -> None:
    put("x.dat")
    tell("x.dat", owners=("ada",))
    told = tell("x.dat", owners=("group:ml", "urn:li:corpuser:bob"))
    owners = {each["owner"] for each in gms.aspect(told.urn, "ownership")["owners"].values()}
    assert owners == {"urn:li:corpuser:ada", "urn:li:corpGroup:ml", "urn:li:corpuser:bob"}


def test_upstreams(tell: Any, put: Put, bucket: str, gms: GmsStandIn) -> None:
    put("x.dat")
    table = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.orders,PROD)"
    told = tell("x.dat", upstreams=(table, f"s3://{bucket}/raw.csv"))
    upstreams = gms.aspect(told.urn, "upstreamLineage")["upstreams"].values()
    of_object = f"urn:li:dataset:(urn:li:dataPlatform:s3,{bucket}/raw.csv,PROD)"
    assert {each["dataset"] for each in upstreams} == {table, of_object}


def test_model_names_the_job_that_led_to_it(
    tell: Any, put: Put, bucket: str, gms: GmsStandIn
) -> None:
    put("m/churn.onnx")
    told = tell("m/churn.onnx", upstreams=(f"s3://{bucket}/train.parquet",))
    assert told.urn == f"urn:li:mlModel:(urn:li:dataPlatform:s3,{bucket}/m/churn.onnx,PROD)"
    (job,) = gms.aspect(told.urn, "mlModelProperties")["trainingJobs"]
    train = f"urn:li:dataset:(urn:li:dataPlatform:s3,{bucket}/train.parquet,PROD)"
    assert gms.aspect(job, "dataJobInputOutput")["inputDatasets"] == [train]


def test_document_links_to_the_object(tell: Any, put: Put, bucket: str, gms: GmsStandIn) -> None:
    put("why.pdf")
    told = tell("why.pdf", upstreams=(f"s3://{bucket}/rows.csv",), description="Why.")
    info = gms.aspect(told.urn, "documentInfo")
    assert told.urn.startswith("urn:li:document:")
    assert info["source"]["externalUrl"].endswith(f"/{bucket}/why.pdf")
    assert info["source"]["externalId"] == f"s3://{bucket}/why.pdf"
    assert info["relatedAssets"][0]["asset"].endswith(f"{bucket}/rows.csv,PROD)")
    assert gms.aspect(told.urn, "browsePathsV2")["path"]


@pytest.mark.parametrize(
    ("key", "content_type", "subtype"),
    [("a.png", "image/png", "Image"), ("a.bin2", "audio/ogg", "Audio"), ("a.mp4", "", "Video")],
)
def test_media(
    tell: Any, put: Put, gms: GmsStandIn, key: str, content_type: str, subtype: str
) -> None:
    put(key, **({"ContentType": content_type} if content_type else {}))
    told = tell(key)
    assert told.kind == "media"
    assert gms.aspect(told.urn, "subTypes") == {"typeNames": [subtype]}


def test_kind_can_be_said(tell: Any, put: Put, gms: GmsStandIn) -> None:
    put("x.csv", b"id\n1\n")
    assert tell("x.csv", kind=Kind.MODEL).urn.startswith("urn:li:mlModel:")
    told = tell("x.csv", kind=Kind.MEDIA)
    assert gms.aspect(told.urn, "subTypes") == {"typeNames": ["Media"]}


def test_folder_alone(tell: Any, bucket: str, gms: GmsStandIn) -> None:
    told = tell("a/b/")
    assert told.kind == "container"
    assert gms.aspect(told.urn, "containerProperties")["name"] == "b"
    assert len(gms.alive()) == 3


def test_link_and_name_can_be_said(tell: Any, put: Put, gms: GmsStandIn) -> None:
    put("a b.dat")
    told = tell("a b.dat", link="https://s3.example.com/browse/{bucket}?key={key}", name="Other")
    facts = gms.aspect(told.urn, "datasetProperties")
    assert facts["externalUrl"].endswith("?key=a%20b.dat")
    assert facts["name"] == "Other"


def test_instance_is_named(tell: Any, put: Put, gms: GmsStandIn) -> None:
    put("x.dat")
    told = tell("x.dat", Naming("DEV", "eu"))
    instance = "urn:li:dataPlatformInstance:(urn:li:dataPlatform:s3,eu)"
    assert gms.aspect(told.urn, "dataPlatformInstance")["instance"] == instance
    assert gms.aspect(told.urn, "browsePathsV2")["path"][0]["id"] == instance
    assert told.urn.endswith(",DEV)")


@pytest.mark.parametrize(
    "wishes",
    [
        {"upstreams": ("urn:li:mlModel:(urn:li:dataPlatform:s3,x,PROD)",)},
        {"upstreams": ("bucket/key",)},
        {"owners": ("who: me",)},
        {"owners": ("",)},
        {"link": "https://x/{key.__class__}{other}"},
        {"link": "https://x/{"},
    ],
)
def test_wishes_that_make_no_sense(tell: Any, put: Put, wishes: dict[str, Any]) -> None:
    put("x.dat")
    with pytest.raises(CommandError):
        tell("x.dat", **wishes)


def test_missing_object(tell: Any, gms: GmsStandIn) -> None:
    with pytest.raises(NoSuchObject, match="no such object"):
        tell("nowhere")
    assert gms.proposals == []


def test_name_too_long(tell: Any, put: Put, gms: GmsStandIn) -> None:
    put("x" * 600)
    with pytest.raises(NameTooLong, match="512 bytes"):
        tell("x" * 600)
    assert gms.proposals == []


@pytest.mark.parametrize(
    ("urn", "name", "value"),
    [
        ("urn:li:document:x", "container", {"container": "urn:li:container:x"}),
        ("urn:li:container:x", "subTypes", {"typeNames": [1]}),
        ("urn:li:container:x", "subTypes", {}),
        (f"urn:li:container:{'x' * 512}", "status", {"removed": False}),
        ("urn:li:nothing:x", "status", {"removed": False}),
    ],
)
def test_stand_in_takes_no_nonsense(gms: GmsStandIn, urn: str, name: str, value: Any) -> None:
    """The tests above are worth what the stand-in refuses."""
    proposal = {
        "entityType": urn.split(":")[2], "entityUrn": urn, "changeType": "UPSERT",
        "aspectName": name,
        "aspect": {"contentType": "application/json", "value": json.dumps(value)},
    }  # fmt: skip
    with pytest.raises(Exception):  # noqa: B017, PT011 - DataHub's classes raise as they like
        gms.take([proposal])
    assert gms.proposals == []
