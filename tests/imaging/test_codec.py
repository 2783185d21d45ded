"""Files in and out: every mode, orientation and kind of damage."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import OutputFormat
from inpaint_server.errors import InvalidRequest, TooLarge
from inpaint_server.imaging.codec import decode_mask, decode_photo, encode, fit_mask, holds_several, read_note
from testing.pictures import LIMIT, file, noise


def _photo(data: bytes, limit: int = LIMIT) -> UInt8Array:
    return decode_photo(data, max_pixels=limit)[0]


def _smooth(height: int = 24, width: int = 40) -> UInt8Array:
    rows, columns = np.mgrid[:height, :width]
    return np.stack((rows * 9, columns * 5, 255 - rows * 4 - columns * 3), axis=2).astype(np.uint8)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, body: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + extra
    return start + _chunk(b"IDAT", zlib.compress(body)) + _chunk(b"IEND", b"")


def _bomb(kind: str, side: int) -> bytes:
    """A small file that declares `side` x `side` pixels."""
    if kind == "PNG":
        return _png(side, side, bytes(1000))
    data = bytearray(file(_smooth(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    else:
        bits = struct.unpack("<I", data[21:25])[0] & ~((1 << 28) - 1)
        data[21:25] = struct.pack("<I", bits | (side - 1) | (side - 1) << 14)
    return bytes(data)


# Formats and modes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_every_pixel(kind: str, options: dict[str, bool]):
    photo, mask = decode_photo(file(noise(30, 20), kind, **options), max_pixels=LIMIT)
    np.testing.assert_array_equal(photo, noise(30, 20))
    assert mask is None
    assert not photo.flags.writeable


def test_jpeg_is_close():
    assert np.abs(_photo(file(_smooth(), "JPEG", quality=95, subsampling=0)) - _smooth().astype(int)).max() < 12


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_modes_without_alpha(mode: str):
    image = Image.fromarray(_smooth()).convert(mode)
    photo, mask = decode_photo(file(image), max_pixels=LIMIT)
    np.testing.assert_array_equal(photo, np.asarray(image.convert("RGB")))
    assert mask is None


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_other_lossless_formats_give_every_pixel(kind: str):
    np.testing.assert_array_equal(_photo(file(noise(30, 20), kind)), noise(30, 20))


def test_gif_gives_its_palette():
    image = Image.fromarray(_smooth()).quantize(64)
    np.testing.assert_array_equal(_photo(file(image, "GIF")), np.asarray(image.convert("RGB")))


def test_avif_comes_close():
    assert np.abs(_photo(file(_smooth(), "AVIF", quality=95)) - _smooth().astype(int)).max() < 12


@pytest.mark.parametrize("kind", ["MPO", "TIFF", "GIF", "WEBP", "PNG"])
def test_additional_frames_are_noticed(kind: str):
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green")]
    several = file(pictures[0], kind, save_all=True, append_images=pictures[1:])
    assert holds_several(several)
    assert not holds_several(file(pictures[0], "JPEG" if kind == "MPO" else kind))
    assert np.abs(_photo(several) - (255.0, 0, 0)).max() < 12, "the first"


def test_cmyk_is_read_without_inversion():
    colours = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    photo = _photo(file(Image.fromarray(colours).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(photo - colours.astype(int)).max() < 8


def test_16_bit_grey_is_scaled_not_clipped():
    values = np.linspace(0, 65535, 16 * 16).reshape(16, 16).astype(np.uint16)
    photo = _photo(file(Image.fromarray(values)))
    np.testing.assert_array_equal(photo, np.repeat(np.rint(values / 257)[..., None], 3, axis=2))


@pytest.mark.parametrize("white", [1, 255])
def test_floats_are_scaled_by_their_range(white: int):
    values = np.linspace(0, white, 16 * 16, dtype=np.float32).reshape(16, 16)
    photo = _photo(file(Image.fromarray(values), "TIFF"))
    np.testing.assert_array_equal(photo[..., 0], np.arange(256).reshape(16, 16))


def test_16_bit_colour():
    values = np.linspace(0, 65535, 16 * 16 * 3).reshape(16, 16, 3).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    assert np.abs(_photo(_png(16, 16, rows, depth=16)) - values / 257).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_gives_first_frame(kind: str):
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    data = file(pictures[0], kind, save_all=True, append_images=pictures[1:], lossless=True)
    assert (_photo(data) == (255, 0, 0)).all()


# Alpha ---------------------------------------------------------------------------------------------------------------


def _alpha() -> UInt8Array:
    alpha = np.zeros((24, 40), np.uint8)
    alpha[5:20, 10:30] = 255
    alpha[5:20, 9] = 100
    return alpha


def test_alpha_becomes_mask_and_keeps_colours():
    data = file(np.dstack((_smooth(), _alpha())))
    photo, mask = decode_photo(data, max_pixels=LIMIT)
    np.testing.assert_array_equal(photo, _smooth())
    np.testing.assert_array_equal(mask, _alpha())


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_alpha_of_other_modes(mode: str):
    if mode == "LA":
        data = file(Image.merge("LA", [Image.fromarray(_smooth()[..., 0]), Image.fromarray(_alpha())]))
        expected = _alpha()
    else:
        image = Image.fromarray((_alpha() >= 128).astype(np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 250, 100, 50])
        data = file(image, transparency=0)
        expected = np.where(_alpha() >= 128, 255, 0)
    mask = decode_photo(data, max_pixels=LIMIT)[1]
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("level", [255, 200])
def test_opaque_alpha_is_no_mask(level: int):
    data = file(np.dstack((_smooth(), np.full((24, 40), level, np.uint8))))
    photo, mask = decode_photo(data, max_pixels=LIMIT)
    assert mask is None
    np.testing.assert_array_equal(photo, _smooth())


def test_fully_transparent_picture_is_refused():
    with pytest.raises(InvalidRequest, match="transparent"):
        _photo(file(np.dstack((_smooth(), np.zeros((24, 40), np.uint8)))))


# Orientation and colour ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_give_same_picture(kind: str, orientation: int):
    upright = _smooth()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
    photo = _photo(file(np.ascontiguousarray(stored), kind, exif=exif, **options))
    assert photo.shape == upright.shape
    assert np.abs(photo - upright.astype(int)).max() <= (12 if kind == "JPEG" else 0)


def test_mask_follows_photo_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.rot90(np.dstack((_smooth(), _alpha())), 1)
    photo, mask = decode_photo(file(np.ascontiguousarray(stored), exif=exif), max_pixels=LIMIT)
    np.testing.assert_array_equal(photo, _smooth())
    np.testing.assert_array_equal(mask, _alpha())


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"nonsense", b"Exif\0\0MM\0*" + b"\xff" * 60]
)
def test_damaged_exif_is_ignored(exif: bytes):
    np.testing.assert_array_equal(_photo(file(_smooth(), exif=exif)), _smooth())


def test_colour_profile_is_applied():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(_photo(file(_smooth(), icc_profile=srgb)), _smooth())
    # A profile for another kind of picture, and one that is none, leave the pixels as they are.
    np.testing.assert_array_equal(_photo(file(_smooth(), icc_profile=profile)), _smooth())
    np.testing.assert_array_equal(_photo(file(_smooth(), icc_profile=b"nonsense" * 40)), _smooth())


def test_wide_gamut_profile_changes_values():
    """With red and green primaries exchanged red must come out green."""
    photo = _photo(file(Image.new("RGB", (16, 16), (255, 0, 0)), icc_profile=_exchanged_primaries()))
    assert photo[..., 1].min() > 240
    assert photo[..., 0].max() < 15


def _exchanged_primaries() -> bytes:
    """sRGB's own profile with red and green primaries exchanged."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", srgb[128:132])[0]
    tags = {bytes(srgb[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, green, name = tags[b"rXYZ"], tags[b"gXYZ"], tags[b"desc"]
    srgb[red + 4 : red + 12], srgb[green + 4 : green + 12] = srgb[green + 4 : green + 12], srgb[red + 4 : red + 12]
    at = struct.unpack(">I", srgb[name + 4 : name + 8])[0]
    end = at + struct.unpack(">I", srgb[name + 8 : name + 12])[0]
    srgb[at:end] = srgb[at:end].replace(b"s\0R\0G\0B", b"x\0R\0G\0B")
    return bytes(srgb)


# Large metadata ------------------------------------------------------------------------------------------------------

LARGE_TEXTS = {
    "a text": _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000))),
    "XMP": _chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>" * 400_000)),
    "a hundred texts": b"".join(_chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(bytes(1_000_000))) for n in range(100)),
}


