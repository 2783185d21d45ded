"""As a container confines it: a user without rights, a root file system that cannot be written, one temp folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from testing.gated_servers import AS_AN_OPERATOR_HAS_IT, ENGINE, ROOT
from testing.running import RUN, Server
from testing.traffic import advert

_MOUNTS = """
mount --make-rprivate / && mount -t tmpfs -o {options} temp {temp} && mount -o remount,ro,bind / /
exec {as_user} "$@"
"""
_WITHOUT_RIGHTS = (
    "setpriv --reuid={user} --regid={user} --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs"
)


def may_mount() -> bool:
    """Whether this machine lets us make a mount namespace."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    return subprocess.run(["unshare", "-m", "mount", "--make-rprivate", "/"], check=False).returncode == 0


def a_user() -> int:
    """The image's user where it may read this interpreter (it may not below /root), else root without capabilities."""
    ask = [*_WITHOUT_RIGHTS.format(user=10001).split(), "sh", "-c", 'exec "$0" -c pass', sys.executable]
    return 10001 if subprocess.run(ask, capture_output=True, check=False).returncode == 0 else 0


@pytest.mark.skipif(not may_mount(), reason="no rights to make a mount namespace here")
@pytest.mark.parametrize("options", ["mode=1777", "mode=1777,noexec,nosuid"])
def test_it_serves_without_rights_on_a_file_system_that_cannot_be_written(options: str):
    with tempfile.TemporaryDirectory(prefix="confined-") as temp:
        user = a_user()
        script = _MOUNTS.format(options=options, temp=temp, as_user=_WITHOUT_RIGHTS.format(user=user))
        serve = [sys.executable, "-c", RUN, json.dumps(AS_AN_OPERATOR_HAS_IT), *ENGINE]
        environment = {
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "HOME": temp,
            "TMPDIR": temp,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        few = {"INPAINT_QUEUE": "1", "INPAINT_MAX_BATCH": "1"}
        command = ["unshare", "-m", "bash", "-ec", script, "confined", *serve]
        with Server(command=command, environment={**environment, **few}) as server:
            server.wait_for("serving")
            order = advert(3)
            assert not order.fault(server.request("POST", "/invocations", order.body, order.headers))
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in server.pids()}
            assert owners == {user}
            assert server.stop() == 0
            assert server.pids() == []
        assert list(Path(temp).iterdir()) == []
