"""Bytes to pixels and back: seven formats in, three out, every limit checked before a pixel is decoded."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin

from inpaint_server.domain.arrays import Pixels, ProductMask, UInt8Array, frozen_array
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import OutputFormat
from inpaint_server.errors import InvalidRequest, TooLarge
from inpaint_server.imaging.file_kinds import kind_of
from inpaint_server.imaging.mask import HAZE, OPAQUE
from inpaint_server.imaging.png_metadata import without_large_metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Pillow's own bomb check warns at a size of its own choosing. Every picture of this package is opened in `_open`
# below, which holds the caller's limit instead.
Image.MAX_IMAGE_PIXELS = None

_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
READABLE = "PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF"
"""The formats that are read, for a sentence."""

_SHORTEST_SIDE = 8
_SET = 128
_RATIO_TOLERANCE = 0.02
_DESCRIPTION_TAG = 0x010E
_DNG_VERSION_TAG = 50706
_NEW_SUBFILE_TYPE_TAG, _REDUCED_RESOLUTION = 254, 1  # TIFF 6.0, section 8
MAX_NOTE: Final[Mapping[OutputFormat, int]] = {"png": 1_000_000, "jpeg": 65_000, "webp": 1_000_000}
"""The longest note that a format's files hold, characters: a JPEG's EXIF has 64 kB."""

_NOTE_KEYWORD = "inpaint-server"
_LOSSY = ("a JPEG picture", "a WebP picture", "an AVIF picture")
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def decode_photo(data: bytes, *, max_pixels: int) -> tuple[Pixels, ProductMask | None]:
    """Decode a product photo, upright and in sRGB.

    Of an animation the first picture counts. A transparent picture's colours are kept as they are stored, also where
    they cannot be seen, and its alpha channel becomes the mask, as it is, unless it is the same everywhere.

    Args:
        data: A file of a format that is read.
        max_pixels: The largest width x height that is decoded.

    Returns:
        H x W x 3 uint8 RGB, and H x W uint8 (255 = product) or None.

    Raises:
        InvalidRequest: Not one of the formats, damaged, smaller than 8 x 8 or wholly transparent.
        TooLarge: More than `max_pixels`.
    """
    return photo_and_mask(*colours_and_alpha(_open(data, max_pixels, "image")))


def photo_and_mask(colours: UInt8Array, alpha: UInt8Array | None) -> tuple[Pixels, ProductMask | None]:
    """A photo, and its alpha channel as the product's mask if it leaves anything out.

    Args:
        colours: H x W x 3 uint8 RGB.
        alpha: H x W uint8, or None.

    Raises:
        InvalidRequest: Wholly transparent.
    """
    photo = Pixels(frozen_array(colours))
    if alpha is None or int(alpha.min()) >= OPAQUE:
        return photo, None
    if int(alpha.max()) < HAZE:
        raise InvalidRequest(
            "`image` is transparent everywhere: make the product opaque, or leave the alpha channel out.",
            field="image",
        )
    return photo, None if alpha.min() == alpha.max() else ProductMask(frozen_array(alpha))


def decode_mask(data: bytes, *, size: Size, max_pixels: int) -> ProductMask:
    """Decode the product's mask and bring it to the photo's size.

    White is product; of a coloured picture the brightest channel counts, and a transparent one is read as if it were
    laid on black.

    Args:
        data: A file of a format that is read, with the photo's aspect ratio (within 2%).
        size: The photo's size.
        max_pixels: The largest width x height that is decoded.

    Returns:
        H x W uint8 of the photo's size, 255 = product, soft edges kept.

    Raises:
        InvalidRequest: Undecodable, of another shape than the photo, or nothing in it is white.
        TooLarge: More than `max_pixels`.
    """
    mask = brightest(*colours_and_alpha(_open(data, max_pixels, "mask")))
    if kind_of(data) in _LOSSY:  # their noise is neither a veil nor a hole
        mask = np.where(mask < HAZE, np.uint8(0), np.where(mask > 255 - HAZE, np.uint8(255), mask))
    return fit_mask(mask, size)


def brightest(colours: UInt8Array, alpha: UInt8Array | None) -> UInt8Array:
    """The brightest channel of a picture laid on black, H x W uint8.

    Args:
        colours: H x W x channels uint8.
        alpha: H x W uint8, or None.
    """
    values: UInt8Array = colours.max(axis=2)
    return values if alpha is None else ((values.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def fit_mask(mask: UInt8Array, size: Size) -> ProductMask:
    """Bring a mask to the photo's size.

    Args:
        mask: H x W uint8, 255 = product, of the photo's aspect ratio (within 2%).
        size: The photo's size.

    Returns:
        H x W uint8 of the photo's size, 255 = product, soft edges kept.

    Raises:
        InvalidRequest: The mask has another shape than the photo, or nothing in it is white.
    """
    height, width = mask.shape
    if (height, width) != (size.height, size.width):
        if abs(width * size.height / (height * size.width) - 1) > _RATIO_TOLERANCE:
            raise InvalidRequest(
                f"`mask` is {width} x {height} pixels and the photo {size.width} x {size.height}: "
                "send a mask of the photo's size, or at least of its aspect ratio.",
                field="mask",
            )
        # Bicubic, not Lanczos: its only lobe undershoots and is clipped, so no ripples appear around the product.
        mask = np.asarray(Image.fromarray(mask).resize((size.width, size.height), Image.Resampling.BICUBIC))
    if int(mask.max()) < _SET:
        raise InvalidRequest("`mask` holds no product: paint the product white on black.", field="mask")
    return ProductMask(frozen_array(mask))


def check_dimensions(*, width: int, height: int, max_pixels: int, field: str) -> None:
    """Refuse a picture that is too large to decode or too small to show a product.

    Raises:
        TooLarge: More than `max_pixels`.
        InvalidRequest: A side is shorter than 8 pixels.
    """
    if width * height > max_pixels:
        raise TooLarge(
            f"`{field}` is {width} x {height} pixels and the limit is {max_pixels / 1e6:g} megapixels "
            "(INPAINT_MAX_MEGAPIXELS): send a smaller picture.",
            field=field,
        )
    if min(width, height) < _SHORTEST_SIDE:
        raise InvalidRequest(
            f"`{field}` is {width} x {height} pixels: send a picture of at least {_SHORTEST_SIDE} x {_SHORTEST_SIDE}.",
            field=field,
        )


def encode(pixels: UInt8Array, format: OutputFormat, note: str | None = None) -> bytes:  # noqa: A002 (the wire's word)
    """Encode a picture; the same pixels and note give the same bytes.

    Args:
        pixels: H x W x 3 uint8 RGB, or H x W uint8 grey.
        format: PNG (lossless), JPEG (quality 92, full colour resolution) or WebP (quality 90).
        note: ASCII text the file carries, at most `MAX_NOTE`: in PNG as a text chunk, in the others as EXIF's
            image description.
    """
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    if format == "png":
        chunks = PngImagePlugin.PngInfo()
        if note is not None:
            chunks.add_text(_NOTE_KEYWORD, note)
        image.save(file, "PNG", compress_level=4, pnginfo=chunks)
        return file.getvalue()
    exif = Image.Exif()
    if note is not None:
        exif[_DESCRIPTION_TAG] = note
    if format == "jpeg":
        image.save(file, "JPEG", quality=92, subsampling=0, exif=exif)
    else:
        image.save(file, "WEBP", quality=90, method=4, exif=exif)
    return file.getvalue()


def read_note(data: bytes, *, max_pixels: int) -> str | None:
    """The note that `encode` put into a file; None where it carries none.

    Args:
        data: A PNG, JPEG or WebP file.
        max_pixels: The largest width x height that is opened.

    Raises:
        InvalidRequest: Not one of the formats, or damaged.
        TooLarge: More than `max_pixels`.
    """
    image = _open(data, max_pixels, "file")
    note: object = image.info.get(_NOTE_KEYWORD) or image.getexif().get(_DESCRIPTION_TAG)
    return note if isinstance(note, str) else None


def holds_several(data: bytes) -> bool:
    """Whether a readable file holds more pictures than the first, which is the one that is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001 (the first picture was readable; what follows it may be anything)
        return False


