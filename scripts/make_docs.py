"""Draw the pictures of the documentation and write its page of fields, from the schema and `docs_fields.toml`.

    python scripts/make_docs.py [--page-only] [--bundle demo]

A new field of a request needs an entry in `docs_fields.toml`, and this run again.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, cast

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

from inpaint_server import settings
from inpaint_server.client import Client, Result
from inpaint_server.client.fields import Fields, request_object
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.imaging.sheet import contact_sheet
from inpaint_server.wire.schema import InvocationRequest

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
DATA: Final = Path(__file__).with_name("docs_fields.toml")
PHOTOS: Final = ROOT / "src" / "inpaint_server" / "demo" / "photos"
MASKS: Final = ROOT / "tests" / "training" / "masks"
AT_A_TIME: Final = 8
STAGES: Final = {"photo": "speaker.jpg", "profile": "quality"}


def main(
    *,
    page_only: Annotated[bool, typer.Option("--page-only", help="Write docs/fields.md and draw nothing.")] = False,
    bundle: Annotated[str, typer.Option(help="What draws.")] = "demo",
) -> None:
    """Write docs/fields.md, docs/images/fields/ and docs/images/concepts/."""
    (DOCS / "fields.md").write_text(page(), encoding="utf-8")
    if page_only:
        return
    from inpaint_server.server.local import LocalEngine

    data = _data()
    fields = cast("dict[str, dict[str, Any]]", data["fields"])
    requests = {_key(one): one for one in _variants(data)}
    client = Client(LocalEngine(settings.read(bundle=bundle)))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = pool.map(partial(_draw, client), requests.values())
        drawn = dict(zip(requests, tqdm(answers, total=len(requests)), strict=True))
    for name, entry in fields.items():
        tiles = [(label(one), _shown(drawn[_key({**data["base"], **one})], one)) for one in entry["variants"]]
        _save(DOCS / "images" / "fields" / f"{name}.jpg", contact_sheet(tiles, tile_height=224))
    _save_stages(drawn[_key({**data["base"], **STAGES})])


def page() -> str:
    """The page of fields, from the schema and the examples.

    Raises:
        SystemExit: a field has no example, or an example no field.
    """
    examples = cast("dict[str, dict[str, Any]]", _data()["fields"])
    names = list(InvocationRequest.model_fields)
    if set(names) != set(examples):
        raise SystemExit(f"Bring scripts/docs_fields.toml up to date: {sorted(set(names) ^ set(examples))}.")
    properties = InvocationRequest.model_json_schema()["properties"]
    rows = [f"| [`{n}`](#{n}) | {_default(properties[n])} | {properties[n]['description']} |" for n in names]
    sections = [_section(name, properties[name], examples[name]) for name in names]
    return "\n".join([_HEAD, *rows, "", *sections])


def label(variant: Mapping[str, Any]) -> str:
    """A picture's caption: the fields in which it differs."""
    return ", ".join(f"{name} {_short(value)}" for name, value in variant.items()) or "the usual"


_HEAD: Final = """# Every field of a request

Written by `make docs-pictures` from the schema. The pictures are drawn by the demo models at 256 x 256 in 6 steps:
they show what a field changes, not what real models can do. `inpaint-server schema` prints the same as JSON Schema.

| field | default | meaning |
| --- | --- | --- |"""


def _section(name: str, schema: dict[str, Any], example: dict[str, Any]) -> str:
    shown = ", ".join(f"`{json.dumps(one, ensure_ascii=False)}`" for one in example["variants"])
    lines = [
        f"## {name}\n",
        f"{schema['description']} {example['text']}\n",
        f"Type: {_type(schema)}. Default: {_default(schema)}.\n",
        f"![{name}](images/fields/{name}.jpg)\n",
        f"From left to right: {shown}.\n",
    ]
    return "\n".join(lines)


def _type(schema: dict[str, Any]) -> str:
    """A property's type in words, with its limits."""
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return " or ".join(_kind(one) for one in kinds)


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return "an object with `scale`, `x`, `y`"
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}" if "type" in schema["items"] else "list of layers"
    bounds = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
    limits = [f"{word} {schema[key]:.10g}" for key, word in bounds if key in schema]
    return " ".join([schema["type"], *limits])


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "none" if value is None else "empty" if value == "" else f"`{json.dumps(value)}`".replace('"', "")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_short(inner)}" for name, inner in cast("dict[str, Any]", value).items())
    if isinstance(value, list):
        return " ".join(_short(inner) for inner in cast("list[Any]", value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _data() -> dict[str, Any]:
    return tomllib.loads(DATA.read_text(encoding="utf-8"))


def _variants(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every request to draw; equal ones fall together under one key."""
    for entry in data["fields"].values():
        for one in entry["variants"]:
            yield {**data["base"], **one}
    yield {**data["base"], **STAGES}


def _key(request: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in request.items() if name != "show"}, sort_keys=True)


def _draw(client: Client, variant: Mapping[str, Any]) -> Result:
    given = {name: value for name, value in variant.items() if name not in {"photo", "show", "task"}}
    if "mask" in given:
        given["mask"] = MASKS / given["mask"]
    fields = cast("Fields", {**given, "return_layers": True})
    return client.invoke(request_object(variant.get("task", "advert"), PHOTOS / variant["photo"], fields))


def _shown(result: Result, variant: Mapping[str, Any]) -> UInt8Array:
    picture = result.pictures[0]
    layers = dict(picture.layers.named()) if picture.layers else {}
    return np.asarray(layers.get(variant.get("show", ""), picture.image))


def _save_stages(result: Result) -> None:
    """The stages of one advert, each as a picture of its own."""
    picture = result.pictures[0]
    assert picture.layers is not None, "return_layers is set"
    with Image.open(PHOTOS / str(STAGES["photo"])) as photo:
        _save(DOCS / "images" / "concepts" / "photo.jpg", np.asarray(photo.resize((320, 256))))
    for name, image in [*picture.layers.named(), ("advert", picture.image)]:
        _save(DOCS / "images" / "concepts" / f"{name.replace(' ', '-')}.jpg", np.asarray(image))


def _save(path: Path, pixels: UInt8Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=86, optimize=True)


if __name__ == "__main__":
    typer.run(main)