@pytest.mark.parametrize("where", ["before the pixels", "behind the pixels"])
@pytest.mark.parametrize("text", LARGE_TEXTS)
def test_large_text_costs_no_png(text: str, where: str):
    plain = file(_smooth())
    at = plain.index(b"IDAT" if where == "before the pixels" else b"IEND") - 4
    np.testing.assert_array_equal(_photo(plain[:at] + LARGE_TEXTS[text] + plain[at:]), _smooth())


def test_large_colour_profile_of_png_is_applied():
    profile = _exchanged_primaries() + np.random.default_rng(0).bytes(1_300_000)
    profile = struct.pack(">I", len(profile)) + profile[4:]
    photo = _photo(file(Image.new("RGB", (16, 16), (255, 0, 0)), icc_profile=profile))
    assert photo[..., 1].min() > 240
    assert photo[..., 0].max() < 15


# Hostile files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"hello, world" * 100,
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        _png(0, 0, b""),
        _png(16, 16, b"short"),
        _png(16, 16, bytes(16 * 49), depth=3),
        file(_smooth(), "JPEG2000"),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    ],
)
@pytest.mark.parametrize("field", ["image", "mask"])
def test_unreadable_picture_is_refused(data: bytes, field: str):
    with pytest.raises(InvalidRequest) as caught:
        if field == "image":
            decode_photo(data, max_pixels=LIMIT)
        else:
            decode_mask(data, size=Size(height=16, width=16), max_pixels=LIMIT)
    assert caught.value.field == field
    assert f"`{field}`" in caught.value.message
    assert "send" in caught.value.message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_picture_is_refused_or_complete(kind: str):
    data = file(noise(40, 40), kind)
    whole = _photo(data)
    refused = 0
    for length in range(0, len(data), max(1, len(data) // 150)):
        try:
            np.testing.assert_array_equal(_photo(data[:length]), whole)
        except InvalidRequest:
            refused += 1
    assert refused >= 140


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_damaged_picture_is_decoded_or_refused(kind: str):
    data, rng = file(_smooth(), kind), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), 3):
            damaged[at] = rng.integers(256)
        try:
            assert _photo(bytes(damaged), 1_000_000).dtype == np.uint8
        except (InvalidRequest, TooLarge):
            continue


