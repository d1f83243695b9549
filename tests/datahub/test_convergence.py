"""Push and pull meet: DataHub's own `s3` source, run with our recipes, names the same entities."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.datahub import need_datahub

need_datahub()

from tests.commands import Done  # noqa: E402
from tests.datahub.conftest import ROOT  # noqa: E402
from tests.datahub.gms_stand_in import GmsStandIn  # noqa: E402

RECIPES = sorted((ROOT / "datahub/recipes").glob("*.yml"))
EXPORT = "exports/1700000000000-lf-traces-export-cm1abc.csv"
#: What both sides say of an entity in the very same words.
SAME = {"container", "browsePathsV2", "status", "schemaMetadata"}
SAME_OF_CONTAINERS = SAME | {"containerProperties", "dataPlatformInstance", "subTypes"}

Run = Callable[..., Done]


def test_pull_and_push_describe_the_same_entities(
    filled: str, run: Run, datahub: Run, gms: GmsStandIn
) -> None:
    pulled = datahub(
        "ingest", "-c", _recipe("artifacts"),
        OVERSIGHT_ARTIFACTS_BUCKET=filled, DATAHUB_GMS_URL=gms.url,
    )  # fmt: skip
    assert pulled.code == 0, pulled.err
    of_pull = {urn: dict(aspects) for urn, aspects in gms.entities.items()}

    with GmsStandIn() as other:
        assert run("sync", f"s3://{filled}", "--gms", other.url).code == 0
        of_push = other.entities

    datasets = {urn for urn in of_pull if urn.startswith("urn:li:dataset:")}
    assert len(datasets) == 4, "csv, parquet, jsonl, json"
    assert any("odd names/a %281%29%2C b+c%20d.json" in urn for urn in datasets)
    for urn in datasets:
        assert _of(of_pull[urn], SAME) == _of(of_push[urn], SAME)
    containers = {urn for urn in of_pull if urn.startswith("urn:li:container:")}
    assert len(containers) == 4, "bucket, tables, tables/2026, odd names"
    for urn in containers:
        assert _of(of_pull[urn], SAME_OF_CONTAINERS) == _of(of_push[urn], SAME_OF_CONTAINERS)


def test_pull_finds_what_was_deleted(
    filled: str, datahub: Run, gms: GmsStandIn, boto_client: Any
) -> None:
    names = {"OVERSIGHT_ARTIFACTS_BUCKET": filled, "DATAHUB_GMS_URL": gms.url}
    assert datahub("ingest", "-c", _recipe("artifacts"), **names).code == 0
    before = gms.alive("dataset")
    boto_client.delete_object(Bucket=filled, Key="root.csv")
    done = datahub("ingest", "-c", _recipe("artifacts"), **names)
    assert done.code == 0, done.err
    assert before - gms.alive("dataset") == {_dataset(filled, "root.csv")}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_fills_a_file(
    recipe: Path, filled: str, put: Callable[..., None], datahub: Run, tmp_path: Path
) -> None:
    """Without a server, where there can be no state either; DataHub's own check reads the file."""
    put(EXPORT, b"id,name\n1,ada\n")
    wanted = yaml.safe_load(recipe.read_text())
    del wanted["source"]["config"]["stateful_ingestion"]
    wanted["sink"] = {"type": "file", "config": {"filename": "out.json"}}
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(wanted))
    names = {"OVERSIGHT_ARTIFACTS_BUCKET": filled, "OVERSIGHT_LANGFUSE_BUCKET": filled}
    done = datahub("ingest", "-c", "recipe.yml", **names)
    assert done.code == 0, done.err
    assert "finished successfully" in done.out
    urns = {each["entityUrn"] for each in json.loads((tmp_path / "out.json").read_text())}
    assert _dataset(filled, EXPORT) in urns
    assert (_dataset(filled, "root.csv") in urns) == (recipe.stem == "artifacts")
    assert datahub("check", "metadata-file", "out.json").code == 0


def test_there_is_a_recipe_for_each_bucket() -> None:
    assert [path.stem for path in RECIPES] == ["artifacts", "exports"]


def test_instance_and_environment_are_in_both_names(
    filled: str, run: Run, datahub: Run, tmp_path: Path
) -> None:
    """Of containers DataHub keeps a mistake of old: the environment in place of the instance."""
    wanted = yaml.safe_load(_recipe("artifacts").read_text())
    del wanted["source"]["config"]["stateful_ingestion"]
    wanted["source"]["config"]["platform_instance"] = "eu"
    wanted["sink"] = {"type": "file", "config": {"filename": "pulled.json"}}
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(wanted))
    names = {"OVERSIGHT_ARTIFACTS_BUCKET": filled, "DATAHUB_ENV": "DEV"}
    assert datahub("ingest", "-c", "recipe.yml", **names).code == 0
    pushed = tmp_path / "pushed.json"
    done = run(
        "sync", f"s3://{filled}", "--to-file", pushed, "--env", "DEV", "--instance", "eu",
    )  # fmt: skip
    assert done.code == 0, done.err
    of_pull, of_push = (_aspects(tmp_path / name) for name in ("pulled.json", "pushed.json"))
    assert {urn for urn, _ in of_pull} <= {urn for urn, _ in of_push}
    for (urn, name), aspect in of_pull.items():
        if name in SAME:
            assert of_push[urn, name] == aspect


def test_both_tools_live_in_one_environment() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def _recipe(name: str) -> Path:
    return ROOT / f"datahub/recipes/{name}.yml"


def _dataset(bucket: str, key: str) -> str:
    return f"urn:li:dataset:(urn:li:dataPlatform:s3,{bucket}/{key},PROD)"


def _of(aspects: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: aspects[name] for name in names if name in aspects}


def _aspects(path: Path) -> dict[tuple[str, str], Any]:
    return {
        (each["entityUrn"], each["aspectName"]): each["aspect"]
        for each in json.loads(path.read_text())
        if each["changeType"] == "UPSERT"
    }
