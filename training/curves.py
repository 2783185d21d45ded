"""Loss curves as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure


def draw_curves(losses: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws each named loss over the steps on a logarithmic axis, smoothed by a running mean.

    Args:
        losses: One mapping a step; every step has the same names.
        path: PNG to write.
    """
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axes = figure.subplots()
        window = max(1, len(losses) // 200)
        for name in losses[0]:
            values = np.array([entry[name] for entry in losses])
            mean = np.convolve(values, np.ones(window) / window, mode="valid")
            axes.plot(np.arange(len(mean)) + window / 2, mean, label=name, linewidth=1)
        axes.set(xlabel="step", ylabel="loss", yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
        figure.savefig(path, dpi=110)
