"""A bundle's files as transformers 4 reads them; as they are it would draw the text encoder's weights at random."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy a diffusers folder; the text encoder's names get the prefix, the tokenizer the two files of before."""
    shutil.copytree(source, target)
    weights = target / "text_encoder" / "model.safetensors"
    save_file({f"text_model.{name}": weight for name, weight in load_file(weights).items()}, weights, {"format": "pt"})
    tokenizer = target / "tokenizer"
    words = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tokenizer / "vocab.json").write_text(json.dumps(words["vocab"]))
    merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in words["merges"])
    (tokenizer / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
