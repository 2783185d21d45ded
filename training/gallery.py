"""The gallery: every demo photo in four scenes, drawn by the pipeline itself, and the page that shows them."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from inpaint_server import settings
from inpaint_server.domain.arrays import UInt8Array
from inpaint_server.imaging.sheet import contact_sheet
from inpaint_server.server.loading import Loaded, load

FIRST_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One scene of the gallery: what the product stands on, and what is behind it."""

    foreground: str
    background: str


SETTINGS = (
    Setting(foreground="a wooden table", background="brick wall"),
    Setting(foreground="green grass", background="park with trees in the background"),
    Setting(foreground="sand", background="beach, sunset sky"),
    Setting(foreground="white marble", background="kitchen"),
)


def write_gallery(bundle: Path, photos: Path, docs: Path) -> None:
    """Draws one contact sheet a photo, and writes the page.

    Args:
        bundle: Folder of the bundle that draws.
        photos: Folder of the product photos.
        docs: Receives `gallery.md` and `gallery/NAME.jpg`.
    """
    folder = docs / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    loaded = load(settings.read(bundle=str(bundle)))
    paths = sorted(photos.glob("*.jpg"))
    for path in tqdm(paths, desc="gallery"):
        tiles: list[tuple[str, UInt8Array]] = [("the photo", np.asarray(Image.open(path).convert("RGB")))]
        tiles += [
            (
                f"{scene.foreground}; {scene.background}; seed {FIRST_SEED + number}",
                draw(loaded, path, scene, FIRST_SEED + number),
            )
            for number, scene in enumerate(SETTINGS)
        ]
        Image.fromarray(contact_sheet(tiles)).save(folder / f"{path.stem}.jpg", quality=88)
    (docs / "gallery.md").write_text(_page([path.stem for path in paths]), encoding="utf-8")


def draw(loaded: Loaded, photo: Path, scene: Setting, seed: int) -> UInt8Array:
    """One advert, by the same way that a request goes.

    Returns:
        The picture, H x W x 3 uint8, at the bundle's native size.
    """
    request = {
        "image": b64encode(photo.read_bytes()).decode(),
        "foreground_prompt": scene.foreground,
        "background_prompt": scene.background,
        "seed": seed,
    }
    call = loaded.reader.read(json.dumps(request).encode(), {"content-type": "application/json"})
    return loaded.engine.submit(call.request, deadline_s=float("inf")).answer.result().adverts[0].picture


def _page(names: Sequence[str]) -> str:
    scenes = [
        f"| {FIRST_SEED + number} | {scene.foreground} | {scene.background} |" for number, scene in enumerate(SETTINGS)
    ]
    sheets = [f"## {name}\n\n![{name} in four scenes](gallery/{name}.jpg)\n" for name in names]
    head = (
        "# Gallery\n\n"
        "Six product photos in four scenes, drawn by the demo bundle at 256 x 256 with default settings.\n"
        "Nothing was picked: each seed is used for every product. One command draws this page again:\n\n"
        '```sh title="Not run by the tests: draws for minutes"\n'
        "python -m training gallery\n```\n"
    )
    table = "\n".join(["| seed | foreground prompt | background prompt |", "| --- | --- | --- |", *scenes])
    return "\n".join([head, table, "", *sheets])
