"""Starts the engine, waits until it is warm, opens the front door, watches both, drains, and leaves nothing behind."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from inpaint_server import logs
from inpaint_server.errors import InpaintServerError
from inpaint_server.front_door import mms as front_door
from inpaint_server.front_door import processes
from inpaint_server.front_door.processes import Child, StopRequested
from inpaint_server.front_door.run_folder import Part, RunFolder, State
from inpaint_server.front_door.timeouts import SupervisorTimeouts, UnresponsiveTimer
from inpaint_server.front_door.unix_http import answers_ping
from inpaint_server.settings import Settings

ENGINE = (sys.executable, "-m", "inpaint_server.server.process")


class CannotServe(InpaintServerError):
    """Engine or front door do not come up, or not again; the message says which and why."""

    code = "cannot_serve"


def run(
    settings: Settings, *, engine_command: Sequence[str] | None = None, pace: SupervisorTimeouts | None = None
) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: What the operator decided; the engine gets it as its environment.
        engine_command: Starts the engine; `--uds PATH` is appended. Default: the package's own.
        pace: How often to look; default: as an endpoint needs it.

    Returns:
        The exit code: 0 when everything that ran was finished, else 1.
    """
    processes.hold_signals()
    logs.configure(settings.log_level)
    with tempfile.TemporaryDirectory(prefix="inpaint-") as folder:
        supervisor = Supervisor(
            settings, engine_command or ENGINE, pace or SupervisorTimeouts(), RunFolder(Path(folder))
        )
        try:
            supervisor.serve()
        except StopRequested:
            return 0 if supervisor.drain() else 1
        except InpaintServerError as error:
            logs.get("supervisor").error("cannot serve", code=error.code, reason=error.message)
        finally:
            supervisor.close()
    return 1


