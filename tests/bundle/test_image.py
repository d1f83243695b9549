"""The image in containers: how it is started, whom it runs as, what it refuses, how it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bundle import docker
from tests.bundle.docker import Container, Engine
from tests.golden.content import LARGE
from tests.serving import ACCESS_KEY, SECRET_KEY

#: What docs/container.md promises.
USER = 10001
DRIVES = sorted((docker.ROOT / "tests/golden").glob("format-*.tar.xz"))
READ_ONLY = ("--read-only", "--security-opt", "no-new-privileges", "--cap-drop", "ALL")
LANGFUSE_COMMAND = (
    'mkdir -p /data/langfuse && minio server --address ":9000" --console-address ":9001" /data'
)
KEYS = ("--env", f"MINIO_ROOT_USER={ACCESS_KEY}", "--env", f"MINIO_ROOT_PASSWORD={SECRET_KEY}")


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A folder of the host, root's own, as `./data` is that Docker makes for a bind mount."""
    if os.geteuid():
        pytest.skip("bind mounts that belong to root are made by root: run the tests as root")
    tmp_path.chmod(0o755)
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def s3(
    container: Container, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY, **config: str
) -> Any:
    boto3 = pytest.importorskip("boto3")
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=container.endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}, **config
        ),
    )


def assert_works(container: Container, bucket: str = "langfuse") -> None:
    """A round trip through the S3 port, and an answer on the console port."""
    client = s3(container)
    client.put_object(Bucket=bucket, Key="events/x.json", Body=b"{}")
    assert client.get_object(Bucket=bucket, Key="events/x.json")["Body"].read() == b"{}"
    live = f"http://127.0.0.1:{container.port(9001)}/minio/health/live"
    with urllib.request.urlopen(live, timeout=60) as answer:
        assert answer.status == 200


def users(container: Container) -> set[int]:
    """The users of the store's processes, as the host sees them; a health check is none of it."""
    shown = docker.docker("top", container.name, "-eo", "uid,pid,args").splitlines()[1:]
    found = {int(line.split()[0]) for line in shown if " storage." in line}
    assert len(shown) >= 4, shown
    return found


def owners(folder: Path) -> set[int]:
    """Of all that is in a folder in which a store may be making and removing files."""
    found = set()
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                found.add(os.lstat(os.path.join(root, name)).st_uid)
    return found


def refusal(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """What a container prints that must end with status 1 instead of serving."""
    done = docker.run("docker", "run", "--rm", "--label", docker.LABEL, *options, image, *command)
    assert done.returncode == 1, done.stdout
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, done.stdout
    return str(lines[0])


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Owner, group, mode, time and content of everything in a folder."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (
            status.st_uid, status.st_gid, status.st_mode, status.st_mtime_ns, content,
        )  # fmt: skip
    return found


# -- commands ---------------------------------------------------------------------------------


def test_both_seeds_command(image: str, engine: Engine) -> None:
    """With a volume of the engine: `IMAGE server /data --console-address ":9001"`."""
    volume = engine.volume()
    container = engine.run(
        image, "server", "/data", "--console-address", ":9001",
        options=("--volume", f"{volume}:/data", *KEYS),
    ).wait_until_ready()  # fmt: skip
    assert_works(container)
    assert users(container) == {USER}


def test_bind_mount_of_root(image: str, engine: Engine, data: Path) -> None:
    """`./data:/data`, made by Docker as root: the store takes it over and is no root."""
    container = engine.run(
        image, "server", "/data", "--console-address", ":9001",
        options=("--volume", f"{data}:/data", *KEYS),
    ).wait_until_ready()  # fmt: skip
    assert_works(container)
    assert users(container) == {USER}
    assert data.stat().st_uid == USER
    assert owners(data) == {USER}


def test_minio_command(image: str, engine: Engine) -> None:
    container = engine.run(
        image, "minio", "server", "--address", ":9000", "--console-address", ":9001", "/data",
        options=KEYS,
    ).wait_until_ready()  # fmt: skip
    assert_works(container)


