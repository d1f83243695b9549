"""What is shipped: the lock files, the wheel, the folders that must not be packages."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-dev.lock"]
IMAGE_LOCK = ROOT / "requirements-image.lock"
DATAHUB_LOCK = ROOT / "requirements-datahub.lock"
JS_LOCK = ROOT / "tests/clients/js/package-lock.json"


def _pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[._]", "-", found[0]).lower()


# -- locks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lock", [*LOCKS, IMAGE_LOCK, DATAHUB_LOCK, JS_LOCK], ids=lambda path: path.name
)
def test_lock_names_no_registry_and_no_path(lock: Path) -> None:
    funding = re.compile(r'^\s*"url": "\S+"$', re.MULTILINE)  # pages of sponsors, fetched by nobody
    text = funding.sub("", lock.read_text()) if lock == JS_LOCK else lock.read_text()
    assert "://" not in text
    assert not re.search(r"--(extra-|)index-url|--find-links|--trusted-host|\bfile:|(^| )/\w", text)
    assert '"resolved"' not in text


@pytest.mark.parametrize("lock", [*LOCKS, IMAGE_LOCK, DATAHUB_LOCK], ids=lambda path: path.name)
def test_every_pin_has_hashes(lock: Path) -> None:
    entries = re.split(r"^(?=[a-z0-9-]+==)", lock.read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) > 20
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_js_packages_have_hashes() -> None:
    entries = JS_LOCK.read_text().count('"node_modules/')
    assert entries > 20
    assert JS_LOCK.read_text().count('"integrity": "sha512-') == entries


def test_locks_hold_what_the_project_asks_for() -> None:
    runtime, dev = map(_pins, LOCKS)
    assert {_name(each) for each in PROJECT["dependencies"]} <= runtime.keys()
    assert "setuptools" in runtime, "the project itself is built without fetching anything"
    extras = PROJECT["optional-dependencies"]["dev"]
    assert {_name(each) for each in extras} <= dev.keys()


def test_dev_lock_repeats_the_runtime_lock() -> None:
    """So that tests run what users run, and `make run` after `make test` changes nothing."""
    runtime, dev = map(_pins, LOCKS)
    runtime.pop("colorama", None)  # a dependency on Windows alone
    assert runtime.items() <= dev.items()


def test_datahub_lock_repeats_the_dev_lock() -> None:
    """So that `make datahub` adds packages and changes none."""
    dev, datahub = _pins(LOCKS[1]), _pins(DATAHUB_LOCK)
    assert dev.items() <= datahub.items()
    assert "acryl-datahub" in datahub.keys() - dev.keys()


def test_image_adds_telemetry_and_changes_nothing() -> None:
    runtime, image = _pins(LOCKS[0]), _pins(IMAGE_LOCK)
    assert runtime.items() <= image.items()
    assert "opentelemetry-exporter-otlp-proto-http" in image.keys() - runtime.keys()


# -- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["langfuse", "datahub"])
def test_stack_folders_hide_no_sdk(folder: str) -> None:
    assert (ROOT / folder / "README.md").is_file()
    assert not list((ROOT / folder).rglob("*.py"))


def test_every_tests_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    folders = {each for each in folders if "node_modules" not in each.parts}
    for folder in list(folders):
        folders.update(folder.parents[: len(folder.relative_to(ROOT).parts) - 1])
    assert [str(each) for each in sorted(folders) if not (each / "__init__.py").is_file()] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy, so that the checkout stays clean."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("storage", "stack", "langfuse", "datahub", "tests", "benchmarks"):
        ignored = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    script = "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", script, str(out)], cwd=source, check=True, capture_output=True
    )
    (found,) = out.glob("*.whl")
    return zipfile.ZipFile(found)


def test_wheel_holds_the_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    info = f"oversight_store-{PROJECT['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"storage", "stack", info}
    assert f"{info}/licenses/LICENSE" in names
    modules = {str(path.relative_to(ROOT)) for path in _modules()}
    assert modules <= set(names)


def test_wheel_brings_the_consoles_pages(wheel: zipfile.ZipFile) -> None:
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "storage/console/pages").iterdir()}
    assert "storage/console/pages/index.html" in pages
    assert pages <= set(wheel.namelist())


def test_every_module_lies_in_a_package() -> None:
    """`namespaces = false` leaves folders without ``__init__.py`` out of the wheel."""
    assert [str(path) for path in _modules() if not (path.parent / "__init__.py").is_file()] == []


def test_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    points = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "oversight = stack.cli:main" in wheel.read(points).decode()


def test_heavy_packages_are_extras() -> None:
    runtime = {_name(each) for each in PROJECT["dependencies"]}
    assert not runtime & {
        "boto3",
        "langfuse",
        "opentelemetry-sdk",
        "testcontainers",
        "duckdb",
        "acryl-datahub",
    }


def test_python_and_licence_are_declared() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text()


def _modules() -> list[Path]:
    return [path for folder in ("storage", "stack") for path in (ROOT / folder).rglob("*.py")]
