"""`oversight datahub` as a user runs it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datahub import need_datahub

need_datahub()

from tests.commands import Done  # noqa: E402
from tests.datahub.gms_stand_in import GmsStandIn  # noqa: E402
from tests.serving import free_port  # noqa: E402

Run = Callable[..., Done]


def test_register(filled: str, run: Run, gms: GmsStandIn) -> None:
    done = run(
        "register", f"s3://{filled}/root.csv", f"s3://{filled}/models/churn.onnx",
        "--owner", "ada", "--property", "stage=raw=1", "--upstream", f"s3://{filled}/a.csv",
        DATAHUB_GMS_URL=gms.url,
    )  # fmt: skip
    assert done.code == 0, done.err
    dataset = f"urn:li:dataset:(urn:li:dataPlatform:s3,{filled}/root.csv,PROD)"
    assert dataset in done.out
    assert "models/churn.onnx" in done.out
    assert gms.aspect(dataset, "datasetProperties")["customProperties"]["stage"] == "raw=1"


def test_register_as_json(filled: str, run: Run, gms: GmsStandIn) -> None:
    done = run("register", f"s3://{filled}/papers/why.pdf", "--json", "--gms", gms.url)
    (told,) = done.value
    assert told["kind"] == "document"
    assert told["urn"] in gms.entities


def test_unreadable_schema_is_a_warning(
    bucket: str, put: Callable[..., None], run: Run, gms: GmsStandIn
) -> None:
    put("x.parquet", b"no")
    done = run("register", f"s3://{bucket}/x.parquet", "--gms", gms.url)
    assert done.code == 0
    assert "no schema, because it is no parquet" in done.err


def test_sync_keeps_a_journal(filled: str, run: Run, gms: GmsStandIn, tmp_path: Path) -> None:
    first = run("sync", f"s3://{filled}", "--json", "--gms", gms.url)
    assert first.value["described"] == 7
    said = len(gms.proposals)
    again = run("sync", f"s3://{filled}", "--json", "--gms", gms.url)
    assert again.value["unchanged"] == 7
    assert len(gms.proposals) == said
    assert len(list((tmp_path / ".local/state/oversight/datahub").iterdir())) == 1


def test_sync_to_another_datahub_starts_anew(filled: str, run: Run, gms: GmsStandIn) -> None:
    assert run("sync", f"s3://{filled}", "--gms", gms.url).code == 0
    with GmsStandIn() as other:
        assert run("sync", f"s3://{filled}", "--gms", other.url, "--json").value["described"] == 7


def test_file_is_what_datahub_reads(
    filled: str, run: Run, datahub: Run, gms: GmsStandIn, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    assert run("sync", f"s3://{filled}", "--to-file", out).code == 0
    assert datahub("check", "metadata-file", out).code == 0
    recipe = tmp_path / "file.yml"
    source = {"type": "file", "config": {"path": str(out)}}
    sink = {"type": "datahub-rest", "config": {"server": gms.url}}
    recipe.write_text(json.dumps({"source": source, "sink": sink}))
    assert datahub("ingest", "-c", recipe).code == 0
    assert len(gms.alive("dataset")) == 5


def test_file_holds_everything_unless_there_is_a_journal(
    filled: str, run: Run, tmp_path: Path
) -> None:
    out, journal = tmp_path / "out.json", tmp_path / "journal.db"

    def told(*options: str | Path) -> int:
        assert run("sync", f"s3://{filled}", "--to-file", out, *options).code == 0
        return len(json.loads(out.read_text()))

    assert told() == told() == told("--journal", journal) > 0
    assert told("--journal", journal) == 0


def test_failed_run_leaves_no_file(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run("sync", "s3://no-such-bucket-here", "--to-file", out)
    assert done.code == 1
    assert "no such bucket" in done.err
    assert [path.name for path in tmp_path.iterdir() if "out.json" in path.name] == []


def test_token(filled: str, run: Run) -> None:
    with GmsStandIn(token="secret") as gms:
        refused = run("sync", f"s3://{filled}", "--gms", gms.url)
        assert (refused.code, refused.out) == (1, "")
        assert "DATAHUB_GMS_TOKEN" in refused.err
        done = run("sync", f"s3://{filled}", "--gms", gms.url, DATAHUB_GMS_TOKEN="secret")
        assert done.code == 0, done.err


def test_no_datahub(filled: str, run: Run) -> None:
    done = run("register", f"s3://{filled}/root.csv", "--gms", f"http://127.0.0.1:{free_port()}")
    assert done.code == 1
    assert done.err.startswith("No DataHub answers at http://127.0.0.1:")
    assert "DATAHUB_GMS_URL" in done.err
    assert len(done.err.splitlines()) == 1


def test_something_else_than_datahub(filled: str, run: Run, s3_endpoint: str) -> None:
    done = run("register", f"s3://{filled}/root.csv", "--gms", s3_endpoint)
    assert done.code == 1
    assert "DATAHUB_GMS_URL" in done.err or "DATAHUB_GMS_TOKEN" in done.err
    assert len(done.err.splitlines()) == 1


def test_no_store(run: Run, tmp_path: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        done = run(
            "register", "s3://b/k", "--endpoint", f"http://127.0.0.1:{port}",
            "--to-file", tmp_path / "out.json",
        )  # fmt: skip
    assert done.code == 1
    assert done.err.startswith(f"No store answers at http://127.0.0.1:{port}")


def test_wrong_keys(filled: str, run: Run, tmp_path: Path) -> None:
    done = run(
        "register", f"s3://{filled}/root.csv", "--to-file", tmp_path / "out.json",
        AWS_ACCESS_KEY_ID="somebody", AWS_SECRET_ACCESS_KEY="unknown",
    )  # fmt: skip
    assert done.code == 1
    assert "AWS_SECRET_ACCESS_KEY" in done.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("register", "bucket/key"), "write s3://BUCKET/KEY"),
        (("register", "s3://b/k", "--as", "table"), "--as is one of"),
        (("register", "s3://b/k", "--property", "novalue"), "--property is NAME=VALUE"),
        (("sync", "s3://b", "--to-file", "/nowhere/out.json"), "can't be written"),
    ],
)
def test_wrong_words(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    done = run(*arguments)
    assert done.code != 0
    assert sentence in done.err
