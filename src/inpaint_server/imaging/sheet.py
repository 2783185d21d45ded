"""A contact sheet: the steps of an advert side by side, labelled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from inpaint_server.domain.arrays import Pixels, UInt8Array, frozen_array

_PAPER = (255, 255, 255)
_INK = (32, 33, 36)
_RULE = (218, 220, 224)
_FONT_SIZE = 18
_MARGIN = 24
_LABEL = 32


def contact_sheet(
    pictures: Sequence[tuple[str, UInt8Array]], *, tile_height: int = 320, columns: int | None = None
) -> Pixels:
    """Lay out labelled pictures on white.

    Args:
        pictures: Label and H x W x 3 (RGB) or H x W (grey: masks) uint8, at least one.
        tile_height: The height every picture is brought to, pixels.
        columns: Pictures in a row; all in one row by default.

    Returns:
        H x W x 3 uint8.
    """
    assert pictures, "a contact sheet needs a picture"
    font = ImageFont.load_default(size=_FONT_SIZE)
    per_row = columns or len(pictures)
    tiles = [_tile(label, picture, tile_height, font) for label, picture in pictures]
    rows = [tiles[first : first + per_row] for first in range(0, len(tiles), per_row)]
    width = max(sum(tile.width + _MARGIN for tile in row) for row in rows) + _MARGIN
    sheet = Image.new("RGB", (width, len(rows) * (tile_height + _LABEL + _MARGIN) + _MARGIN), _PAPER)
    for number, row in enumerate(rows):
        left = _MARGIN
        for tile in row:
            sheet.paste(tile, (left, _MARGIN + number * (tile_height + _LABEL + _MARGIN)))
            left += tile.width + _MARGIN
    return Pixels(frozen_array(np.asarray(sheet)))


def _tile(
    label: str, picture: UInt8Array, height: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> Image.Image:
    """Return one picture of the given height above its label, in a thin frame; wide enough for the label."""
    image = Image.fromarray(picture).convert("RGB")
    width = max(1, round(image.width * height / image.height))
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (max(width, round(font.getbbox(label)[2])), height + _LABEL), _PAPER)
    tile.paste(image, (0, 0))
    draw = ImageDraw.Draw(tile)
    draw.rectangle((0, 0, width - 1, height - 1), outline=_RULE)
    draw.text((0, height + 8), label, fill=_INK, font=font)
    return tile
