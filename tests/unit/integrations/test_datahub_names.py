"""What needs no SDK: addresses, kinds, Langfuse's keys, and a machine without the extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stack.integrations.datahub import sdk
from stack.integrations.datahub.kinds import Kind, kind_of
from stack.integrations.datahub.langfuse import project_of
from stack.integrations.datahub.objects import Address
from stack.store import CommandError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://b/k", "b", "k"),
        ("s3a://b/a/k", "b", "a/k"),
        ("s3://b", "b", ""),
        ("s3://b/", "b", ""),
        ("s3://b/a%20b?c#d", "b", "a%20b?c#d"),
        ("s3://b//k", "b", "/k"),
    ],
)
def test_address(url: str, bucket: str, key: str) -> None:
    assert Address.parse(url) == Address(bucket, key)


@pytest.mark.parametrize("url", ["", "b/k", "s3:/b/k", "s3://", "s3:///k", "http://b/k"])
def test_no_address(url: str) -> None:
    with pytest.raises(CommandError, match="s3://BUCKET/KEY"):
        Address.parse(url)


def test_address_has_a_name_and_a_folder() -> None:
    address = Address("b", "x/y/z.csv")
    assert (address.name, address.folder, address.is_folder) == ("z.csv", "x/y", False)
    assert Address("b", "x/y/").name == "y"
    assert Address("b").name == "b"
    assert Address("b").is_folder


@pytest.mark.parametrize(
    ("key", "content_type", "kind"),
    [
        ("rows.csv", "", Kind.DATASET),
        ("rows.parquet", "binary/octet-stream", Kind.DATASET),
        ("unknown", "", Kind.DATASET),
        ("m/model.ONNX", "", Kind.MODEL),
        ("m/model.safetensors", "application/octet-stream", Kind.MODEL),
        ("why.pdf", "", Kind.DOCUMENT),
        ("why", "application/pdf", Kind.DOCUMENT),
        ("logo.png", "", Kind.MEDIA),
        ("call", "audio/ogg; codecs=opus", Kind.MEDIA),
    ],
)
def test_kind(key: str, content_type: str, kind: Kind) -> None:
    assert kind_of(key, content_type) is kind


@pytest.mark.parametrize(
    ("key", "project"),
    [
        ("events/otel/cm1/2026/11/22/05/46/0a.json", "cm1"),
        ("events/evals/cm1/traces/t/observations/o.json", "cm1"),
        ("events/cm1/trace/t1/e1.json", "cm1"),
        ("events/cm1/dataset_run_item/i/e.json", "cm1"),
        ("some/prefix/events/cm1/score/s/e.json", "cm1"),
        ("media/cm1/0123456789abcdefghij-_.png", "cm1"),
        ("exports/1700000000000-lf-traces-export-cm1.csv", "cm1"),
        ("exports/1700000000000-lf-dataset-run-items-export-cm1.jsonl", "cm1"),
        ("events/otel/", ""),
        ("events/cm1/other/t1/e1.json", ""),
        ("media/cm1/short.png", ""),
        ("exports/report.csv", ""),
        ("anything/else", ""),
    ],
)
def test_project(key: str, project: str) -> None:
    assert project_of(key) == project


def test_missing_sdk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datahub.emitter", None)
    with pytest.raises(CommandError, match=r"`make datahub`.*acryl-datahub\["):
        sdk.require()


def test_command_line_starts_without_the_sdk() -> None:
    code = (
        "import sys, stack.cli; "
        "print([m for m in ('datahub.emitter', 'boto3', 'pyarrow', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
