"""Ship a bundle: as model.tar.gz, or file by file under an S3 prefix (an endpoint starts sooner from that).

    python scripts/package_bundle.py archive BUNDLE model.tar.gz
    python scripts/package_bundle.py check model.tar.gz
    python scripts/package_bundle.py upload BUNDLE s3://BUCKET/PREFIX/

Only a complete bundle is shipped: every file is compared with the manifest's checksums first.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, Final
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError

from inpaint_server.cli import run
from inpaint_server.errors import BundleError
from inpaint_server.models.bundle import open_bundle
from inpaint_server.models.layout import MANIFEST, required_files, stays_inside
from inpaint_server.models.manifest import FileEntry, Manifest, sha256, verify

BundleArgument = Annotated[Path, typer.Argument(help="The bundle's folder.", exists=True, file_okay=False)]
app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)

EPOCH: Final = 315_532_800  # 1980-01-01: some tools warn about earlier dates
MANIFEST_LIMIT: Final = 16 << 20
PUT_LIMIT: Final = 5 * 1024**3  # the largest object that S3 takes in one piece, and so with one checksum


@app.command()
def archive(
    bundle: BundleArgument,
    target: Annotated[Path, typer.Argument(help="The archive to write, model.tar.gz.")],
) -> None:
    """Pack a bundle for SageMaker: its files at the archive's root, no links, the same bytes every time."""
    paths = shipped(bundle)
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            pack(bundle, paths, file)
        unfinished.replace(target)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise BundleError(f"{target} cannot be written ({error}): make room or choose another place.") from error
    typer.echo(f"{sha256(target)}  {target}")


@app.command()
def check(source: Annotated[Path, typer.Argument(help="The archive, model.tar.gz.")]) -> None:
    """Compare an archive's members with the manifest in it; refuse links and paths that lead out of it."""
    problems = archive_problems(source)
    for problem in problems:
        typer.echo(f"{problem}.")
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{source} is whole.")


@app.command()
def upload(
    bundle: BundleArgument,
    uri: Annotated[str, typer.Argument(help="s3://BUCKET/PREFIX/, a prefix for each version of a bundle.")],
) -> None:
    """Put a bundle under an S3 prefix; what is there already with the same SHA-256 is not sent again."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    prefix = Prefix.parse(uri)
    try:
        send(bundle, prefix, boto3.client("s3"))
    except (BotoCoreError, ClientError) as error:
        raise BundleError(f"S3 does not take {prefix.uri}: {error}. Check bucket, region and credentials.") from error
    typer.echo(prefix.uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """A place in S3; `path` ends in a slash, as SageMaker's ModelDataSource requires."""

    bucket: str
    path: str

    @classmethod
    def parse(cls, uri: str) -> Prefix:
        """Read `s3://bucket/prefix/`.

        Raises:
            BundleError: It is no S3 prefix, or names an entire bucket.
        """
        parts = urlsplit(uri)
        path = parts.path.strip("/")
        if parts.scheme != "s3" or not parts.netloc or not path:
            raise BundleError(f"'{uri}' is no S3 prefix: write s3://BUCKET/PREFIX/.")
        return cls(bucket=parts.netloc, path=f"{path}/")

    @property
    def uri(self) -> str:
        """The prefix as a URI, with its slash."""
        return f"s3://{self.bucket}/{self.path}"


def shipped(bundle: Path) -> dict[str, FileEntry]:
    """Every file of a complete bundle with its size and checksum, by its path; the manifest comes last.

    Raises:
        BundleError: with every problem of an incomplete bundle.
    """
    if problems := verify(bundle):
        raise BundleError(f"{bundle} is not shipped: {'; '.join(problems)}.")
    files = open_bundle(bundle).manifest.files
    manifest = bundle / MANIFEST
    entry = FileEntry(sha256=sha256(manifest), bytes=manifest.stat().st_size)
    return {path: files[path] for path in sorted(files)} | {MANIFEST: entry}


def pack(bundle: Path, paths: Mapping[str, FileEntry], target: IO[bytes]) -> None:
    """Write the files as a gzipped tar without anything of this machine: no dates, users or modes.

    A link in the folder is followed: the archive holds the file itself. Nothing is compressed: weights hardly shrink
    (half precision by a tenth), and an endpoint that starts would wait for the unpacking.
    """
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=0, fileobj=target, mtime=EPOCH) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path, entry in paths.items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime, member.mode = entry.bytes, EPOCH, 0o644
            with (bundle / path).open("rb") as file:
                tar.addfile(member, file)


