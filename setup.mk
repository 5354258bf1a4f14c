# Set-up, for inclusion by the Makefile: the Python environment, and Caffe in it. What needs both has `caffe` as a
# prerequisite: it costs a fraction of a second when all is there. Told in full by caffe/README.md.
export PYTHON ?= /usr/bin/python3
# A step on a card needs a Caffe with CUDA.
export CAFFE_CUDA ?= $(if $(filter cuda:%,$(DEVICE)),1)
VENV := .venv
CAFFE_RECIPE := caffe

.PHONY: setup caffe caffe-test lock debian-packages caffe-build

ifneq ($(wildcard $(VENV)/.sealed),)
# In the container image .venv is final, and nothing that could change it is there.
setup caffe:
else
setup: debian-packages ## Debian packages and the Python environment .venv
	@$(MAKE) --no-print-directory $(VENV)/.installed

# pip downloads while Caffe compiles.
caffe: debian-packages ## Caffe itself: built, or taken from the cache, and put into .venv
	@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j2) $(VENV)/.installed caffe-build
	@root=$$($(CAFFE_RECIPE)/build.sh) && site=$$(echo $(VENV)/lib/python3.*/site-packages) && \
		{ echo "$$root/python" | cmp -s - "$$site/caffe.pth" || echo "$$root/python" >"$$site/caffe.pth"; } && \
		ln -sfn "$$root/build/tools/caffe" $(VENV)/bin/caffe
endif

caffe-test: caffe ## Caffe's own C++ and Python tests on our build (minutes)
	@$(CAFFE_RECIPE)/packages.sh test
	@$(CAFFE_RECIPE)/test.sh $(VENV)/bin/python

lock: debian-packages ## Write requirements.lock anew; pins that still fit stay (all newest: delete it first)
	@uv=$$(mktemp -d) && trap 'rm -rf "$$uv"' EXIT && $(PYTHON) -m venv "$$uv" && "$$uv/bin/pip" -qq install uv && \
		echo 'setuptools>=68' | UV_CUSTOM_COMPILE_COMMAND='make lock' "$$uv/bin/uv" --no-config pip compile --quiet \
		--python-version 3.11 --python-platform linux --generate-hashes --no-emit-index-url --no-emit-find-links \
		--extra test pyproject.toml $(CAFFE_RECIPE)/requirements.txt - --output-file requirements.lock

debian-packages:
	@$(CAFFE_RECIPE)/packages.sh run build
	@$(CAFFE_RECIPE)/check_python.sh

caffe-build:
	@$(CAFFE_RECIPE)/build.sh >/dev/null

$(VENV)/.installed: requirements.lock pyproject.toml | debian-packages
	@echo 'setup: Python packages of requirements.lock' >&2
	@PYTHON=$(VENV)/bin/python $(CAFFE_RECIPE)/check_python.sh 2>/dev/null || \
		$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip -qq install --require-hashes --requirement requirements.lock
	@$(VENV)/bin/pip -qq install --no-deps --no-build-isolation --editable .
	@touch $@
