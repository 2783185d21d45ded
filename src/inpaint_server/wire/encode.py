"""Answers to bodies and headers, in the media type the caller accepts."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.request import OutputFormat
from inpaint_server.domain.results import Advert
from inpaint_server.errors import InpaintServerError, NotAcceptable
from inpaint_server.imaging.codec import MAX_NOTE, encode
from inpaint_server.imaging.composite import blurred_inverse, resize_to_canvas
from inpaint_server.wire.bodies import CUSTOM_ATTRIBUTES
from inpaint_server.wire.decode import ParsedRequest
from inpaint_server.wire.describe import CompletedRequest, PictureFiles, compact_json, describe, describe_first
from inpaint_server.wire.encodings import encode_base64, write_npy
from inpaint_server.wire.media_types import JSON, JSON_LINES, NPY, PICTURES, SEVERAL_PICTURES, ZIP, choose_media_type
from inpaint_server.wire.provenance import describe_origin


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedResponse:
    """What goes back over HTTP."""

    status: int = 200
    body: bytes
    media_type: str
    headers: Mapping[str, str]


def choose_answer(parsed: ParsedRequest, accept: str) -> str:
    """The media type of a request's answer, which holds all of its pictures and layers.

    Args:
        parsed: The request.
        accept: The Accept header.

    Raises:
        NotAcceptable: none can be produced, or the request is for several pictures, or for layers, and only one picture
            is accepted.
    """
    media_type, number = choose_media_type(accept), len(parsed.request.seeds)
    if media_type in SEVERAL_PICTURES or parsed.request.task == "mask" or (number == 1 and not parsed.return_layers):
        return media_type
    try:
        return choose_media_type(accept, SEVERAL_PICTURES)
    except NotAcceptable:
        field, remedy = (
            ("num_images", "set `num_images` to 1") if number > 1 else ("return_layers", "leave `return_layers` out")
        )
        asked = f"{number} pictures" if number > 1 else "a picture with its layers"
        raise NotAcceptable(
            f"Accept {ZIP} or {JSON}, or {remedy}: {media_type} holds one picture, not {asked}.", field=field
        ) from None


def encode_response(completed: CompletedRequest, media_type: str) -> EncodedResponse:
    """Encode an answered request as the media type."""
    if completed.parsed.nested_lists and media_type == JSON:
        return EncodedResponse(body=_nested_lists(completed), media_type=JSON, headers={})
    return _ENCODERS.get(media_type, _encode_first_picture)(completed, media_type)


def encode_error(error: InpaintServerError, request_id: str) -> EncodedResponse:
    """An error as every caller gets it: JSON, also where another media type was accepted."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return EncodedResponse(status=error.status, body=error.to_json(request_id), media_type=JSON, headers=headers)


def _encode_files(completed: CompletedRequest) -> tuple[list[PictureFiles], float]:
    """Every picture of the answer encoded, and the milliseconds that took."""
    begun = time.perf_counter()
    form = completed.output_format
    if completed.is_mask:
        files = [PictureFiles(picture=encode(_product_mask(completed), form), layers={})]
    else:
        files = [
            PictureFiles(
                picture=_finished_file(completed, advert, form),
                layers={name: encode(layer, form) for name, layer in _layers(advert, completed.parsed)},
            )
            for advert in completed.answer.adverts
        ]
    return files, (time.perf_counter() - begun) * 1000


def _product_mask(completed: CompletedRequest) -> UInt8Array:
    assert completed.answer.product is not None, "the mask task answers a product"
    return completed.answer.product.mask


def _finished_file(completed: CompletedRequest, advert: Advert, form: OutputFormat) -> bytes:
    """A picture whose file describes its origin, signed where the operator wants that."""
    origin = describe_origin(completed.parsed, advert, completed.card, completed.provenance, MAX_NOTE[form])
    data = encode(advert.picture, form, origin)
    return data if completed.sign is None else completed.sign(data, form, completed.parsed.request.task)


