"""`inpaint-server catalog` on whole catalogues against the engine's application: interrupted, resumed, reported."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from inpaint_server.client import Result
from inpaint_server.wire.schema import InvocationRequest
from testing.browser import chromium
from testing.plain_backend import PlainPass
from testing.plain_server import PlainServer
from testing.running import free_port
from testing.runtime_proxy import RuntimeProxy

COMMAND = [str(Path(sys.executable).with_name("inpaint-server")), "catalog"]
BROKEN = {7: "gone.png", 13: "cannot be read", 22: "`moon`", 31: "multiple of 8", 46: "column `color`"}
HEADER = "photo,name,scene,foreground_prompt,background_prompt,width,seed\n"


def catalogue(folder: Path, rows: int = 50) -> Path:
    """A table of different products, five of them broken in five ways."""
    folder.mkdir()
    for number in range(1, rows + 1):
        Image.new("RGB", (30 + number, 60), (number, 90, 200)).save(folder / f"{number}.png")
    (folder / "13.png").write_text("not a picture")
    lines = [f"{n}.png,Product {n},beach,a towel for {{name}},,64,{n}\n" for n in range(1, rows + 1)]
    for number, line in {
        7: "gone.png,Product 7,beach,,,64,7\n",
        22: "22.png,Product 22,moon,,,64,22\n",
        31: "31.png,Product 31,beach,,,65,31\n",
        46: "46.png,Product 46,beach,{color} towel,,64,46\n",
    }.items():
        if number <= rows:
            lines[number - 1] = line
    (folder / "products.csv").write_text(HEADER + "".join(lines))
    return folder / "products.csv"


def run(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
        timeout=120,
    )


def report(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "report.json").read_text())


def test_resumed_run_repeats_no_row(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop"), tmp_path / "out"
    arguments = [source, "--out", out, "--endpoint", plain_server.url]
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL)

    def kill_halfway(_: Sequence[PlainPass]) -> None:
        if len(plain_server.bodies) >= 25:
            process.send_signal(signal.SIGKILL)

    plain_server.backend.before_step = kill_halfway
    assert process.wait(60) == -signal.SIGKILL
    done = (out / "journal.jsonl").read_text().count('"files"')
    before = {body["seed"] for body in plain_server.bodies[:done]}
    assert 10 <= done < 45
    plain_server.backend.before_step = lambda _: None
    plain_server.bodies.clear()

    second = run(*arguments)

    assert second.returncode == 1
    assert "45 adverts, 5 failed" in second.stdout
    assert len(plain_server.bodies) <= 46 - done, "finished rows are not requested again"
    rows = report(out)
    assert [row["row"] for row in rows] == list(range(1, 51))
    assert {row["row"] for row in rows if row["status"] == "failed"} == set(BROKEN)
    assert all(BROKEN[row["row"]] in row["reason"] for row in rows if row["status"] == "failed")
    files = [file for row in rows for file in row["files"]]
    assert len(files) == len(set(files)) == 45
    assert sorted(path.name for path in (out / "adverts").iterdir()) == sorted(Path(file).name for file in files)
    for row in rows:
        assert row["seeds"] == ([row["row"]] if row["status"] == "done" else [])
    assert before <= {row["row"] for row in rows}

    plain_server.bodies.clear()
    assert "45 adverts, 5 failed" in run(*arguments).stdout
    assert plain_server.bodies == [], "a third run requests nothing: even the refusal is in the journal"


@pytest.mark.browser
def test_report_has_row_per_product(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop"), tmp_path / "out"
    run(source, "--out", out, "--endpoint", plain_server.url)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto((out / "report.html").as_uri())
        assert page.title() == "products.csv: 45 adverts, 5 failed"
        assert page.locator("article").count() == 50
        assert page.locator("article[data-status=failed] .reason").count() == 5
        for picture in page.locator("img").all():
            picture.scroll_into_view_if_needed()
        page.wait_for_function("[...document.images].every(image => image.complete)")
        assert page.evaluate("[...document.images].filter(image => image.naturalWidth > 0).length") == 45 + 45
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_role("link", name="Row 31").click()
        assert "multiple of 8" in page.locator("#row-31 .reason").inner_text()


def test_csv_report_holds_no_formulas(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop", rows=8), tmp_path / "out"
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1"]
    lines = [json.dumps({"photo": "gone.png", "name": name, "scene": "beach"}) + "\n" for name in ["Café", *formulas]]
    (source.parent / "products.jsonl").write_text("".join(lines))
    run(source, "--out", out, "--endpoint", plain_server.url)
    with (out / "report.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done"] * 6 + ["failed", "done"]
    assert rows[0]["files"].startswith("adverts/product-1-")

    run(source.with_suffix(".jsonl"), "--out", tmp_path / "formulas", "--endpoint", plain_server.url)
    text = (tmp_path / "formulas" / "report.csv").read_bytes()
    assert text.startswith("\ufeff".encode()), "Excel reads UTF-8 only where it is marked"
    names = [row["name"] for row in csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline=""))]
    assert names == ["Café", *(f"'{formula}" for formula in formulas)]


def test_report_escapes_markup(plain_server: PlainServer, tmp_path: Path):
    catalogue(tmp_path / "shop", rows=1)
    markup = "<img src=x onerror=alert(1)>"
    columns = {"photo": "1.png", "name": f"../../{markup}", "background_prompt": markup, "foreground_prompt": '"><b>'}
    source = tmp_path / "shop" / "<i>.jsonl"
    source.write_text(json.dumps(columns) + "\n" + json.dumps({**columns, "photo": markup}) + "\n")
    run(source, "--out", tmp_path / "out", "--endpoint", plain_server.url)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert not re.search("<img src=x|<i>|<b>", page)
    assert {path.name for path in tmp_path.iterdir()} == {"shop", "out"}, "no file outside the output folder"
    assert len(list((tmp_path / "out" / "adverts").iterdir())) == 1


def test_damaged_journal_line_repeats_one_row(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop", rows=5), tmp_path / "out"
    run(source, "--out", out, "--endpoint", plain_server.url)
    journal = (out / "journal.jsonl").read_bytes()
    (out / "journal.jsonl").write_bytes(journal[:-20])
    plain_server.bodies.clear()
    assert "5 adverts, 0 failed" in run(source, "--out", out, "--endpoint", plain_server.url).stdout
    assert len(plain_server.bodies) == 1
    plain_server.bodies.clear()
    assert run(source, "--out", out, "--endpoint", plain_server.url).returncode == 0
    assert plain_server.bodies == []


def test_deleted_picture_is_generated_again(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop", rows=3), tmp_path / "out"
    run(source, "--out", out, "--endpoint", plain_server.url)
    (out / report(out)[1]["files"][0]).unlink()
    plain_server.bodies.clear()
    run(source, "--out", out, "--endpoint", plain_server.url)
    assert [body["seed"] for body in plain_server.bodies] == [2]


def test_failed_row_is_repeated_in_next_run(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop", rows=3), tmp_path / "out"
    arguments = [source, "--out", out, "--endpoint", plain_server.url, "--workers", 1]
    plain_server.refusals[:] = [(503, {}), (500, {})]
    first = run(*arguments)
    assert first.returncode == 1
    assert [row["status"] for row in report(out)] == ["failed", "done", "done"]
    assert report(out)[0]["code"] == "internal"
    assert run(*arguments).returncode == 0
    assert [row["status"] for row in report(out)] == ["done"] * 3


def test_equal_rows_are_requested_once(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop", rows=2), tmp_path / "out"
    source.write_text(source.read_text() + source.read_text().splitlines()[1] + "\n")
    run(source, "--out", out, "--endpoint", plain_server.url)
    assert len(plain_server.bodies) == 2
    rows = report(out)
    assert rows[2]["same_as_row"] == 1
    assert rows[2]["files"] == rows[0]["files"]


def test_unreachable_server_stops_run(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop", rows=4), tmp_path / "out"
    from inpaint_server.catalog import command
    from inpaint_server.catalog.presets import load
    from inpaint_server.client import Client, Retry

    url = f"http://127.0.0.1:{free_port()}"
    outcomes = command.run(
        source,
        out,
        client=lambda: Client(url, retry=Retry(attempts=2, first_wait_s=0.001)),
        known=load(),
        fields={},
        workers=1,
    )
    assert [outcome.status for outcome in outcomes] == ["waiting"] * 4
    assert url in outcomes[0].entry.reason
    assert "Still to do" in (out / "report.html").read_text()
    assert run(source, "--out", out, "--endpoint", plain_server.url).returncode == 0


def test_lost_answer_fails_only_its_row(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop", rows=4), tmp_path / "out"
    from inpaint_server.catalog import command
    from inpaint_server.catalog.presets import load
    from inpaint_server.client import Client, Retry
    from inpaint_server.client.response import JSON, RawResponse, from_error
    from inpaint_server.client.transport import Http
    from inpaint_server.errors import PlatformRefused, ResponseLost

    class Unreliable(Http):
        """Loses the second answer, and has the third request refused on its way."""

        sent = 0

        def send(self, body: bytes, accept: str = JSON) -> RawResponse:
            self.sent += 1
            lost = {2: ResponseLost("The answer was lost."), 3: PlatformRefused("Too large.")}
            return from_error(lost[self.sent]) if self.sent in lost else super().send(body, accept)

    outcomes = command.run(
        source,
        out,
        client=lambda: Client(Unreliable(plain_server.url, 60.0), retry=Retry(attempts=1)),
        known=load(),
        fields={},
        workers=1,
    )
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "failed", "done"]
    assert [outcome.entry.code for outcome in outcomes] == ["", "response_lost", "platform_refused", ""]
    assert run(source, "--out", out, "--endpoint", plain_server.url).returncode == 0, "they are repeated"


def test_concurrent_run_in_same_folder_is_refused(plain_server: PlainServer, tmp_path: Path):
    source, out = catalogue(tmp_path / "shop", rows=2), tmp_path / "out"
    from inpaint_server.catalog.journal import Journal

    with Journal(out):
        refused = run(source, "--out", out, "--endpoint", plain_server.url)
    assert refused.returncode == 1
    assert "Wait for the other run" in refused.stderr
    assert plain_server.bodies == []


def test_photo_folder_uses_prompts_of_command_line(plain_server: PlainServer, tmp_path: Path):
    photos = catalogue(tmp_path / "shop", rows=3).parent
    words = ["--scene", "kitchen", "--foreground", "a shelf for {photo}", "--set", "num_images=2", "--set", "seed=4"]
    completed = run(photos, "--out", tmp_path / "out", "--endpoint", plain_server.url, *words)
    assert "6 adverts, 1 failed" in completed.stdout, "three photos, and one that is damaged"
    assert {body["seed"] for body in plain_server.bodies} == {4}
    assert len(list((tmp_path / "out" / "adverts").glob("1-*-5.png"))) == 1
    wrong = run(photos, "--endpoint", plain_server.url, "--set", "widht=3")
    assert wrong.returncode == 1
    assert "widht=3" in wrong.stderr


def test_endpoint_is_addressed_by_name(plain_server: PlainServer, tmp_path: Path):
    source = catalogue(tmp_path / "shop", rows=3)
    with RuntimeProxy(plain_server.port) as proxy:
        account = {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": proxy.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        completed = run(source, "--out", tmp_path / "out", "--endpoint", "adverts", environment=account)
    assert "3 adverts, 0 failed" in completed.stdout


def test_batch_transform_lines_from_same_table(plain_server: PlainServer, tmp_path: Path):
    source, lines = catalogue(tmp_path / "shop"), tmp_path / "lines.jsonl"
    written = run(source, "--batch-transform", lines)
    assert written.returncode == 1
    assert "46 lines" in written.stdout
    assert "gone.png" in written.stdout
    requests = [InvocationRequest.model_validate_json(line) for line in lines.read_text().splitlines()]
    assert requests[0].foreground_prompt == "a towel for Product 1"
    assert plain_server.bodies == []
    import httpx

    two = b"".join(lines.read_bytes().splitlines(keepends=True)[:2])
    answer = httpx.post(
        f"{plain_server.url}/invocations", content=two, headers={"Content-Type": "application/jsonlines"}
    )
    assert [Result.from_json(line).pictures[0].seed for line in answer.text.splitlines()] == [1, 2]