class Supervisor:
    """One server: its engine, its front door, and what it says of itself.

    Args:
        settings: What the operator decided.
        engine_command: Starts the engine.
        pace: How often to look.
        folder: A new, empty folder of this server's own.
    """

    def __init__(
        self, settings: Settings, engine_command: Sequence[str], pace: SupervisorTimeouts, folder: RunFolder
    ) -> None:
        self._settings = settings
        self._pace = pace
        self._folder = folder
        self._command = [*engine_command, "--uds", str(folder.socket), "--restarts", str(folder.restarts)]
        self._log = logs.get("supervisor")
        self._engine: Child | None = None
        self._door: Child | None = None
        self._engine_silence = UnresponsiveTimer()
        self._door_silence = UnresponsiveTimer()
        self._sees_parent_of_workers = False
        self._deaths: deque[float] = deque()

    def serve(self) -> None:
        """Start, open, watch.

        Raises:
            StopRequested: SIGTERM or SIGINT arrived.
            InpaintServerError: It cannot start, or it is no use to go on.
        """
        front_door.require_free_port(self._settings.port)
        self._folder.prepare()
        engine = self._start_engine()
        door = self._open_door()
        self._say("ready")
        self._log.info("serving", url=f"http://127.0.0.1:{self._settings.port}", run_folder=str(self._folder.path))
        while True:
            processes.wait(self._pace.look)
            if reason := self._engine_fault(engine):
                engine = self._restart("engine", engine, self._start_engine, reason)
            if reason := self._door_fault(door):
                door = self._restart("front door", door, self._open_door, reason)
            silent = self._engine_silence.seconds or self._door_silence.seconds
            self._say("unresponsive" if silent else "ready")

    def drain(self) -> bool:
        """Have new work refused and running work finished; whether it was."""
        self._folder.write_state("draining")
        self._log.info("draining", seconds=self._settings.drain_s)
        engine = self._engine
        if engine is None:
            return True
        engine.send(signal.SIGTERM)
        finished = _until(lambda: engine.exit_code is not None, self._settings.drain_s + self._pace.cut)
        self._log.info("drained", finished=finished, exit_code=engine.exit_code)
        return finished and engine.exit_code in {0, -signal.SIGTERM}

    def close(self) -> None:
        """Kill the engine, let the last replies out, kill the front door; wait until nothing is left."""
        if self._engine is not None:
            self._engine.kill_group()
        if self._door is not None:
            _until(lambda: not self._folder.is_working(), self._pace.last_replies)
            processes.wait(0.2, stoppable=False)  # from a worker through Java into the socket
            _until(lambda: not front_door.has_unsent_bytes(self._settings.port), self._pace.last_replies)
            self._door.kill_group()
        _until(lambda: not processes.children_left(), 5.0)

    def _start_engine(self) -> Child:
        self._folder.socket.unlink(missing_ok=True)
        began = time.monotonic()
        engine = self._engine = Child(self._command, self._settings.as_environment())
        self._log.info("engine starting", pid=engine.pid)
        in_time = processes.wait_until(
            lambda: engine.exit_code is not None or answers_ping(self._folder.socket, self._pace.answer),
            self._settings.start_timeout_s,
            every=0.1,
        )
        ended = engine.exit_code
        if ended is not None or not in_time:
            engine.kill_group()
        if ended is not None:
            raise CannotServe(f"The engine ended with code {ended} before it was warm; its log says why.")
        if not in_time:
            raise CannotServe(f"The engine was not warm after {self._settings.start_timeout_s:g} s.")
        self._engine_silence = UnresponsiveTimer()
        self._log.info("engine warm", seconds=round(time.monotonic() - began, 2))
        return engine

    def _engine_fault(self, engine: Child) -> str:
        """Why the engine has to be started again, or nothing."""
        if engine.exit_code is not None:
            return f"ended with code {engine.exit_code}"
        self._engine_silence.note(lambda: answers_ping(self._folder.socket, self._pace.answer))
        seconds = self._engine_silence.seconds
        return f"no answer for {seconds:.0f} s" if seconds > self._pace.engine_hang else ""

    def _open_door(self) -> Child:
        began = time.monotonic()
        door = self._door = front_door.start(self._settings, self._folder)
        in_time = processes.wait_until(
            lambda: door.exit_code is not None or self._worker_answers(), self._pace.open, every=0.1
        )
        if door.exit_code is not None or not in_time:
            door.kill_group()
            raise CannotServe(f"The front door does not open on port {self._settings.port}; its log says why.")
        self._door_silence = UnresponsiveTimer()
        # Where the kernel's tables do not tell (a sandbox's), silence alone does.
        self._sees_parent_of_workers = front_door.replaces_workers(self._folder)
        self._log.info("front door open", seconds=round(time.monotonic() - began, 2))
        return door

    def _door_fault(self, door: Child) -> str:
        """Why the front door has to be started again, or nothing."""
        if door.exit_code is not None:
            return f"ended with code {door.exit_code}"
        lost = self._sees_parent_of_workers and not front_door.replaces_workers(self._folder)
        if lost and not self._folder.is_working():
            return "the process that workers are forked from ended"
        self._door_silence.note(lambda: self._worker_answers() or self._folder.is_working())
        seconds = self._door_silence.seconds
        return f"no answer for {seconds:.0f} s" if seconds > self._pace.door_hang else ""

    def _restart(self, part: Part, dead: Child, start: Callable[[], Child], reason: str) -> Child:
        """Start a part again: at once, then after longer and longer pauses."""
        self._log.error(f"{part} fault", reason=reason)
        self._say("restarting")
        dead.kill_group()
        for pause in range(self._pace.false_starts):
            self._count_death(part)
            processes.wait(float(pause))
            try:
                return start()
            except CannotServe as error:
                self._log.error(f"{part} does not start", reason=error.message)
        raise CannotServe(f"The {part} failed to start {self._pace.false_starts} times in a row.")

    def _count_death(self, part: Part) -> None:
        self._folder.count_restart(part)
        now = time.monotonic()
        self._deaths.append(now)
        while self._deaths[0] < now - self._pace.window:
            self._deaths.popleft()
        if len(self._deaths) > self._pace.deaths:
            raise CannotServe(f"More than {self._pace.deaths} restarts in {self._pace.window:g} s.")

    def _say(self, state: State) -> None:
        if self._folder.state() != state:
            self._folder.write_state(state)
            self._log.info("state", state=state)  # after the fact: who reads the line finds it true

    def _worker_answers(self) -> bool:
        return front_door.worker_answers(self._settings.port, self._folder.probe_token(), self._pace.answer)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    return processes.wait_until(condition, seconds, every=0.05, stoppable=False)
