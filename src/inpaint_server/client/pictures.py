"""Pictures as people hold them, as files that a server reads."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.errors import InvalidRequest
from inpaint_server.imaging.codec import colours_and_alpha, upright
from inpaint_server.imaging.file_kinds import is_heic
from inpaint_server.imaging.pixel_arrays import from_numbers

Photo = Image.Image | NDArray[Any] | bytes | str | os.PathLike[str]
"""A picture in memory, an array of H x W (x 1, 3 or 4) numbers, a file's bytes, or its path."""


def picture_file(picture: Photo, field: str) -> bytes:
    """A picture's file: as it is on the disk or in memory, HEIC as JPEG (with alpha as PNG), and anything else as PNG.

    Args:
        picture: The picture; a `PIL.Image` is turned by its EXIF and brought to sRGB, as a server does with a file.
        field: What it is, for an error.

    Raises:
        InvalidRequest: it cannot be read, or is an array of anything but pixels.
    """
    if isinstance(picture, Image.Image):
        return _png(*colours_and_alpha(upright(picture)))
    if isinstance(picture, np.ndarray):
        return _png(from_numbers(picture, field), None)
    data = picture if isinstance(picture, bytes) else _read(Path(picture), field)
    return _without_heic(data, field) if is_heic(data) else data


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"Check the path of `{field}`: {error}.", field=field) from None


def _png(colours: UInt8Array, alpha: UInt8Array | None) -> bytes:
    levels = colours if alpha is None else np.dstack((colours, alpha))
    return _saved(Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels), "PNG")


def _without_heic(data: bytes, field: str) -> bytes:
    """Servers read no HEIC: its decoder is only needed where photos come straight from a phone."""
    import pi_heif

    try:
        image = pi_heif.open_heif(data).to_pillow()  # pyright: ignore[reportUnknownMemberType] - turned by libheif
    except Exception as error:  # any error of a decoder is about the bytes it was given
        raise InvalidRequest(f"`{field}` is a damaged HEIC picture: give the whole file.", field=field) from error
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        return _saved(image, "PNG", icc_profile=profile)
    return _saved(image.convert("RGB"), "JPEG", quality=95, subsampling=0, icc_profile=profile)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
