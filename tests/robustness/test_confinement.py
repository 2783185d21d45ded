"""Confined as in a container: a user without capabilities, a read-only root file system, one temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from testing.running import PLAIN_ENGINE, ROOT, RUN, Server
from testing.traffic import advert

_MOUNTS = """
mount --make-rprivate / && mount -t tmpfs -o {options} temp {temp} && mount -o remount,ro,bind / /
exec {as_user} "$@"
"""
_UNPRIVILEGED = (
    "setpriv --reuid={user} --regid={user} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
)


def may_mount() -> bool:
    """Whether a mount namespace can be created here."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    return subprocess.run(["unshare", "-m", "mount", "--make-rprivate", "/"], check=False).returncode == 0


def unprivileged_user() -> int:
    """The image's user if it may read this interpreter (it may not below /root), else root without capabilities."""
    command = [*_UNPRIVILEGED.format(user=10001).split(), "sh", "-c", 'exec "$0" -c pass', sys.executable]
    return 10001 if subprocess.run(command, capture_output=True, check=False).returncode == 0 else 0


@pytest.mark.skipif(not may_mount(), reason="no rights to make a mount namespace here")
@pytest.mark.parametrize("options", ["mode=1777", "mode=1777,noexec,nosuid"])
def test_serves_unprivileged_on_read_only_root(options: str):
    with tempfile.TemporaryDirectory(prefix="confined-") as temp:
        user = unprivileged_user()
        script = _MOUNTS.format(options=options, temp=temp, as_user=_UNPRIVILEGED.format(user=user))
        serve = [sys.executable, "-c", RUN, json.dumps({}), *PLAIN_ENGINE]
        environment = {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "HOME": temp,
            "TMPDIR": temp,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        few_workers = {"INPAINT_QUEUE": "1", "INPAINT_MAX_BATCH": "1"}
        command = ["unshare", "-m", "bash", "-ec", script, "confined", *serve]
        with Server(command=command, environment={**environment, **few_workers}) as server:
            server.wait_for("serving")
            sample = advert(3)
            assert not sample.problem(server.send(sample))
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in server.pids()}
            assert owners == {user}
            assert server.stop() == 0
            assert server.pids() == []
        assert list(Path(temp).iterdir()) == []
