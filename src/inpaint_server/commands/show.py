"""How a picture was generated, read from its own file, and the same picture generated again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from inpaint_server import __version__
from inpaint_server.client.fields import Fields, request_object
from inpaint_server.client.pictures import picture_file
from inpaint_server.commands import generate
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import OutputFormat, Task
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.codec import decode_mask, decode_photo
from inpaint_server.settings import read
from inpaint_server.wire import provenance, signing

FORMATS: Final[dict[str, OutputFormat]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


def read_origin(file: Path) -> dict[str, Any]:
    """The origin in the file; see `provenance.describe_origin` and, for its `signature`, `signing.signature`.

    Raises:
        InvalidRequest: it is not a picture that this server wrote.
    """
    data = file.read_bytes()
    origin = provenance.read_origin(data, max_pixels=int(read().max_megapixels * 1e6))
    return {**origin, "signature": signing.signature(data)}


def describe(origin: dict[str, Any]) -> Iterator[str]:
    """An origin line by line: software, bundle and signature, then every field of the request."""
    yield f"{origin['software']} {origin['version']} with {origin['bundle']} in {origin['dtype']}"
    yield from _describe_signature(origin["signature"])
    for name in ("photo", "mask"):
        if origin[name] is not None:
            yield f"{name}: {origin[name]}"
    if "prompts" in origin:
        yield f"prompts: {origin['prompts']}"
    for name, value in origin["request"].items():
        yield f"{name}: {value}"


def _describe_signature(signature: signing.Signature | None) -> Iterator[str]:
    if signature is None:
        return
    if signature.faults is None:
        yield "signed: install the extra `sign` to see by whom"
    elif signature.faults:
        yield f"signed by {signature.by}, but do not trust what it says: {', '.join(signature.faults)}"
    else:
        yield f"signed by {signature.by}, unchanged since"


def repeat(
    origin: dict[str, Any],
    *,
    photo: Path | None,
    mask: Path | None,
    out: Path,
    endpoint: str | None,
    bundle: str | None,
) -> list[str]:
    """Generate the picture again, into `out`.

    Args:
        origin: As `read_origin` returns it.
        photo: The product photo of its request; None if there was none.
        mask: The mask of its request; None if there was none.
        out: The new file; its suffix decides the format.
        endpoint: A server's URL or a SageMaker endpoint's name; None: this process.
        bundle: The weights for this process; None: INPAINT_BUNDLE.

    Returns:
        A sentence for each difference of bundle, precision or version; with any of them the picture may differ.

    Raises:
        InvalidRequest: photo or mask are missing, or not those of its request.
    """
    if "prompts" in origin:
        raise InvalidRequest(
            f"The prompts in the file are {origin['prompts']}: give a PNG or WebP of a server with "
            "INPAINT_PROVENANCE=full, or send the request itself again.",
            field="file",
        )
    _require_same_pictures(origin, photo, mask)
    if out.suffix.lower() not in FORMATS:
        raise InvalidRequest(f"Name {out.name} with one of {', '.join(FORMATS)}.", field="out")
    fields: dict[str, Any] = {**origin["request"], "output_format": FORMATS[out.suffix.lower()]}
    if mask is not None:
        fields["mask"] = mask
    task: Task = fields.pop("task", "advert")
    result = generate.invoke(request_object(task, photo, cast("Fields", fields)), endpoint=endpoint, bundle=bundle)
    out.parent.mkdir(parents=True, exist_ok=True)
    result.pictures[0].save(out)
    now = {"bundle": result.model.bundle, "dtype": result.model.dtype}
    if endpoint is None:
        now["version"] = __version__
    return [f"The {name} was {origin[name]} and is {new} now." for name, new in now.items() if origin[name] != new]


def _require_same_pictures(origin: dict[str, Any], photo: Path | None, mask: Path | None) -> None:
    """Compare the pictures with those of the request, by the fingerprints of their pixels."""
    max_pixels = int(read().max_megapixels * 1e6)
    fingerprints: dict[str, str | None] = {"photo": None, "mask": None}
    if photo is not None:
        pixels, alpha = decode_photo(picture_file(photo, "photo"), max_pixels=max_pixels)
        if mask is not None:
            size = Size(height=pixels.shape[0], width=pixels.shape[1])
            alpha = decode_mask(picture_file(mask, "mask"), size=size, max_pixels=max_pixels)
        fingerprints = {"photo": provenance.fingerprint(pixels), "mask": provenance.fingerprint(alpha)}
    for name, fingerprint in fingerprints.items():
        if origin[name] is not None and fingerprint is None:
            raise InvalidRequest(f"Give the {name} this picture was made from with --{name}.", field=name)
        if origin[name] != fingerprint:
            raise InvalidRequest(f"Give the {name} this picture was made from: this is another one.", field=name)
