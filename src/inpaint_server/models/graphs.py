"""Model calls that are captured once and replayed: a CUDA graph launches all of a call's kernels at once.

A call of few rows otherwise takes as long as the host needs to launch its kernels one by one, however fast the device
is. A capture fixes shapes and addresses. So rows are padded to the next of a few numbers, inputs are written into
buffers that stay, and the captured call itself copies its results into such buffers: nothing of the memory pool, which
all captures share, is in use between two calls. (vLLM, SGLang and TensorRT-LLM capture their models in this way.)

A replay runs the captured kernels and no Python. It sees weights that were changed in place, and not those that were
replaced by other tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import torch
from torch import Tensor

from inpaint_server.errors import DeviceFailed, OutOfMemory
from inpaint_server.models.capture import Capture
from inpaint_server.models.device import translate_out_of_memory
from inpaint_server.models.lanes import Lanes
from inpaint_server.models.memory import MemoryEstimator

log = structlog.get_logger(__name__)

ROWS: Final = (1, 2, 4, 6, 8, 12, 16)
"""Numbers of rows that are captured. Padding adds at most a third to them; what has more rows gains nothing, since its
kernels take longer than their launches."""

MAX_CAPTURED: Final = 64
"""Captured calls kept; the one used least recently is dropped first."""

OFTEN: Final = 100
"""Calls of one shape after which it is worth a capture: about two adverts."""

_FREE_AFTERWARDS: Final = 4
"""So many times a captured call's rows must fit into the free memory: what the pool takes is lost to other calls."""

_MAX_COUNTED: Final = 256
"""Shapes whose calls are counted; callers decide how many there are."""

Function = Callable[..., tuple[Tensor, ...]]
"""A call of a model: tensors of N rows each to tensors of N rows each. It must not read a value back."""


def padded(rows: int) -> int | None:
    """How many rows the captured call has that takes so many; None if there are too many to gain anything."""
    return next((captured for captured in ROWS if captured >= rows), None)