@pytest.mark.parametrize(("kind", "side"), [("PNG", 30_000), ("PNG", 2**31 - 1), ("JPEG", 30_000), ("WEBP", 16_383)])
def test_decompression_bomb_is_refused_before_decoding(kind: str, side: int):
    started = time.process_time()
    with pytest.raises(TooLarge, match=r"64 megapixels") as caught:
        _photo(_bomb(kind, side))
    assert time.process_time() - started < 0.5
    assert caught.value.field == "image"


def test_pixel_limit_is_setting_not_pillows():
    data = file(Image.new("1", (10_000, 9_500)))  # 95 megapixels: Pillow would warn
    with pytest.raises(TooLarge):
        _photo(data)
    assert _photo(data, 100_000_000).shape == (9_500, 10_000, 3)
    with pytest.raises(TooLarge, match=r"0\.0009 megapixels"):
        _photo(file(_smooth()), 900)
    assert _photo(file(_smooth()), 960).shape == (24, 40, 3)


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_tiny_pictures_are_refused(size: tuple[int, int]):
    with pytest.raises(InvalidRequest, match="at least 8 x 8"):
        _photo(file(Image.new("RGB", size)))


# Masks ---------------------------------------------------------------------------------------------------------------


def _mask(data: bytes, height: int = 24, width: int = 40) -> UInt8Array:
    return decode_mask(data, size=Size(height=height, width=width), max_pixels=LIMIT)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P"])
