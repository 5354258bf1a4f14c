# Every step of the flow as a command; `make help` lists them. Steps run only when what they need has changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

DEVICE ?= cpu
PATIENTS ?= 180
SEED ?= 1
# Scanners of the phantom that is trained on, and those that only other patients were examined on.
VENDORS ?= siemens ge philips
OTHER_VENDORS := canon uih
DICOM ?= data/phantom/dicom
ANNOTATIONS ?= data/phantom/annotations.csv
# Of labels other than CSVs: the table of patients. And further options of tools/make_database.py.
STAGES ?=
DATABASE_OPTIONS ?=
OUT ?= runs/infer
# Of tools/bench.py; empty: all.
PARTS ?=
# Of the paper's solvers and of those beyond it; empty: as they say.
ITERATIONS ?=
# Of the Dockerfile.
TARGET ?= cpu

include setup.mk

PY := $(VENV)/bin/python
INPUTS := python/nbcad/imaging/preprocess.py config/series_rules.toml $(wildcard python/nbcad/dicom/*.py)
POINT := $(addprefix python/nbcad/,inference/heat.py inference/lesions.py inference/calibration.py \
	training/operating_point.py training/calibration.py)
LMDBS := $(addprefix python/nbcad/samples/,conversion.py lmdb_io.py)
SAMPLES := $(filter-out $(LMDBS) %/audit.py %/split_bias.py, \
	$(wildcard python/nbcad/samples/*.py python/nbcad/annotation/*.py)) python/nbcad/samples/schema.sql $(INPUTS)
HELDOUT := data/heldout
OTHERS := data/others
# A database of your own images: only `make data` with these may change it. One that cannot be asked counts as such.
OF_PHANTOM = $(shell $(PY) tools/audit_database.py --phantom --database data/samples.sqlite >/dev/null 2>&1 && echo yes)
OWN = $(if $(wildcard data/samples.sqlite),$(if $(OF_PHANTOM),,own))
BEYOND := runs/beyond_paper/stage
FIRST := runs/beyond_paper/stage_first
# One BLAS thread: the weights are then the same bytes on any number of cores, and the two nets train side by side.
TRAIN := OPENBLAS_NUM_THREADS=1 $(PY) tools/train.py --device $(DEVICE) $(if $(ITERATIONS),--max-iter $(ITERATIONS)) --force

# A heading for a step. `make demo` sets STEPS, and the headings are then numbered.
step = @printf '\n== %s%s\n' '$(if $(STEPS),$(1)/$(STEPS) )' '$(2)'

.PHONY: help demo demo-report test test-hospital lint data sppin always train-organ train-stage train-stage-beyond \
	baselines ablation evaluate evaluate-others infer bench parity messages image image-cuda image-check clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: caffe ## Phantom -> database -> LMDB -> both nets -> SVM -> figures -> report of held-out phantom patients
	@$(MAKE) --no-print-directory evaluate STEPS=9
	@$(MAKE) --no-print-directory demo-report STEPS=9
	@printf '%s\n' '' \
		'Where to look (synthetic data: nothing here says how the models do on patients):' \
		'  runs/demo/report.html            the report of two further patients: stage, lesions, slice viewer' \
		'  runs/metrics.html                the figures of the paper'\''s solver, with plots and definitions' \
		'  runs/beyond_paper/metrics.html   those of the stager beyond the paper, beside the paper'\''s' \
		'  runs/*/curves.png                loss, accuracy and learning rate of each training' \
		'What to try next:' \
		'  tools/infer.py FOLDER --out report --stage $(BEYOND)   a report of your own DICOM' \
		'  make data train-organ train-stage DICOM=FOLDER ANNOTATIONS=CSV        train on your own data (docs/usage.md)' \
		'  make evaluate-others                                                  measure on other makers'\'' scanners'

demo-report: $(HELDOUT)/annotations.csv
	$(call step,9,Reporting two patients of scanners that were not trained on (runs/demo))
	@$(PY) tools/infer.py $(HELDOUT)/dicom --out runs/demo --stage $(BEYOND) --device $(DEVICE) --force || [ $$? -eq 3 ]

test: caffe lint ## Everything that a fresh clone must pass
	@$(CAFFE_RECIPE)/packages.sh test
	@$(PY) -m pytest

test-hospital: caffe ## The DICOM node among dcmtk's scanners and Orthanc as archive [minutes]
	@$(CAFFE_RECIPE)/packages.sh test
	@$(PY) -m pytest -m hospital

lint: caffe
	@$(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --check --quiet . && $(VENV)/bin/mypy --no-error-summary

data: caffe ## Sample database and LMDBs of DICOM=dir ANNOTATIONS=path (default: the phantom, PATIENTS=180 SEED=1)
	@$(MAKE) --no-print-directory data/lmdb/info.json

sppin: caffe ## Sample database and LMDBs of the SPPIN challenge's folder SPPIN=dir STAGES=csv
	@[ -d data/sppin ] || $(PY) tools/convert_sppin.py "$(SPPIN)" --out data/sppin || [ $$? -eq 3 ]
	@$(MAKE) --no-print-directory data DICOM=data/sppin ANNOTATIONS=data/sppin

train-organ: caffe ## Organ net and its SVM with the paper's solver [DEVICE=cpu|cuda:0]
	@$(MAKE) --no-print-directory runs/organ/svm.json

train-stage: caffe ## LeNet-5 stager with the paper's solver, and its operating point [DEVICE=cpu|cuda:0]
	@$(MAKE) --no-print-directory runs/stage/operating_point.json

train-stage-beyond: caffe ## The same stager with a longer schedule and hard negatives (solvers/beyond_paper)
	@$(MAKE) --no-print-directory $(BEYOND)/operating_point.json

baselines: caffe ## The organ net with ReLU for Sigmoid, as `make evaluate` then compares it [minutes]
	@$(MAKE) --no-print-directory runs/baselines/relu/svm.json

ablation: caffe ## What each of the paper's numbers does, five seeds, to runs/ablation [an hour; goes on where it was]
	@$(MAKE) --no-print-directory data/lmdb/info.json
	@OPENBLAS_NUM_THREADS=1 $(PY) tools/ablation.py

evaluate: caffe ## The paper's measures on the held-out test patients, of the paper's solvers and of beyond_paper's
	@$(MAKE) --no-print-directory data/lmdb/info.json
	@NBCAD_PROGRESS=lines $(MAKE) --no-print-directory -j2 \
		runs/organ/svm.json $(BEYOND)/operating_point.json runs/stage/operating_point.json
	$(call step,8,Measuring both nets on the held-out test patients: trained with the numbers of the paper)
	@$(PY) tools/evaluate.py --baselines --device $(DEVICE) --force
	$(call step,8,Measuring the stager beyond the paper on the same patients)
	@$(PY) tools/evaluate.py --stage $(BEYOND) --out runs/beyond_paper/metrics.json \
		--beside runs/metrics.json --device $(DEVICE) --force

evaluate-others: caffe ## The same on 60 phantom patients of another seed and of scanners that were not trained on
	@$(MAKE) --no-print-directory $(OTHERS)/samples.sqlite
	@$(PY) tools/evaluate.py --database $(OTHERS)/samples.sqlite --out runs/others/paper.json --device $(DEVICE) --force
	@$(PY) tools/evaluate.py --database $(OTHERS)/samples.sqlite --out runs/others/metrics.json --stage $(BEYOND) \
		--beside runs/others/paper.json --device $(DEVICE) --force

infer: caffe ## Report of DICOM=dir in OUT=dir
	@$(PY) tools/infer.py $(DICOM) --out $(OUT) --device $(DEVICE) || [ $$? -eq 3 ]

bench: caffe ## What the steps cost on this machine, to runs/bench: table, bench.json, plots [PARTS=names]
	@[ -f runs/organ/model.json ] || $(MAKE) --no-print-directory train-organ
	@[ -f $(BEYOND)/model.json ] || $(MAKE) --no-print-directory train-stage-beyond
	@$(PY) tools/bench.py $(PARTS)

parity: caffe ## Losses of `caffe train`, our driver, stock and fast layers; answers of Caffe, OpenCV and PyTorch
	@$(PY) tools/parity.py

messages: caffe ## Copy changed texts of pages and messages to the catalogues, new ones untranslated
	@pot=$$(mktemp) && trap 'rm -f "$$pot"' EXIT && \
		$(VENV)/bin/pybabel -q extract -F pyproject.toml --no-location -o "$$pot" python/nbcad && \
		$(VENV)/bin/pybabel -q update -i "$$pot" -d python/nbcad/language/locale -D nbcad -w 120 --no-fuzzy-matching \
			--ignore-obsolete --ignore-pot-creation-date

image: ## The container image nbcad:cpu
	docker build --target cpu --tag nbcad:cpu .

image-cuda: ## The container image nbcad:cuda, for NVIDIA's cards
	docker build --target cuda --tag nbcad:cuda .

image-check: caffe ## Build the image without Docker, by buildah, and use it [root, TARGET=cpu|cuda]
	@$(CAFFE_RECIPE)/packages.sh image
	@image/check.sh $(TARGET)

clean: ## Remove databases and runs; the environment and Caffe stay
	rm -rf data/phantom data/heldout data/others data/sppin data/lmdb data/.lmdb.part data/stage_train_hard \
		data/samples.sqlite runs

data/phantom/annotations.csv: $(wildcard python/nbcad/datasets/phantom/*.py)
	$(call step,1,Generating $(PATIENTS) synthetic patients (data/phantom))
	@$(PY) tools/make_phantom.py --out data/phantom --patients $(PATIENTS) --seed $(SEED) --vendors $(VENDORS) --force

$(HELDOUT)/annotations.csv: $(wildcard python/nbcad/datasets/phantom/*.py)
	$(call step,9,Generating two further synthetic patients of other scanners ($(HELDOUT)))
	@$(PY) tools/make_phantom.py --out $(HELDOUT) --patients 2 --seed 2026 --vendors $(OTHER_VENDORS) --force

$(OTHERS)/annotations.csv: $(wildcard python/nbcad/datasets/phantom/*.py)
	$(call step,,Generating 60 synthetic patients of other scanners ($(OTHERS)))
	@$(PY) tools/make_phantom.py --out $(OTHERS) --patients 60 --seed 31337 --vendors $(OTHER_VENDORS) --force

$(OTHERS)/samples.sqlite: $(OTHERS)/annotations.csv $(SAMPLES)
	@$(PY) tools/make_database.py --dicom $(OTHERS)/dicom --annotations $< --out $@ --shares 0 0 1 --force

# The phantom's is rebuilt when its sources have changed. Your own grows; only the tool can tell what is new.
.SECONDEXPANSION:  # the database is asked only where it is needed
data/samples.sqlite: $(if $(filter data/phantom/%,$(ANNOTATIONS)),$$(if $$(OWN),,$(ANNOTATIONS) $(SAMPLES)),always)
	$(call step,2,Building the sample database (data/samples.sqlite))
	@$(PY) tools/make_database.py --dicom $(DICOM) --annotations $(ANNOTATIONS) $(if $(STAGES),--stages $(STAGES)) \
		--out $@ --seed $(SEED) $(if $(filter data/phantom/%,$(ANNOTATIONS)),--force) $(DATABASE_OPTIONS) || [ $$? -eq 3 ]

data/lmdb/info.json: data/samples.sqlite $(LMDBS)
	$(call step,3,Converting the samples to LMDB (data/lmdb))
	@$(PY) tools/make_lmdb.py --database $< --out data/lmdb --force
	@mkdir -p runs/organ runs/stage

runs/organ/final.caffemodel: data/lmdb/info.json solvers/organ_solver.prototxt models/organ_net/train_val.prototxt
	$(call step,4,Training the organ net with the numbers of the paper (runs/organ))
	@$(TRAIN) --solver solvers/organ_solver.prototxt --run runs/organ

runs/organ/svm.json: runs/organ/final.caffemodel models/organ_svm/svm.toml python/nbcad/inference/organ.py \
		$(wildcard python/nbcad/training/organ_*.py) python/nbcad/inference/suitability.py \
		python/nbcad/training/suitability.py
	$(call step,5,Fitting the SVM on the features of the organ net (runs/organ))
	@$(PY) tools/fit_organ_svm.py --run runs/organ --device $(DEVICE)

runs/baselines/relu/svm.json: data/lmdb/info.json solvers/organ_solver.prototxt models/organ_net/train_val.prototxt \
		models/organ_svm/svm.toml python/nbcad/experiments/baselines.py
	@OPENBLAS_NUM_THREADS=1 $(PY) tools/train_baseline.py --out $(@D) --device $(DEVICE) \
		$(if $(ITERATIONS),--max-iter $(ITERATIONS)) --force

runs/stage/final.caffemodel: data/lmdb/info.json solvers/stage_solver.prototxt models/stage_lenet5/train_val.prototxt
	$(call step,6,Training the stager with the numbers of the paper (runs/stage))
	@$(TRAIN) --solver solvers/stage_solver.prototxt --run runs/stage

runs/stage/operating_point.json: runs/stage/final.caffemodel $(POINT)
	$(call step,6,Choosing the operating point on the validation patients (runs/stage))
	@$(PY) tools/choose_operating_point.py --run runs/stage --device $(DEVICE)

$(FIRST)/final.caffemodel: data/lmdb/info.json solvers/beyond_paper/stage_first_solver.prototxt \
		models/stage_lenet5/train_val.prototxt
	$(call step,7,Training the stager beyond the paper: first round ($(FIRST)))
	@$(TRAIN) --solver solvers/beyond_paper/stage_first_solver.prototxt --run $(FIRST)

data/stage_train_hard/complete: $(FIRST)/final.caffemodel python/nbcad/training/hard_negatives.py
	$(call step,7,Collecting its false positives as hard negatives (data/stage_train_hard))
	@$(PY) tools/mine_hard_negatives.py --run $(FIRST) --device $(DEVICE) --force

$(BEYOND)/final.caffemodel: data/stage_train_hard/complete solvers/beyond_paper/stage_solver.prototxt
	$(call step,7,Training the stager beyond the paper: second round ($(BEYOND)))
	@$(TRAIN) --solver solvers/beyond_paper/stage_solver.prototxt --run $(BEYOND)

$(BEYOND)/operating_point.json: $(BEYOND)/final.caffemodel $(POINT)
	$(call step,7,Choosing the operating point on the validation patients ($(BEYOND)))
	@$(PY) tools/choose_operating_point.py --run $(BEYOND) --device $(DEVICE)
