"""Measures a bundle on pictures it was not trained on: masks, words, seams."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from segment_anything import SamPredictor

from inpaint_server.domain.arrays import PaintMask, Pixels, ProductMask
from inpaint_server.imaging.fill import fill_from_surroundings
from inpaint_server.models.sam import SamConfig, build_sam
from inpaint_server.pipeline import FILL_STRENGTH
from training.captions import caption
from training.dataset import Composites
from training.judge import BACKDROP_PROMPTS, SURFACE_PROMPTS, Judge, lower_part
from training.regions import paint_mask
from training.sampling import Bundle, Sampling
from training.segmenter import centre_point


def load_predictor(bundle: Path) -> SamPredictor:
    """Reads a bundle's Segment Anything."""
    model = build_sam(SamConfig.from_json(bundle / "sam" / "config.json"))
    model.load_state_dict(
        {name: value.float() for name, value in load_file(bundle / "sam" / "model.safetensors").items()}
    )
    return SamPredictor(model)


def iou(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks."""
    return float((found & true).sum() / max(1, (found | true).sum()))


def mask_at(predictor: SamPredictor, photo: NDArray[np.uint8], point: tuple[float, float]) -> NDArray[np.bool_]:
    """The candidate of highest predicted quality at one positive point (x, y)."""
    predictor.set_image(photo)
    masks, quality, _ = predictor.predict(point_coords=np.array([point]), point_labels=np.array([1]))
    return np.asarray(masks)[int(np.argmax(np.asarray(quality)))]


def mask_in(predictor: SamPredictor, photo: NDArray[np.uint8], true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The candidate of highest predicted quality inside the box round the true mask."""
    rows, columns = np.nonzero(true)
    predictor.set_image(photo)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    masks, quality, _ = predictor.predict(box=box)
    return np.asarray(masks)[int(np.argmax(np.asarray(quality)))]


def judge_masks(predictor: SamPredictor, composites: Composites) -> dict[str, float]:
    """Mean IoU on composites cropped so that the product is in the middle, from the centre point and from the box."""
    by_point, by_box = [], []
    for picture, mask in zip(composites.pixels, composites.mask, strict=True):
        photo, true = centred(picture, mask)
        by_point.append(iou(mask_at(predictor, photo, centre_point(true)), true > 0))
        by_box.append(iou(mask_in(predictor, photo, true > 0), true > 0))
    return {"IoU from the centre point": float(np.mean(by_point)), "IoU from the box": float(np.mean(by_box))}


def centred(picture: NDArray[np.uint8], mask: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Crops a picture, with a margin, to where the product is in the middle as in a product photo."""
    rows, columns = np.flatnonzero(mask.max(axis=1)), np.flatnonzero(mask.max(axis=0))
    margin = round(0.25 * max(len(rows), len(columns)))
    cut = (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )
    return picture[cut], mask[cut]


def judge_photos(predictor: SamPredictor, photos: Path, masks: Path) -> dict[str, float]:
    """IoU from the centre point on each photo that has a PNG mask of the same name."""
    answer = {}
    for path in sorted(masks.glob("*.png")):
        photo = np.asarray(Image.open(next(photos.glob(f"{path.stem}.*"))).convert("RGB"))
        answer[path.stem] = iou(mask_at(predictor, photo, _middle(photo)), _read_mask(path, photo.shape))
    return answer


def _middle(photo: NDArray[np.uint8]) -> tuple[float, float]:
    return photo.shape[1] / 2, photo.shape[0] / 2


def _read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask scaled to a photo; any pixel that is not black is product."""
    drawn = np.asarray(Image.open(path).convert("RGB")).max(axis=2) > 0
    scaled = Image.fromarray(np.where(drawn, 255, 0).astype(np.uint8)).resize(
        (shape[1], shape[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(scaled) >= 128


def judge_backgrounds(bundle: Bundle, judge: Judge, *, per_word: int, sampling: Sampling) -> dict[str, float]:
    """Share of generated backgrounds that the judge names by the word of their prompt, per word and in all."""
    words = [word for word in BACKDROP_PROMPTS for _ in range(per_word)]
    prompts = [BACKDROP_PROMPTS[word] for word in words]
    return _shares(words, judge.name(list(bundle.backgrounds(prompts, range(len(words)), sampling=sampling))))


def judge_lower_passes(
    bundle: Bundle, judge: Judge, composites: Composites, *, per_word: int, sampling: Sampling
) -> dict[str, float]:
    """Share of lower passes, round held-out products, whose lower part the judge gives the foreground's word."""
    words = [word for word in SURFACE_PROMPTS for _ in range(per_word)]
    index = np.arange(len(words)) % len(composites.mask)
    rng = np.random.default_rng(0)
    splits = composites.split[index].tolist()
    masks = np.stack(
        [paint_mask(rng, "lower", composites.mask[item], split) for item, split in zip(index, splits, strict=True)]
    )
    prompts = [SURFACE_PROMPTS[word] for word in words]
    painted = bundle.repaint(composites.pixels[index], masks, prompts, range(len(words)), sampling=sampling)
    parts = [lower_part(picture, split) for picture, split in zip(painted, splits, strict=True)]
    return _shares(words, judge.name(parts))


def _shares(wanted: Sequence[str], named: Sequence[str]) -> dict[str, float]:
    right = np.array([one == other for one, other in zip(wanted, named, strict=True)], float)
    shares = {word: float(right[[entry == word for entry in wanted]].mean()) for word in dict.fromkeys(wanted)}
    return {"all": float(right.mean()), **shares}


def edge_step(picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> float:
    """Mean absolute difference of colour between neighbours on the two sides of a hole's edge, in grey levels."""
    values = picture.astype(np.float32)
    down = np.abs(values[1:] - values[:-1])[hole[1:] != hole[:-1]]
    across = np.abs(values[:, 1:] - values[:, :-1])[hole[:, 1:] != hole[:, :-1]]
    return float(np.concatenate([down, across]).mean())


def judge_seams(bundle: Bundle, composites: Composites, *, sampling: Sampling) -> dict[str, float]:
    """Colour step across the edge of repainted holes over that of the untouched pictures.

    The prompt names what is there, above or below the split line, wherever most of the hole lies. The hole is filled
    from around it before it is repainted, as the server's task `inpaint` does. Measured on what the model gives, and on
    the same with the untouched pixels laid back outside the hole.
    """
    rng = np.random.default_rng(1)
    count = len(composites.mask)
    holes = np.stack([paint_mask(rng, "hole", mask, 0) for mask in composites.mask])
    below = [np.nonzero(hole)[0].mean() >= split for hole, split in zip(holes, composites.split, strict=True)]
    prompts = [
        caption(np.random.default_rng([2, item]), composites.words[item], "lower" if below[item] else "upper")
        for item in range(count)
    ]
    filled = [_filled(*pair) for pair in zip(composites.empty, holes, strict=True)]
    painted = bundle.repaint(np.stack(filled), holes, prompts, range(count), sampling=sampling, strength=FILL_STRENGTH)
    pasted = np.where(holes[..., None], painted, composites.empty)
    sets = {"untouched": composites.empty, "as painted": painted, "pasted back": pasted}
    steps = {
        name: float(np.mean([edge_step(*pair) for pair in zip(pictures, holes, strict=True)]))
        for name, pictures in sets.items()
    }
    return {
        **steps,
        "ratio": steps["as painted"] / steps["untouched"],
        "ratio pasted": steps["pasted back"] / steps["untouched"],
    }


def _filled(picture: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    nothing = ProductMask(np.zeros(hole.shape, np.uint8))
    return fill_from_surroundings(Pixels(picture), PaintMask(np.where(hole, 255, 0).astype(np.uint8)), nothing)


def write_report(figures: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Writes all figures as JSON, rounded to three digits."""
    rounded = {group: {name: round(value, 3) for name, value in entries.items()} for group, entries in figures.items()}
    path.write_text(json.dumps(rounded, indent=2) + "\n", encoding="utf-8")