def _layers(advert: Advert, parsed: ParsedRequest) -> list[tuple[str, UInt8Array]]:
    layers = advert.intermediates
    if layers is None or not parsed.return_layers:
        return []
    canvas = parsed.request.canvas
    background = [] if layers.background is None else [("background", resize_to_canvas(layers.background, canvas))]
    passes = [(f"pass-{n}", resize_to_canvas(painted, canvas)) for n, painted in enumerate(layers.passes, start=1)]
    return [("mask", layers.mask), *background, *passes]


def _encode_json(completed: CompletedRequest, media_type: str) -> EncodedResponse:
    body = describe(completed, _encode_files(completed), lambda _, data: encode_base64(data))
    return EncodedResponse(body=body if media_type == JSON else body + b"\n", media_type=media_type, headers={})


def _encode_first_picture(completed: CompletedRequest, media_type: str) -> EncodedResponse:
    """The first picture alone; what else there is to say, in the custom attributes."""
    begun = time.perf_counter()
    body = _first_array(completed) if media_type == NPY else _first_file(completed, PICTURES[media_type])
    encode_ms = (time.perf_counter() - begun) * 1000
    headers = {CUSTOM_ATTRIBUTES: describe_first(completed, encode_ms)}
    return EncodedResponse(body=body, media_type=media_type, headers=headers)


def _first_file(completed: CompletedRequest, form: OutputFormat) -> bytes:
    if completed.is_mask:
        return encode(_product_mask(completed), form)
    return _finished_file(completed, completed.answer.adverts[0], form)


def _first_array(completed: CompletedRequest) -> bytes:
    """H x W x 3 uint8, or for a mask H x W."""
    return write_npy(_product_mask(completed) if completed.is_mask else completed.answer.adverts[0].picture)


def _encode_zip(completed: CompletedRequest, media_type: str) -> EncodedResponse:
    """All pictures and layers as files, and `manifest.json`: the JSON answer with their names."""
    files: dict[str, bytes] = {}

    def add_file(name: str, data: bytes) -> str:
        file = f"{name}.{completed.output_format}"
        files[file] = data
        return file

    manifest = describe(completed, _encode_files(completed), add_file)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for name, data in {"manifest.json": manifest, **files}.items():
            zipped.writestr(zipfile.ZipInfo(name), data)  # its fixed date keeps the same request's bytes the same
    return EncodedResponse(body=archive.getvalue(), media_type=media_type, headers={})


_ENCODERS: Final[Mapping[str, Callable[[CompletedRequest, str], EncodedResponse]]] = {
    JSON: _encode_json,
    JSON_LINES: _encode_json,
    ZIP: _encode_zip,
}


def _nested_lists(completed: CompletedRequest) -> bytes:
    """The replaced sample's answers: three proposed masks, or generated, background, mask and composite."""
    answer = completed.answer
    if completed.is_mask:
        given = [_product_mask(completed)] * 3
        masks = np.stack(given) if answer.proposals is None else answer.proposals.masks
        return _rows_as_json(masks.transpose(1, 2, 0))
    pictures: list[UInt8Array] = []
    for advert in answer.adverts[:1]:
        layers = advert.intermediates
        if layers is None or advert.placed is None:
            pictures.append(advert.picture)
            continue
        painted = [*layers.passes[-1:], *([] if layers.background is None else [layers.background])]
        pictures += [resize_to_canvas(one, completed.parsed.request.canvas) for one in painted]
        pictures += [blurred_inverse(layers.mask), advert.picture]
    return b"[" + b",".join(map(_rows_as_json, pictures)) + b"]"


def _rows_as_json(array: UInt8Array) -> bytes:
    """An array as nested lists, row by row: while one is written, no other thread runs Python."""
    return b"[" + b",".join(compact_json(row.tolist()) for row in array) + b"]"
