"""What an error calls a file."""

from __future__ import annotations

import pytest
from PIL import Image

from inpaint_server.imaging.file_kinds import is_heic, kind_of
from testing.pictures import file


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("PNG", "a PNG picture"),
        ("JPEG", "a JPEG picture"),
        ("WEBP", "a WebP picture"),
        ("AVIF", "an AVIF picture"),
        ("GIF", "a GIF picture"),
        ("BMP", "a BMP picture"),
        ("TIFF", "a TIFF picture"),
        ("JPEG2000", "a JPEG 2000 picture"),
        ("ICO", "an icon"),
        ("PDF", "a PDF document"),
        ("EPS", "a PostScript document"),
    ],
)
def test_files_that_pillow_writes(kind: str, name: str):
    assert kind_of(file(Image.new("RGB", (16, 16)), kind)) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "a HEIC picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "an AVIF picture"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw picture"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a film"),
        (b"  \n<SVG xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<!DOCTYPE html><p>Not found", "a web page"),
        (b"iVBORw0KGgoAAAANSUhEUg", "base64 of base64"),
        (b"hello", None),
        (b"", None),
    ],
)
def test_files_by_their_first_bytes(data: bytes, name: str | None):
    assert kind_of(data) == name
    assert is_heic(data) == (name == "a HEIC picture")
