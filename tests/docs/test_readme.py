"""The README's commands and code, as printed, against a running server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from testing.running import Server
from testing.runtime_proxy import RuntimeProxy

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PHOTO = ROOT / "src" / "inpaint_server" / "demo" / "photos" / "coffee.jpg"


def block(language: str, containing: str) -> str:
    """The one fenced block of a language that contains a text."""
    found = [code for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in code]
    assert len(found) == 1
    return found[0]


def test_readme_make_commands_are_targets():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert block("sh", f"make {target}\n") == f"make {target}\n"
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_curl_command_gets_advert(real_server: Server, tmp_path: Path):
    command = block("sh", "curl").replace("localhost:8080", f"127.0.0.1:{real_server.port}")
    command = command.replace("@src/", f"@{ROOT}/src/")
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    with Image.open(tmp_path / "advert.png") as advert:
        assert advert.size == (256, 256)


def test_generate_command_writes_adverts_and_contact_sheet(tmp_path: Path):
    command = block("sh", "inpaint-server generate").replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    command = command.replace("src/inpaint", f"{ROOT}/src/inpaint")
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["advert-8.png", "advert.png", "contact-sheet.png"]


def test_boto3_code_gets_four_adverts(real_server: Server, tmp_path: Path):
    with Image.open(PHOTO) as photo:
        photo.save(tmp_path / "product.png")
    with RuntimeProxy(real_server.port) as proxy:
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": proxy.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        program = block("python", "invoke_endpoint")
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert len(list(tmp_path.glob("advert-*.png"))) == 4
