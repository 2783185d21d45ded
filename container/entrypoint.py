#!/usr/bin/env python3
"""The container's first process: `inpaint-server` with the given arguments.

The kernel drops a SIGTERM that process 1 has no handler for. So while `serve` is still importing, signals are held
back; the supervisor finds them waiting.
"""

import signal
import sys

if sys.argv[1:2] == ["serve"] and "--direct" not in sys.argv:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

from inpaint_server.cli import main

sys.argv[0] = "inpaint-server"  # what usage and errors call the program
main()
