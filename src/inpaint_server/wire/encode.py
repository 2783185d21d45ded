"""Answers in, bodies and headers out, in the media type the caller accepts."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.request import AdvertRequest, OutputFormat
from inpaint_server.domain.results import Advert, Answer, ModelCard, Receipt, Safety
from inpaint_server.errors import InpaintServerError
from inpaint_server.imaging.codec import encode
from inpaint_server.imaging.composite import soft_anti_mask
from inpaint_server.wire.media_types import JSON, JSON_LINES, PICTURES, ZIP
from inpaint_server.wire.provenance import note
from inpaint_server.wire.schema import (
    AnsweredImage,
    AnsweredLayers,
    AnsweredModel,
    AnsweredPlacement,
    AnsweredReceipt,
    AnsweredSafety,
    AnsweredTimings,
    ErrorAnswer,
    ErrorBody,
    InvocationAnswer,
)
from inpaint_server.wire.signing import Sign

CUSTOM_ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedResponse:
    """What goes back over HTTP."""

    status: int = 200
    body: bytes
    media_type: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompletedRequest:
    """An answered request with everything a reply tells about it."""

    request: AdvertRequest
    answer: Answer
    card: ModelCard
    request_id: str
    decode_ms: float
    seed_form: bool
    sign: Sign | None = None


def reply(finished: CompletedRequest, media_type: str) -> EncodedResponse:
    """Encode an answered request as the media type."""
    if finished.seed_form and media_type == JSON:
        return _json_reply(_nested_lists(finished), {})
    return _WRITERS.get(media_type, _picture_reply)(finished, media_type)


def json_line(finished: CompletedRequest) -> bytes:
    """The JSON answer on one line."""
    return _describe(finished, _pictures(finished, finished.request.output_format), _as_base64)


def compact_json(value: Any) -> bytes:
    """A value as JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


def error_reply(error: InpaintServerError, request_id: str) -> EncodedResponse:
    """An error as every caller gets it: JSON, whatever was accepted."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return EncodedResponse(status=error.status, body=error_line(error, request_id), media_type=JSON, headers=headers)


def error_line(error: InpaintServerError, request_id: str) -> bytes:
    """An error's JSON on one line."""
    told = ErrorBody(code=error.code, message=error.message, field=error.field, request_id=request_id)
    return ErrorAnswer(error=told).model_dump_json(exclude_none=True).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    """One picture of the answer with its layers, as files: names without suffix -> bytes."""

    picture: bytes
    layers: Mapping[str, bytes]


def _pictures(finished: CompletedRequest, form: OutputFormat) -> tuple[list[_Encoded], float]:
    """Every picture of the answer encoded, and the milliseconds that took."""
    begun = time.perf_counter()
    if finished.request.task == "mask":
        assert finished.answer.product is not None, "the mask task answers a product"
        encoded = [_Encoded(picture=encode(finished.answer.product.mask, "png"), layers={})]
    else:
        encoded = [
            _Encoded(
                picture=_finished_file(finished, advert, form),
                layers={name: encode(layer, form) for name, layer in _layers(advert, finished.request)},
            )
            for advert in finished.answer.adverts
        ]
    return encoded, (time.perf_counter() - begun) * 1000


def _finished_file(finished: CompletedRequest, advert: Advert, form: OutputFormat) -> bytes:
    """A picture that says how it was made, signed where the operator wants that."""
    data = encode(advert.picture, form, note(finished.request, advert, finished.card))
    return data if finished.sign is None else finished.sign(data, form, finished.request.task)


def _layers(advert: Advert, request: AdvertRequest) -> list[tuple[str, UInt8Array]]:
    layers = advert.intermediates
    if layers is None or not request.return_layers:
        return []
    background = [] if layers.background is None else [("background", layers.background)]
    passes = [(f"pass-{number}", canvas) for number, canvas in enumerate(layers.passes, start=1)]
    return [("mask", layers.mask), *background, *passes]


def _describe(
    finished: CompletedRequest, encoded: tuple[list[_Encoded], float], tell: Callable[[str, bytes], str]
) -> bytes:
    """The answer as JSON; `tell` turns a picture's name and bytes into what stands for it."""
    pictures, encode_ms = encoded
    request, answer = finished.request, finished.answer
    size = request.canvas if answer.product is None or request.task != "mask" else answer.product.size
    told = InvocationAnswer(
        images=[_describe_image(finished, index, picture, tell) for index, picture in enumerate(pictures)],
        format="png" if request.task == "mask" else request.output_format,
        width=size.width,
        height=size.height,
        timings_ms=_timings(finished, encode_ms),
        model=AnsweredModel(
            bundle=finished.card.bundle,
            device=finished.card.device,
            dtype=finished.card.dtype,
            attention=finished.card.attention,
        ),
        warnings=list(dict.fromkeys([*request.warnings, *(said for one in answer.adverts for said in one.warnings)])),
        request_id=finished.request_id,
    )
    return told.model_dump_json(exclude_none=True).encode()


