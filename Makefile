# SPDX-License-Identifier: GPL-2.0
# ST-TCP: see `make help`. What the kernel's build system reads is Kbuild.

export STTCP_T0 := $(shell date +%s)
build := $(CURDIR)/build

.PHONY: all module traffic check test test-host test-netns test-vm test-kernels test-debug test-plants test-suites fuzz soak bench bench-full demo clean help
all: module

ifdef KDIR
module:
	$(MAKE) -C $(KDIR) M=$(CURDIR) MO=$(build)/module modules
	cp $(build)/module/sttcp.ko sttcp.ko
else
module:
	@scripts/module.sh
endif

traffic:
	@scripts/traffic.sh

check:
	@scripts/check.sh

test:
	@scripts/test.sh host,debug+memory,plants netns vm

test-netns:
	@scripts/test.sh $(if $(TESTS),,memory )netns

test-host test-vm test-kernels test-plants test-suites: test-%:
	@scripts/test.sh $*

# The shell counts in a variable of that name.
unexport SECONDS
fuzz:
	@scripts/fuzz.sh run $(or $(SECONDS),60) $(TARGET)

soak:
	@scripts/soak.sh

test-debug:
	@TESTS="$${TESTS:-all}" scripts/test.sh debug,plants

bench:
	@scripts/bench.sh

bench-full:
	@scripts/bench.sh overhead paired scale pauses rivals

demo: module traffic
	@scripts/demo.sh

clean:
	rm -rf build target sttcp.ko

help:
	@echo 'make             sttcp.ko for the stock kernel of Debian 13 backports; tools and kernel tree are made when missing'
	@echo 'make KDIR=DIR    sttcp.ko for the prepared kernel tree DIR, with the tools of this host'
	@echo 'make check       formatting, lints and warnings, of all languages here'
	@echo 'make test        every test; the last line counts them'
	@echo 'make test-host   the engine, its simulation and the traffic tool, under Cargo, and its fuzz targets'
	@echo 'make test-netns  client, primary and backup as namespaces in one guest'
	@echo 'make test-vm     client, primary and backup as three guests'
	@echo 'make test-kernels  test-netns on the kernel of Debian 13 backports and on that of testing'
	@echo 'make fuzz        each fuzz target, or TARGET=NAME, for SECONDS=60'
	@echo 'make soak        100,000 schedules of the simulation; SEEDS=1000000 or SEEDS=5..9 names others, SEED=7 shows one'
	@echo 'make test-debug  test-netns on a kernel with KASAN, lockdep, kmemleak and more; then test-plants'
	@echo 'make test-plants faults planted in the module, each caught by that kernel'
	@echo 'make test-suites  suites that others wrote, with the service under protection; not part of make test'
	@echo 'make bench       what protection costs while nothing fails, in instructions'
	@echo 'make bench-full  the same, latency and throughput in turn with plain TCP, many idle connections, pauses, and a failover beside what people use today'
	@echo 'make demo        a takeover to look at'
	@echo 'make clean       removes what was built here, not the cache in ~/.cache/sttcp'
	@echo
	@echo 'TESTS="NAME ..." picks tests by file name; STTCP_KERNEL=7.3.4+deb13-amd64 picks a kernel.'
	@echo 'STTCP_SUITE=forky takes the kernel of Debian testing, STTCP_SUITE=sid that of unstable.'
