"""UNets whose transformer blocks torch compiles; compiled code is kept on disk by torch itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any, Final

import torch
from diffusers import UNet2DConditionModel

from inpaint_server.errors import SettingsError

_COMPILERS: Final = ("gcc", "g++", "cc", "clang")
_MOST_VARIANTS: Final = 64
"""Of one block: a variant for each width of a block, and for one row and for several."""


def compile_unets(unets: Sequence[UNet2DConditionModel]) -> None:
    """Have each UNet's repeated blocks compiled at their first call, which the server's warm-up makes.

    Blocks instead of whole UNets: blocks that are alike are compiled once, and the numbers of rows and cells stay open.
    A block that torch fails to compile runs as it is.

    Raises:
        SettingsError: there is no compiler.
    """
    if not any(map(shutil.which, _COMPILERS)):
        raise SettingsError(
            "There is no C compiler, which compiling needs: install gcc, or do not set INPAINT_COMPILE.",
            field="INPAINT_COMPILE",
        )
    dynamo: Any = torch._dynamo  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the documented place
    dynamo.config.recompile_limit = _MOST_VARIANTS
    dynamo.config.suppress_errors = True
    for unet in unets:
        unet.compile_repeated_blocks(dynamic=True)
