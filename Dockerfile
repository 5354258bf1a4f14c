# Caffe's sources from BVLC's image (Ubuntu 16.04, Python 2.7), rebuilt for Debian 12 and Python 3.11 by the recipe that
# is also used without containers (caffe/). `make image` builds the default target, cpu, and `make image-cuda` the
# target cuda. `make image-check` builds and tries a target without Docker.
ARG DEBIAN=debian:bookworm-20251229-slim

FROM bvlc/caffe:cpu AS bvlc

# NVIDIA does not publish an image for Debian 12. The toolkit is self-contained, so the one for Ubuntu serves.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS nvidia

FROM ${DEBIAN} AS sources
COPY caffe/packages.txt /tmp/
RUN apt-get update && \
    apt-get install -y --no-install-recommends $(awk '$1 == "run" || $1 == "build" {print $2}' /tmp/packages.txt)
COPY --from=bvlc /opt/caffe /opt/caffe
ENV NBCAD_CACHE=/nbcad/.cache
WORKDIR /nbcad
# The next stages build Caffe before they copy the project, so that a change in the project does not rebuild Caffe.
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
# HOME is writable for any user (docker run --user). Matplotlib and others keep only caches there.
ENV PATH=/nbcad/.venv/bin:$PATH HOME=/tmp
USER nbcad
HEALTHCHECK --interval=1m --timeout=30s --start-period=10s \
    CMD ["python", "-c", "import caffe; caffe.Net('models/stage_lenet5/deploy.prototxt', caffe.TEST)"]
CMD ["make", "help"]

FROM runtime AS cuda
COPY --from=build-cuda /cuda /usr/local/cuda
COPY --from=build-cuda /nbcad /nbcad
# NVIDIA's container runtime reads these: all cards, and the parts of the driver that CUDA needs.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM runtime AS cpu
COPY --from=build-cpu /nbcad /nbcad
