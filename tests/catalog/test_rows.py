"""From a file's cells to a request: rows, scenes, templates, and what is said of a row that cannot be asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inpaint_server.catalog.presets import SHIPPED, load
from inpaint_server.catalog.requests import file_name, row_request
from inpaint_server.catalog.rows import Row, read
from inpaint_server.catalog.templates import fill
from inpaint_server.errors import InvalidRequest
from inpaint_server.wire.schema import validate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (12, 9), "teal").save(tmp_path / "mug.png")
    return tmp_path


def row(folder: Path, **columns: Any) -> Row:
    return Row(number=1, folder=folder, columns={"photo": "mug.png", **columns})


def asked(row: Row, **defaults: Any) -> dict[str, Any]:
    request = dict(row_request(row, load(), defaults).request)
    request.pop("image")
    return request


def test_a_tables_cells_become_fields_of_their_types(folder: Path):
    (folder / "products.csv").write_text(
        "\ufeffphoto,name,background_prompt,foreground_prompt,seed,placement,aspect_ratio,negative_prompt\n"
        'mug.png,Mug,"brick wall, sun",7,3,"{""scale"": 0.5, ""x"": 0.5, ""y"": 0.9}",4:5,\n',
        encoding="utf-8",
    )
    (only,) = read(folder / "products.csv")
    assert asked(only) == {
        "task": "advert",
        "background_prompt": "brick wall, sun",
        "foreground_prompt": "7",
        "seed": 3,
        "placement": {"scale": 0.5, "x": 0.5, "y": 0.9},
        "aspect_ratio": "4:5",
    }


def test_a_row_with_too_many_cells_is_not_guessed_at(folder: Path):
    (folder / "products.csv").write_text("photo,background_prompt\nmug.png,brick wall, sun\n")
    (only,) = read(folder / "products.csv")
    with pytest.raises(InvalidRequest, match="Quote cells with commas"):
        row_request(only, load(), {})


def test_json_lines_keep_their_types_and_a_broken_line_is_a_broken_row(folder: Path):
    (folder / "products.jsonl").write_text('{"photo": "mug.png", "seed": 3, "mask": null}\n\n{"photo": \n')
    good, bad = read(folder / "products.jsonl")
    assert good.columns == {"photo": "mug.png", "seed": 3}
    assert (bad.number, bad.problem[:16]) == (2, "Correct the JSON")


def test_a_folders_photos_are_rows_in_the_order_of_their_names(folder: Path):
    Image.new("RGB", (9, 9)).save(folder / "Bowl.JPG")
    (folder / "notes.txt").write_text("no photo")
    assert [one.columns["photo"] for one in read(folder)] == ["Bowl.JPG", "mug.png"]


@pytest.mark.parametrize("name", ["products.xlsx", "empty.csv", "latin.csv"])
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(folder: Path, name: str):
    (folder / name).write_bytes({"latin.csv": b"photo\n\xe9.png\n"}.get(name, b""))
    with pytest.raises(InvalidRequest, match=name):
        read(folder / name)


def test_the_nearest_word_wins_defaults_then_scene_then_row(folder: Path):
    defaults = {"scene": "beach", "background_prompt": "default", "steps": 4}
    told = asked(row(folder, foreground_prompt="a {color} towel", color="red"), **defaults)
    assert told == {
        "task": "advert",
        "background_prompt": load()["beach"]["background_prompt"],
        "foreground_prompt": "a red towel",
        "steps": 4,
    }
    assert asked(row(folder, scene="kitchen"), **defaults)["foreground_prompt"] == "white marble countertop"


def test_columns_are_filled_into_every_prompt(folder: Path):
    layers = [{"region": "lower", "prompt": "{surface}"}, {"region": "upper", "prompt": "{{sky}}"}]
    told = asked(
        row(
            folder, surface="sand", name="Mug", layers=layers, prompt_bg="{name} on {surface}", negative_prompt="{name}"
        )
    )
    assert told["background_prompt"] == "Mug on sand"
    assert told["negative_prompt"] == "Mug"
    assert [layer["prompt"] for layer in told["layers"]] == ["sand", "{sky}"]


@pytest.mark.parametrize("template", ["{", "{name.__class__}", "{name!r}", "{name:>9}", "{0}", "{}"])
def test_a_template_names_columns_and_nothing_else(template: str):
    with pytest.raises(InvalidRequest, match="Write a column as"):
        fill(template, {"name": "Mug"})


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"photo": "gone.png"}, "gone.png"),
        ({"image": "mug.png"}, "in the column `photo`"),
        ({"scene": "moon"}, "`moon` is none of them"),
        ({"width": 65}, "multiple of 8"),
        ({"widht": 64}, "did you mean `width`"),
        ({"background_prompt": "{color} wall"}, "column `color`"),
        ({"mask": "gone-too.png"}, "gone-too.png"),
    ],
)
def test_what_keeps_a_row_from_being_asked_for_is_one_sentence(folder: Path, columns: dict[str, Any], sentence: str):
    with pytest.raises(InvalidRequest, match=sentence):
        row_request(row(folder, **columns), load(), {"scene": "beach"})


def test_a_column_that_a_prompt_uses_may_be_called_anything(folder: Path):
    assert asked(row(folder, widht="red", scene="beach", background_prompt="{widht}"))["background_prompt"] == "red"


def test_the_identity_is_of_the_request_and_of_nothing_else(folder: Path):
    (folder / "copy.png").write_bytes((folder / "mug.png").read_bytes())
    Image.new("RGB", (12, 9), "red").save(folder / "other.png")

    def identity(**columns: Any) -> str:
        return row_request(row(folder, scene="beach", **columns), load(), {}).identity

    assert identity() == identity(photo="copy.png", name="Another name")
    others = {identity(), identity(photo="other.png"), identity(seed=1), identity(foreground_prompt="grass")}
    assert len(others) == 4


def test_a_files_name_is_readable_and_stays_in_its_folder(folder: Path):
    assert file_name(row(folder, name="../Große Tasse!"), "0123456789abcdef") == "gro-e-tasse-01234567"


def test_every_shipped_scene_is_a_request():
    for name, fields in load().items():
        validate(fields, has_image=True)
        assert set(fields) >= {"background_prompt", "foreground_prompt"}, name


def test_a_file_of_scenes_adds_and_replaces(folder: Path):
    own = folder / "own.toml"
    own.write_text('[beach]\nbackground_prompt = "winter beach"\n[attic]\nbackground_prompt = "attic"\nsteps = 9\n')
    assert load(own)["beach"] == {"background_prompt": "winter beach"}
    assert load(own)["attic"]["steps"] == 9
    assert "kitchen" in load(own)
    for text in ("beach = 3", "[beach]\nbackgruond = 'x'", "[beach"):
        own.write_text(text)
        with pytest.raises(InvalidRequest, match=r"own\.toml"):
            load(own)
    assert json.dumps(dict(load())) and SHIPPED.exists()