def test_replaced_entrypoint(image: str, engine: Engine, data: Path) -> None:
    """Langfuse's compose file: a shell makes the bucket's folder as root, then starts `minio`."""
    container = engine.run(
        image, "-c", LANGFUSE_COMMAND,
        options=(
            "--entrypoint", "sh", "--volume", f"{data}:/data", *KEYS,
            "--health-cmd", "mc ready local", "--health-interval", "1s",
            "--health-timeout", "5s", "--health-retries", "5", "--health-start-period", "1s",
        ),
    ).wait_until_ready()  # fmt: skip
    assert_works(container)
    assert users(container) == {USER}
    assert (data / "langfuse").is_dir()
    container.wait_for(lambda: container.health() == "healthy")
    assert container.execute("cat", "/proc/1/comm") == "python"  # the shell is gone
    container.stop()
    assert container.exit_code() == 0


def test_folder_made_before_becomes_a_bucket(image: str, engine: Engine) -> None:
    command = LANGFUSE_COMMAND.replace("/data/langfuse", "/data/datahub /data/artifacts")
    container = engine.run(image, "-c", command, options=("--entrypoint", "sh", *KEYS))
    container.wait_until_ready()
    found = {each["Name"] for each in s3(container).list_buckets()["Buckets"]}
    assert found == {"artifacts", "datahub", "langfuse"}


def test_minio_container_of_testcontainers(image: str, testcontainers_environment: None) -> None:
    """Testcontainers' own class, with nothing but the image's name changed."""
    minio = pytest.importorskip("testcontainers.minio")
    with minio.MinioContainer(image=image) as container:
        client = container.get_client()
        client.make_bucket("test")
        import io

        client.put_object("test", "key", io.BytesIO(b"body"), 4)
        assert client.get_object("test", "key").data == b"body"
        config = container.get_config()
        assert config["access_key"] == "minioadmin"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("version",), "oversight "),
        (("--version",), "oversight "),
        (("--help",), "bootstrap"),
        (("oversight", "version"), "oversight "),
        (("minio", "--version"), "Oversight"),
        (("mc", "--version"), "mc of Oversight"),
        (("sh", "-c", "command -v minio mc oversight"), "/minio\n"),
        (("/usr/bin/mc", "--version"), "mc of Oversight"),
        (("server", "--help"), "minio server [FLAGS] DIR"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_entry_point_knows_the_commands(image: str, words: tuple[str, ...], shown: str) -> None:
    assert shown in docker.docker("run", "--rm", image, *words)


def test_harmless_flags_are_named_and_ignored(image: str, engine: Engine) -> None:
    container = engine.run(
        image, "server", "--quiet", "--memlimit", "1GiB", "--frobnicate=7", "/data", options=KEYS
    ).wait_until_ready()
    log = container.logs()
    for flag in ("--quiet", "--memlimit", "--frobnicate"):
        assert any(line.startswith("Warning:") and flag in line for line in log.splitlines()), log
    assert_works(container)


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (("--certs-dir", "/certs", "/data"), "TLS proxy"),
        (("-S", "/certs", "/data"), "TLS proxy"),
        (("--sftp=address=:8022", "/data"), "use S3"),
        (("--encrypt-at-rest", "/data"), "protection"),
        (("host{1...4}",), "cluster engine"),
        (("http://minio{1...4}:9000/data{1...2}",), "cluster engine"),
    ],
)
def test_what_does_not_exist_is_refused(image: str, arguments: tuple[str, ...], cure: str) -> None:
    assert cure in refusal(image, "server", *arguments)


# -- addresses --------------------------------------------------------------------------------


def test_addresses_of_the_image_give_way(image: str, engine: Engine) -> None:
    """The image's ports are defaults: a variable or an option moves them, without a warning."""
    container = engine.run(
        image, "server", "/data",
        options=("--env", "OVERSIGHT_ADDRESS=:9100", "--env", "MINIO_CONSOLE_ADDRESS=:9101",
                 "--publish", "127.0.0.1::9100", "--publish", "127.0.0.1::9101", *KEYS),
        publish=False,
    )  # fmt: skip
    container.ports = {9000: container.port(9100), 9001: container.port(9101)}
    container.wait_until_ready()
    assert_works(container)
    assert "differ" not in container.logs()


