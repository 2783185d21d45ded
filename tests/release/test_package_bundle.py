"""Archives and uploads of bundles, and what is refused."""

from __future__ import annotations

import base64
import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from typer.testing import CliRunner

from inpaint_server.errors import BundleError
from inpaint_server.models import bundle as bundles
from inpaint_server.models.layout import required_files
from inpaint_server.models.manifest import FileEntry, sha256, verify, write_manifest
from scripts import package_bundle

ROOT = Path(__file__).parents[2]
UNET_CONFIG = "stable-diffusion/unet/config.json"
FILES = required_files(["stable-diffusion-inpainting/unet/config.json"])
PREFIX = package_bundle.Prefix(bucket="models", path="adverts/1/")
Editor = Callable[[tarfile.TarFile], None]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of the right shape whose files are a few bytes each."""
    return make_bundle(tmp_path / "bundle")


def make_bundle(folder: Path) -> Path:
    for number, path in enumerate(reversed(FILES)):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'{{"type": "vit_b", "number": {number}}}')
    write_manifest(folder, name="tiny", version="1", licence="Apache-2.0", native_size=512)
    return folder


def archived(bundle: Path, name: str = "model.tar.gz") -> Path:
    target = bundle.parent / name
    package_bundle.archive(bundle, target)
    return target


def rewritten(source: Path, *, without: str = "", edit: Editor | None = None) -> Path:
    """A copy of an archive without one of its members, and with what `edit` adds."""
    target = source.with_name("rewritten.tar.gz")
    with tarfile.open(source) as old, tarfile.open(target, "w:gz") as new:
        for member in old:
            if member.name != without:
                new.addfile(member, old.extractfile(member))
        if edit is not None:
            edit(new)
    return target


def add(name: str, content: bytes = b"x", **traits: Any) -> Editor:
    def edit(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size = 0 if traits else len(content)
        for trait, value in traits.items():
            setattr(member, trait, value)
        tar.addfile(member, io.BytesIO(content))

    return edit


def test_archive_has_bundle_at_root(bundle: Path):
    unpacked = bundle.parent / "opt-ml-model"
    with tarfile.open(archived(bundle)) as tar:
        tar.extractall(unpacked, filter="data")
    assert verify(unpacked) == []
    assert bundles.open_bundle(unpacked).label == "tiny 1"


def test_archive_passes_check(bundle: Path):
    assert package_bundle.archive_problems(archived(bundle)) == []


def test_archive_is_reproducible(bundle: Path, tmp_path: Path):
    other = make_bundle(tmp_path / "elsewhere" / "other-name")
    for path in other.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (other / UNET_CONFIG).chmod(0o600)
    data = archived(bundle).read_bytes()
    assert data == archived(other, "other.tar.gz").read_bytes()
    assert int.from_bytes(data[4:8], "little") == 315_532_800


def test_archive_members_are_sorted_and_without_owner(bundle: Path):
    with tarfile.open(archived(bundle)) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == [*sorted(FILES), "bundle.json"]
    traits = {(member.type, member.mode, member.uid, member.gid, member.uname, member.mtime) for member in members}
    assert traits == {(tarfile.REGTYPE, 0o644, 0, 0, "", 315_532_800)}


def test_link_is_archived_as_file(bundle: Path):
    plain = archived(bundle).read_bytes()
    blob = bundle.parent / "blob"
    (bundle / UNET_CONFIG).rename(blob)
    (bundle / UNET_CONFIG).symlink_to(blob)
    assert archived(bundle, "linked.tar.gz").read_bytes() == plain


def test_damaged_bundle_is_not_archived(bundle: Path):
    (bundle / UNET_CONFIG).write_text((bundle / UNET_CONFIG).read_text().replace("vit_b", "vit_h"))
    with pytest.raises(BundleError, match=f"{UNET_CONFIG} is damaged"):
        archived(bundle)
    assert not list(bundle.parent.glob("model.tar.gz*"))


def test_manifest_path_outside_bundle_is_not_archived(bundle: Path):
    secret = bundle.parent / "secret"
    secret.write_text("x")
    manifest = bundles.open_bundle(bundle).manifest
    entry = FileEntry(sha256=sha256(secret), bytes=1)
    changed = manifest.model_copy(update={"files": {**manifest.files, "../secret": entry}})
    (bundle / "bundle.json").write_text(changed.model_dump_json())
    with pytest.raises(BundleError, match=r"\.\./secret is outside the bundle"):
        archived(bundle)


def test_failed_archive_leaves_no_file(bundle: Path):
    with pytest.raises(BundleError, match="cannot be written"):
        archived(bundle, "no-such-folder/model.tar.gz")


@pytest.mark.parametrize(
    ("without", "edit", "problem"),
    [
        ("", add("link", type=tarfile.SYMTYPE, linkname="bundle.json"), "link is a link or a device"),
        ("", add("hard", type=tarfile.LNKTYPE, linkname="bundle.json"), "hard is a link or a device"),
        ("", add("pipe", type=tarfile.FIFOTYPE), "pipe is a link or a device"),
        ("", add("../evil"), "../evil leads out of the archive"),
        ("", add("sam/../../evil"), "sam/../../evil leads out of the archive"),
        ("", add("/etc/evil"), "/etc/evil leads out of the archive"),
        ("", add("./sam/config.json"), "sam/config.json is there twice"),
        ("", add("notes.txt"), "notes.txt is not in the manifest"),
        (UNET_CONFIG, None, f"{UNET_CONFIG} is missing"),
        (UNET_CONFIG, add(UNET_CONFIG, b"another"), f"{UNET_CONFIG} is damaged"),
        ("bundle.json", None, "bundle.json is not at the archive's root"),
        ("bundle.json", add("bundle/bundle.json", b"{}"), "bundle.json is not at the archive's root"),
        ("bundle.json", add("bundle.json", b"{}"), "bundle.json is not a bundle's manifest"),
    ],
)
def test_archive_fault_is_named(bundle: Path, without: str, edit: Editor | None, problem: str):
    (fault,) = package_bundle.archive_problems(rewritten(archived(bundle), without=without, edit=edit))
    assert fault.partition(":")[0] == problem


def test_archive_of_tar_command_passes_check(bundle: Path):
    by_hand = bundle.parent / "by-hand.tar.gz"
    with tarfile.open(by_hand, "w:gz") as tar:
        tar.add(bundle, arcname=".")
    assert package_bundle.archive_problems(by_hand) == []


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize("spoil", [half, gzip.decompress, gzip.compress])
def test_truncated_or_plain_tar_is_refused(bundle: Path, spoil: Callable[[bytes], bytes]):
    archive = archived(bundle)
    archive.write_bytes(spoil(archive.read_bytes()))
    with pytest.raises(BundleError, match="no gzipped tar, or it is cut"):
        package_bundle.archive_problems(archive)


def test_commands_print_checksum_and_faults(bundle: Path):
    target = bundle.parent / "model.tar.gz"
    runner = CliRunner()
    packed = runner.invoke(package_bundle.app, ["archive", str(bundle), str(target)])
    assert packed.stdout == f"{sha256(target)}  {target}\n"
    assert runner.invoke(package_bundle.app, ["check", str(target)]).exit_code == 0
    bad = runner.invoke(package_bundle.app, ["check", str(rewritten(target, without=UNET_CONFIG))])
    assert (bad.exit_code, bad.stdout) == (1, f"{UNET_CONFIG} is missing.\n")


def test_script_error_is_one_sentence(tmp_path: Path):
    script = [sys.executable, str(ROOT / "scripts" / "package_bundle.py"), "check", str(tmp_path / "none.tar.gz")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"There is no {tmp_path}/none.tar.gz: make it with the command 'archive'.\n"


@pytest.mark.parametrize("uri", ["models/adverts", "s3://models", "s3://models/", "https://models/adverts/", "s3:///x"])
def test_invalid_prefix_is_refused(uri: str):
    with pytest.raises(BundleError, match="write s3://BUCKET/PREFIX/"):
        package_bundle.Prefix.parse(uri)


@pytest.mark.parametrize("uri", ["s3://models/adverts/1", "s3://models/adverts/1/"])
def test_prefix_gets_trailing_slash(uri: str):
    assert package_bundle.Prefix.parse(uri) == PREFIX
    assert PREFIX.uri == "s3://models/adverts/1/"


class Bucket:
    """boto3's own client with prepared answers: it must receive the expected calls in this order."""

    def __init__(self) -> None:
        self.client: Any = boto3.client("s3", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        self.stub = Stubber(self.client)

    def contains(self, checksums: dict[str, str | None]) -> None:
        """The objects that it lists, each with the checksum it was stored with, if any."""
        contents = [{"Key": PREFIX.path + path} for path in checksums]
        self.stub.add_response("list_objects_v2", {"Contents": contents}, {"Bucket": "models", "Prefix": PREFIX.path})
        for path, checksum in sorted(checksums.items()):
            expected = {"Bucket": "models", "Key": PREFIX.path + path, "ChecksumMode": "ENABLED"}
            self.stub.add_response("head_object", {"ChecksumSHA256": checksum} if checksum else {}, expected)

    def expect_upload(self, path: str, checksum: str) -> None:
        sums = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": checksum}
        expected = {"Bucket": "models", "Key": PREFIX.path + path, "Body": ANY, **sums}
        self.stub.add_response("put_object", {}, expected)

    def upload(self, bundle: Path) -> None:
        with self.stub:
            package_bundle.send(bundle, PREFIX, self.client)
        self.stub.assert_no_pending_responses()


def checksums(bundle: Path) -> dict[str, str]:
    """Checksums by path, in the order of the upload."""
    paths = [*sorted(FILES), "bundle.json"]
    return {path: base64.b64encode(bytes.fromhex(sha256(bundle / path))).decode() for path in paths}


def test_upload_has_checksums_and_manifest_last(bundle: Path):
    bucket = Bucket()
    bucket.contains({})
    for path, checksum in checksums(bundle).items():
        bucket.expect_upload(path, checksum)
    bucket.upload(bundle)


def test_uploaded_file_is_not_sent_again(bundle: Path):
    everything = checksums(bundle)
    arrived = {path: everything.pop(path) for path in list(everything)[:5]}
    bucket = Bucket()
    bucket.contains({**arrived})
    for path, checksum in everything.items():
        bucket.expect_upload(path, checksum)
    bucket.upload(bundle)


@pytest.mark.parametrize("checksum", ["AAAA", None])
def test_differing_object_is_not_replaced(bundle: Path, checksum: str | None):
    bucket = Bucket()
    bucket.contains({UNET_CONFIG: checksum})
    with pytest.raises(BundleError, match=f"adverts/1/{UNET_CONFIG} is not this bundle's"):
        bucket.upload(bundle)


def test_prefix_with_foreign_object_is_refused(bundle: Path):
    bucket = Bucket()
    bucket.stub.add_response("list_objects_v2", {"Contents": [{"Key": "adverts/1/old.ckpt"}]})
    with pytest.raises(BundleError, match=r"adverts/1/old\.ckpt is not this bundle's"):
        bucket.upload(bundle)


def test_file_beyond_put_limit_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(package_bundle, "PUT_LIMIT", 10)
    with pytest.raises(BundleError, match="larger than the 5 GiB"):
        Bucket().upload(bundle)


def test_damaged_bundle_is_not_uploaded(bundle: Path):
    (bundle / UNET_CONFIG).unlink()
    with pytest.raises(BundleError, match=f"{UNET_CONFIG} is missing"):
        Bucket().upload(bundle)


def test_s3_error_is_one_sentence(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    bucket = Bucket()
    bucket.stub.add_client_error("list_objects_v2", "NoSuchBucket", "The specified bucket does not exist")

    def client(_service: str) -> Any:
        return bucket.client

    monkeypatch.setattr(boto3, "client", client)
    with bucket.stub, pytest.raises(BundleError, match=r"S3 does not take s3://models/adverts/1/: .*NoSuchBucket"):
        package_bundle.upload(bundle, "s3://models/adverts/1")
