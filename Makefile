# Every command that a person needs. `make help` lists them.

PREFIX ?= /usr/local
CARGO ?= cargo
BIN = target/release/chaos-exec

.DEFAULT_GOAL := help
.PHONY: help setup build test chaos shop soak slurm cgroup lint fmt bench demo dist install clean

help: ## list the commands
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install the Debian packages that the tests need (quick when they are there)
	@scripts/setup

build: ## build the launcher, with the shim inside, into target/release
	$(CARGO) build --release

test: setup ## run every test
	$(CARGO) build --workspace
	$(CARGO) test --workspace

chaos: ## run all scenarios, clients and servers of tests/, also those that take long (some minutes)
	@scripts/setup soak
	$(CARGO) build --workspace
	$(CARGO) test --test scenarios --test chaos -- --include-ignored

shop: setup ## run the shop of tests/shop 50 times under each of seven scenarios, careful and careless (some minutes)
	$(CARGO) build --workspace
	$(CARGO) test --test shop -- --ignored --nocapture

# ONLY=python,redis and MODES=idle,eintr pick; `scripts/soak --list` names them.
soak: build ## run large foreign test suites and servers bare and under the shim, and compare (half an hour)
	@scripts/setup soak
	nice -n 5 scripts/soak $(BIN) --only "$(ONLY)" --modes "$(MODES)"

# As root, since slurmd needs it.
slurm: build ## share an experiment on a Slurm of this machine alone and by GNU parallel, and merge
	@scripts/setup slurm
	scripts/slurm-trial $(BIN)

cgroup: build ## set the limits of experiments for real, in a virtual machine with cgroup v2 (a minute)
	@scripts/setup cgroup
	scripts/cgroup-trial $(BIN)

lint: ## formatting, clippy and rustdoc, all with warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

fmt: ## format the sources
	$(CARGO) fmt --all

bench: setup build ## measure the cost beside bare runs, fiu-run, strace and faketime
	scripts/bench

# The debug build, as `make test` uses it: a newcomer waits for one build only.
demo: ## fail three connections in ten of a Python client, and show the log
	@scripts/setup gcc ld python3
	$(CARGO) build
	@scripts/demo.sh target/debug/chaos-exec

dist: setup ## make dist/: launcher and shim for any x86-64 Linux, checked and tested on glibc new and old and on musl
	scripts/dist

install: build ## install bin/chaos-exec, lib/libchaos_shim.so and include/chaos.h under PREFIX (/usr/local)
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/chaos-exec
	install -d $(DESTDIR)$(PREFIX)/lib
	$(BIN) shim -o $(DESTDIR)$(PREFIX)/lib/libchaos_shim.so
	install -D -m 644 shim/include/chaos.h $(DESTDIR)$(PREFIX)/include/chaos.h

clean: ## remove everything that was built
	$(CARGO) clean
