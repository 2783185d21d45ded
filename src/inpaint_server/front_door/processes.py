"""Child processes that never outlive this one, and the one place where it waits: for a signal, with a time-out."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_STOP = {signal.SIGTERM, signal.SIGINT}
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)
_statuses: dict[int, int] = {}


class StopRequested(Exception):
    """SIGTERM or SIGINT arrived while waiting."""


def hold_signals() -> None:
    """Keep SIGTERM, SIGINT and SIGCHLD for `wait`; take over grandchildren that lose their parent."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP, signal.SIGCHLD})
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Have the kernel send this process a signal when the process `parent` dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def wait(seconds: float, *, stoppable: bool = True) -> None:
    """Wait until a child has ended or the time is over.

    Args:
        seconds: At most this long.
        stoppable: Whether SIGTERM and SIGINT end the wait.

    Raises:
        StopRequested: SIGTERM or SIGINT arrived, now or since the last wait.
    """
    awaited = {*_STOP, signal.SIGCHLD} if stoppable else {signal.SIGCHLD}
    received = signal.sigtimedwait(awaited, max(seconds, 0.0))
    _reap()
    if received is not None and received.si_signo in _STOP:
        raise StopRequested


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float, stoppable: bool = True) -> bool:
    """Wait until a condition holds, checked when a child ends and every `every` seconds; whether it held in time."""
    end = time.monotonic() + seconds
    while not condition():
        left = end - time.monotonic()
        if left <= 0:
            return False
        wait(min(every, left), stoppable=stoppable)
    return True


def _reap() -> None:
    """Collect the exit status of every ended child, adopted ones too."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _statuses[pid] = os.waitstatus_to_exitcode(status)


def children_left() -> bool:
    """Whether any child, own or adopted, still exists."""
    _reap()
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


class Child:
    """A process in a session and process group of its own, killed when this process dies.

    Args:
        command: Program and arguments.
        environment: Variables set on top of the inherited ones.
        folder: Where it is started; default: where this process is.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> None:
        parent = os.getpid()

        def prepare() -> None:
            die_with_parent(signal.SIGKILL, parent)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())

        self._process = subprocess.Popen(  # noqa: S603 - a list of our own, no shell
            command,
            cwd=folder,
            env={**os.environ, **environment},  # noqa: TID251 - children inherit the environment as it is
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - this process has no other thread
        )
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._process.returncode is None:
            _reap()
            self._process.returncode = _statuses.pop(self.pid, None)
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        """Send the process (not its group) a signal."""
        if self.exit_code is None:
            os.kill(self.pid, number)

    def kill_group(self) -> None:
        """Kill the process and everything it started, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        wait_until(lambda: self.exit_code is not None, 10.0, every=0.05, stoppable=False)
