"""Every environment variable, once, with its unit and default. Nothing else reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from inpaint_server.errors import SettingsError


class Settings(BaseSettings):
    """What the operator decides. Ours begin with `INPAINT_`; the others are SageMaker's own names.

    Raises:
        SettingsError: (from `read`) a variable's value cannot be used; the message names it.
    """

    model_config = SettingsConfigDict(env_prefix="INPAINT_", frozen=True, extra="ignore", populate_by_name=True)

    bundle: str = Field(
        default="",
        description="The weights: a folder, or `demo` for those inside the package; empty: search the usual places.",
    )
    model_dir: Path = Field(
        default=Path("/opt/ml/model"),
        validation_alias=AliasChoices("MODEL_DIR", "model_dir"),
        description="Where the platform unpacks the weights; the first place searched.",
    )
    port: int = Field(
        default=8080,
        ge=1,
        le=32766,
        validation_alias=AliasChoices("SAGEMAKER_BIND_TO_PORT", "port"),
        description="TCP port of /ping and /invocations (the front door refuses 32767 and up).",
    )
    model_server_timeout_minutes: int = Field(
        default=60,
        ge=1,
        validation_alias=AliasChoices("SAGEMAKER_MODEL_SERVER_TIMEOUT", "model_server_timeout_minutes"),
        description="Minutes after which the front door gives a worker up; far above the deadline, which comes first.",
    )
    java_home: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("JAVA_HOME", "java_home"),
        description="The Java the front door runs on; default: the one that comes as a Python package.",
    )
    device: Literal["auto", "cuda", "cpu"] = Field(default="auto", description="Where the models run.")
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        default="auto", description="Precision; auto: float16 on CUDA, float32 on CPU."
    )
    queue: int = Field(default=32, ge=1, le=1024, description="Requests waiting; more are answered 503.")
    max_batch: int = Field(default=8, ge=1, le=64, description="Pictures that share one UNet call, at most.")
    photo_cache_mb: float = Field(
        default=256.0, ge=0, description="Photos' Segment Anything embeddings kept, megabytes; 0 keeps none."
    )
    mask_cache_mb: float = Field(
        default=256.0, ge=0, description="Masks found in photos kept, megabytes; 0 keeps none."
    )
    prompt_cache_mb: float = Field(default=64.0, ge=0, description="Prompts' embeddings kept, megabytes; 0 keeps none.")
    background_cache_mb: float = Field(
        default=256.0, ge=0, description="Generated backgrounds kept, megabytes; 0 keeps none."
    )
    deadline_s: float = Field(default=60.0, gt=0, description="Seconds a request may take, waiting included.")
    drain_s: float = Field(default=24.0, gt=0, description="Seconds running work gets after SIGTERM.")
    start_timeout_s: float = Field(default=900.0, gt=0, description="Seconds the engine may take to be warm.")
    max_body_mb: float = Field(default=25.0, gt=0, description="Request body, megabytes (10^6 bytes).")
    max_reply_mb: float = Field(default=100.0, gt=0, description="Reply body the front door lets pass, megabytes.")
    max_megapixels: float = Field(default=64.0, gt=0, description="A decoded picture, megapixels (10^6).")
    max_canvas_megapixels: float = Field(
        default=8.4, gt=0, description="num_images x width x height of one request, megapixels."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Log verbosity.")
    sign_certificate: Path | None = Field(
        default=None,
        description="A certificate chain in PEM that adverts' files are signed with (C2PA); none: unsigned.",
    )
    sign_key: Path | None = Field(default=None, description="The certificate's private key in PEM, without a password.")
    revision: str = Field(
        default="unknown",
        pattern=r"^[\w.-]{1,64}$",
        description="The commit that /ping and --version name; the image's build sets it.",
    )
    log_prompts: bool = Field(default=False, description="Whether a request's line in the log tells its prompts.")
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Prometheus metrics on this port of the loopback interface; 0: nowhere."
    )
    emf_namespace: str = Field(
        default="",
        max_length=255,
        pattern=r"^[A-Za-z0-9_./#:-]*$",
        description="CloudWatch metrics in this namespace, embedded in each request's line of the log; empty: none.",
    )

    def as_environment(self) -> dict[str, str]:
        """The variables these settings are read from, for a process of our own."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {variable_name(name): str(value) for name, value in values.items()}

    @property
    def max_body_bytes(self) -> int:
        """The body limit in bytes."""
        return int(self.max_body_mb * 1e6)


def let_waiting_threads_sleep() -> None:
    """Have the math library's threads sleep, not spin, while they wait for each other; call before torch is imported.

    Spinning is a little faster on idle cores. Beside any other busy process (the front door, a second server) each
    thread waits for one that is not running: a step of the demo models took 3 s instead of 0.06 s on two shared cores.
    The operator's own OMP_WAIT_POLICY wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def variable_name(field: str) -> str:
    """The environment variable a setting is read from."""
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"INPAINT_{field.upper()}"


def read(**overrides: object) -> Settings:
    """Read the environment once; `overrides` (from the command line) win where they are not None."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # pyright: ignore[reportArgumentType] - pydantic checks them
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        variable = name if name.isupper() else variable_name(name)
        raise SettingsError(f"Set {variable} to another value: {first['msg'].lower()}.", field=variable) from None
