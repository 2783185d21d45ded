"""Answers to bodies and headers, in the media type the caller accepts."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.request import OutputFormat
from inpaint_server.domain.results import Advert, Answer, ModelCard, Receipt, Safety
from inpaint_server.errors import InpaintServerError
from inpaint_server.imaging.codec import encode
from inpaint_server.imaging.composite import blurred_inverse, resize_to_canvas
from inpaint_server.wire.answers import (
    AnsweredImage,
    AnsweredLayers,
    AnsweredModel,
    AnsweredPlacement,
    AnsweredReceipt,
    AnsweredSafety,
    AnsweredTimings,
    InvocationAnswer,
)
from inpaint_server.wire.bodies import CUSTOM_ATTRIBUTES
from inpaint_server.wire.decode import ParsedRequest
from inpaint_server.wire.encodings import write_npy
from inpaint_server.wire.media_types import JSON, JSON_LINES, NPY, PICTURES, ZIP
from inpaint_server.wire.provenance import describe_origin
from inpaint_server.wire.signing import Sign


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedResponse:
    """What goes back over HTTP."""

    status: int = 200
    body: bytes
    media_type: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompletedRequest:
    """An answered request with everything its response reports.

    Attributes:
        parsed: The request.
        answer: The engine's.
        card: What is loaded.
        request_id: Under which the log reports it.
        decode_ms: Milliseconds the request's pictures took to decode.
        sign: Signs files; None: they stay unsigned.
    """

    parsed: ParsedRequest
    answer: Answer
    card: ModelCard
    request_id: str
    decode_ms: float
    sign: Sign | None

    @property
    def is_mask(self) -> bool:
        """Whether the product's mask is the answer."""
        return self.parsed.request.task == "mask"

    @property
    def output_format(self) -> OutputFormat:
        """How the answer's pictures are encoded; a mask is always a PNG."""
        return "png" if self.is_mask else self.parsed.output_format


def encode_response(completed: CompletedRequest, media_type: str) -> EncodedResponse:
    """Encode an answered request as the media type."""
    if completed.parsed.nested_lists and media_type == JSON:
        return EncodedResponse(body=_nested_lists(completed), media_type=JSON, headers={})
    return _ENCODERS.get(media_type, _encode_first_picture)(completed, media_type)


def encode_error(error: InpaintServerError, request_id: str) -> EncodedResponse:
    """An error as every caller gets it: JSON, also where another media type was accepted."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return EncodedResponse(status=error.status, body=error.to_json(request_id), media_type=JSON, headers=headers)


def compact_json(value: Any) -> bytes:
    """A value as JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """One picture of the answer with its layers, as files: names without suffix -> bytes."""

    picture: bytes
    layers: Mapping[str, bytes]