def _describe_image(
    finished: CompletedRequest, index: int, picture: _Encoded, tell: Callable[[str, bytes], str]
) -> AnsweredImage:
    image = tell(f"{index + 1}", picture.picture)
    if finished.request.task == "mask":
        proposals = finished.answer.proposals
        return AnsweredImage(image=image, score=None if proposals is None else max(proposals.scores))
    advert = finished.answer.adverts[index]
    placed = advert.placed
    layers = {name: tell(f"{index + 1}-{name}", data) for name, data in picture.layers.items()}
    return AnsweredImage(
        image=image,
        seed=advert.seed,
        placement=None if placed is None else _placement(placed, advert.split),
        receipt=None if advert.receipt is None else _receipt(advert.receipt),
        safety=None if advert.safety is None else _safety(advert.safety),
        layers=None if placed is None or not layers else _answered_layers(layers, placed),
    )


def _placement(placed: PlacedProduct, split: float | None) -> AnsweredPlacement:
    where = placed.placement
    return AnsweredPlacement(scale=where.scale, x=where.x, y=where.y, split=split)


def _receipt(receipt: Receipt) -> AnsweredReceipt:
    return AnsweredReceipt(
        identity=receipt.identity,
        expansion=round(receipt.expansion, 3),
        seam=round(receipt.seam, 2),
        agreement=None if receipt.agreement is None else round(receipt.agreement, 4),
    )


def _safety(safety: Safety) -> AnsweredSafety:
    return AnsweredSafety(refused_seeds=list(safety.refused_seeds), withheld=safety.withheld)


def _answered_layers(layers: Mapping[str, str], placed: PlacedProduct) -> AnsweredLayers:
    box = placed.box
    return AnsweredLayers(
        mask=layers["mask"],
        background=layers.get("background"),
        passes=[text for name, text in layers.items() if name.startswith("pass-")],
        layout={"product": [box.left, box.top, box.right, box.bottom]},
    )


def _timings(finished: CompletedRequest, encode_ms: float) -> AnsweredTimings:
    spent = finished.answer.timings
    return AnsweredTimings(
        decode=round(finished.decode_ms, 1),
        segment=round(spent.segment, 1),
        background=round(spent.background, 1),
        passes=[round(milliseconds, 1) for milliseconds in spent.passes],
        composite=round(spent.composite, 1),
        encode=round(encode_ms, 1),
        queue=round(spent.queue, 1),
        total=round(finished.decode_ms + spent.total + encode_ms, 1),
    )


def _json_reply(body: bytes, headers: Mapping[str, str]) -> EncodedResponse:
    return EncodedResponse(body=body, media_type=JSON, headers=headers)


def _as_base64(_: str, data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _json_writer(finished: CompletedRequest, media_type: str) -> EncodedResponse:
    line = json_line(finished)
    return EncodedResponse(body=line if media_type == JSON else line + b"\n", media_type=media_type, headers={})


def _picture_reply(finished: CompletedRequest, media_type: str) -> EncodedResponse:
    """The first picture alone; its seed and timings in the custom attributes, far below their 1,024 characters."""
    form = PICTURES[media_type]
    begun = time.perf_counter()
    product = finished.answer.product
    if finished.request.task == "mask" and product is not None:
        body = encode(product.mask, form)
    else:
        advert = finished.answer.adverts[0]
        body = _finished_file(finished, advert, form)
    encode_ms = (time.perf_counter() - begun) * 1000
    told: dict[str, Any] = {"timings_ms": _timings(finished, encode_ms).model_dump()}
    if finished.answer.adverts:
        told = {"seed": finished.answer.adverts[0].seed, **told}
    return EncodedResponse(body=body, media_type=media_type, headers={CUSTOM_ATTRIBUTES: compact_json(told).decode()})


def _zip_reply(finished: CompletedRequest, media_type: str) -> EncodedResponse:
    """All pictures and layers as files, and `manifest.json`: the JSON answer with their names."""
    form = finished.request.output_format
    suffix = "png" if finished.request.task == "mask" else form
    files: dict[str, bytes] = {}

    def as_file(name: str, data: bytes) -> str:
        files[f"{name}.{suffix}"] = data
        return f"{name}.{suffix}"

    manifest = _describe(finished, _pictures(finished, form), as_file)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for name, data in {"manifest.json": manifest, **files}.items():
            zipped.writestr(zipfile.ZipInfo(name), data)  # its fixed date keeps the same request's bytes the same
    return EncodedResponse(body=archive.getvalue(), media_type=media_type, headers={})


def _nested_lists(finished: CompletedRequest) -> bytes:
    """The replaced sample's answers: three candidate masks, or generated, background, mask and composite."""
    answer = finished.answer
    if answer.proposals is not None and finished.request.task == "mask":
        return compact_json(answer.proposals.masks.transpose(1, 2, 0).tolist())
    pictures: list[UInt8Array] = []
    for advert in answer.adverts[:1]:
        if advert.intermediates is None or advert.placed is None:
            pictures.append(advert.picture)
            continue
        background = [] if advert.intermediates.background is None else [advert.intermediates.background]
        pictures += [
            *advert.intermediates.passes[-1:],
            *background,
            soft_anti_mask(advert.intermediates.mask),
            advert.picture,
        ]
    return compact_json([picture.tolist() for picture in pictures])


_WRITERS: Final[dict[str, Callable[[CompletedRequest, str], EncodedResponse]]] = {
    JSON: _json_writer,
    JSON_LINES: _json_writer,
    ZIP: _zip_reply,
}
