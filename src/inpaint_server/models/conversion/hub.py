"""Checkpoints on the Hugging Face hub: names resolved to commits, and the files that are needed of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from inpaint_server.errors import BundleError
from inpaint_server.models.conversion.weight_folders import is_index, weight_candidates

_NAME: Final = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w.-]+)(?:/(?P<path>[\w./ -]+))?(?:@(?P<revision>[\w./-]+))?")
_WEIGHT_SUFFIXES: Final = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")
_TEXT_SUFFIXES: Final = (".json", ".txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubName:
    """`OWNER/NAME`, and a file or folder in the repository and a branch, tag or commit where they are given."""

    repository: str
    path: str | None
    revision: str | None

    def __str__(self) -> str:
        return self.repository if self.path is None else f"{self.repository}/{self.path}"


def parse(given: str) -> HubName | None:
    """The name that a text is; None if it can be none, as a path to a file that is not there."""
    match = _NAME.fullmatch(given)
    if match is None or (match["path"] is None and match["repository"].endswith(_WEIGHT_SUFFIXES)):
        return None
    return HubName(repository=match["repository"], path=match["path"], revision=match["revision"])


def fetch(name: HubName, select: Callable[[list[str]], list[str]]) -> tuple[Path, str]:
    """Download what is needed of a repository, or find it in the hub's cache where the hub cannot be reached.

    Args:
        name: The repository.
        select: Of the names of all its files, those that are needed.

    Returns:
        Its folder (or the file that the name gives) in the hub's cache, and the commit.

    Raises:
        BundleError: there is no such repository, revision or file, it asks for a login, or the hub does not answer.
    """
    where = name.repository if name.revision is None else f"{name.repository}@{name.revision}"
    try:
        wanted = _wanted(name, _files(name), select)
        patterns = [_literal(file) for file in wanted]
        folder = Path(snapshot_download(name.repository, revision=name.revision, allow_patterns=patterns))
    except GatedRepoError:
        raise BundleError(f"{where} asks for consent: accept its terms on the hub, then run `hf auth login`.") from None
    except RevisionNotFoundError:
        raise BundleError(f"{name.repository} has no revision {name.revision}: use a branch, tag or commit.") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise BundleError(f"{where} is neither here nor on the hub: check its name, or run `hf auth login`.") from None
    except (OfflineModeIsEnabled, httpx2.TransportError, LocalEntryNotFoundError):
        folder = _cached(name)
    except (HfHubHTTPError, httpx2.HTTPError) as error:
        reason = str(error).partition("\n")[0]
        raise BundleError(f"{where} cannot be downloaded ({reason}): try again later.") from None
    if name.revision and re.fullmatch("[0-9a-f]{40}", name.revision) and folder.name != name.revision:
        raise BundleError(f"The hub gave {folder.name} for {where}: do not use it.")
    return folder if name.path is None else folder / name.path, folder.name


def select_weights(files: Iterable[str], folders: Iterable[str]) -> list[str]:
    """Of a repository's files the configurations in some folders, and their weights in one form.

    Args:
        files: The names of all files.
        folders: The folders; `""` is the repository's own.
    """
    files = list(files)
    wanted: list[str] = []
    for folder in folders:
        names = [PurePosixPath(file).name for file in files if _folder(file) == folder]
        chosen = weight_candidates(names)[:1]
        if chosen and is_index(chosen[0]):
            suffix = ".safetensors" if ".safetensors" in chosen[0] else ".bin"
            chosen += [name for name in names if "-of-" in name and name.endswith(suffix)]
        texts = [name for name in names if name.endswith(_TEXT_SUFFIXES)]
        wanted += [str(PurePosixPath(folder) / name) for name in dict.fromkeys([*chosen, *texts])]
    return wanted


def _files(name: HubName) -> list[str]:
    info = HfApi().model_info(name.repository, revision=name.revision)
    return [sibling.rfilename for sibling in info.siblings or ()]


def _wanted(name: HubName, files: list[str], select: Callable[[list[str]], list[str]]) -> list[str]:
    if name.path in files:
        return [name.path]
    prefix = "" if name.path is None else f"{name.path}/"
    inside = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
    if wanted := select(inside):
        return [prefix + file for file in wanted]
    weights = sorted(file for file in files if file.endswith(_WEIGHT_SUFFIXES))
    hint = f"such as {name.repository}/{weights[0]}" if weights else "it holds no weights that can be used"
    raise BundleError(f"{name} on the hub is no model's folder: name a file or folder in it ({hint}).")


def _cached(name: HubName) -> Path:
    """The snapshot of an earlier download, which need not hold more of the repository than was needed."""
    owner, _, model = name.repository.partition("/")
    repository = Path(constants.HF_HUB_CACHE) / f"models--{owner}--{model}"
    revision = name.revision or "main"
    branch = repository / "refs" / revision
    snapshot = repository / "snapshots" / (branch.read_text().strip() if branch.is_file() else revision)
    if not (snapshot / (name.path or "")).exists():
        raise BundleError(
            f"{name} is neither here nor in the hub's cache, and the hub cannot be reached: check path and network."
        )
    return snapshot


def _folder(file: str) -> str:
    parent = str(PurePosixPath(file).parent)
    return "" if parent == "." else parent


def _literal(file: str) -> str:
    """A file's name as a pattern that only it matches."""
    return re.sub(r"([*?[])", r"[\1]", file)
