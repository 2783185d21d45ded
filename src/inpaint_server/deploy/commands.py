"""`inpaint-server deploy ...`: the command line over `lifecycle` and `invoke`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Create, call and remove a deployment on SageMaker. What is created costs by the hour until it is deleted.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The deployment's name.")]
Image = Annotated[str, typer.Option(help="The image's URI in ECR, as build_and_push.sh prints it.")]
Weights = Annotated[str, typer.Option(help="s3://BUCKET/PREFIX/ or s3://BUCKET/.../model.tar.gz.")]
Role = Annotated[str, typer.Option(help="The ARN of the role that SageMaker works as.")]
Region = Annotated[str | None, typer.Option(help="Default: AWS's own configuration.")]
InstanceType = Annotated[str, typer.Option(help="With one GPU of 24 GB.")]
Setting = Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the server; may be repeated.")]
Maximum = Annotated[int, typer.Option(min=1, help="Most instances.")]


@app.command("real-time")
def real_time(
    name: Name,
    *,
    image: Image,
    weights: Weights,
    role: Role,
    instance_type: InstanceType = "ml.g5.xlarge",
    minimum: Annotated[int, typer.Option(min=1, help="Fewest instances.")] = 1,
    maximum: Maximum = 4,
    concurrency: Annotated[float, typer.Option(min=1, help="Requests inside an instance that it is kept at.")] = 4,
    setting: Setting = None,
    region: Region = None,
) -> None:
    """An endpoint that answers at once. Repeated with other values, the command updates it without an outage."""
    from inpaint_server.deploy import lifecycle
    from inpaint_server.deploy.account import connect, one_sentence
    from inpaint_server.deploy.deployment import Container, Fleet

    container = Container(name=name, image=image, weights=weights, role=role, environment=_settings(setting))
    fleet = Fleet(instance_type=instance_type, minimum=minimum, maximum=maximum, target=concurrency)
    with one_sentence():
        lifecycle.make_real_time(connect(region), container, fleet)
    typer.echo(f"{name} serves.")


@app.command("async")
def asynchronous(
    name: Name,
    *,
    image: Image,
    weights: Weights,
    role: Role,
    answers: Annotated[str, typer.Option(help="s3://BUCKET/PREFIX/ under which answers and failures appear.")],
    instance_type: InstanceType = "ml.g5.xlarge",
    maximum: Maximum = 4,
    backlog: Annotated[float, typer.Option(min=1, help="Requests waiting for each instance that it is kept at.")] = 8,
    setting: Setting = None,
    region: Region = None,
) -> None:
    """An endpoint that takes requests from S3, costs nothing while none waits, and takes minutes to wake."""
    from inpaint_server.deploy import lifecycle
    from inpaint_server.deploy.account import connect, one_sentence
    from inpaint_server.deploy.deployment import Container, Fleet, s3_uri

    s3_uri(answers, "the answers")
    container = Container(name=name, image=image, weights=weights, role=role, environment=_settings(setting))
    fleet = Fleet(instance_type=instance_type, minimum=0, maximum=maximum, target=backlog)
    with one_sentence():
        lifecycle.make_asynchronous(connect(region), container, fleet, answers)
    typer.echo(f"{name} serves.")


@app.command()
def batch(
    name: Name,
    *,
    image: Image,
    weights: Annotated[str, typer.Option(help="s3://BUCKET/.../model.tar.gz: Batch Transform takes no prefix.")],
    role: Role,
    requests: Annotated[str, typer.Option(help="s3://BUCKET/FILE.jsonl or a prefix of such: one request a line.")],
    answers: Annotated[str, typer.Option(help="s3://BUCKET/PREFIX/ for FILE.jsonl.out: one answer a line.")],
    instance_type: InstanceType = "ml.g5.xlarge",
    instances: Annotated[int, typer.Option(min=1, help="Give at least as many files as instances.")] = 1,
    setting: Setting = None,
    region: Region = None,
) -> None:
    """A catalogue in one job: every line of a JSON Lines file answered in order; the instances end with it."""
    from inpaint_server.deploy import lifecycle
    from inpaint_server.deploy.account import connect, one_sentence
    from inpaint_server.deploy.deployment import Catalogue, Container

    container = Container(name=name, image=image, weights=weights, role=role, environment=_settings(setting))
    catalogue = Catalogue(requests=requests, answers=answers, instance_type=instance_type, instances=instances)
    with one_sentence():
        typer.echo(lifecycle.start_batch(connect(region), container, catalogue))


@app.command()
def status(name: Name, *, region: Region = None) -> None:
    """The deployment's resources, their state and instances, and the reason for a failure."""
    from inpaint_server.deploy import lifecycle
    from inpaint_server.deploy.account import connect, one_sentence

    with one_sentence():
        for line in lifecycle.status(connect(region), name):
            typer.echo(line)


@app.command()
def invoke(
    name: Name,
    request: Annotated[Path, typer.Argument(help="The body: .json, .jsonl, .png ...", exists=True, dir_okay=False)],
    *,
    out: Annotated[Path, typer.Option(help="Where the answer goes.")],
    accept: Annotated[str, typer.Option(help="The media type wanted.")] = "application/json",
    region: Region = None,
) -> None:
    """Send one request, through S3 if the endpoint is asynchronous, and save the answer."""
    from inpaint_server.deploy.account import connect, one_sentence
    from inpaint_server.deploy.invoke import invoke as call_endpoint

    with one_sentence():
        answer = call_endpoint(connect(region), name, request, accept)
    out.write_bytes(answer)
    typer.echo(out)


@app.command()
def delete(name: Name, *, region: Region = None) -> None:
    """Remove everything that was created under this name, and nothing else."""
    from inpaint_server.deploy import lifecycle
    from inpaint_server.deploy.account import connect, one_sentence

    with one_sentence():
        for removed in lifecycle.delete(connect(region), name):
            typer.echo(f"deleted {removed}")


def _settings(pairs: list[str] | None) -> dict[str, str]:
    settings: dict[str, str] = {}
    for pair in pairs or []:
        variable, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"write a setting as NAME=VALUE and not as '{pair}'")
        settings[variable] = value
    return settings
