"""What an operator decides about a deployment, checked before any call to AWS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from inpaint_server.errors import InpaintServerError

TAG: Final = "inpaint-server:deployment"
"""The key of the tag on everything that is created; its value is the deployment's name."""

_NAME: Final = re.compile(r"[a-zA-Z0-9](-?[a-zA-Z0-9])*")
_LONGEST_NAME: Final = 40  # SageMaker's 63 less what is appended to it


class CannotDeploy(InpaintServerError):
    """AWS refuses, or the deployment cannot work; the message states what to change."""

    code = "cannot_deploy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What runs.

    Attributes:
        name: The deployment's name; everything created begins with it and carries it as a tag.
        image: The image's URI in ECR.
        weights: `s3://.../model.tar.gz`, or an uncompressed prefix that ends in a slash.
        role: The ARN of the role that the containers' platform works as.
        environment: Settings of the server beyond what the kind of deployment needs.

    Raises:
        CannotDeploy: one of them is not what it should be.
    """

    name: str
    image: str
    weights: str
    role: str
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST_NAME:
            raise CannotDeploy(
                f"Name the deployment with up to {_LONGEST_NAME} letters, digits and single hyphens: not '{self.name}'."
            )
        s3_uri(self.weights, "the weights")
        if not (self.is_archive or self.weights.endswith("/")):
            raise CannotDeploy(f"Give weights that end in .tar.gz or, for a prefix, in a slash: not {self.weights}.")

    @property
    def is_archive(self) -> bool:
        """Whether the weights are one `model.tar.gz`."""
        return self.weights.endswith(".tar.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """How many instances serve.

    Attributes:
        instance_type: Of SageMaker, with one GPU of 24 GB or more.
        minimum: Fewest instances; 0 is possible for an asynchronous endpoint only.
        maximum: Most instances.
        target: What autoscaling keeps an instance at: requests in it (real-time), or requests waiting for it.

    Raises:
        CannotDeploy: the numbers contradict each other.
    """

    instance_type: str = "ml.g5.xlarge"
    minimum: int = 1
    maximum: int = 4
    target: float = 4.0

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum or self.maximum < 1:
            raise CannotDeploy(f"Choose a maximum of at least 1 and at least the minimum: not {self.maximum}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A Batch Transform job: a file of requests, a file of answers.

    Attributes:
        requests: `s3://.../requests.jsonl`, or a prefix of such files; one request object a line.
        answers: The prefix under which `requests.jsonl.out` appears, one answer a line in the same order.
        instance_type: Of SageMaker, with one GPU of 24 GB or more.
        instances: Among which the input's files are divided; one file is one instance's work.
    """

    requests: str
    answers: str
    instance_type: str = "ml.g5.xlarge"
    instances: int = 1

    def __post_init__(self) -> None:
        s3_uri(self.requests, "the requests")
        s3_uri(self.answers, "the answers")


def s3_uri(text: str, what: str) -> tuple[str, str]:
    """The bucket and key of an S3 address.

    Raises:
        CannotDeploy: it is none.
    """
    scheme, _, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket or not key:
        raise CannotDeploy(f"Write {what} as s3://BUCKET/KEY: not '{text}'.")
    return bucket, key
