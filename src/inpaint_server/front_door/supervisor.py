"""Starts the engine, waits until it is warm, opens the front door, watches both, drains, and stops every process."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from inpaint_server import logs
from inpaint_server.errors import InpaintServerError
from inpaint_server.front_door import mms, processes
from inpaint_server.front_door.processes import Child, StopRequested
from inpaint_server.front_door.run_folder import Part, RunFolder, State
from inpaint_server.front_door.timeouts import SupervisorTimeouts, UnresponsiveTimer
from inpaint_server.front_door.unix_http import answers_ping
from inpaint_server.settings import Settings

ENGINE_DRAINS = 0.8
"""Fraction of the time for draining in which the engine has to finish and to answer."""
ENGINE_KILLED = 0.85
"""Fraction after which an engine that has not ended is killed; the rest is for the last responses to leave Java."""
ENGINE = (sys.executable, "-m", "inpaint_server.server.process")


class CannotServe(InpaintServerError):
    """Engine or front door do not start or restart; the message names which and why."""

    code = "cannot_serve"


def run(
    settings: Settings, *, engine_command: Sequence[str] | None = None, timeouts: SupervisorTimeouts | None = None
) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: What the operator decided; the engine gets it as its environment.
        engine_command: Starts the engine; `--uds PATH --restarts PATH` is appended. Default: the package's own.
        timeouts: Default: those of an endpoint.

    Returns:
        The exit code: 0 when every request in progress was finished, else 1.
    """
    processes.hold_signals()
    logs.configure(settings.log_level)
    with tempfile.TemporaryDirectory(prefix="inpaint-") as folder:
        supervisor = Supervisor(
            settings, engine_command or ENGINE, timeouts or SupervisorTimeouts(), RunFolder(Path(folder))
        )
        try:
            supervisor.serve()
        except StopRequested:
            return 0 if supervisor.drain() else 1
        except InpaintServerError as error:
            logs.get("supervisor").error("cannot_serve", code=error.code, reason=error.message)
        finally:
            supervisor.close()
    return 1


