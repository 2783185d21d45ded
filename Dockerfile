# A slim Debian and no nvidia/cuda base, because torch's wheels carry CUDA 12.8 with cuDNN and NCCL, and the driver's own library
# comes from the host. A CUDA base would add gigabytes that nothing loads, and its NVIDIA_REQUIRE_CUDA refuses to start on
# drivers (525 and newer) that run every CUDA 12. For a reproducible build, name the base by its digest
# (python:3.11-slim-bookworm@sha256:...). Any Debian whose python3 is 3.11 with venv will do.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# Weights for /opt/models: none, unless the build is given a bundle's folder with --build-context weights=FOLDER.
FROM scratch AS weights

# What to install, a file for each layer, so that a layer changes only when its own versions do.
FROM ${BASE_IMAGE} AS requirements
RUN --mount=type=bind,source=requirements.lock,target=/requirements.lock \
    --mount=type=bind,source=pyproject.toml,target=/pyproject.toml <<'END'
set -e
grep -E '^(cuda-|nvidia-|triton=)' /requirements.lock > /cuda.txt
grep -E '^(torch|torchvision|xformers)=' /requirements.lock > /torch.txt
python3 -c '
import pathlib, tomllib
project = tomllib.loads(pathlib.Path("/pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *extras["aws"], *extras["gpu"], *extras["sign"], sep="\n")
' > /direct.txt
END

# The environment: CUDA's libraries, torch, all the rest. It is installed where it runs: a copy from a build stage would
# hold it twice on the builder and gain nothing, for no compiler is needed. With SOURCE_DATE_EPOCH compiled Python names its
# source's hash and not its date, and so does not change with the day of the build, nor go stale where dates are rewritten.
FROM ${BASE_IMAGE} AS environment
ARG PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
ENV PATH=/opt/venv/bin:$PATH
RUN SOURCE_DATE_EPOCH=315532800 python3 -m venv /opt/venv
RUN --mount=type=bind,from=requirements,source=/cuda.txt,target=/cuda.txt \
    --mount=type=cache,target=/root/.cache/pip \
    SOURCE_DATE_EPOCH=315532800 pip install --no-deps --requirement /cuda.txt
RUN --mount=type=bind,from=requirements,source=/torch.txt,target=/torch.txt \
    --mount=type=cache,target=/root/.cache/pip \
    SOURCE_DATE_EPOCH=315532800 pip install --no-deps --requirement /torch.txt
RUN --mount=type=bind,from=requirements,source=/direct.txt,target=/direct.txt \
    --mount=type=bind,source=requirements.lock,target=/requirements.lock \
    --mount=type=cache,target=/root/.cache/pip \
    SOURCE_DATE_EPOCH=315532800 pip install --constraint /requirements.lock --requirement /direct.txt

FROM environment AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheels .

FROM environment
# SageMaker runs containers as root whatever USER is set to; other platforms use a numeric id without a name, and torch
# looks up the user's name: the variable USER provides it.
RUN groupadd --gid 10001 inpaint \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin inpaint
# The NVIDIA variables are what a CUDA base would set: without them a container runtime may pass no GPU through.
# /tmp is the one place that must be writable: with --read-only give a tmpfs there. No model hub is contacted.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/tmp USER=inpaint PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
# Weights below the code, readable for every user: a change of code leaves their layer as it is.
COPY --from=weights --chmod=0755 / /opt/models/
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    SOURCE_DATE_EPOCH=315532800 pip install --no-cache-dir --no-deps /wheels/*.whl && pip check
COPY --chmod=0755 container /opt/inpaint-server
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
RUN [ -z "$(ls -A /opt/models 2>/dev/null)" ] || inpaint-server models verify /opt/models
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=900s CMD ["/opt/venv/bin/python3", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('SAGEMAKER_BIND_TO_PORT', '8080') + '/ping', timeout=2)"]
ENTRYPOINT ["/opt/venv/bin/python3", "/opt/inpaint-server/entrypoint.py"]
CMD ["serve"]
# Last, because they differ in every build. /ping and --version report the commit.
ARG BASE_IMAGE VERSION=0.5.0 REVISION=unknown
ENV INPAINT_REVISION=${REVISION}
LABEL org.opencontainers.image.title="inpaint-server" \
      org.opencontainers.image.description="Product photo and a few words in, adverts out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true"
