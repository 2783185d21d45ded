"""All parts together: one JSON, one plot, one table, and the table between two marks of docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Part

PAGE = Path("docs") / "benchmarks.md"
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->"


def write(out: Path, parts: Mapping[str, Part], machine: Mapping[str, str], command: str) -> str:
    """Write `figures.json`, `figures.png`, `table.md` and the document's part; gives the table."""
    document = {
        "machine": machine,
        "command": command,
        "parts": {name: part.model_dump() for name, part in parts.items()},
    }
    (out / "figures.json").write_text(json.dumps(document, indent=1) + "\n")
    text = table(parts, machine, command)
    (out / "table.md").write_text(text)
    _draw({name: part.series for name, part in parts.items()}, out / "figures.png")
    return text


def publish(out: Path) -> None:
    """Put the table of the last run between the document's marks, and its plot beside the document."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(before + _BEGIN + "\n" + (out / "table.md").read_text() + "\n" + _END + after)
    (PAGE.parent / "images" / "benchmarks.png").write_bytes((out / "figures.png").read_bytes())


def table(parts: Mapping[str, Part], machine: Mapping[str, str], command: str) -> str:
    """Markdown: the machine, every figure beside what is wanted, the parts' remarks."""
    lines = [f"Command: `{command}`\n", *(f"- {name}: {value}" for name, value in machine.items()), ""]
    lines += ["| measured | figure | wanted | | made from |", "| --- | --- | --- | --- | --- |"]
    lines += [_row(figure) for part in parts.values() for figure in part.figures]
    lines += [f"\n{remark}" for part in parts.values() for remark in part.remarks]
    return "\n".join(lines) + "\n"


def _row(figure: Figure) -> str:
    verdict = ("yes" if figure.holds else "**no**") if figure.wanted else ""
    return f"| {figure.name} | {figure.amount} | {figure.wanted} | {verdict} | {figure.detail} |"


def _draw(series: Mapping[str, Mapping[str, Mapping[str, float | list[float]]]], path: Path) -> None:
    """One panel for each series: bars for single values, lines for lists."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("Agg")
    panels: dict[str, dict[str, Any]] = {}
    for part in series.values():
        for title, values in part.items():
            panels.setdefault(title, {}).update(values)
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 2.2 * len(panels)), layout="constrained", squeeze=False)
    for (title, values), axis in zip(panels.items(), axes[:, 0], strict=True):
        axis.set_title(title, loc="left", fontsize=10)
        if any(isinstance(value, Sequence) for value in values.values()):
            for label, points in values.items():
                axis.plot(points, label=label)
            axis.legend(fontsize=8)
        else:
            bars = axis.barh(list(values), list(values.values()), color="tab:blue")
            axis.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
            axis.invert_yaxis()
            axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
