"""What a caller sees of a bundle's safety checker: another seed, or a picture that is withheld and said to be."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from inpaint_server.domain.arrays import Pixels
from inpaint_server.domain.geometry import Size
from inpaint_server.domain.request import BundleDefaults
from testing.plain_server import PlainServer

DEFAULTS = BundleDefaults(size=Size(height=64, width=64), safety_checker=True)


@pytest.fixture
def checked_server() -> Iterator[PlainServer]:
    with PlainServer(defaults=DEFAULTS) as running:
        yield running


def png(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def ask(server: PlainServer, **fields: Any) -> dict[str, Any]:
    photo = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    usual = {"image": png(photo), "background_prompt": "sea", "foreground_prompt": "sand", "seed": 7, "steps": 1}
    reply = httpx.post(f"{server.url}/invocations", json={**usual, **fields}, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


def pixels(image: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["image"]))))


def first(number: int) -> Any:
    """A checker that takes so many pictures for unsafe and the others for safe."""
    left = [True] * number

    def unsafe(_: Pixels) -> bool:
        return bool(left) and left.pop()

    return unsafe


def test_for_a_picture_taken_for_unsafe_another_seed_is_tried_and_told(checked_server: PlainServer):
    checked_server.backend.unsafe = first(2)
    (image,) = ask(checked_server)["images"]
    refused = image["safety"]["refused_seeds"]
    assert (len(refused), refused[0], image["safety"]["withheld"]) == (2, 7, False)
    assert image["seed"] not in refused
    (again,) = ask(checked_server, seed=image["seed"])["images"]
    assert again["safety"] == {"refused_seeds": [], "withheld": False}
    assert np.array_equal(pixels(image), pixels(again))


def test_a_picture_none_of_whose_seeds_is_safe_is_withheld_and_never_black(checked_server: PlainServer):
    checked_server.backend.unsafe = lambda _: True
    answer = ask(checked_server, return_layers=True)
    (image,) = answer["images"]
    assert len(set(image["safety"]["refused_seeds"])) == 4
    assert image["safety"]["withheld"]
    assert "layers" not in image, "nothing of it may be seen in its layers, either"
    assert "change the prompts" in answer["warnings"][-1]
    shown = pixels(image).astype(int)
    assert np.abs(np.diff(shown, axis=0)).max() < 8, "nothing of the noisy product can be made out"
    assert shown.mean() > 20


def test_of_several_pictures_only_those_taken_for_unsafe_are_drawn_again(checked_server: PlainServer):
    checked_server.backend.unsafe = lambda picture: bool(picture[0, 0, 0] == 8)  # plain colours are their seeds
    images = ask(checked_server, task="background", num_images=3)["images"]
    assert [image["safety"]["refused_seeds"] for image in images] == [[], [8], []]
    assert [image["seed"] for image in images[::2]] == [7, 9]


def test_a_refused_candidate_is_not_kept_however_good_it_is(checked_server: PlainServer):
    checked_server.backend.unsafe = first(1)
    agreements = iter((0.9, 0.1, 0.2))
    checked_server.backend.agreements = lambda _: next(agreements)
    (image,) = ask(checked_server, candidates=3)["images"]
    assert image["safety"]["refused_seeds"] == [7]
    assert image["receipt"]["agreement"] == 0.2


def test_without_a_checker_nothing_is_checked_and_nothing_said(plain_server: PlainServer):
    plain_server.backend.unsafe = lambda _: True
    (image,) = ask(plain_server)["images"]
    assert "safety" not in image
    assert "check_safety" not in [name for name, _ in plain_server.backend.calls]
