"""The request for a row, complete and checked, with an identity of its own."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from inpaint_server.catalog.presets import Presets, look_up
from inpaint_server.catalog.rows import Row
from inpaint_server.catalog.templates import columns_of, fill
from inpaint_server.client.fields import request_object
from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.schema import InvocationRequest, validate

_PROMPTS: Final = ("background_prompt", "foreground_prompt", "negative_prompt")
_OTHER_SPELLINGS: Final = {"prompt_bg": "background_prompt", "prompt_fr": "foreground_prompt"}
_FIELDS: Final = frozenset(InvocationRequest.model_fields)
_OURS: Final = frozenset({"photo", "scene", "name", *_OTHER_SPELLINGS})


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRequest:
    """The request for one row.

    Attributes:
        request: The request object as it stands on the wire, pictures included.
        identity: Hash of that request: the same words and the same photo give the same identity, wherever they stand.
    """

    request: Mapping[str, Any]
    identity: str


def row_request(row: Row, scenes: Presets, defaults: Mapping[str, Any]) -> RowRequest:
    """Resolve a row: its own columns, over the scene's fields, over the defaults; prompts filled in from the columns.

    Raises:
        InvalidRequest: the row makes no valid request; the reason in one sentence.
    """
    if row.problem:
        raise InvalidRequest(row.problem)
    fields = _fields(row.columns, scenes, defaults)
    _refuse_misspelt(row.columns, fields)
    prompts = {name: fill(fields[name], row.columns) for name in _PROMPTS if isinstance(fields.get(name), str)}
    layers = [_filled(layer, row.columns) for layer in fields["layers"]] if _is_list(fields.get("layers")) else None
    whole = {**fields, **prompts, **({} if layers is None else {"layers": layers})}
    validate(whole, has_image=True)
    files: dict[str, Any] = {"mask": row.folder / str(whole["mask"])} if "mask" in whole else {}
    request = request_object(whole.get("task", "advert"), _photo(row), {**whole, **files})  # pyright: ignore[reportArgumentType] - just validated
    return RowRequest(request=request, identity=_identity(request))


def label(row: Row) -> str:
    """The name of the product for a person: its name, else its photo's, else the row's number."""
    photo = row.columns.get("photo")
    return str(row.columns.get("name") or (Path(str(photo)).stem if photo else f"row {row.number}"))


def file_name(row: Row, identity: str) -> str:
    """A file's name without suffix: readable and unique."""
    readable = re.sub(r"[^a-z0-9]+", "-", label(row).lower()).strip("-")[:48]
    return f"{readable or 'product'}-{identity[:8]}"


def _fields(columns: Mapping[str, Any], scenes: Presets, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Request fields, the nearest value wins; `image` is not among them: a catalogue names the photo's file."""
    if "image" in columns:
        raise InvalidRequest("Name the photo's file in the column `photo`, not `image`.", field="image")
    own = {_OTHER_SPELLINGS.get(name, name): value for name, value in columns.items()}
    scene = columns.get("scene", defaults.get("scene"))
    fields = {**defaults, **({} if scene is None else look_up(scenes, str(scene))), **own}
    return {name: value for name, value in fields.items() if name in _FIELDS}


def _filled(layer: Any, columns: Mapping[str, Any]) -> Any:
    """A layer with its prompt filled in; anything else is left for the schema to refuse."""
    if not isinstance(layer, dict):
        return layer
    fields = cast("dict[str, Any]", layer)
    return {**fields, "prompt": fill(fields["prompt"], columns)} if isinstance(fields.get("prompt"), str) else fields


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _refuse_misspelt(columns: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """A column that is no field and in no prompt, but nearly a field: `widht` must not cost a night."""
    used = {name for prompt in _PROMPTS if isinstance(fields.get(prompt), str) for name in columns_of(fields[prompt])}
    for name in set(columns) - _FIELDS - _OURS - used:
        near = difflib.get_close_matches(name.lower(), sorted(_FIELDS | _OURS), n=1, cutoff=0.8)
        if near:
            raise InvalidRequest(f"Rename the column `{name}`: did you mean `{near[0]}`?", field=name)


def _photo(row: Row) -> Path:
    if "photo" not in row.columns:
        raise InvalidRequest("Name the photo's file in the column `photo`.", field="photo")
    return row.folder / str(row.columns["photo"])


def _identity(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]
