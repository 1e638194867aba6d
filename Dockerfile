# syntax=docker/dockerfile:1
# The environment of `make setup` as an image, with PyTorch for CPUs:
#   docker build -t oneformer .
# With PyTorch for CUDA, which PyPI has, on an image that can compile for it:
#   docker build -t oneformer --build-arg PIP_EXTRA_INDEX_URL= \
#     --build-arg BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04 .
# Without a network, from a folder of wheels:
#   docker build -t oneformer --build-arg PIP_NO_INDEX=1 \
#     --build-context wheels=wheels .
ARG BASE=python:3.11

FROM scratch AS wheels

FROM ${BASE}
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_NO_INDEX
ARG STACK=onedl
# Images of Python have all of it, those of CUDA do not.
RUN (command -v make && command -v git && python3 -c 'import ensurepip') \
    || (apt-get update \
        && apt-get install -y --no-install-recommends git make python3-venv \
        && rm -rf /var/lib/apt/lists/*)
WORKDIR /opt/oneformer
COPY . .
RUN --mount=type=bind,from=wheels,target=/wheels \
    PIP_FIND_LINKS=/wheels PIP_NO_CACHE_DIR=1 \
    make setup STACK=${STACK} VENV=/opt/venv
ENV PATH=/opt/venv/bin:${PATH}
CMD ["python", "-m", "projects.oneformer", "doctor"]
