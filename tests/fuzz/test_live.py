"""Inputs against a server in its own processes: it stays up, answers, and holds no more memory."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.live import LiveCampaign, resident
from tests.server.conftest import until
from tests.serving import ServedStore, is_ready

_WARM, _INPUTS = 200, 500
_GROWTH_MAX = 24 << 20


def test_a_server_survives(tmp_path: Path) -> None:
    with ServedStore(tmp_path / "drive", tmp_path / "log") as store:
        campaign = LiveCampaign(store, seed=7)
        campaign.prepare()
        campaign.play(0, _WARM)
        assert store.process is not None
        # What the control plane loads while S3 is served already is no growth.
        until(lambda: is_ready(store.console))
        before = resident(store.process.pid)
        campaign.play(_WARM, _INPUTS)
        assert resident(store.process.pid) - before < _GROWTH_MAX
        assert store.process.poll() is None
    output = store.output()
    assert "Traceback" not in output
    assert "rror" not in output, output
