"""The command line. Everything heavy is imported by the command that needs it, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inpaint_server import __version__
from inpaint_server.commands import bundle as bundles
from inpaint_server.deploy import commands as deploy
from inpaint_server.errors import InpaintServerError

app = typer.Typer(
    name="inpaint-server",
    help="Product photo and a few words in, adverts out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="Inspect bundles of weights.", no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(bundles.app, name="bundle")
app.add_typer(deploy.app, name="deploy")

BundleOption = Annotated[str | None, typer.Option(help="`demo`, or a folder of weights; default: INPAINT_BUNDLE.")]


@app.callback(invoke_without_command=True)
def version(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print version and commit, and stop.", is_eager=True)
    ] = False,
) -> None:
    """Product photo and a few words in, adverts out."""
    if version:
        from inpaint_server.settings import read

        typer.echo(f"{__version__}, commit {read().revision}")
        raise typer.Exit


@app.command()
def serve(
    *,
    bundle: BundleOption = None,
    port: Annotated[int | None, typer.Option(help="TCP port; default: SAGEMAKER_BIND_TO_PORT, else 8080.")] = None,
    direct: Annotated[bool, typer.Option("--direct", help="The engine's own app on the port, without Java.")] = False,
) -> None:
    """Serve POST /invocations and GET /ping until SIGTERM."""
    from inpaint_server.settings import read

    settings = read(bundle=bundle, port=port)
    if direct:
        from inpaint_server.server import process as engine_process

        engine_process.end(engine_process.run(settings))
    from inpaint_server.front_door import supervisor

    raise typer.Exit(supervisor.run(settings))


@app.command()
def generate(
    photo: Annotated[Path, typer.Argument(help="The product photo: PNG, JPEG, HEIC, ...", exists=True, dir_okay=False)],
    *,
    background: Annotated[str, typer.Option(help="What is behind the product.")],
    foreground: Annotated[str, typer.Option(help="What the product stands on.")],
    negative: Annotated[str, typer.Option(help="What the pictures should not show.")] = "",
    number: Annotated[int, typer.Option("-n", "--number", min=1, max=8, help="Variations.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("out"),
    mask: Annotated[Path | None, typer.Option(help="White = product; skips segmentation.", exists=True)] = None,
    point: Annotated[list[str] | None, typer.Option(help="x,y,label in the photo's pixels; may be repeated.")] = None,
    width: Annotated[int | None, typer.Option(help="Canvas width, a multiple of 8.")] = None,
    height: Annotated[int | None, typer.Option(help="Canvas height, a multiple of 8.")] = None,
    placement: Annotated[str | None, typer.Option(help="random, centre or original.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same picture.")] = None,
    profile: Annotated[str | None, typer.Option(help="quality, fast or seed.")] = None,
    steps: Annotated[int | None, typer.Option(help="Scheduler steps of every pass.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="A server's URL or a SageMaker endpoint's name.")] = None,
    bundle: BundleOption = None,
) -> None:
    """Generate adverts from one photo: each picture, and a contact sheet of every stage."""
    from inpaint_server.commands import generate as command

    fields: dict[str, Any] = {
        "background_prompt": background,
        "foreground_prompt": foreground,
        "negative_prompt": negative,
        "num_images": number,
        "points": [_numbers(text) for text in point] if point else None,
        "width": width,
        "height": height,
        "placement": placement,
        "seed": seed,
        "profile": profile,
        "steps": steps,
    }
    request = command.request_object(photo, mask, fields)
    result = command.invoke(request, endpoint=endpoint, bundle=bundle)
    for path in command.save(result, photo, out):
        typer.echo(path)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A picture that an inpaint-server wrote.", exists=True, dir_okay=False)],
    *,
    repeat: Annotated[
        Path | None, typer.Option(help="Generate it again, into this .png, .jpg or .webp.", dir_okay=False)
    ] = None,
    photo: Annotated[
        Path | None, typer.Option(help="The product photo of its request.", exists=True, dir_okay=False)
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask of its request.", exists=True, dir_okay=False)] = None,
    endpoint: Annotated[str | None, typer.Option(help="A server's URL or a SageMaker endpoint's name.")] = None,
    bundle: BundleOption = None,
) -> None:
    """Print how a picture was generated, read from its own file; with --repeat generate it again."""
    from inpaint_server.commands import show as command

    origin = command.read_origin(file)
    for line in command.describe(origin):
        typer.echo(line)
    if repeat is not None:
        for changed in command.repeat(origin, photo=photo, mask=mask, out=repeat, endpoint=endpoint, bundle=bundle):
            typer.secho(f"{changed} The picture may differ.", fg="yellow", err=True)
        typer.echo(repeat)


@app.command()
def catalog(
    source: Annotated[Path, typer.Argument(help="A .csv or .jsonl file, or a folder of photos.", exists=True)],
    *,
    out: Annotated[
        Path, typer.Option(help="Folder for the adverts and the report; a stopped run goes on in it.")
    ] = Path("catalog"),
    endpoint: Annotated[str | None, typer.Option(help="A server's URL or a SageMaker endpoint's name.")] = None,
    bundle: BundleOption = None,
    scene: Annotated[str | None, typer.Option(help="The preset of rows that name none: kitchen, beach, ...")] = None,
    presets: Annotated[
        Path | None, typer.Option(help="A TOML file of presets of your own.", exists=True, dir_okay=False)
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="What is behind the product; may name columns: {color}.")
    ] = None,
    foreground: Annotated[str | None, typer.Option(help="What the product stands on; may name columns.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE for every row without a value of its own.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Requests under way at a time.")] = 4,
    batch_transform: Annotated[
        Path | None, typer.Option(help="Write the rows as Batch Transform's JSON Lines instead.", dir_okay=False)
    ] = None,
) -> None:
    """Generate an advert of every product in a table, and a report; exit code 1 if rows failed or are left."""
    from inpaint_server.catalog import command
    from inpaint_server.catalog.presets import load

    known = load(presets)
    fields = command.defaults(setting or [], scene=scene, background_prompt=background, foreground_prompt=foreground)
    if batch_transform is not None:
        whole = command.write_lines(source, batch_transform, known=known, fields=fields)
    else:
        client = command.target(endpoint, bundle)
        outcomes = command.run(source, out, client=client, known=known, fields=fields, workers=workers)
        whole = all(outcome.status == "done" for outcome in outcomes)
    if not whole:
        raise typer.Exit(1)


@app.command()
def studio(
    *,
    server: Annotated[
        str, typer.Option(help="The running server's URL, or a SageMaker endpoint's name.")
    ] = "http://localhost:8080",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The page's own TCP port, on this machine alone.")] = 8090,
    presets: Annotated[
        Path | None, typer.Option(help="A TOML file of presets of your own.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Open a web page for a running server: check the mask, place the product, compare adverts."""
    from inpaint_server.studio.command import run as serve_page

    typer.echo(f"The studio is at http://localhost:{port} (Ctrl-C ends it).")
    serve_page(server, port, presets)


