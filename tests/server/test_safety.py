"""The safety checker of a bundle: another seed, or a picture that is withheld and marked as such."""

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


def invoke(server: PlainServer, **fields: Any) -> dict[str, Any]:
    photo = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    defaults = {"image": png(photo), "background_prompt": "sea", "foreground_prompt": "sand", "seed": 7, "steps": 1}
    reply = httpx.post(f"{server.url}/invocations", json={**defaults, **fields}, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


def pixels(image: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["image"]))))


def first(number: int) -> Any:
    """A checker that finds the first `number` pictures unsafe and the others safe."""
    left = [True] * number

    def unsafe(_: Pixels) -> bool:
        return bool(left) and left.pop()

    return unsafe


def test_unsafe_picture_replaced_by_another_seed(checked_server: PlainServer):
    checked_server.backend.unsafe = first(2)
    (image,) = invoke(checked_server)["images"]
    refused = image["safety"]["refused_seeds"]
    assert (len(refused), refused[0], image["safety"]["withheld"]) == (2, 7, False)
    assert image["seed"] not in refused
    (again,) = invoke(checked_server, seed=image["seed"])["images"]
    assert again["safety"] == {"refused_seeds": [], "withheld": False}
    assert np.array_equal(pixels(image), pixels(again))


def test_picture_without_safe_seed_withheld(checked_server: PlainServer):
    checked_server.backend.unsafe = lambda _: True
    answer = invoke(checked_server, return_layers=True)
    (image,) = answer["images"]
    assert len(set(image["safety"]["refused_seeds"])) == 4
    assert image["safety"]["withheld"]
    assert "layers" not in image, "its layers would show it"
    assert "change the prompts" in answer["warnings"][-1]
    shown = pixels(image).astype(int)
    assert np.abs(np.diff(shown, axis=0)).max() < 8, "the noisy product is not recognisable"
    assert shown.mean() > 20


def test_only_unsafe_pictures_replaced(checked_server: PlainServer):
    checked_server.backend.unsafe = lambda picture: bool(picture[0, 0, 0] == 8)  # plain colours are their seeds
    images = invoke(checked_server, task="background", num_images=3)["images"]
    assert [image["safety"]["refused_seeds"] for image in images] == [[], [8], []]
    assert [image["seed"] for image in images[::2]] == [7, 9]


def test_unsafe_candidate_not_chosen(checked_server: PlainServer):
    checked_server.backend.unsafe = first(1)
    agreements = iter((0.9, 0.1, 0.2))
    checked_server.backend.agreements = lambda _: next(agreements)
    (image,) = invoke(checked_server, candidates=3)["images"]
    assert image["safety"]["refused_seeds"] == [7]
    assert image["receipt"]["agreement"] == 0.2


def test_no_safety_member_without_checker(plain_server: PlainServer):
    plain_server.backend.unsafe = lambda _: True
    (image,) = invoke(plain_server)["images"]
    assert "safety" not in image
    assert "check_safety" not in [name for name, _ in plain_server.backend.calls]
