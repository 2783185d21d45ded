# CUDA comes with torch's own wheels, so a slim Debian is enough, and it accepts older drivers than an nvidia/cuda base.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# What the code needs, in a layer that changes only with the lock; then the code.
COPY pyproject.toml requirements.lock README.md ./
COPY src/inpaint_server/__init__.py src/inpaint_server/__init__.py
RUN pip install --constraint requirements.lock '.[gpu,aws]' && pip uninstall --yes inpaint-server
COPY src src
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="inpaint-server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true"
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps /wheels/*.whl \
    && useradd --system --uid 1000 --create-home inpaint
# SageMaker runs containers as root whatever is said here; everyone else gets a plain user.
USER inpaint
COPY container /opt/inpaint-server
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=2s --start-period=480s CMD ["python3", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('SAGEMAKER_BIND_TO_PORT', '8080') + '/ping', timeout=2)"]
ENTRYPOINT ["python3", "/opt/inpaint-server/entrypoint.py"]
CMD ["serve"]