class Supervisor:
    """One server: its engine, its front door, and its state.

    Args:
        settings: What the operator decided.
        engine_command: Starts the engine.
        timeouts: How often to check, and what to tolerate.
        folder: A new, empty folder of this server's own.
    """

    def __init__(
        self, settings: Settings, engine_command: Sequence[str], timeouts: SupervisorTimeouts, folder: RunFolder
    ) -> None:
        self._settings = settings
        self._timeouts = timeouts
        self._folder = folder
        self._command = [*engine_command, "--uds", str(folder.socket), "--restarts", str(folder.restarts)]
        engine_settings = settings.model_copy(update={"drain_s": ENGINE_DRAINS * settings.drain_s})
        self._engine_environment = engine_settings.as_environment()
        self._log = logs.get("supervisor")
        self._engine: Child | None = None
        self._front_door: Child | None = None
        self._engine_timer = UnresponsiveTimer()
        self._front_door_timer = UnresponsiveTimer()
        self._worker_parent_visible = False
        self._restart_times: deque[float] = deque()
        self._end = math.inf

    def serve(self) -> None:
        """Start engine and front door, and restart them when they fail.

        Raises:
            StopRequested: SIGTERM or SIGINT arrived.
            InpaintServerError: It cannot start, or not again.
        """
        mms.require_free_port(self._settings.port)
        self._folder.prepare()
        engine = self._start_engine()
        front_door = self._start_front_door()
        self._write_state("ready")
        self._log.info("serving", url=f"http://127.0.0.1:{self._settings.port}", run_folder=str(self._folder.path))
        while True:
            processes.wait(self._timeouts.check_interval)
            if reason := self._engine_fault(engine):
                engine = self._restart("engine", engine, self._start_engine, reason)
            if reason := self._front_door_fault(front_door):
                front_door = self._restart("front door", front_door, self._start_front_door, reason)
            unresponsive = self._engine_timer.seconds or self._front_door_timer.seconds
            self._write_state("unresponsive" if unresponsive else "ready")

    def drain(self) -> bool:
        """Have the engine refuse new requests and finish those in progress; whether it finished them."""
        self._end = time.monotonic() + self._settings.drain_s
        self._folder.write_state("draining")
        self._log.info("draining", seconds=self._settings.drain_s)
        engine = self._engine
        if engine is None:
            return True
        engine.send(signal.SIGTERM)
        finished = _wait_until(lambda: engine.exit_code is not None, ENGINE_KILLED * self._settings.drain_s)
        self._log.info("drained", finished=finished, exit_code=engine.exit_code)
        return finished and engine.exit_code in {0, -signal.SIGTERM}

    def close(self) -> None:
        """Kill the engine, let the last responses out, kill the front door; wait until no child is left."""
        if self._engine is not None:
            self._engine.kill_group()
        if self._front_door is not None:
            _wait_until(lambda: not self._folder.is_working(), self._seconds_for_responses())
            processes.wait(
                0.5, stoppable=False
            )  # from a worker through Java into the socket; refusals of unread bodies
            _wait_until(lambda: not mms.has_unsent_bytes(self._settings.port), self._seconds_for_responses())
            self._front_door.kill_group()
        _wait_until(lambda: not processes.children_left(), 5.0)

    def _seconds_for_responses(self) -> float:
        return max(0.0, min(self._timeouts.last_responses, self._end - time.monotonic()))

    def _start_engine(self) -> Child:
        self._folder.socket.unlink(missing_ok=True)
        begun = time.monotonic()
        engine = self._engine = Child(self._command, self._engine_environment)
        self._log.info("engine_starting", pid=engine.pid)
        in_time = processes.wait_until(
            lambda: engine.exit_code is not None or answers_ping(self._folder.socket, self._timeouts.probe),
            self._settings.start_timeout_s,
            every=0.1,
        )
        exit_code = engine.exit_code
        if exit_code is not None or not in_time:
            engine.kill_group()
        if exit_code is not None:
            raise CannotServe(f"The engine ended with code {exit_code} before it was warm; its log says why.")
        if not in_time:
            raise CannotServe(f"The engine was not warm after {self._settings.start_timeout_s:g} s.")
        self._engine_timer = UnresponsiveTimer()
        self._log.info("engine_warm", seconds=round(time.monotonic() - begun, 2))
        return engine

    def _engine_fault(self, engine: Child) -> str:
        """Why the engine has to be restarted, or nothing."""
        if engine.exit_code is not None:
            return f"ended with code {engine.exit_code}"
        self._engine_timer.update(lambda: answers_ping(self._folder.socket, self._timeouts.probe))
        seconds = self._engine_timer.seconds
        return f"no answer for {seconds:.0f} s" if seconds > self._timeouts.engine_unresponsive else ""

    def _start_front_door(self) -> Child:
        begun = time.monotonic()
        front_door = self._front_door = mms.start(self._settings, self._folder)
        in_time = processes.wait_until(
            lambda: front_door.exit_code is not None or self._worker_answers(),
            self._timeouts.front_door_start,
            every=0.1,
        )
        if front_door.exit_code is not None or not in_time:
            front_door.kill_group()
            raise CannotServe(f"The front door does not open on port {self._settings.port}; its log says why.")
        self._front_door_timer = UnresponsiveTimer()
        # Where the kernel's tables do not list it (in some sandboxes), only missing answers count.
        self._worker_parent_visible = mms.worker_parent_listens(self._folder)
        self._log.info("front_door_open", seconds=round(time.monotonic() - begun, 2))
        return front_door

    def _front_door_fault(self, front_door: Child) -> str:
        """Why the front door has to be restarted, or nothing."""
        if front_door.exit_code is not None:
            return f"ended with code {front_door.exit_code}"
        lost = self._worker_parent_visible and not mms.worker_parent_listens(self._folder)
        if lost and not self._folder.is_working():
            return "the process that workers are forked from ended"
        self._front_door_timer.update(lambda: self._worker_answers() or self._folder.is_working())
        seconds = self._front_door_timer.seconds
        return f"no answer for {seconds:.0f} s" if seconds > self._timeouts.front_door_unresponsive else ""

    def _restart(self, part: Part, dead: Child, start: Callable[[], Child], reason: str) -> Child:
        """Restart a part: at once, then after longer and longer pauses."""
        self._log.error("part_failed", part=part, reason=reason)
        self._write_state("restarting")
        dead.kill_group()
        for pause in range(self._timeouts.max_failed_starts):
            self._count_restart(part)
            processes.wait(float(pause))
            try:
                return start()
            except CannotServe as error:
                self._log.error("part_start_failed", part=part, reason=error.message)
        raise CannotServe(f"The {part} failed to start {self._timeouts.max_failed_starts} times in a row.")

    def _count_restart(self, part: Part) -> None:
        self._folder.count_restart(part)
        now = time.monotonic()
        self._restart_times.append(now)
        while self._restart_times[0] < now - self._timeouts.restart_window:
            self._restart_times.popleft()
        if len(self._restart_times) > self._timeouts.max_restarts:
            raise CannotServe(
                f"More than {self._timeouts.max_restarts} restarts in {self._timeouts.restart_window:g} s."
            )

    def _write_state(self, state: State) -> None:
        if self._folder.state() != state:
            self._folder.write_state(state)
            self._log.info("state", state=state)  # after it is written: /ping agrees with the log

    def _worker_answers(self) -> bool:
        return mms.worker_answers(self._settings.port, self._folder.probe_token(), self._timeouts.probe)


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    return processes.wait_until(condition, seconds, every=0.05, stoppable=False)
