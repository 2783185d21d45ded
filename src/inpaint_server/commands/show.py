"""What a picture's file tells of how it was made, and the same picture made again from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from inpaint_server import __version__
from inpaint_server.client.fields import Fields, request_object
from inpaint_server.commands import generate
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import OutputFormat, Task
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.codec import decode_mask, decode_photo
from inpaint_server.settings import read
from inpaint_server.wire import provenance, signing

FORMATS: Final[dict[str, OutputFormat]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


def tell(file: Path) -> dict[str, Any]:
    """What the file tells; see `provenance.describe_origin` and, for its `signature`, `signing.signature`.

    Raises:
        InvalidRequest: it is not a picture that this server wrote.
    """
    data = file.read_bytes()
    told = provenance.read_origin(data, max_pixels=int(read().max_megapixels * 1e6))
    return {**told, "signature": signing.signature(data)}


def lines(told: dict[str, Any]) -> Iterator[str]:
    """The same in lines for a person: who made it, then every field of its request."""
    yield f"{told['software']} {told['version']} with {told['bundle']} in {told['dtype']}"
    yield from _of_signature(told["signature"])
    for name in ("photo", "mask"):
        if told[name] is not None:
            yield f"{name}: {told[name]}"
    for name, value in told["request"].items():
        yield f"{name}: {value}"


def _of_signature(signature: signing.Signature | None) -> Iterator[str]:
    if signature is None:
        return
    if signature.faults is None:
        yield "signed: install the extra `sign` to see by whom"
    elif signature.faults:
        yield f"signed by {signature.by}, but do not trust what it says: {', '.join(signature.faults)}"
    else:
        yield f"signed by {signature.by}, unchanged since"


def repeat(
    told: dict[str, Any],
    *,
    photo: Path | None,
    mask: Path | None,
    out: Path,
    endpoint: str | None,
    bundle: str | None,
) -> list[str]:
    """Make the picture again, into `out`.

    Args:
        told: What its file tells.
        photo: The product photo it was made from; None where it was made from none.
        mask: The mask that came with it, if one did.
        out: Where it goes; the suffix says in which format.
        endpoint: A server's URL or a SageMaker endpoint's name; None: this process.
        bundle: The weights for this process.

    Returns:
        A sentence for whatever is not as it was: such a picture may be another one.

    Raises:
        InvalidRequest: photo or mask are missing, or not those it was made from.
    """
    _require_the_same(told, photo, mask)
    if out.suffix.lower() not in FORMATS:
        raise InvalidRequest(f"Name {out.name} with one of {', '.join(FORMATS)}.", field="out")
    fields: dict[str, Any] = {**told["request"], "output_format": FORMATS[out.suffix.lower()]}
    if mask is not None:
        fields["mask"] = mask
    task: Task = fields.pop("task", "advert")
    result = generate.ask(request_object(task, photo, cast("Fields", fields)), endpoint=endpoint, bundle=bundle)
    out.parent.mkdir(parents=True, exist_ok=True)
    result.pictures[0].save(out)
    now = {"bundle": result.model.bundle, "dtype": result.model.dtype}
    if endpoint is None:
        now["version"] = __version__
    return [f"The {name} was {told[name]} and is {new} now." for name, new in now.items() if told[name] != new]


def _require_the_same(told: dict[str, Any], photo: Path | None, mask: Path | None) -> None:
    """Compare the pictures that are given with those the file tells of, by their pixels."""
    most = int(read().max_megapixels * 1e6)
    found: dict[str, str | None] = {"photo": None, "mask": None}
    if photo is not None:
        pixels, alpha = decode_photo(photo.read_bytes(), max_pixels=most)
        if mask is not None:
            size = Size(height=pixels.shape[0], width=pixels.shape[1])
            alpha = decode_mask(mask.read_bytes(), size=size, max_pixels=most)
        found = {"photo": provenance.fingerprint(pixels), "mask": provenance.fingerprint(alpha)}
    for name, mark in found.items():
        if told[name] is not None and mark is None:
            raise InvalidRequest(f"Give the {name} this picture was made from with --{name}.", field=name)
        if told[name] != mark:
            raise InvalidRequest(f"Give the {name} this picture was made from: this is another one.", field=name)
