"""The request for a row, complete and checked, with an identity of its own."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
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
_FIELDS: Final = frozenset(InvocationRequest.model_fields) - {"image"}
_OURS: Final = frozenset({"photo", "scene", "name"})
_OTHER_NAMES: Final = {
    "prompt": "background_prompt",
    "positive_prompt": "background_prompt",
    "mask_image": "mask",
    "num_inference_steps": "steps",
    "cfg_scale": "guidance_scale",
    "sampler": "scheduler",
    "num_images_per_prompt": "num_images",
}
"""Other servers' names that no product's own column has; `size` or `product` may well be one."""


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
    prompts = {name: fill(fields[name], row.columns) for name in _PROMPTS if isinstance(fields.get(name), str)}
    layers = [_filled(layer, row.columns) for layer in fields["layers"]] if _is_list(fields.get("layers")) else None
    whole = {**fields, **prompts, **({} if layers is None else {"layers": layers})}
    validate(whole, has_image=True)
    files: dict[str, Any] = {"mask": _path(row.folder, whole["mask"])} if "mask" in whole else {}
    request = request_object(whole.get("task", "advert"), _photo(row), {**whole, **files})  # pyright: ignore[reportArgumentType] - just validated
    return RowRequest(request=request, identity=_identity(request))


def check_columns(rows: Sequence[Row], scenes: Presets, defaults: Mapping[str, Any]) -> None:
    """Refuse a catalogue as a whole where a column is nearly a field's name: `widht` must not spoil a whole run.

    Raises:
        InvalidRequest: no row names a photo, or a column that no prompt uses is misspelt.
    """
    columns = {name for row in rows for name in row.columns}
    if columns and "photo" not in columns:
        raise InvalidRequest("Name each product's photo in a column `photo`: no row has one.", field="photo")
    unknown = columns - _FIELDS - _OURS
    used = {name for row in rows for name in _columns_in_prompts(row, scenes, defaults)} if unknown else set[str]()
    for name in sorted(unknown - used):
        near = [_OTHER_NAMES[name]] if name in _OTHER_NAMES else _most_alike(name)
        if near:
            raise InvalidRequest(f"Rename the column `{name}`: did you mean `{near[0]}`?", field=name)


def _most_alike(name: str) -> list[str]:
    return difflib.get_close_matches(name, sorted(_FIELDS | _OURS), n=1, cutoff=0.8)


def label(row: Row) -> str:
    """The name of the product for a person: its name, else its photo's, else the row's number."""
    photo = row.columns.get("photo")
    return str(row.columns.get("name") or (Path(str(photo)).stem if photo else f"row {row.number}"))


def file_name(row: Row, identity: str) -> str:
    """A file's name without suffix: readable and unique."""
    readable = re.sub(r"[^a-z0-9]+", "-", label(row).lower()).strip("-")[:48]
    return f"{readable or 'product'}-{identity[:8]}"


def _fields(columns: Mapping[str, Any], scenes: Presets, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Request fields: the row's own value before its scene's, the scene's before the default."""
    scene = columns.get("scene", defaults.get("scene"))
    fields = {**defaults, **({} if scene is None else look_up(scenes, str(scene))), **columns}
    return {name: value for name, value in fields.items() if name in _FIELDS}


def _filled(layer: Any, columns: Mapping[str, Any]) -> Any:
    """A layer with its prompt filled in; anything else is left for the schema to refuse."""
    if not isinstance(layer, dict):
        return layer
    fields = cast("dict[str, Any]", layer)
    return {**fields, "prompt": fill(fields["prompt"], columns)} if isinstance(fields.get("prompt"), str) else fields


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _columns_in_prompts(row: Row, scenes: Presets, defaults: Mapping[str, Any]) -> Iterator[str]:
    """The columns that a row's prompts name; a prompt or scene that cannot be read is the row's own failure."""
    with suppress(InvalidRequest):
        fields = _fields(row.columns, scenes, defaults)
        layers = cast("list[Any]", fields["layers"]) if _is_list(fields.get("layers")) else []
        prompts = [fields.get(name) for name in _PROMPTS]
        prompts += [cast("dict[str, Any]", layer).get("prompt") for layer in layers if isinstance(layer, dict)]
        for prompt in prompts:
            if isinstance(prompt, str):
                yield from columns_of(prompt)


def _photo(row: Row) -> Path:
    if "photo" not in row.columns:
        raise InvalidRequest("Name the photo's file in the column `photo`.", field="photo")
    return _path(row.folder, row.columns["photo"])


def _path(folder: Path, cell: object) -> Path:
    """The file that a cell names, relative to the table's folder.

    Windows writes backslashes, and macOS may spell an accent in the table and in the file's name in different ways.
    """
    text = str(cell)
    spellings = [text, text.replace("\\", "/")]
    spellings += [unicodedata.normalize(form, spellings[1]) for form in ("NFC", "NFD")]
    return next((path for spelling in spellings if _is_file(path := folder / spelling)), folder / text)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _identity(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:32]