def _encode_files(completed: CompletedRequest) -> tuple[list[_Files], float]:
    """Every picture of the answer encoded, and the milliseconds that took."""
    begun = time.perf_counter()
    form = completed.output_format
    if completed.is_mask:
        files = [_Files(picture=encode(_product_mask(completed), form), layers={})]
    else:
        files = [
            _Files(
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
    data = encode(advert.picture, form, describe_origin(completed.parsed, advert, completed.card))
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
    body = _describe(completed, _encode_files(completed), lambda _, data: base64.b64encode(data).decode("ascii"))
    return EncodedResponse(body=body if media_type == JSON else body + b"\n", media_type=media_type, headers={})


def _encode_first_picture(completed: CompletedRequest, media_type: str) -> EncodedResponse:
    """The first picture alone; its seed and timings in the custom attributes, far below their 1,024 characters."""
    begun = time.perf_counter()
    body = _first_array(completed) if media_type == NPY else _first_file(completed, PICTURES[media_type])
    seed = {} if completed.is_mask else {"seed": completed.answer.adverts[0].seed}
    encode_ms = (time.perf_counter() - begun) * 1000
    attributes = {**seed, "timings_ms": _timings(completed, encode_ms).model_dump()}
    headers = {CUSTOM_ATTRIBUTES: compact_json(attributes).decode()}
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

    manifest = _describe(completed, _encode_files(completed), add_file)
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
        return compact_json(masks.transpose(1, 2, 0).tolist())
    pictures: list[UInt8Array] = []
    for advert in answer.adverts[:1]:
        layers = advert.intermediates
        if layers is None or advert.placed is None:
            pictures.append(advert.picture)
            continue
        painted = [*layers.passes[-1:], *([] if layers.background is None else [layers.background])]
        pictures += [resize_to_canvas(one, completed.parsed.request.canvas) for one in painted]
        pictures += [blurred_inverse(layers.mask), advert.picture]
    return compact_json([picture.tolist() for picture in pictures])


def _describe(
    completed: CompletedRequest, encoded: tuple[list[_Files], float], reference: Callable[[str, bytes], str]
) -> bytes:
    """The answer as JSON; `reference` turns a file's name and bytes into what stands for it."""
    files, encode_ms = encoded
    request, answer, card = completed.parsed.request, completed.answer, completed.card
    size = answer.product.size if completed.is_mask and answer.product is not None else request.canvas
    return (
        InvocationAnswer(
            images=[_describe_image(completed, index, one, reference) for index, one in enumerate(files)],
            format=completed.output_format,
            width=size.width,
            height=size.height,
            timings_ms=_timings(completed, encode_ms),
            model=AnsweredModel(bundle=card.bundle, device=card.device, dtype=card.dtype, attention=card.attention),
            warnings=_warnings(completed),
            request_id=completed.request_id,
        )
        .model_dump_json(exclude_none=True)
        .encode()
    )


def _warnings(completed: CompletedRequest) -> list[str]:
    """What was adjusted, or may be wrong; each sentence once."""
    adverts = [warning for advert in completed.answer.adverts for warning in advert.warnings]
    return list(dict.fromkeys([*completed.parsed.warnings, *adverts]))


def _describe_image(
    completed: CompletedRequest, index: int, files: _Files, reference: Callable[[str, bytes], str]
) -> AnsweredImage:
    image = reference(f"{index + 1}", files.picture)
    if completed.is_mask:
        proposals = completed.answer.proposals
        return AnsweredImage(image=image, score=None if proposals is None else max(proposals.scores))
    advert = completed.answer.adverts[index]
    placed = advert.placed
    layers = {name: reference(f"{index + 1}-{name}", data) for name, data in files.layers.items()}
    return AnsweredImage(
        image=image,
        seed=advert.seed,
        placement=None if placed is None else _describe_placement(placed, advert.split),
        receipt=None if advert.receipt is None else _describe_receipt(advert.receipt),
        safety=None if advert.safety is None else _describe_safety(advert.safety),
        layers=None if placed is None or not layers else _describe_layers(layers, placed),
    )


def _describe_placement(placed: PlacedProduct, split: float | None) -> AnsweredPlacement:
    placement = placed.placement
    return AnsweredPlacement(scale=placement.scale, x=placement.x, y=placement.y, split=split)


def _describe_receipt(receipt: Receipt) -> AnsweredReceipt:
    return AnsweredReceipt(
        identity=receipt.identity,
        expansion=round(receipt.expansion, 3),
        seam=round(receipt.seam, 2),
        agreement=None if receipt.agreement is None else round(receipt.agreement, 4),
    )


def _describe_safety(safety: Safety) -> AnsweredSafety:
    return AnsweredSafety(refused_seeds=list(safety.refused_seeds), withheld=safety.withheld)


def _describe_layers(layers: Mapping[str, str], placed: PlacedProduct) -> AnsweredLayers:
    box = placed.box
    return AnsweredLayers(
        mask=layers["mask"],
        background=layers.get("background"),
        passes=[text for name, text in layers.items() if name.startswith("pass-")],
        layout={"product": [box.left, box.top, box.right, box.bottom]},
    )


def _timings(completed: CompletedRequest, encode_ms: float) -> AnsweredTimings:
    timings = completed.answer.timings
    return AnsweredTimings(
        decode=round(completed.decode_ms, 1),
        segment=round(timings.segment, 1),
        background=round(timings.background, 1),
        passes=[round(milliseconds, 1) for milliseconds in timings.passes],
        composite=round(timings.composite, 1),
        encode=round(encode_ms, 1),
        queue=round(timings.queue, 1),
        total=round(completed.decode_ms + timings.total + encode_ms, 1),
    )
