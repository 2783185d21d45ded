"""The contact sheet: even margins, pictures and masks alike."""

from __future__ import annotations

import numpy as np

from inpaint_server.imaging.sheet import contact_sheet
from testing.pictures import noise


def test_tiles_are_in_rows_on_white():
    mask = np.full((50, 100), 90, np.uint8)
    sheet = contact_sheet(
        [("photo", noise(100, 100)), ("mask", mask), ("advert", noise(100, 100))], tile_height=100, columns=2
    )
    assert sheet.shape == (2 * (100 + 32 + 24) + 24, 24 + 100 + 24 + 200 + 24, 3)
    for border in (sheet[:24], sheet[-16:], sheet[:, :24], sheet[:, -24:]):
        assert (border == 255).all()
    assert (sheet[60, 160:340] == 90).all()
    assert (sheet[126:150, 24:100] < 128).any(), "the label is there"
    assert not sheet.flags.writeable


def test_long_label_widens_tile():
    narrow = contact_sheet([("a", noise(200, 20))], tile_height=200)
    wide = contact_sheet([("a label that is wider than its picture", noise(200, 20))], tile_height=200)
    assert wide.shape[1] > narrow.shape[1] + 200