def archive_problems(source: Path) -> list[str]:
    """Every problem of an archive in plain words; an empty list means that it is complete.

    Raises:
        BundleError: It cannot be read to its end.
    """
    found: dict[str, FileEntry] = {}
    problems: list[str] = []
    manifest = b""
    try:
        with tarfile.open(source, "r|gz") as tar:
            for member in tar:
                path = str(PurePosixPath(member.name))
                if problem := _member_problem(member, path, found):
                    problems.append(problem)
                elif member.isfile():
                    file = tar.extractfile(member)
                    assert isinstance(file, io.BufferedReader), "regular files have content"
                    if path == MANIFEST:
                        manifest = file.read(MANIFEST_LIMIT)
                    digest = hashlib.file_digest(file, "sha256")
                    found[path] = FileEntry(sha256=digest.hexdigest(), bytes=member.size)
    except FileNotFoundError:
        raise BundleError(f"There is no {source}: make it with the command 'archive'.") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise BundleError(f"{source} is no gzipped tar, or it is cut ({error}): make or copy it again.") from error
    return problems or _differences(found, manifest)


def _member_problem(member: tarfile.TarInfo, path: str, found: Mapping[str, FileEntry]) -> str:
    if not stays_inside(member.name):
        return f"{member.name} leads out of the archive: pack the bundle's folder with the command 'archive'"
    if not (member.isfile() or member.isdir()):
        return f"{member.name} is a link or a device: pack the bundle's folder with the command 'archive'"
    return f"{path} is there twice: pack the bundle's folder with the command 'archive'" if path in found else ""


def _differences(found: Mapping[str, FileEntry], text: bytes) -> list[str]:
    if MANIFEST not in found:
        return [f"{MANIFEST} is not at the archive's root: pack the bundle's folder with the command 'archive'"]
    try:
        listed = Manifest.model_validate_json(text).files
    except ValidationError:
        return [f"{MANIFEST} is not a bundle's manifest: make the bundle again"]
    return [
        *(f"the manifest does not list {path}" for path in required_files(listed) if path not in listed),
        *(f"{path} is missing" for path in listed if path not in found),
        *(
            f"{path} is damaged: make the archive again"
            for path in listed
            if path in found and found[path] != listed[path]
        ),
        *(f"{path} is not in the manifest" for path in found if path != MANIFEST and path not in listed),
    ]


def send(bundle: Path, prefix: Prefix, s3: Any) -> None:
    """Put every file under the prefix, the manifest last: a prefix that has one is complete.

    S3 compares each object with the checksum that goes with it. Nothing is replaced or removed: an endpoint that grows
    reads its prefix again.

    Args:
        bundle: The bundle's folder.
        prefix: Where to; empty, or begun with this bundle.
        s3: boto3's client.

    Raises:
        BundleError: The bundle is incomplete, or the prefix holds something else.
    """
    files = shipped(bundle)
    if large := [path for path, entry in files.items() if entry.bytes > PUT_LIMIT]:
        raise BundleError(f"{large[0]} is larger than the 5 GiB that S3 takes at once: save it in half precision.")
    absent = _absent(files, prefix, s3)
    for number, (path, entry) in enumerate(absent.items(), start=1):
        typer.echo(f"{number}/{len(absent)}  {entry.bytes / 1e6:,.1f} MB  {path}", err=True)
        with (bundle / path).open("rb") as file:
            s3.put_object(
                Bucket=prefix.bucket,
                Key=prefix.path + path,
                Body=file,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=_as_s3_says(entry.sha256),
            )


def _absent(files: Mapping[str, FileEntry], prefix: Prefix, s3: Any) -> dict[str, FileEntry]:
    """The files that are not under the prefix yet; everything that is there must be one of them."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=prefix.path)
    present = {item["Key"].removeprefix(prefix.path) for page in pages for item in page.get("Contents", ())} - {""}
    for path in sorted(present):
        if path not in files or _checksum(prefix, path, s3) != _as_s3_says(files[path].sha256):
            raise BundleError(f"{prefix.uri}{path} is not this bundle's, and is not replaced: choose another prefix.")
    return {path: entry for path, entry in files.items() if path not in present}


def _checksum(prefix: Prefix, path: str, s3: Any) -> str | None:
    """An object's SHA-256 as S3 keeps it; None if it was stored without one."""
    head = s3.head_object(Bucket=prefix.bucket, Key=prefix.path + path, ChecksumMode="ENABLED")
    return head.get("ChecksumSHA256")


def _as_s3_says(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


if __name__ == "__main__":
    run(app)
