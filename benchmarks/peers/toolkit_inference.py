"""The obvious way in the Hugging Face toolkit's own hooks; copied to `code/inference.py` of its model folder."""

from __future__ import annotations

from typing import Any

from benchmarks.obvious import Obvious
from benchmarks.peers.advert import answer, load


def model_fn(model_dir: str) -> Obvious:  # noqa: ARG001 - the toolkit's own signature
    """Load the models."""
    return load()


def predict_fn(data: dict[str, Any], model: Obvious) -> dict[str, str]:
    """One advert."""
    return answer(model, data)
