"""Which media type an answer gets."""

from __future__ import annotations

import pytest

from inpaint_server.errors import NotAcceptable
from inpaint_server.wire.media_types import choose_media_type, content_type


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("image/*", "image/png"),
        ("image/webp", "image/webp"),
        ("IMAGE/JPEG", "image/jpeg"),
        ("text/html, image/png;q=0.5, application/zip;q=0.9", "application/zip"),
        ("application/json;q=0, image/png", "image/png"),
        ("image/jpeg; charset=x; q=0.2, */*; q=0.1", "image/jpeg"),
        ("image/webp, */*", "image/webp"),
        ("*/*, application/json;q=0, application/jsonlines;q=0", "image/png"),
        ("image/png;q=high, application/zip;q=0.9", "image/png"),
        ("image/jpg", "image/jpeg"),
        ("application/x-npy", "application/x-npy"),
        ("application/x-ndjson", "application/jsonlines"),
    ],
)
def test_accept_chooses_preferred_type(accept: str, chosen: str):
    assert choose_media_type(accept) == chosen


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "image/png;q=0", "image/*;q=0, text/html", ",", "*"])
def test_accept_without_supported_type_lists_them(accept: str):
    with pytest.raises(NotAcceptable, match="application/json, application/jsonlines, image/png"):
        choose_media_type(accept)


def test_content_type_ignores_parameters_and_case():
    assert content_type({"content-type": "Application/JSON; charset=utf-8"}) == "application/json"
    assert content_type({}) == ""


@pytest.mark.parametrize(
    ("given", "usual"),
    [
        ("image/jpg", "image/jpeg"),
        ("Text/JSON", "application/json"),
        ("application/jsonl; a=b", "application/jsonlines"),
    ],
)
def test_content_type_has_its_usual_name(given: str, usual: str):
    assert content_type({"content-type": given}) == usual
