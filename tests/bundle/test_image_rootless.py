"""The image on a rootless engine, whose root is an ordinary user of this machine.

Where a machine can't run one, the test counts as an expected failure and says why. The engine is
one of the test's own, with containers that have a loopback and no other network: more needs
devices that not every machine hands to users.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bundle import docker
from tests.bundle.test_image import owners

#: The image's user, and the first of the ids that belong to the engine's user.
USER, SUBORDINATE = 10001, 700_000
_NAME = "oversight-rootless"
_SCRIPTS = ("/usr/share/docker.io/contrib/dockerd-rootless.sh", "/usr/bin/dockerd-rootless.sh")


@dataclass
class Rootless:
    """An engine that runs as ``user``, with a folder of its own."""

    home: Path
    user: pwd.struct_passwd

    def docker(self, *arguments: str | Path, timeout: float = 120) -> str:
        socket = f"unix://{self.home}/run/docker.sock"
        done = docker.run("docker", *arguments, timeout=timeout,
                          env=docker.environment(DOCKER_HOST=socket))  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def folder(self, name: str) -> Path:
        """A folder of the user's, as for a bind mount."""
        path = self.home / name
        path.mkdir()
        os.chown(path, self.user.pw_uid, self.user.pw_gid)
        return path


@contextlib.contextmanager
def _user() -> Iterator[pwd.struct_passwd]:
    """A user with subordinate ids, who goes away again."""
    span = f"{SUBORDINATE}-{SUBORDINATE + 65535}"
    made = docker.run("useradd", "--system", "--no-create-home", "--shell", "/bin/sh", _NAME)
    assert made.returncode in (0, 9), made.stdout  # 9: left over from a run that was killed
    ranges = docker.run("usermod", "--add-subuids", span, "--add-subgids", span, _NAME)
    try:
        assert ranges.returncode == 0, ranges.stdout
        yield pwd.getpwnam(_NAME)
    finally:
        docker.run("userdel", _NAME)


@pytest.fixture(scope="module")
def rootless(docker_available: None) -> Iterator[Rootless]:
    """The engine."""
    if os.geteuid():
        pytest.skip("only root can make a user with subordinate ids: run the tests as root")
    script = next((each for each in _SCRIPTS if os.path.exists(each)), "")
    if not script or not shutil.which("rootlesskit") or not shutil.which("newuidmap"):
        pytest.xfail("no rootless engine is installed (Debian: docker.io, rootlesskit, uidmap)")
    home = Path(tempfile.mkdtemp(prefix="ovr-", dir="/tmp"))  # short: a socket's path is limited
    try:
        with _user() as user:
            engine = Rootless(home, user)
            os.chown(home, user.pw_uid, user.pw_gid)
            engine.folder("run").chmod(0o700)
            yield from _running(engine, script)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _running(engine: Rootless, script: str) -> Iterator[Rootless]:
    user, log = engine.user, engine.home / "log"
    refused = subprocess.run(
        ["unshare", "--user", "true"], user=user.pw_uid, group=user.pw_gid, extra_groups=[],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if refused.returncode:
        pytest.xfail(f"the kernel lets users have no user namespaces: {refused.stderr.strip()}")
    environment = docker.environment(
        HOME=str(engine.home), XDG_RUNTIME_DIR=str(engine.home / "run"), USER=user.pw_name,
        DOCKERD_ROOTLESS_ROOTLESSKIT_NET="host", DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER="none",
        PATH="/usr/sbin:/usr/bin:/sbin:/bin",
    )  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(
            ["sh", script, "--log-level", "warn", "--bridge=none", "--iptables=false"],
            user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd=engine.home,
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(engine, process, log)
        yield engine
    finally:
        # The engine itself: what started it ends with it, and passes no signal on.
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((engine.home / "run/docker.pid").read_text()), signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait_for(engine: Rootless, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(AssertionError):
            engine.docker("version")
            return
        time.sleep(0.5)
    pytest.fail(f"the rootless engine did not start:\n{log.read_text()}", pytrace=False)


def test_bind_mount_of_the_engines_user(image: str, rootless: Rootless) -> None:
    """`./data:/data` is taken over by the image's user, a subordinate id of the engine's."""
    saved = rootless.home / "image.tar"
    docker.docker("save", "--output", saved, image, timeout=300)
    rootless.docker("load", "--input", saved, timeout=300)
    saved.unlink()
    data = rootless.folder("data")
    name = rootless.docker(
        "run", "--detach", "--network", "none", "--volume", f"{data}:/data", image,
        "server", "/data", "--console-address", ":9001",
    )  # fmt: skip
    rootless.docker("exec", name, "sh", "-c", "until mc ready local; do sleep 0.2; done")
    rootless.docker("exec", name, "mc", "cp", "/etc/os-release", "local/langfuse/")
    status = rootless.docker("exec", name, "cat", "/proc/1/status")
    assert f"Uid:\t{USER}\t" in status
    owner = SUBORDINATE + USER - 1  # id 0 is the user itself, 1 the first subordinate
    assert data.stat().st_uid == owner
    assert owners(data) == {owner}
    rootless.docker("stop", "--time", "60", name)
    assert rootless.docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    rootless.docker("start", name)
    rootless.docker("exec", name, "sh", "-c", "until mc ready local; do sleep 0.2; done")
    assert "os-release" in rootless.docker("exec", name, "mc", "ls", "local/langfuse")
    rootless.docker("rm", "--force", "--volumes", name)