@models.command()
def verify(folder: Annotated[Path, typer.Argument(help="The bundle's folder.", exists=True, file_okay=False)]) -> None:
    """Check every file of a bundle against its manifest: checksums, sizes, what is missing."""
    from inpaint_server.commands import verify as command

    problems = command.problems(folder)
    for line in problems or [command.summary(folder)]:
        typer.echo(line)
    if problems:
        raise typer.Exit(1)


@app.command()
def schema(
    *, openapi: Annotated[bool, typer.Option("--openapi", help="The whole OpenAPI document instead.")] = False
) -> None:
    """Print the request's JSON Schema."""
    import json

    from inpaint_server.wire import openapi as document
    from inpaint_server.wire.schema import InvocationRequest

    content = document.build() if openapi else InvocationRequest.model_json_schema()
    typer.echo(json.dumps(content, indent=2))


@app.command()
def plan(
    *,
    bundle: Annotated[
        str,
        typer.Option(
            help="`demo`, a folder, or the published models without weights: `stable-diffusion-1.5`, "
            "`stable-diffusion-xl`."
        ),
    ] = "stable-diffusion-1.5",
    sam: Annotated[str, typer.Option(help="Segment Anything beside the published models: vit_b, vit_l, vit_h.")] = (
        "vit_b"
    ),
    device: Annotated[str, typer.Option(help="The accelerator: a10g.")] = "a10g",
    size: Annotated[int | None, typer.Option(help="Side of the canvas; default: the bundle's own.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=64, help="Adverts side by side.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each pass.")] = 25,
) -> None:
    """Compute what a bundle needs in half precision: operations, memory, and a lower bound of seconds."""
    from inpaint_server.commands.plan import report

    for line in report(bundle, device, segmenter=sam, size=size, batch=batch, steps=steps):
        typer.echo(line)


@app.command()
def doctor(*, bundle: BundleOption = None) -> None:
    """Report device, precision, attention, Java and bundle, what is wrong with them, and what to do about it."""
    from inpaint_server.commands.doctor import examine
    from inpaint_server.settings import read

    failed = False
    for check in examine(read(bundle=bundle)):
        wrong = bool(check.remedy)
        failed |= wrong
        typer.secho(f"{'!!' if wrong else 'ok'}  {check.subject}: {check.result}", bold=wrong)
        if wrong:
            typer.echo(f"      {check.remedy}")
    if failed:
        raise typer.Exit(1)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"write a point as x,y,label and not as '{text}'") from None


def main() -> None:
    """The entry point of `inpaint-server`."""
    run(app)


def run(command_line: typer.Typer) -> None:
    """Run a command line; errors of this package become one sentence and exit code 1."""
    try:
        command_line()
    except InpaintServerError as error:
        typer.secho(error.message, fg="red", err=True)
        raise SystemExit(1) from None