class CapturedCalls:
    """Replays calls whose shapes were captured, makes the others as they are, and counts what is asked for often.

    Not thread-safe; all methods are called in inference mode.

    Args:
        estimator: Measures the calls that are not replayed, and counts the pool.
        capture: Captures calls; None: no call is captured.
        lanes: Makes the calls that are not replayed; None: the calling thread makes them.
    """

    def __init__(self, estimator: MemoryEstimator, capture: Capture | None, lanes: Lanes | None = None) -> None:
        self._estimator = estimator
        self._capture = capture
        self._lanes = lanes
        self._replays: OrderedDict[tuple[_Shape, int], Callable[[], None]] = OrderedDict()
        self._buffers: dict[_Shape, _Buffers] = {}
        self._asked: dict[tuple[_Shape, int], _Asked] = {}

    @property
    def captures(self) -> bool:
        """Whether calls are captured."""
        return self._capture is not None

    @property
    def buffer_bytes(self) -> int:
        """Of inputs and results of what is captured."""
        return sum(one.nbytes for buffers in self._buffers.values() for one in (*buffers.inputs, *buffers.results))

    def run(self, kind: str, function: Function, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results of a call, tensors of their own.

        Args:
            kind: Equal for calls of one function with the same weights.
            function: What to call.
            inputs: N rows each.
        """
        shape = _Shape.of(kind, inputs)
        rows = padded(len(inputs[0]))
        if rows is None or self._capture is None:
            return self._run_eagerly(kind, function, inputs)
        replay = self._replays.get((shape, rows))
        if replay is None:
            self._count(shape, rows, function, inputs)
            return self._run_eagerly(kind, function, inputs)
        self._replays.move_to_end((shape, rows))
        return self._buffers[shape].run(replay, inputs)

    def capture_rows(self, kind: str, function: Function, *row: Tensor, max_rows: int) -> None:
        """Capture a call for every number of rows up to the one that takes `max_rows`.

        The largest comes first: the others then fit into the pool as it is.

        Args:
            kind: As for `run`.
            function: As for `run`.
            row: One row of each input.
            max_rows: The most rows that will be asked for.
        """
        most = padded(max_rows) or ROWS[-1]
        for rows in sorted((rows for rows in ROWS if rows <= most), reverse=True):
            self._try_to_capture(_Shape.of(kind, row), rows, _Asked.like(function, row))

    def capture_asked(self) -> bool:
        """Capture the call asked for most often of those asked for often; whether another one waits."""
        often = [key for key, asked in self._asked.items() if asked.times >= OFTEN]
        if often:
            shape, rows = key = max(often, key=lambda one: self._asked[one].times)
            self._try_to_capture(shape, rows, self._asked.pop(key))
        return len(often) > 1

    def give_up(self) -> bool:
        """Free everything that was captured; whether there was anything. What is asked for often is captured again."""
        if not self._replays:
            return False
        assert self._capture is not None, "it captured them"
        log.warning("graphs_given_up", graphs=len(self._replays), pool_mb=round(self._capture.pool_bytes / 1e6))
        self._replays.clear()
        self._buffers.clear()
        self._asked.clear()
        self._capture.release()
        self._estimator.withheld_bytes = 0
        return True

    def _run_eagerly(self, kind: str, function: Function, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        def call(_: Tensor) -> tuple[Tensor, ...]:
            return function(*inputs)

        if self._lanes is None:
            return self._estimator.run_measured(kind, inputs[0], call)
        if not self._estimator.has_measured(kind):  # it sees one thread; the results are the lanes', as ever after
            self._estimator.run_measured(kind, inputs[0], call)
        return self._lanes.run(function, inputs)

    def _count(self, shape: _Shape, rows: int, function: Function, inputs: tuple[Tensor, ...]) -> None:
        asked = self._asked.get((shape, rows))
        if asked is None:
            if len(self._asked) >= _MAX_COUNTED:
                self._asked.clear()
            asked = self._asked[shape, rows] = _Asked.like(function, inputs)
        asked.times += 1

    def _try_to_capture(self, shape: _Shape, rows: int, asked: _Asked) -> None:
        """Capture a call if there is memory for it; after any other error nothing is captured any more."""
        if self._capture is None:
            return
        try:
            with translate_out_of_memory():
                self._capture_call(self._capture, shape, rows, asked)
        except OutOfMemory:
            log.warning("graph_does_not_fit", call=shape.kind, rows=rows)
        except (RuntimeError, DeviceFailed) as error:
            log.warning("graphs_switched_off", call=shape.kind, rows=rows, error=str(error).partition("\n")[0])
            self.give_up()
            self._capture = None
            return
        self._drop_unused(self._capture)
        self._estimator.withheld_bytes = self._capture.pool_bytes

    def _capture_call(self, capture: Capture, shape: _Shape, rows: int, asked: _Asked) -> None:
        row = asked.zeros()
        results = self._run_eagerly(shape.kind, asked.function, row)
        if self._estimator.max_rows(shape.kind, row[0].numel()) < _FREE_AFTERWARDS * rows:
            raise OutOfMemory("There is too little memory for another captured call.")
        buffers = self._buffers.get(shape)
        if buffers is None:
            buffers = self._buffers[shape] = _Buffers.like(row, results)
        self._replays[shape, rows] = capture.capture(lambda: buffers.fill(asked.function, rows))

    def _drop_unused(self, capture: Capture) -> None:
        """Drop what was used least recently beyond the most that is kept, and buffers that nothing uses any more."""
        while len(self._replays) > MAX_CAPTURED:
            self._replays.popitem(last=False)
        used = {shape for shape, _ in self._replays}
        for shape in self._buffers.keys() - used:
            del self._buffers[shape]
        if not used:
            capture.release()


@dataclass(frozen=True, slots=True)
class _Shape:
    """What calls have in common that can be replayed by the same captures, but for their rows."""

    kind: str
    inputs: tuple[tuple[torch.Size, torch.dtype], ...]

    @classmethod
    def of(cls, kind: str, inputs: tuple[Tensor, ...]) -> _Shape:
        return cls(kind, tuple((one.shape[1:], one.dtype) for one in inputs))


@dataclass(slots=True, kw_only=True, eq=False)
class _Asked:
    """A call that is not captured, and how often it was asked for.

    Attributes:
        function: What it calls.
        device: Where its inputs are.
        row: One row of each input, without its values.
        times: How often it was asked for.
    """

    function: Function
    device: torch.device
    row: tuple[Tensor, ...]
    times: int = 0

    @classmethod
    def like(cls, function: Function, inputs: tuple[Tensor, ...]) -> _Asked:
        row = tuple(torch.empty_like(one[:1], device="meta") for one in inputs)
        return cls(function=function, device=inputs[0].device, row=row)

    def zeros(self) -> tuple[Tensor, ...]:
        """One row of each input."""
        return tuple(torch.zeros_like(one, device=self.device) for one in self.row)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Buffers:
    """Inputs and results of all captures of one shape, `ROWS[-1]` rows each; captures of fewer rows use the first."""

    inputs: tuple[Tensor, ...]
    results: tuple[Tensor, ...]

    @classmethod
    def like(cls, inputs: tuple[Tensor, ...], results: tuple[Tensor, ...]) -> _Buffers:
        """Zeros in the memory formats of one row of each."""
        return cls(
            inputs=tuple(torch.zeros_like(torch.cat([one] * ROWS[-1])) for one in inputs),
            results=tuple(torch.zeros_like(torch.cat([one] * ROWS[-1])) for one in results),
        )

    def fill(self, function: Function, rows: int) -> None:
        """Call the function with the first rows of the inputs, and put what it returns into those of the results."""
        for buffer, result in zip(self.results, function(*(one[:rows] for one in self.inputs)), strict=True):
            buffer[:rows].copy_(result)

    def run(self, replay: Callable[[], None], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Replay with new inputs. What an earlier call left in the padding rows is computed again, and not returned."""
        rows = len(inputs[0])
        for buffer, one in zip(self.inputs, inputs, strict=True):
            buffer[:rows].copy_(one)
        replay()
        return tuple(one[:rows].clone() for one in self.results)
