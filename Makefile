# Every command that the README names. `make` without arguments lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python that the project supports; name another with `make PYTHON=... TARGET`.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; done)

# onnxruntime's wheels send usage to their maker otherwise
export ORT_DISABLE_TELEMETRY := 1

VENV := .venv
BIN := $(VENV)/bin
REPOSITORY := model_repository
CHECKPOINT := models/hindi-small
EXPORTED := $(REPOSITORY)/acoustic_onnx/1/manifest.json
PINS := constraints.txt client/pyproject.toml export/pyproject.toml server/pyproject.toml loadtest/pyproject.toml
TYPED := client/src export/src server/src loadtest/src tests scripts benchmarks docker model_repository/acoustic/1/shrota_acoustic model_repository/acoustic_torch/1/shrota_torch \
	model_repository/ctc_decoder/1/shrota_decoder training/shrota_training

.PHONY: help demo serve test lint format bench bench-gpu quality report sweep loadtest soak overload export clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: $(PINS) scripts/preflight.py
	@"$(or $(PYTHON),python3)" scripts/preflight.py
	@echo "installing pinned dependencies into $(VENV) (some minutes the first time; PyTorch is large)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable client --editable 'export[plot,openvino]' --editable 'server[openvino]' --editable loadtest
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement requirements-dev.txt
	@touch $@

export: $(VENV)/.ready ## export the bundled checkpoint into model_repository/ (CHECKPOINT=... for another)
	@$(BIN)/shrota export onnx $(CHECKPOINT) --repository $(REPOSITORY)

demo: $(VENV)/.ready ## export, start Triton, transcribe samples/, score, stop
	@exec $(BIN)/python -m scripts.demo --checkpoint $(CHECKPOINT)

serve: $(VENV)/.ready ## serve what is exported, else CHECKPOINT, on ports 8000 (HTTP), 8001 (gRPC), 8002 (metrics)
ifeq ($(origin CHECKPOINT),file)
	@# what somebody exported is left alone; the bundled checkpoint is exported again if it or the code has changed
	@if ! test -e $(EXPORTED) || grep -q '"name": "$(CHECKPOINT)"' $(EXPORTED); then \
		$(BIN)/shrota export onnx $(CHECKPOINT) --repository $(REPOSITORY); fi
else
	@$(BIN)/shrota export onnx $(CHECKPOINT) --repository $(REPOSITORY)
endif
	@exec $(BIN)/shrota serve --repository $(REPOSITORY)

test: $(VENV)/.ready-dev ## run all tests
	@$(BIN)/python -m pytest

lint: $(VENV)/.ready-dev ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --exclude '/backends/(openvino|tensorrt)/model\.py$$' $(TYPED)
	@for model in model_repository/*/1/model.py server/src/shrota_server/backends/{openvino,tensorrt}/model.py; do $(BIN)/mypy $$model || exit 1; done

format: $(VENV)/.ready-dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix --quiet . || true

bench: $(VENV)/.ready ## measure what the README claims about speed and memory
	@$(BIN)/python -m benchmarks

# PyTorch with CUDA is not the one that .venv has: name the Python of an environment that benchmarks/gpu_environment.sh made
GPU_PYTHON ?= python3
bench-gpu: ## on an NVIDIA GPU: bars, kernels, roofline, asr through Triton, to docs/benchmarks/ (GPU_PYTHON=..., PERF_ANALYZER=..., ARGS=...)
	@exec "$(GPU_PYTHON)" -m benchmarks.gpu_serving $(if $(PERF_ANALYZER),--perf-analyzer "$(PERF_ANALYZER)") $(ARGS)

quality: $(VENV)/.ready ## measure each way of decoding on held-out speech, which a clone lacks: first make -C training DATA=... test-set held-out
	@$(BIN)/python -m benchmarks.decoder_quality --checkpoint $(CHECKPOINT)

report: $(VENV)/.ready ## measure what the bundled checkpoint consists of and what each optimisation gains (CHECKPOINT=... for another)
ifeq ($(origin CHECKPOINT),file)
	@$(BIN)/shrota report $(CHECKPOINT) --output docs/report/$(notdir $(CHECKPOINT))
else
	@$(BIN)/shrota report $(CHECKPOINT)
endif

sweep: $(VENV)/.ready ## measure the bundled checkpoint with perf_analyzer over load and configuration (PERF_ANALYZER=... where it is not on the PATH)
	@exec $(BIN)/python -m scripts.sweep --checkpoint $(CHECKPOINT) $(if $(PERF_ANALYZER),--perf-analyzer "$(PERF_ANALYZER)")

# what one server carries: CHECKPOINT is exported into a repository of their own and served for the time of the test
loadtest: $(VENV)/.ready ## search for the highest rate of requests at a p95 latency of 1 s, within 5 minutes
	@exec $(BIN)/python -m scripts.loadtest --checkpoint $(CHECKPOINT) search --minutes 4.2 --output build/loadtest

soak: $(VENV)/.ready ## 20 minutes (and 4 before) at 70 % of the rate that `make loadtest` found: errors, transcripts, memory
	@exec $(BIN)/python -m scripts.loadtest --checkpoint $(CHECKPOINT) soak --of build/loadtest --output build/soak

overload: $(VENV)/.ready ## a minute at three times that rate: what is refused, and how the server is afterwards
	@exec $(BIN)/python -m scripts.loadtest --checkpoint $(CHECKPOINT) overload --of build/loadtest --output build/overload

clean: ## remove what the commands above have made
	rm -rf $(VENV) .cache build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	git clean -fdqX $(REPOSITORY) client export server loadtest tests benchmarks scripts training
