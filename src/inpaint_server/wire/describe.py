"""What an answer says beside its pictures: as JSON, or shortened for a header."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from inpaint_server.domain.product import PlacedProduct
from inpaint_server.domain.request import OutputFormat
from inpaint_server.domain.results import Answer, ModelCard, Receipt, Safety
from inpaint_server.settings import Provenance
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
from inpaint_server.wire.decode import ParsedRequest
from inpaint_server.wire.signing import Sign

_MAX_ATTRIBUTES: Final = 1024
"""Characters of SageMaker's custom attributes."""
_MAX_WARNING: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompletedRequest:
    """An answered request with everything its response reports.

    Attributes:
        parsed: The request.
        answer: The engine's.
        card: What is loaded.
        request_id: Under which the log reports it.
        decode_ms: Milliseconds the request's pictures took to decode.
        provenance: What the pictures' files say about how they were made.
        sign: Signs files; None: they stay unsigned.
    """

    parsed: ParsedRequest
    answer: Answer
    card: ModelCard
    request_id: str
    decode_ms: float
    provenance: Provenance
    sign: Sign | None

    @property
    def is_mask(self) -> bool:
        """Whether the product's mask is the answer."""
        return self.parsed.request.task == "mask"

    @property
    def output_format(self) -> OutputFormat:
        """How the answer's pictures are encoded; a mask is always a PNG."""
        return "png" if self.is_mask else self.parsed.output_format


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFiles:
    """One picture of the answer with its layers, as files: names without suffix -> bytes."""

    picture: bytes
    layers: Mapping[str, bytes]


def compact_json(value: Any) -> bytes:
    """A value as JSON without white space."""
    return json.dumps(value, separators=(",", ":")).encode()


def describe(
    completed: CompletedRequest, encoded: tuple[list[PictureFiles], float], reference: Callable[[str, bytes], str]
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


def describe_first(completed: CompletedRequest, encode_ms: float) -> str:
    """The seed, safety, warnings and timings of the first picture, as JSON in the 1,024 characters of a header.

    Warnings that do not fit are shortened, and the last of them left out and counted.
    """
    advert = None if completed.is_mask else completed.answer.adverts[0]
    seed = {} if advert is None else {"seed": advert.seed}
    verdict = None if advert is None or advert.safety is None else _describe_safety(advert.safety).model_dump()
    safety = {} if verdict is None else {"safety": verdict}
    timings = {"timings_ms": _timings(completed, encode_ms).model_dump()}
    warnings = [_shortened(warning) for warning in _warnings(completed)]

    def text(kept: int) -> str:
        left_out = len(warnings) - kept
        rest = [f"{left_out} more, in a JSON answer."] if left_out else []
        return compact_json({**seed, **safety, "warnings": [*warnings[:kept], *rest], **timings}).decode()

    texts = map(text, range(len(warnings), -1, -1))
    return next(one for one in texts if len(one) <= _MAX_ATTRIBUTES)


def _shortened(warning: str) -> str:
    return warning if len(warning) <= _MAX_WARNING else f"{warning[:_MAX_WARNING]}..."


def _warnings(completed: CompletedRequest) -> list[str]:
    """What was adjusted, or may be wrong; each sentence once."""
    adverts = [warning for advert in completed.answer.adverts for warning in advert.warnings]
    return list(dict.fromkeys([*completed.parsed.warnings, *adverts]))


def _describe_image(
    completed: CompletedRequest, index: int, files: PictureFiles, reference: Callable[[str, bytes], str]
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
        compared=round(receipt.compared, 3),
        expansion=receipt.expansion and round(receipt.expansion, 3),
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