def _open(data: bytes, max_pixels: int, field: str) -> Image.Image:
    """Open a file, check its declared size, and only then decode it; orientation is applied."""
    if not data:
        raise InvalidRequest(f"`{field}` is empty: send a {READABLE} file.", field=field)
    data, profile = without_large_metadata(data)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except MemoryError:
        raise
    except Exception as error:  # any error of a parser is about the bytes it was given
        raise InvalidRequest(_not_readable(kind_of(data), field), field=field) from error
    if _is_raw(image):
        raise InvalidRequest(_not_readable("a camera's raw picture", field), field=field)
    check_dimensions(width=image.width, height=image.height, max_pixels=max_pixels, field=field)
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise InvalidRequest(f"`{field}` is damaged or cut short: send the whole file again.", field=field) from error
    if profile is not None:
        image.info["icc_profile"] = profile
    return upright(image)


def _is_raw(image: Image.Image) -> bool:
    """Whether a TIFF is a camera's raw file (DNG, NEF, ARW): its first picture is only a small preview."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    tags = image.tag_v2
    return _DNG_VERSION_TAG in tags or tags.get(_NEW_SUBFILE_TYPE_TAG, 0) & _REDUCED_RESOLUTION == _REDUCED_RESOLUTION


def _not_readable(kind: str | None, field: str) -> str:
    if kind is None:
        return f"`{field}` cannot be read as a picture: send a whole {READABLE} file."
    return f"`{field}` is {kind} that cannot be read: send a whole {READABLE} file."


def upright(image: Image.Image) -> Image.Image:
    """Apply a picture's EXIF orientation; a damaged EXIF block changes nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 (a damaged block must not cost the picture)
        return image


def colours_and_alpha(image: Image.Image) -> tuple[UInt8Array, UInt8Array | None]:
    """Return H x W x 3 sRGB and H x W alpha (None: the picture has none) of any mode Pillow decodes."""
    if image.mode in _SIXTEEN_BIT or image.mode == "F":
        values: NDArray[np.float32] = np.asarray(image, dtype=np.float32)
        white = 65535 if image.mode != "F" else 1 if np.nanmax(values) <= 1 else 255
        grey = np.rint(np.clip(np.nan_to_num(values), 0, white) * (255 / white)).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2), None
    alpha = None
    if image.has_transparency_data:
        profile: object = image.info.get("icc_profile")
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        image = Image.merge("RGB", image.split()[:3])
    else:
        profile = image.info.get("icc_profile")
        if image.mode not in {"RGB", "L", "CMYK"}:
            image = image.convert("RGB")
    return np.asarray(_to_srgb(image, profile)), alpha


def _to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Convert RGB, L or CMYK to sRGB by its colour profile where that can be done, else by the plain formula."""
    if isinstance(profile, bytes) and profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not ImageCms.getProfileDescription(source).startswith("sRGB"):
                target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
                converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
                return image.convert("RGB") if converted is None else converted
        except Exception:  # noqa: BLE001 (a damaged or foreign profile must not cost the picture)
            return image.convert("RGB")
    return image.convert("RGB")
