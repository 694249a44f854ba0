PYTHON ?= python3
# `make test TORCH=` leaves torch (and its exporter) out; the tests that need it are then skipped
TORCH ?= torch
BIN := .venv/bin
DEMO := .venv-demo/bin
INSTALL := -m pip install -q -c constraints.txt

PEERS := spikingjelly sinabs snntorch norse

.PHONY: demo test lint bench conversion finetune peers train-env torch
.PHONY: reproduce-hippocampus reproduce-registration reproduce-spiking-unet
.DELETE_ON_ERROR:

demo: $(DEMO)/.core  # compile and run the built-in example; needs no torch
	$(DEMO)/snncc demo

test: lint $(if $(TORCH),torch)
	$(BIN)/python -m pytest -q -n 2

lint: $(BIN)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(BIN)/.report  # half an hour; nothing else should run meanwhile. A peer that cannot be had is left out
	-$(MAKE) --keep-going peers
	$(BIN)/python -m benchmarks.performance
	$(BIN)/python -m benchmarks.kernels

conversion: $(BIN)/.report  # hours: what conversion loses on trained teachers, and other converters. Goes on where interrupted
	-$(MAKE) --keep-going .bench/spikingjelly/.done .bench/sinabs/.done
	$(BIN)/python -m benchmarks.conversion

finetune: $(BIN)/.train  # half an hour: fewer SynOps or steps by training. Goes on where it was interrupted
	$(BIN)/python -m benchmarks.finetune

reproduce-hippocampus: $(BIN)/.train  # two hours on two cores: hybrid segmentation (Yue et al., 2023). Goes on where interrupted
	$(BIN)/python -m examples.hippocampus_hybrid reproduce

reproduce-registration: $(BIN)/.train  # an hour on two cores: SpikeReg. Goes on where it was interrupted
	$(BIN)/python -m examples.registration reproduce

reproduce-spiking-unet: $(BIN)/.train  # up to three hours on two cores: multi-threshold Spiking-UNet. Goes on where it was interrupted
	$(BIN)/python -m examples.spiking_unet reproduce

peers: $(PEERS:%=.bench/%/.done)

.bench/%/.done: benchmarks/peers/%.txt
	$(PYTHON) -m venv .bench/$*
	.bench/$*/bin/python -m pip install -q -r $<
	touch $@

train-env: $(BIN)/.train  # everything: [dev], [report] and [train]

# A stamp is newer than what it was installed from, so a second call installs nothing.
$(DEMO)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-demo
	$(DEMO)/python $(INSTALL) -e .
	touch $@

$(BIN)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python $(INSTALL) -e .[dev]
	touch $@

$(BIN)/.report: $(BIN)/.dev
	$(BIN)/python $(INSTALL) -e .[dev,report]
	touch $@

$(BIN)/.train: $(BIN)/.dev
	$(BIN)/python $(INSTALL) -e .[dev,report,train]
	touch $@

torch: $(BIN)/.dev  # may fail: without torch the tests still pass
	-@test $(BIN)/.torch -nt constraints.txt || { $(BIN)/python $(INSTALL) $(TORCH) onnxscript lightning monai scipy matplotlib && touch $(BIN)/.torch; }
