"""multi-model-server's own command line, with one addition: when its parent dies, Java and the workers are killed too.

They are in its process group. Run as a module: the supervisor's process id, then multi-model-server's arguments.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys

from inpaint_server.front_door import processes


def main(arguments: list[str]) -> None:
    """Tie this process group to its parent, then run multi-model-server's command line until Java ends."""
    signal.signal(signal.SIGUSR1, lambda _number, _frame: os.killpg(0, signal.SIGKILL))
    processes.die_with_parent(signal.SIGUSR1, int(arguments[0]))
    from mms import model_server

    sys.argv = ["multi-model-server", *arguments[1:]]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        model_server.start()
    line = {"level": "warning", "component": "front_door.launcher", "event": "java_ended", "output": output.getvalue()}
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
