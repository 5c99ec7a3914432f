# Colour pictures without installing anything:
#   docker build -t colorize .
#   docker run --rm -v "$PWD:/work" colorize photo.jpg
# With PyTorch's index of CPU wheels (see pytorch.org, "Get started") as --build-arg PIP_EXTRA_INDEX_URL=... and
# TORCH=torch==VERSION+cpu the image is some gigabytes smaller: the usual wheels bring CUDA.
FROM python:3.12-slim AS build
ARG PIP_EXTRA_INDEX_URL=
ARG TORCH=torch
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY colorize colorize
COPY conf conf
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir "$TORCH" torchvision \
    && /opt/venv/bin/pip install --no-cache-dir .

FROM python:3.12-slim
COPY --from=build /opt/venv /opt/venv
RUN useradd --create-home --uid 1000 colorize
USER 1000
WORKDIR /work
ENV PATH=/opt/venv/bin:$PATH
ENTRYPOINT ["colorize"]
CMD ["--help"]