def test_health_check_finds_the_store(image: str, engine: Engine) -> None:
    """The image's own health check: also where the command moved the port."""
    options = ("--health-interval", "1s", *KEYS)
    usual = engine.run(image, options=options)
    moved = engine.run(image, "server", "--address", ":9555", "/data", options=options)
    for container in (usual, moved):
        container.wait_for(lambda each=container: each.health() == "healthy")  # type: ignore[misc]


# -- users, file systems ----------------------------------------------------------------------


def test_image_has_no_user_and_leaves_root(image: str, engine: Engine) -> None:
    container = engine.run(image).wait_until_ready()
    assert container.inspect("Config")["User"] == ""
    assert users(container) == {USER}
    status = container.execute("cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(USER)] * 4
    assert fields["Gid"].split() == [str(USER)] * 4
    assert fields["Groups"].strip() == ""
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0


def test_read_only_root_with_few_capabilities(image: str, engine: Engine) -> None:
    """The hardened way: only the volume is writable, only the change of user allowed."""
    volume = engine.volume()
    needed = ("--cap-add", "CHOWN", "--cap-add", "SETUID", "--cap-add", "SETGID")
    container = engine.run(
        image, options=(*READ_ONLY, *needed, "--volume", f"{volume}:/data", *KEYS)
    ).wait_until_ready()
    assert_works(container)
    assert users(container) == {USER}
    container.stop()
    assert container.exit_code() == 0
    container.start()
    assert_works(container.wait_until_ready())


@pytest.mark.parametrize("user", ["1000", "12345:23456"])
def test_other_user_with_read_only_root(image: str, engine: Engine, user: str) -> None:
    """`--user` without any capability, on a new volume."""
    volume = engine.volume()
    container = engine.run(
        image, options=(*READ_ONLY, "--user", user, "--volume", f"{volume}:/data", *KEYS)
    ).wait_until_ready()
    assert_works(container)
    assert users(container) == {int(user.split(":")[0])}


def test_other_user_who_may_not_write(image: str, data: Path) -> None:
    before = snapshot(data)
    said = refusal(image, options=("--user", "1000:1000", "--volume", f"{data}:/data"))
    assert "user 1000" in said
    assert "chown -R 1000:1000" in said
    assert snapshot(data) == before


def test_without_the_capabilities_to_leave_root(image: str) -> None:
    said = refusal(image, options=("--cap-drop", "ALL"))
    assert "SETUID" in said
    assert f"--user {USER}:{USER}" in said


def test_store_of_another_user_is_taken_over(image: str, engine: Engine, data: Path) -> None:
    """First `--user`, later none: the data is the store's own, so it changes hands."""
    os.chown(data, 1000, 1000)
    mount = ("--volume", f"{data}:/data", *KEYS)
    first = engine.run(image, options=("--user", "1000:1000", *mount)).wait_until_ready()
    assert_works(first)
    first.stop()
    second = engine.run(image, options=mount).wait_until_ready()
    assert s3(second).get_object(Bucket="langfuse", Key="events/x.json")["Body"].read() == b"{}"
    assert data.stat().st_uid == USER
    assert owners(data) == {USER}


def test_store_that_may_not_be_taken_over(image: str, data: Path) -> None:
    """Without DAC_READ_SEARCH root can't look into another user's folder."""
    (data / ".oversight/segments").mkdir(parents=True)
    (data / ".oversight").chmod(0o700)
    for path in (data, data / ".oversight", data / ".oversight/segments"):
        os.chown(path, 1000, 1000)
    before = snapshot(data)
    needed = ("--cap-add", "CHOWN", "--cap-add", "SETUID", "--cap-add", "SETGID")
    said = refusal(image, options=(*READ_ONLY, *needed, "--volume", f"{data}:/data"))
    assert "DAC_READ_SEARCH" in said
    assert snapshot(data) == before


def test_secret_that_only_root_may_read(image: str, engine: Engine, data: Path) -> None:
    secret = data.parent / "password"
    secret.write_text("only-for-root-to-read\n")
    secret.chmod(0o400)
    container = engine.run(
        image,
        options=("--env", "MINIO_ROOT_USER=somebody", "--env", "MINIO_ROOT_PASSWORD_FILE=password",
                 "--volume", f"{secret}:/run/secrets/password:ro"),
    ).wait_until_ready()  # fmt: skip
    client = s3(container, "somebody", "only-for-root-to-read")
    assert [each["Name"] for each in client.list_buckets()["Buckets"]] == ["langfuse"]


def test_minio_volume_is_refused_untouched(image: str, data: Path) -> None:
    """What MinIO wrote stays as it was, owner and times included; the sentence says how to move."""
    for name in (".minio.sys/format.json", ".minio.sys/buckets/langfuse/.metadata.bin/xl.meta",
                 "langfuse/events/x.json/xl.meta"):  # fmt: skip
        path = data / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"XL2 ")
    before = snapshot(data)
    for command in (("server", "/data"), ("serve",)):
        said = refusal(image, *command, options=("--volume", f"{data}:/data"))
        assert "MinIO's data" in said
        assert "oversight migrate --from" in said
    done = docker.run(
        "docker", "run", "--rm", "--entrypoint", "sh", "--volume", f"{data}:/data", image,
        "-c", LANGFUSE_COMMAND.replace("mkdir -p /data/langfuse && ", ""),
    )  # fmt: skip
    assert done.returncode == 1
    assert "MinIO's data" in done.stdout
    assert snapshot(data) == before


