"""From a file's cells to a request: rows, scenes, templates, and the error of an invalid row."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from PIL import Image

from inpaint_server.catalog.presets import SHIPPED, load
from inpaint_server.catalog.requests import check_columns, file_name, row_request
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


def request_of(row: Row, **defaults: Any) -> dict[str, Any]:
    request = dict(row_request(row, load(), defaults).request)
    request.pop("image")
    return request


def test_csv_cells_become_typed_fields(folder: Path):
    (folder / "products.csv").write_text(
        "\ufeffphoto,name,background_prompt,foreground_prompt,seed,placement,aspect_ratio,negative_prompt\n"
        'mug.png,Mug,"brick wall, sun",7,3,"{""scale"": 0.5, ""x"": 0.5, ""y"": 0.9}",4:5,\n',
        encoding="utf-8",
    )
    (only,) = read(folder / "products.csv")
    assert request_of(only) == {
        "task": "advert",
        "background_prompt": "brick wall, sun",
        "foreground_prompt": "7",
        "seed": 3,
        "placement": {"scale": 0.5, "x": 0.5, "y": 0.9},
        "aspect_ratio": "4:5",
    }


def test_row_with_too_many_cells_is_refused(folder: Path):
    (folder / "products.csv").write_text("photo,background_prompt\nmug.png,brick wall, sun\n")
    (only,) = read(folder / "products.csv")
    with pytest.raises(InvalidRequest, match="Quote cells that contain"):
        row_request(only, load(), {})


def test_json_lines_keep_types_and_report_broken_line(folder: Path):
    (folder / "products.jsonl").write_text('{"photo": "mug.png", "seed": 3, "mask": null}\n\n{"photo": \n')
    good, bad = read(folder / "products.jsonl")
    assert good.columns == {"photo": "mug.png", "seed": 3}
    assert (bad.number, bad.problem[:16]) == (2, "Correct the JSON")


def test_photo_folder_rows_are_sorted_by_name(folder: Path):
    Image.new("RGB", (9, 9)).save(folder / "Bowl.JPG")
    (folder / "notes.txt").write_text("no photo")
    assert [one.columns["photo"] for one in read(folder)] == ["Bowl.JPG", "mug.png"]


@pytest.mark.parametrize("name", ["products.ods", "products.xlsx", "empty.csv", "binary.csv", "quote.csv"])
def test_unreadable_table_is_refused(folder: Path, name: str):
    contents = {"binary.csv": b"photo\n\x81\0.png\n", "quote.csv": b'photo,name\nmug.png,"Mug\n'}
    (folder / name).write_bytes(contents.get(name, b""))
    with pytest.raises(InvalidRequest, match=name):
        read(folder / name)


def workbook(*rows: Sequence[object]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.create_sheet(index=0)
    for row in rows:
        sheet.append(list(row))
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


SAME_TABLE: Mapping[str, tuple[str, bytes]] = {
    "comma": ("csv", "photo,name,background_prompt,steps\nmug.png,Café,null,7\n".encode()),
    "comma and byte order mark": (
        "csv",
        "photo,name,background_prompt,steps\nmug.png,Café,null,7\n".encode("utf-8-sig"),
    ),
    "semicolon": ("csv", "photo;name;background_prompt;steps\r\nmug.png;Café;null;7\r\n".encode()),
    "Windows-1252": ("csv", "photo;name;background_prompt;steps\r\nmug.png;Café;null;7\r\n".encode("cp1252")),
    "UTF-16 with tabs": ("txt", "photo\tname\tbackground_prompt\tsteps\nmug.png\tCafé\tnull\t7\n".encode("utf-16")),
    "tabs": ("tsv", "photo\tname\tbackground_prompt\tsteps\nmug.png\tCafé\tnull\t7\n".encode()),
    "sep= line": ("csv", "sep=|\nphoto|name|background_prompt|steps\nmug.png|Café|null|7\n".encode()),
    "headings as people write them": ("csv", "Image,NAME,Background Prompt,Steps\nmug.png,Café,null,7\n".encode()),
    "index of a data frame": ("csv", ",photo,name,background_prompt,steps\n0,mug.png,Café,null,7.0\n".encode()),
    "blank tail": ("csv", "photo,name,background_prompt,steps,,\nmug.png,Café,null,7,,,\n,,,,,\n\n".encode()),
    "old Mac line ends": ("csv", "photo,name,background_prompt,steps\rmug.png,Café,null,7\r".encode()),
    "workbook": ("xlsx", workbook(("Photo", "Name", "Background prompt", "Steps"), ("mug.png", "Café", "null", 7.0))),
    "JSON Lines": (
        "jsonl",
        b'{"photo": "mug.png", "name": "Caf\\u00e9", "background_prompt": "null", "steps": 7, "seed": null}\r\n\r\n',
    ),
}


@pytest.mark.parametrize(("kind", "data"), SAME_TABLE.values(), ids=SAME_TABLE)
def test_tables_of_common_programs_are_read_alike(folder: Path, kind: str, data: bytes):
    (folder / f"products.{kind}").write_bytes(data)
    (only,) = read(folder / f"products.{kind}")
    assert only.columns == {"photo": "mug.png", "name": "Café", "background_prompt": "null", "steps": 7}


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("joint", "TRUE", True),
        ("joint", "0", False),
        ("seed", "3.0", 3),
        ("shadow", "0,5", 0.5),
        ("guidance_interval", "[0, 0.5]", [0, 0.5]),
        ("aspect_ratio", "4:5", "4:5"),
        ("background_prompt", "1.50", "1.50"),
        ("price", "1.50", "1.50"),
        ("note", "true", "true"),
    ],
)
def test_cell_value_has_its_fields_type(folder: Path, column: str, text: str, value: object):
    (folder / "products.tsv").write_text(f"photo\t{column}\nmug.png\t{text}\n")
    (only,) = read(folder / "products.tsv")
    assert only.columns[column] == value
    assert type(only.columns[column]) is type(value)


def test_workbook_cells_are_read_as_shown(folder: Path):
    cells = {"count": 3.0, "sale": True, "day": dt.datetime(2026, 5, 1), "price": 1.5}  # noqa: DTZ001 - Excel has no zones
    (folder / "products.xlsx").write_bytes(workbook(["photo", *cells], ["mug.png", *cells.values()], [None, ""]))
    (only,) = read(folder / "products.xlsx")
    assert only.columns == {"photo": "mug.png", "count": "3", "sale": "True", "day": "2026-05-01", "price": "1.5"}


def test_json_lines_end_at_line_feeds_alone(folder: Path):
    (folder / "products.jsonl").write_text('{"photo": "mug.png", "name": "two\u2028lines"}\n', encoding="utf-8")
    (only,) = read(folder / "products.jsonl")
    assert only.columns["name"] == "two\u2028lines"


def test_headings_of_one_meaning_are_refused(folder: Path):
    (folder / "products.csv").write_text("photo,Image\nmug.png,mug.png\n")
    with pytest.raises(InvalidRequest, match="Keep one column `photo`"):
        read(folder / "products.csv")


@pytest.mark.parametrize("name", ["shots/tea cup.png", "shots\\tea cup.png", "shots/cafe\u0301.png", "shots/café.png"])
def test_photo_is_found_by_its_path_in_any_spelling(folder: Path, name: str):
    (folder / "shots").mkdir()
    for file in ("tea cup.png", "café.png"):
        (folder / "shots" / file).write_bytes((folder / "mug.png").read_bytes())
    same = row_request(row(folder, scene="beach"), load(), {}).identity
    assert row_request(row(folder, scene="beach", photo=name), load(), {}).identity == same


def test_hidden_files_are_no_products(folder: Path):
    (folder / "._mug.png").write_bytes(b"a resource fork")
    assert [one.columns["photo"] for one in read(folder)] == ["mug.png"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"photo": "mug.png", "widht": 64}, "did you mean `width`"),
        ({"photo": "mug.png", "prompt": "a wall"}, "did you mean `background_prompt`"),
        ({"picture": "mug.png"}, "in a column `photo`"),
    ],
)
def test_wrong_heading_is_refused_before_anything_runs(folder: Path, columns: dict[str, Any], sentence: str):
    rows = [Row(number=number, folder=folder, columns=columns) for number in (1, 2)]
    with pytest.raises(InvalidRequest, match=sentence):
        check_columns(rows, load(), {"scene": "beach"})


def test_row_overrides_scene_overrides_defaults(folder: Path):
    defaults = {"scene": "beach", "background_prompt": "default", "steps": 4}
    request = request_of(row(folder, foreground_prompt="a {color} towel", color="red"), **defaults)
    assert request == {
        "task": "advert",
        "background_prompt": load()["beach"]["background_prompt"],
        "foreground_prompt": "a red towel",
        "steps": 4,
    }
    assert request_of(row(folder, scene="kitchen"), **defaults)["foreground_prompt"] == "white marble countertop"


def test_columns_fill_every_prompt(folder: Path):
    layers = [{"region": "lower", "prompt": "{surface}"}, {"region": "upper", "prompt": "{{sky}}"}]
    request = request_of(
        row(
            folder,
            surface="sand",
            name="Mug",
            layers=layers,
            background_prompt="{name} on {surface}",
            negative_prompt="{name}",
        )
    )
    assert request["background_prompt"] == "Mug on sand"
    assert request["negative_prompt"] == "Mug"
    assert [layer["prompt"] for layer in request["layers"]] == ["sand", "{sky}"]


@pytest.mark.parametrize("template", ["{", "{name.__class__}", "{name!r}", "{name:>9}", "{0}", "{}"])
def test_template_accepts_only_columns(template: str):
    with pytest.raises(InvalidRequest, match="Write a column as"):
        fill(template, {"name": "Mug"})


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"photo": "gone.png"}, "gone.png"),
        ({"scene": "moon"}, "`moon` is none of them"),
        ({"width": 65}, "multiple of 8"),
        ({"background_prompt": "{color} wall"}, "column `color`"),
        ({"mask": "gone-too.png"}, "gone-too.png"),
    ],
)
def test_invalid_row_error_is_one_sentence(folder: Path, columns: dict[str, Any], sentence: str):
    with pytest.raises(InvalidRequest, match=sentence):
        row_request(row(folder, **columns), load(), {"scene": "beach"})


def test_prompt_column_has_any_name(folder: Path):
    only = row(folder, widht="red", scene="beach", background_prompt="{Widht}")
    check_columns([only], load(), {})
    assert request_of(only)["background_prompt"] == "red"


def test_identity_depends_only_on_request(folder: Path):
    (folder / "copy.png").write_bytes((folder / "mug.png").read_bytes())
    Image.new("RGB", (12, 9), "red").save(folder / "other.png")

    def identity(**columns: Any) -> str:
        return row_request(row(folder, scene="beach", **columns), load(), {}).identity

    assert identity() == identity(photo="copy.png", name="Another name")
    others = {identity(), identity(photo="other.png"), identity(seed=1), identity(foreground_prompt="grass")}
    assert len(others) == 4


def test_file_name_is_readable_and_safe(folder: Path):
    assert file_name(row(folder, name="../Große Tasse!"), "0123456789abcdef") == "gro-e-tasse-01234567"


def test_shipped_scenes_are_valid():
    for name, fields in load().items():
        validate(fields, has_image=True)
        assert set(fields) >= {"background_prompt", "foreground_prompt"}, name


def test_scene_file_adds_and_replaces_scenes(folder: Path):
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
