# SPDX-License-Identifier: Apache-2.0
# make demo | test | check | setup | interfaces | clean; each does all its own set-up.
#
# PYTHON=python3.12      interpreter of .venv (3.10 ... 3.13); default: the first that fits
# TORCH_INDEX=URL        package index for torch alone, e.g. https://download.pytorch.org/whl/cpu where
#                        there is no NVIDIA GPU (200 MB instead of 3 GB)
# MUJOCO_GL=egl|osmesa   use this OpenGL instead of looking for one that works
# ARGS="..."             arguments of 'adamoe demo' or of pytest
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.PHONY: help setup interfaces demo check test test-core test-ros test-matrix fuzz conformance conformance-clients conformance-linters libero chaos endurance gpu-rehearsal wheel-check robot-check scale console-check clean

# no other environment's Python, user site or wheels may leak into ours
unexport PYTHONHOME _ROS_WHEELS_BOOTSTRAP_COMPLETE
export PYTHONNOUSERSITE := 1
VENV := .venv/bin
PYTEST := python -m pytest $(ARGS)

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup:  ## make .venv, build the interfaces, install the adamoe command
	@python=$$(tools/find_python.sh)
	"$$python" tools/bootstrap.py $(SETUP_FLAGS)

interfaces: setup  ## the same; builds anew only what changed in msg/, srv/, action/

demo: SETUP_FLAGS := --quiet
demo: setup  ## two simulated arms under the policy, with a report in out/demo
	@exec $(VENV)/adamoe demo $(ARGS)

check: SETUP_FLAGS := --quiet
check: setup  ## linters and types
	@source tools/env.sh
	ruff check .
	ruff format --check .
	mypy

test: check test-core test-ros  ## everything: check, then tests without ROS, then with real nodes

test-core: SETUP_FLAGS := --quiet
test-core: setup  ## tests that need no ROS, in an environment that hides it
	@tools/without_ros.sh $(PYTEST) -n auto --dist loadfile test/core

test-ros: SETUP_FLAGS := --quiet
test-ros: setup  ## tests with real nodes in real processes
	@source tools/env.sh
	code=0
	$(PYTEST) -n 2 --dist loadfile -m side_by_side test/ros || code=$$?
	$(PYTEST) -m "not side_by_side" test/ros || code=$$?
	exit $$code

test-matrix: SETUP_FLAGS := --quiet
test-matrix: setup  ## without torch: other Pythons with Kilted, 3.12 with Jazzy
	@$(VENV)/python tools/test_matrix.py $(ARGS)

chaos: SETUP_FLAGS := --quiet
chaos: setup  ## kill, freeze and restart nodes while arms move; ARGS="--trials 200"
	@source tools/env.sh
	export PYTHONPATH="$$PYTHONPATH:test/ros:test/core/policy:benchmarks"
	python test/chaos/run_chaos.py $(ARGS)

endurance: SETUP_FLAGS := --quiet
endurance: setup  ## 24 h of simulated time of goals (45 minutes): does anything grow? ARGS="--hours 1"
	@source tools/env.sh
	python benchmarks/endurance.py $(ARGS)

fuzz: SETUP_FLAGS := --quiet
fuzz: setup  ## 10,000 damaged inputs through every command (about an hour); ARGS="--messages 90000": to real nodes, "--frames 10000": to a policy server
	@case "$(ARGS)" in *--messages*) source tools/env.sh; python benchmarks/fuzz.py $(ARGS);;
	*) tools/without_ros.sh $(VENV)/python benchmarks/fuzz.py $(ARGS);; esac

conformance: SETUP_FLAGS := --quiet
conformance: setup  ## LeRobot opens our datasets and pi0.5, and we its; builds .venv-lerobot (2 GB)
	@$(VENV)/python tools/conformance_environment.py
	CONFORMANCE_REPORT=benchmarks/results/conformance.json $(VENV)/$(PYTEST) --timeout 900 test/conformance/test_lerobot*.py

conformance-clients: SETUP_FLAGS := --quiet
conformance-clients: setup  ## clients of openpi, vla-eval and XPolicyLab against adamoe serve; builds .venv-clients
	@$(VENV)/python tools/client_environments.py
	CLIENTS_REPORT=benchmarks/results/conformance_clients.json $(VENV)/$(PYTEST) test/conformance/test_clients.py

conformance-linters: SETUP_FLAGS := --quiet
conformance-linters: setup  ## what public dataset linters find, validate finds; builds .venv-linters (600 MB)
	@$(VENV)/python tools/linter_environment.py
	LINTERS_REPORT=benchmarks/results/linters.json $(VENV)/$(PYTEST) --timeout 1800 test/conformance/test_linters.py

libero: SETUP_FLAGS := --quiet
libero: setup  ## LIBERO's simulator, a demonstration and the server together; environment in ~/.cache (2 GB)
	@OMP_NUM_THREADS=1 tools/without_ros.sh $(PYTEST) --timeout 1500 test/libero

scale: SETUP_FLAGS := --quiet
scale: setup  ## work on a Ray cluster, training under torchrun, both with kills; builds .venv-ray (270 MB)
	@$(VENV)/python tools/ray_environment.py
	SCALE_REPORT=benchmarks/results/scale.json tools/without_ros.sh .venv-ray/bin/$(PYTEST) --timeout 550 test/scale

console-check: SETUP_FLAGS := --quiet
console-check: setup  ## an operator's story in a real browser; needs Chromium, builds .venv-browser (190 MB)
	@$(VENV)/python tools/browser_environment.py
	.venv-browser/bin/python test/browser/operator_story.py $(ARGS)

gpu-rehearsal:  ## a GPU machine's own torch 2.11 without a GPU; builds .venv-gpu (5 GB, Python 3.12)
	@tools/gpu_rehearsal.sh $(ARGS)

wheel-check: SETUP_FLAGS := --quiet
wheel-check: setup  ## the wheel of the ROS-free part, built and used in an empty environment (builds .venv-wheel)
	@$(VENV)/python tools/wheel_check.py $(ARGS)

robot-check:  ## README's robot quick start on a clean Debian tree (root, debootstrap, half an hour); ARGS="--sources DIR"
	@python3 tools/robot_check.py $(ARGS)

clean:  ## remove everything that was made
	@tools/clean.sh
