"""`inpaint-server bundle make`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make bundles of weights.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Make bundles of weights."""


@app.command()
def make(
    out: Annotated[Path, typer.Argument(help="The folder to make.")],
    *,
    text_to_image: Annotated[
        str,
        typer.Option(
            help="Stable Diffusion 1.x, 2.x or XL: a diffusers folder, a folder of the hub's cache, a name on the hub "
            "(OWNER/NAME, OWNER/NAME/FILE, OWNER/NAME@REVISION), or, of 1.x and XL, a .safetensors or .ckpt file."
        ),
    ],
    inpainting: Annotated[
        str | None,
        typer.Option(
            help="A checkpoint for inpainting, of any of these families, in the same forms; without one, the "
            "text-to-image checkpoint does both."
        ),
    ] = None,
    sam: Annotated[
        str,
        typer.Option(
            help="Segment Anything (ViT-B, L or H): a .pth or .safetensors file, a transformers folder, "
            "or a name on the hub."
        ),
    ],
    sam_sha256: Annotated[str | None, typer.Option(help="Refuse a Segment Anything file of another SHA-256.")] = None,
    few_step_lora: Annotated[
        Path | None,
        typer.Option(help="An LCM LoRA, fused into a second UNet of each checkpoint (needs peft)."),
    ] = None,
    few_step_unets: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two few-step UNets instead, as diffusers saves them: text to image, inpainting."),
    ] = None,
    safety_checker: Annotated[
        Path | None,
        typer.Option(help="A Stable Diffusion folder whose safety_checker and feature_extractor are added."),
    ] = None,
    upscaler: Annotated[Path | None, typer.Option(help="A Swin2SR folder as transformers saves it.")] = None,
    name: Annotated[str | None, typer.Option(help="What answers call the bundle; default: after its family.")] = None,
    version: Annotated[str | None, typer.Option(help="Its version; default: digits of its sources' revisions.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="The weights' licence; default: as the families were first published.")
    ] = None,
    native_size: Annotated[int | None, typer.Option(help="Side of the canvas; default: the checkpoint's.")] = None,
    guidance_scale: Annotated[float, typer.Option(help="The guidance that suits these models best.")] = 7.5,
) -> None:
    """Make a bundle from checkpoints, whatever form they are in: files, folders, or names on the hub.

    Everything is checked before anything is written. Diffusion models are written in half precision as safetensors;
    pickles are opened weights-only.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from inpaint_server.commands import make_bundle as command

    recipe = command.Recipe(
        text_to_image=text_to_image,
        inpainting=inpainting,
        sam=sam,
        sam_sha256=sam_sha256,
        few_step_lora=few_step_lora,
        few_step_unets=few_step_unets,
        safety_checker=safety_checker,
        upscaler=upscaler,
        name=name,
        version=version,
        licence=licence,
        native_size=native_size,
        guidance_scale=guidance_scale,
    )
    plan = command.prepare(recipe, out)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Reading", total=plan.work_bytes)

        def advance(count: int) -> None:
            progress.advance(task, count)

        sources = command.checksums(plan, advance)
        progress.update(task, description="Writing")
        manifest = command.write(plan, sources, out, advance)
    for line in command.report(manifest):
        typer.echo(line)
    total = sum(entry.bytes for entry in manifest.files.values())
    typer.echo(f"{out}: {manifest.name} {manifest.version}, {len(manifest.files)} files, {total / 1e9:.2f} GB")
