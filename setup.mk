# The part of the Makefile that sets up the Python environment and Caffe in it. Targets that need both have `caffe` as a
# prerequisite, which takes a fraction of a second when nothing is missing. Details: caffe/README.md.
export PYTHON ?= /usr/bin/python3
# A step that runs on a card needs a Caffe built with CUDA.
export CAFFE_CUDA ?= $(if $(filter cuda:%,$(DEVICE)),1)
VENV := .venv
CAFFE_RECIPE := caffe

.PHONY: setup caffe caffe-test lock debian-packages caffe-build

ifneq ($(wildcard $(VENV)/.sealed),)
# In the container image .venv is final: the image does not contain the tools to change it.
setup caffe:
else
setup: debian-packages ## Install the Debian packages and the Python environment .venv
	@$(MAKE) --no-print-directory $(VENV)/.installed

# pip downloads packages while Caffe compiles.
caffe: debian-packages ## Build Caffe, or take it from the cache, and link it into .venv
	@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j2) $(VENV)/.installed caffe-build
	@root=$$($(CAFFE_RECIPE)/build.sh) && site=$$(echo $(VENV)/lib/python3.*/site-packages) && \
		{ echo "$$root/python" | cmp -s - "$$site/caffe.pth" || echo "$$root/python" >"$$site/caffe.pth"; } && \
		ln -sfn "$$root/build/tools/caffe" $(VENV)/bin/caffe
endif

caffe-test: caffe ## Run Caffe's own C++ and Python tests on this build [minutes]
	@$(CAFFE_RECIPE)/packages.sh test
	@$(CAFFE_RECIPE)/test.sh $(VENV)/bin/python

lock: debian-packages ## Update requirements.lock; pins that still fit stay (delete it first to get the newest versions)
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
	@echo 'setup: installing the Python packages of requirements.lock' >&2
	@PYTHON=$(VENV)/bin/python $(CAFFE_RECIPE)/check_python.sh 2>/dev/null || \
		$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip -qq install --require-hashes --requirement requirements.lock
	@$(VENV)/bin/pip -qq install --no-deps --no-build-isolation --editable .
	@touch $@
