# Caffe's own sources out of BVLC's image (Ubuntu 16.04, Python 2.7), rebuilt for Debian 12 and Python 3.11 by the
# same third_party/caffe that serves a machine without containers. `make image` builds it.

FROM bvlc/caffe:cpu AS bvlc

FROM debian:12-slim AS builder
COPY third_party/caffe/packages.txt /tmp/
RUN apt-get update && \
    apt-get install -y --no-install-recommends $(awk '$1 == "run" || $1 == "build" {print $2}' /tmp/packages.txt) && \
    rm -rf /var/lib/apt/lists/*
COPY --from=bvlc /opt/caffe /opt/caffe
ENV NBCAD_CACHE=/nbcad/.cache
WORKDIR /nbcad
# Caffe alone first: a change of ours does not compile it anew.
COPY third_party third_party
COPY requirements.lock ./
RUN third_party/caffe/build.sh
COPY . .
RUN make caffe && \
    .venv/bin/python -m compileall -q python && \
    touch .venv/.sealed && \
    mkdir -p data runs && chmod 777 data runs

FROM debian:12-slim AS cpu
COPY third_party/caffe/packages.txt /tmp/
RUN apt-get update && \
    apt-get install -y --no-install-recommends $(awk '$1 == "run" {print $2}' /tmp/packages.txt) && \
    rm -rf /var/lib/apt/lists/* /tmp/packages.txt && \
    useradd --create-home --uid 1000 nbcad
COPY --from=builder /nbcad /nbcad
WORKDIR /nbcad
ENV PATH=/nbcad/.venv/bin:$PATH
# Mount studies, annotations and results: data and runs are where the commands look for them.
USER nbcad
HEALTHCHECK --interval=1m --timeout=30s --start-period=10s \
    CMD ["python", "-c", "import caffe; caffe.Net('models/stage_lenet5/deploy.prototxt', caffe.TEST)"]
CMD ["make", "help"]