def test_masks_of_every_mode(mode: str):
    white = np.where(_alpha() == 255, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(_mask(file(Image.fromarray(white).convert(mode))), white)


def test_coloured_mask_uses_brightest_channel():
    colours = np.zeros((24, 40, 3), np.uint8)
    colours[:8], colours[8:16, :, 2] = (255, 0, 255), 255
    expected = np.zeros((24, 40), np.uint8)
    expected[:16] = 255
    np.testing.assert_array_equal(_mask(file(colours)), expected)


def test_white_on_transparent_is_read_as_white_on_black():
    white = np.full((24, 40, 3), 255, np.uint8)
    np.testing.assert_array_equal(_mask(file(np.dstack((white, _alpha())))), _alpha())


def test_mask_of_same_shape_is_resized():
    # The sample's own pair: 252 x 204 for a photo of 716 x 576.
    small = np.zeros((204, 252), np.uint8)
    small[50:150, 60:200] = 255
    fitted = fit_mask(small, Size(height=576, width=716))
    assert fitted.shape == (576, 716)
    rows, columns = np.flatnonzero((fitted >= 128).any(axis=1)), np.flatnonzero((fitted >= 128).any(axis=0))
    edges = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    assert np.abs(np.subtract(edges, (141, 424, 170, 568))).max() <= 1
    assert set(np.unique(fit_mask(small, Size(height=204, width=252)))) == {0, 255}


def test_mask_of_other_shape_is_refused_with_both_sizes():
    with pytest.raises(InvalidRequest, match="30 x 24 pixels and the photo 40 x 24") as caught:
        _mask(file(Image.new("L", (30, 24), 255)))
    assert caught.value.field == "mask"


def test_black_mask_is_refused():
    with pytest.raises(InvalidRequest, match="white on black"):
        _mask(file(Image.new("L", (40, 24), 100)))


# Encoding ------------------------------------------------------------------------------------------------------------


def test_png_is_lossless_for_colour_and_grey():
    np.testing.assert_array_equal(_photo(encode(noise(20, 30), "png")), noise(20, 30))
    np.testing.assert_array_equal(_mask(encode(_alpha(), "png")), _alpha())


@pytest.mark.parametrize(("form", "worst"), [("jpeg", 30), ("webp", 40)])
def test_lossy_formats_are_close(form: str, worst: int):
    decoded = _photo(encode(_smooth(), form)).astype(int)  # pyright: ignore[reportArgumentType]
    assert np.abs(decoded - _smooth()).mean() < worst / 10


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("picture", [noise(64, 48), noise(64, 48)[..., 0]], ids=["colour", "grey"])
def test_same_pixels_give_same_bytes(form: str, picture: UInt8Array):
    signatures = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}
    data = encode(picture, form)  # pyright: ignore[reportArgumentType]
    assert data.startswith(signatures[form])
    assert data == encode(picture.copy(), form)  # pyright: ignore[reportArgumentType]
    assert Image.open(io.BytesIO(data)).size == (48, 64)


def test_noise_advert_fits_reply_limit():
    """Noise cannot be packed; 512 x 512 of it in base64 stays under a megabyte and a half of JSON."""
    assert len(encode(noise(512, 512), "png")) * 4 / 3 < 1_100_000


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_note_in_file_changes_no_pixel(form: OutputFormat):
    picture = noise(20, 30)
    noted, plain = encode(picture, form, '{"seed": 7}'), encode(picture, form)
    assert read_note(noted, max_pixels=LIMIT) == '{"seed": 7}'
    assert read_note(plain, max_pixels=LIMIT) is None
    np.testing.assert_array_equal(Image.open(io.BytesIO(noted)), Image.open(io.BytesIO(plain)))
    assert encode(picture, form, '{"seed": 7}') == noted


def test_foreign_note_is_ignored():
    with pytest.raises(InvalidRequest, match="send a whole PNG"):
        read_note(b"hello", max_pixels=LIMIT)