def test_folder_of_others_is_refused_untouched(image: str, data: Path) -> None:
    (data / "photos").mkdir()
    (data / "photos/cat.jpg").write_bytes(b"meow")
    before = snapshot(data)
    said = refusal(image, options=("--volume", f"{data}:/data"))
    assert "left untouched" in said
    assert snapshot(data) == before


# -- life and death ---------------------------------------------------------------------------


def test_killed_and_started_again(image: str, engine: Engine) -> None:
    container = engine.run(image, options=KEYS).wait_until_ready()
    assert_works(container)
    container.kill()
    container.start()
    container.wait_until_ready()
    body = s3(container).get_object(Bucket="langfuse", Key="events/x.json")["Body"].read()
    assert body == b"{}"


def test_upgrade_takes_the_volume_along(image: str, engine: Engine) -> None:
    """Another image over the same volume, as `docker compose pull && up -d` does it."""
    volume = engine.volume()
    mount = ("--volume", f"{volume}:/data", *KEYS)
    old = engine.run(image, "server", "/data", options=mount).wait_until_ready()
    assert_works(old)
    old.stop()
    old.remove()
    newer = f"{docker.unique('image')}:newer"
    build = subprocess.run(
        ["docker", "build", "--quiet", "--tag", newer, "-"],
        input=f'FROM {image}\nLABEL org.opencontainers.image.version="newer"\n',
        text=True, capture_output=True, env=docker.environment(), check=True,
    )  # fmt: skip
    try:
        assert build.stdout
        new = engine.run(newer, "server", "/data", options=mount).wait_until_ready()
        assert s3(new).get_object(Bucket="langfuse", Key="events/x.json")["Body"].read() == b"{}"
        new.remove()
    finally:
        docker.docker("rmi", newer, check=False)


@pytest.mark.parametrize("drive", DRIVES, ids=lambda path: path.name.split(".")[0])
def test_drives_of_older_formats_are_read(
    image: str, engine: Engine, data: Path, drive: Path
) -> None:
    """A drive as an older release left it, unpacked by root."""
    with tarfile.open(drive) as archive:
        archive.extractall(data, filter="data")
    container = engine.run(image, options=("--volume", f"{data}:/data", *KEYS)).wait_until_ready()
    # Its checksums are not those of its bytes, which botocore would notice.
    client = s3(container, response_checksum_validation="when_required")
    assert client.get_object(Bucket="golden", Key="large")["Body"].read() == LARGE
    assert_works(container, "golden")


