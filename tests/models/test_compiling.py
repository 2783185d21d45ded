"""Compiled blocks of UNets, traced as in the server; torch's code generator, which takes minutes, is left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from inpaint_server.errors import SettingsError
from inpaint_server.models.compiling import compile_unets
from inpaint_server.models.feature_reuse import evaluate_and_cache, evaluate_shallow
from testing.families import like_stable_diffusion


@pytest.fixture
def compiled_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Every graph that torch would generate code for; it runs as it was traced."""
    graphs: list[Any] = []

    def keep(graph: Any, _inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep))
    dynamo: Any = torch._dynamo
    with dynamo.config.patch(recompile_limit=8, suppress_errors=False):  # restores what is set meanwhile
        yield graphs
    dynamo.reset()


@torch.inference_mode()
def test_compiled_blocks_take_any_number_of_rows_and_keep_numbers(compiled_graphs: list[Any]):
    unet = like_stable_diffusion()
    rng = torch.Generator().manual_seed(0)
    samples, prompt_embeds = torch.randn(4, 4, 8, 8, generator=rng), torch.randn(4, 7, 96, generator=rng)

    def evaluations(rows: int) -> tuple[Tensor, ...]:
        inputs, given = (samples[:rows], torch.linspace(900, 20, rows)), prompt_embeds[:rows]
        prediction, deep = evaluate_and_cache(unet, *inputs, given)
        return prediction, deep, *evaluate_shallow(unet, *inputs, deep, given)

    before = {rows: evaluations(rows) for rows in (2, 3, 4)}
    compile_unets([unet])
    evaluations(2)
    compiled = len(compiled_graphs)
    for rows, results in before.items():
        for one, other in zip(evaluations(rows), results, strict=True):
            assert torch.equal(one, other), "the same operations, so the same bits"
    assert compiled == len(compiled_graphs) > 0, "other numbers of rows are not compiled again"


def test_missing_compiler_is_named_with_remedy(monkeypatch: pytest.MonkeyPatch):
    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr(shutil, "which", nothing)
    with pytest.raises(SettingsError, match="install gcc"):
        compile_unets([like_stable_diffusion()])
