# kmesh-lite: `make run` shows it at work, `make test` proves it. Both set the machine up first.

SHELL := /bin/bash
.DEFAULT_GOAL := help
BPF_LINKER := 0.13.0
APT := rustc-web libstd-rust-web-dev-bpf llvm-22-dev bpftool curl nginx-light libnginx-mod-stream haproxy python3 iproute2 mandoc man-db mmdebstrap systemd-container util-linux
# For tests that are skipped without it: a mail server, which would take the place of a machine's own.
APT_CI := opensmtpd

.PHONY: help setup build run demo test unit lint bench clean

help: ## What there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## Install what building and testing need (Debian, as root); does nothing the second time
	@packaging/setup.sh "$(BPF_LINKER)" $(APT) $(if $(CI_RUN),$(APT_CI))

build: setup ## Build the release binary: target/release/kmesh-lite
	cargo build --release --locked -p kmesh-lite

run: build ## Build, then start the demo: real traffic following a file that changes
	@examples-config/demo/run.sh target/release/kmesh-lite

test: setup ## Run every test; those of the datapath need root
	cargo test --locked --manifest-path ebpf/Cargo.toml --workspace --features kmesh-lite-common/std
	cargo test --locked --workspace

lint: ## Formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path ebpf/Cargo.toml
	KMESH_LITE_EBPF=skip cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --manifest-path ebpf/Cargo.toml --workspace -- -D warnings

bench: build ## Measure against direct connects, HAProxy and nginx; writes target/bench.json
	cargo bench --locked -p kmesh-lite-tests

clean: ## Remove what was built
	cargo clean
	cargo clean --manifest-path ebpf/Cargo.toml
