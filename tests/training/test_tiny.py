"""One command trains a bundle from scratch: the smallest one, which the server loads."""

from pathlib import Path

import pytest

from inpaint_server.models.bundle import open_bundle
from inpaint_server.models.manifest import verify
from training.__main__ import main


# Hugging Face's savers and loaders warn of their own settings.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_one_command_trains_loadable_bundle(tmp_path: Path):
    bundle = tmp_path / "bundle"
    command = ["--tiny", "--work", str(tmp_path / "work"), "--bundle", str(bundle), "--threads", "2"]

    main([*command, "all"])
    first = (bundle / "bundle.json").read_text()
    main([*command, "all"])  # everything exists: nothing is trained again

    assert verify(bundle) == []
    assert open_bundle(bundle).shares("vae")
    assert open_bundle(bundle).shares("text_encoder")
    assert (bundle / "bundle.json").read_text() == first
    assert (tmp_path / "work" / "tiny" / "diffusion" / "curve.png").exists()
