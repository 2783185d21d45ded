"""Names on the hub, from a small hub on this machine that speaks the few calls that its library makes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from inpaint_server.models.layout import TEXT_TO_IMAGE
from inpaint_server.models.manifest import read_manifest, sha256, verify
from testing import checkpoints
from tests.models.conversion.conftest import Base, Make

COMMIT = "a" * 40
OTHER = "b" * 40


@dataclass(kw_only=True)
class Hub:
    """Repositories by name, each a folder; every one has a branch `main` at one commit, and a tag."""

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set[str])
    requested: list[str] = field(default_factory=list[str])

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if listing := re.fullmatch(r"/api/models/([^/]+/[^/]+)/?(revision|tree)?/?(.*)", path):
            return self.listing(*listing.groups())
        name, _, file = path[1:].partition(f"/resolve/{COMMIT}/")
        if not file:
            return 404, {}, b""  # other calls of the library, which are not about models
        content = (self.repositories[name] / file).read_bytes()
        self.requested.append(file)
        return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}, content

    def listing(self, name: str, kind: str | None, revision: str) -> tuple[int, dict[str, str], bytes]:
        folder = self.repositories.get(name)
        if folder is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if name in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        if revision not in {"", "main", "v1", COMMIT}:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if kind == "tree":
            return 200, {}, json.dumps([entry(file, folder) for file in files(folder)]).encode()
        siblings = [{"rfilename": file.relative_to(folder).as_posix()} for file in files(folder)]
        return 200, {}, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def entry(file: Path, folder: Path) -> dict[str, str | int]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {
        "type": "file",
        "path": file.relative_to(folder).as_posix(),
        "size": file.stat().st_size,
        "oid": digest[:40],
    }


@pytest.fixture
def hub(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    sam = tmp_path / "sam-repository"
    (sam / "checkpoints").mkdir(parents=True)
    shutil.copy(base.sam, sam / "checkpoints" / "sam_vit_b.pth")
    shutil.copy(base.sam, sam / "checkpoints" / "sam_vit_h.pth")
    served = Hub(
        repositories={"someone/sd": base.text_to_image, "someone/sd-inpainting": base.inpainting, "meta/sam": sam}
    )

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(send_body=True)

        def do_HEAD(self) -> None:
            self.reply(send_body=False)

        def reply(self, *, send_body: bool) -> None:
            status, headers, body = served.answer(unquote(urlsplit(self.path).path))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if send_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - its name in the base class

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    point_at(monkeypatch, server.server_port)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def point_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """What the library reads from HF_ENDPOINT when it is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    template = f"http://127.0.0.1:{port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


NAMES = {
    "text_to_image": "someone/sd",
    "inpainting": "someone/sd-inpainting",
    "sam": "meta/sam/checkpoints/sam_vit_b.pth",
}


def test_names_are_enough_and_pinned(base: Base, make: Make, hub: Hub):
    outcome = make(**NAMES)
    assert outcome.code == 0, outcome.errors
    assert verify(outcome.bundle) == []
    sources = read_manifest(outcome.bundle).sources
    assert [(source.name, source.revision) for source in sources.values()] == [
        (name, COMMIT) for name in NAMES.values()
    ]
    assert f"someone/sd at {COMMIT}" in outcome.output
    unet = checkpoints.UNET_WEIGHTS
    assert sources[TEXT_TO_IMAGE].sha256[unet] == sha256(base.text_to_image / unet)
    assert f"{sha256(base.sam)}  sam_vit_b.pth" in outcome.output
    assert "checkpoints/sam_vit_h.pth" not in hub.requested, "only what is needed is downloaded"


@pytest.mark.parametrize("revision", ["v1", COMMIT])
def test_given_revision_is_taken(make: Make, hub: Hub, revision: str):
    assert hub.repositories
    outcome = make(text_to_image=f"someone/sd@{revision}")
    assert outcome.code == 0, outcome.errors
    assert read_manifest(outcome.bundle).sources[TEXT_TO_IMAGE].revision == COMMIT


def test_safetensors_are_downloaded_rather_than_pickles(base: Base, make: Make, hub: Hub, tmp_path: Path):
    both = Path(shutil.copytree(base.text_to_image, tmp_path / "both"))
    (both / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (both / "unet" / "diffusion_pytorch_model.non_ema.safetensors").write_bytes(b"other")
    (both / "v1-5.ckpt").write_bytes(b"pickle")
    hub.repositories["someone/both"] = both
    assert make(text_to_image="someone/both").code == 0
    weights = [file for file in hub.requested if file.startswith("unet/diffusion") or file.endswith(".ckpt")]
    assert set(weights) == {"unet/diffusion_pytorch_model.safetensors"}


def test_cache_serves_without_network(make: Make, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert hub.repositories
    assert make(**NAMES).code == 0
    point_at(monkeypatch, 9)
    again = make(**NAMES, out=tmp_path / "made" / "again")
    assert again.code == 0, again.errors
    assert read_manifest(again.bundle).sources[TEXT_TO_IMAGE].revision == COMMIT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("someone/missing", "someone/missing is neither here nor on the hub: check its name"),
        ("someone/sd@v9", "someone/sd has no revision v9: use a branch, tag or commit"),
        (f"someone/sd@{OTHER}", f"someone/sd has no revision {OTHER}"),
        ("someone/gated", "someone/gated asks for consent: accept its terms on the hub"),
        ("meta/sam", "name a file or folder in it (such as meta/sam/checkpoints/sam_vit_b.pth)"),
    ],
)
def test_name_that_cannot_be_used_is_refused(make: Make, hub: Hub, name: str, message: str):
    hub.repositories["someone/gated"] = hub.repositories["someone/sd"]
    hub.gated.add("someone/gated")
    outcome = make(text_to_image=name)
    assert outcome.code == 1
    assert message in outcome.errors[-1]


def test_unreachable_hub_is_named(make: Make, hub: Hub, monkeypatch: pytest.MonkeyPatch):
    assert hub.repositories
    point_at(monkeypatch, 9)
    outcome = make(text_to_image="someone/sd")
    assert outcome.code == 1
    assert "neither here nor in the hub's cache, and the hub cannot be reached" in outcome.errors[-1]