def test_sigterm_while_an_upload_hangs(image: str, engine: Engine) -> None:
    """A client that never finishes must not make `docker stop` kill the store."""
    # Far below the patience of `stop`, and that far below the 60 s after which a stalled upload
    # ends by itself: how fast this machine is decides nothing.
    container = engine.run(image, options=("--env", "OVERSIGHT_DRAIN=1", *KEYS)).wait_until_ready()
    url = s3(container).generate_presigned_url(
        "put_object", Params={"Bucket": "langfuse", "Key": "slow"}
    )
    target = url.split(str(container.port(9000)), 1)[1]
    with socket.create_connection(("127.0.0.1", container.port(9000)), timeout=60) as connection:
        head = f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1:{container.port(9000)}\r\n"
        connection.sendall(
            head.encode() + b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100"), "the store has begun to read"
        connection.sendall(b"x" * 1000)
        container.stop()
    assert container.exit_code() == 0, container.logs()


def test_sigterm_while_starting(image: str, engine: Engine) -> None:
    """While the command loads, turns into the store, opens the drive."""
    for delay in (0.2, 0.4, 0.8):  # whichever of the three that is on this machine
        container = engine.run(image)
        time.sleep(delay)
        container.stop()
        assert container.exit_code() in (0, 143), container.logs()


@pytest.fixture(scope="module")
def slow_image(image: str) -> Iterator[str]:
    """The image with an interpreter that starts when SIGTERM waits for it, or after minutes."""
    tag = f"{docker.unique('image')}:slow"
    # SIGTERM is bit 15 of the signals that wait for the process: the fourth digit from the right.
    script = (
        "echo waiting; n=0; "
        "until grep -q 'ShdPnd:.*[4567c-f]...$' /proc/$$/status || [ $n = 3000 ]; "
        'do n=$((n + 1)); sleep 0.1; done; exec /opt/oversight/bin/python-real "$@"'
    )
    dockerfile = (
        f"FROM {image}\n"
        "RUN cd /opt/oversight/bin && mv python python-real"
        f" && printf '%s\\n' '#!/bin/sh' \"{_escaped(script)}\" > python && chmod 755 python\n"
    )
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", tag, "-"], input=dockerfile, text=True,
        capture_output=True, env=docker.environment(), check=True,
    )  # fmt: skip
    yield tag
    docker.docker("rmi", "--force", tag, check=False)


