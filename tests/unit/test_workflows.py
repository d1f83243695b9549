"""The workflows of the forge: they can be read, are pinned, and name what exists."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
_PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
#: What anyone may write who opens a pull request: in a script it would be run.
_UNTRUSTED = re.compile(r"\$\{\{[^}]*(github\.event|github\.head_ref|inputs\.)[^}]*\}\}")


def load(path: Path) -> dict[Any, Any]:
    document = yaml.safe_load(path.read_text())
    assert isinstance(document, dict)
    return document


def steps(document: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in document["jobs"].values():
        yield from job.get("steps", ())


each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def test_there_are_two() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]


@each_workflow
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved by whoever owns it. The version stands beside the commit, for people."""
    used = [step["uses"] for step in steps(load(path)) if "uses" in step]
    assert used
    assert [action for action in used if not _PINNED.fullmatch(action)] == []
    for line in path.read_text().splitlines():
        if "uses:" in line and "./" not in line:
            assert re.search(r"# v\d+\.\d+\.\d+$", line), line


def test_one_version_of_each_action() -> None:
    versions: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for step in steps(load(path)):
            name, _, commit = step.get("uses", "").partition("@")
            versions.setdefault(name, set()).add(commit)
    assert {name for name, commits in versions.items() if len(commits) > 1} == set()


@each_workflow
def test_rights_are_asked_for_by_the_job(path: Path) -> None:
    assert load(path)["permissions"] == {"contents": "read"}


@each_workflow
def test_scripts_are_sound_shell_and_take_no_orders(path: Path) -> None:
    for step in steps(load(path)):
        script = step.get("run", "")
        assert not _UNTRUSTED.search(script), script
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@each_workflow
def test_files_that_are_named_exist(path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r"(?:file: |/|\s)((?:compose|\.ci|\.github)/[\w./-]+)", text):
        assert (ROOT / name).exists(), name
    for name in ("pyproject.toml", "CHANGELOG.md", "requirements.lock"):
        assert name not in text or (ROOT / name).exists()


def test_release_is_for_both_architectures_and_signed() -> None:
    document = load(ROOT / ".github/workflows/release.yml")
    platforms = {
        each["platform"] for each in document["jobs"]["image"]["strategy"]["matrix"]["include"]
    }
    assert platforms == {"linux/amd64", "linux/arm64"}
    build = next(step["with"] for step in steps(document) if "build-push" in step.get("uses", ""))
    assert build["sbom"] is True
    assert build["provenance"] == "mode=max"
    assert "push-by-digest=true" in build["outputs"]
    scripts = "\n".join(step.get("run", "") for step in steps(document))
    assert "cosign sign --yes --recursive" in scripts
    assert "cosign attest" in scripts
    assert document["jobs"]["publish"]["permissions"]["id-token"] == "write"


def test_tags_are_never_moved() -> None:
    """One tag a release, the version, refused if it exists; nothing called `latest`."""
    document = load(ROOT / ".github/workflows/release.yml")
    scripts = "\n".join(step.get("run", "") for step in steps(document))
    assert re.findall(r"imagetools create --tag (\S+)", scripts) == ['"$IMAGE:$VERSION"']
    assert "docker manifest inspect" in scripts
    assert "latest" not in scripts
    assert document["jobs"]["image"]["needs"] == ["ci", "version"]


def test_every_job_ends() -> None:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            assert "uses" in job or "timeout-minutes" in job or len(job["steps"]) < 5, name


def test_image_workflow_builds_what_the_dockerfile_takes() -> None:
    document = load(ROOT / ".github/workflows/release.yml")
    build = next(step["with"] for step in steps(document) if "build-push" in step.get("uses", ""))
    given = set(re.findall(r"^(\w+)=", build["build-args"], re.M))
    declared = set(re.findall(r"^ARG (\w+)", (ROOT / "compose/Dockerfile").read_text(), re.M))
    assert given <= declared
