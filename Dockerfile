# Caffe's own sources out of BVLC's image (Ubuntu 16.04, Python 2.7), rebuilt for Debian 12 and Python 3.11 by the same
# recipe (caffe/) that serves a machine without containers. `make image` builds the target cpu, the default, and
# `make image-cuda` the target cuda; `make image-check` tries them without Docker.
ARG DEBIAN=debian:bookworm-20251229-slim

FROM bvlc/caffe:cpu AS bvlc

# NVIDIA has no image of Debian 12: of Ubuntu's, the toolkit is taken, which needs nothing beside itself.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS nvidia

FROM ${DEBIAN} AS sources
COPY caffe/packages.txt /tmp/
RUN apt-get update && \
    apt-get install -y --no-install-recommends $(awk '$1 == "run" || $1 == "build" {print $2}' /tmp/packages.txt)
COPY --from=bvlc /opt/caffe /opt/caffe
ENV NBCAD_CACHE=/nbcad/.cache
WORKDIR /nbcad
# Caffe alone first, in the next stages: a change of ours does not compile it anew.
COPY caffe caffe
COPY requirements.lock ./

FROM sources AS build-cuda
COPY --from=nvidia /usr/local/cuda-13.0 /usr/local/cuda
ARG CUDA_ARCH="80 86 89 90"
ENV CAFFE_CUDA=1
RUN caffe/build.sh && \
    mkdir -p /cuda/lib64 && cd /usr/local/cuda/lib64 && \
    cp -P libcudart.so.* libcublas.so.* libcublasLt.so.* libcurand.so.* /cuda/lib64
COPY . .
RUN image/install.sh

FROM sources AS build-cpu
RUN caffe/build.sh
COPY . .
RUN image/install.sh

FROM ${DEBIAN} AS runtime
COPY caffe/packages.txt /tmp/
RUN apt-get update && \
    apt-get install -y --no-install-recommends $(awk '$1 == "run" {print $2}' /tmp/packages.txt) && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /tmp/packages.txt && \
    useradd --uid 1000 nbcad
WORKDIR /nbcad
# HOME: what Matplotlib and others keep there may be lost, and any user may write it (docker run --user).
ENV PATH=/nbcad/.venv/bin:$PATH HOME=/tmp
USER nbcad
HEALTHCHECK --interval=1m --timeout=30s --start-period=10s \
    CMD ["python", "-c", "import caffe; caffe.Net('models/stage_lenet5/deploy.prototxt', caffe.TEST)"]
CMD ["make", "help"]

FROM runtime AS cuda
COPY --from=build-cuda /cuda /usr/local/cuda
COPY --from=build-cuda /nbcad /nbcad
# Read by NVIDIA's container runtime: all cards, and of the driver what CUDA needs.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM runtime AS cpu
COPY --from=build-cpu /nbcad /nbcad