def _escaped(script: str) -> str:
    """For a shell's double quotes."""
    return script.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ()),
        ((), ("server", "/data")),
        (("--entrypoint", "minio"), ("server", "/data")),
        (("--entrypoint", "oversight"), ("serve",)),
    ],
    ids=["serve", "server", "minio", "oversight"],
)
def test_sigterm_before_the_interpreter_runs(
    slow_image: str, engine: Engine, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """The kernel drops what the first process has no handler for, unless it blocks it."""
    container = engine.run(slow_image, *words, options=options)
    container.wait_for(lambda: "waiting" in container.logs())
    container.stop()
    assert container.exit_code() == 143, container.logs()


def test_other_programs_get_sigterm(image: str, engine: Engine) -> None:
    """Only the store's own commands begin with SIGTERM blocked."""
    shown = docker.docker("run", "--rm", image, "sh", "-c", "grep SigBlk /proc/self/status")
    assert not _blocks_sigterm(shown)
    container = engine.run(image).wait_until_ready()

    def masks() -> list[str]:
        return container.execute(
            "sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null | grep SigBlk"
        ).splitlines()

    # One that starts another holds all signals back for a moment.
    container.wait_for(lambda: not any(map(_blocks_sigterm, masks())))


def _blocks_sigterm(line: str) -> bool:
    return bool(int(line.split()[1], 16) >> signal.SIGTERM - 1 & 1)


def test_orphans_are_reaped(image: str, engine: Engine) -> None:
    """What a cut-off health check leaves behind becomes the store's child, and must not pile up."""
    container = engine.run(image).wait_until_ready()
    container.execute("sh", "-c", "(sleep 0.1; exit 3) & (sleep 0.2) & exit 0")

    def zombies() -> list[str]:
        # Processes end while this looks for them.
        script = "for each in /proc/[0-9]*/stat; do cat $each; done 2>/dev/null; true"
        lines = container.execute("sh", "-c", script).splitlines()
        return [line for line in lines if line.rpartition(")")[2].split()[0] == "Z"]

    time.sleep(0.5)  # until they are orphans: before that this would show nothing
    container.wait_for(lambda: not zombies())
    assert_works(container)


# -- commands beside a running store ----------------------------------------------------------


def test_cli_in_the_container(image: str, engine: Engine) -> None:
    container = engine.run(image, options=KEYS).wait_until_ready()

    def list_buckets() -> str:
        return container.execute("oversight", "bucket", "list", check=False)

    container.wait_for(lambda: "langfuse" in list_buckets())
    assert "/data" in container.execute("oversight", "drives")


def test_backup_and_restore_in_containers(image: str, engine: Engine, data: Path) -> None:
    """A backup of the running store to a folder of root, and a new store made of it."""
    container = engine.run(image, options=("--volume", f"{data}:/backup", *KEYS))
    container.wait_until_ready()
    assert_works(container)
    container.execute("oversight", "backup", "/backup/today")
    assert owners(data) == {USER}
    volume = engine.volume()
    mounts = ("--volume", f"{volume}:/data", "--volume", f"{data}:/backup")
    docker.docker("run", "--rm", *KEYS, *mounts, image, "restore", "/backup/today")
    restored = engine.run(image, options=("--volume", f"{volume}:/data", *KEYS))
    restored.wait_until_ready()
    body = s3(restored).get_object(Bucket="langfuse", Key="events/x.json")["Body"].read()
    assert body == b"{}"


# -- the image itself -------------------------------------------------------------------------


def test_size_and_labels(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    size = int(docker.docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6
    with capsys.disabled():
        print(f"\n{image}: {size:.0f} MB, its base {_size_of_base():.0f} MB")
    assert size - _size_of_base() < 190
    labels = docker.docker("image", "inspect", "--format", "{{json .Config.Labels}}", image)
    for name in ("title", "licenses", "version", "revision", "created"):
        assert f"org.opencontainers.image.{name}" in labels


def _size_of_base() -> float:
    return int(docker.docker("image", "inspect", "--format", "{{.Size}}", docker.base())) / 1e6


def test_image_holds_what_runs_and_nothing_that_builds(image: str) -> None:
    """Packages keep their metadata, which an SBOM is made of; nothing set-user-id is added."""
    script = "ls /opt/oversight/lib/python3*/site-packages; find /opt /usr/local -perm /6000"
    shown = docker.docker("run", "--rm", image, "sh", "-c", script)
    assert "oversight_store-" in shown
    assert "uvicorn-" in shown
    assert "setuptools" not in shown
    assert "pip" not in shown.split()
    assert "/opt/" not in shown


def test_compiled_modules_cover_the_start(image: str) -> None:
    """Nothing is compiled at start, where nobody could keep the result."""
    script = (
        "import sys, storage.server, storage.serving.worker, stack.cli; "
        "print([m.__name__ for m in list(sys.modules.values()) if (f := getattr(m, '__cached__', "
        "None)) and getattr(m, '__file__', '').endswith('.py') and not __import__('os').path."
        "exists(f) and 'frozen' not in str(m.__spec__.origin)])"
    )
    shown = docker.docker("run", "--rm", image, "/opt/oversight/bin/python", "-c", script)
    assert shown == "[]"


def test_build_with_buildkit() -> None:
    """The other builder makes the same image of the same file."""
    client = _buildkit_client()
    tag = f"{docker.unique('image')}:buildkit"
    try:
        docker.build(tag, client=client, buildkit=True)
        assert "oversight" in docker.docker("run", "--rm", tag, "version")
    finally:
        docker.docker("rmi", tag, check=False)


def _buildkit_client() -> str:
    """A docker command that can ask for BuildKit: with the plug-in, or old enough to have it in."""
    reason = docker.missing()
    if reason:
        pytest.skip(reason)
    if docker.run("docker", "buildx", "version").returncode == 0:
        return "docker"
    for candidate in ("/usr/bin/docker", "/usr/local/bin/docker"):
        with contextlib.suppress(OSError, ValueError):
            shown = docker.run(candidate, "version", "--format", "{{.Client.Version}}").stdout
            if int(shown.split(".")[0]) < 23:
                return candidate
    pytest.skip("no docker command here can ask for BuildKit: install docker-buildx")
