"""The former name of `inpaint-server bundle make`, for scripts that still call it; its flags become the present ones.

python scripts/make_bundle.py local OUT --text-to-image DIR --inpainting DIR --sam FILE
python scripts/make_bundle.py hub OUT --revision COMMIT --inpainting-revision COMMIT --sam-revision COMMIT ...
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from inpaint_server import cli

app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)

SAM_FILES: Final = {
    "vit_b": "checkpoints/sam_vit_b_01ec64.pth",
    "vit_l": "checkpoints/sam_vit_l_0b3195.pth",
    "vit_h": "checkpoints/sam_vit_h_4b8939.pth",
}
_PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=_PASSED_ON)
def local(
    context: typer.Context,
    out: Path,
    *,
    sam_type: Annotated[str | None, typer.Option(help="No longer needed: the type is read from the weights.")] = None,
) -> None:
    """Make a bundle from checkpoints on this machine."""
    if sam_type is not None:
        typer.echo("--sam-type is no longer needed: the type is read from the weights.", err=True)
    _make(out, *context.args)


@app.command(context_settings=_PASSED_ON)
def hub(
    context: typer.Context,
    out: Path,
    *,
    revision: Annotated[str, typer.Option(help="Commit of the text-to-image repository.")],
    inpainting_revision: Annotated[str, typer.Option(help="Commit of the inpainting repository.")],
    sam_revision: Annotated[str, typer.Option(help="Commit of the Segment Anything repository.")],
    sam_type: str = "vit_b",
    text_to_image_repo: str = "stable-diffusion-v1-5/stable-diffusion-v1-5",
    inpainting_repo: str = "stable-diffusion-v1-5/stable-diffusion-inpainting",
    sam_repo: str = "ybelkada/segment-anything",
) -> None:
    """Make a bundle from checkpoints on the hub; --sam-sha256 and others are passed on."""
    sources = {
        "--text-to-image": f"{text_to_image_repo}@{revision}",
        "--inpainting": f"{inpainting_repo}@{inpainting_revision}",
        "--sam": f"{sam_repo}/{SAM_FILES[sam_type]}@{sam_revision}",
    }
    _make(out, *(word for option in sources.items() for word in option), *context.args)


def _make(out: Path, *options: str) -> None:
    typer.echo("This script is now `inpaint-server bundle make`.", err=True)
    cli.app(["bundle", "make", str(out), *options])


if __name__ == "__main__":
    cli.run(app)
