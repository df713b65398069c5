# The front door. `make help` lists what a person may type.
#
# One set of rules builds every variant into build/$(VARIANT)/: release, san (address and undefined behaviour), tsan
# (threads) and fuzz (libFuzzer, clang). Sources are found, not listed:
#
#   src/**/*.c *.cc          build/<variant>/libqanat.a, all but the next two
#   src/main.c               build/<variant>/qanat, with src/cmd/version.c, which changes with every commit
#   src/**/x_test.c          build/<variant>/tests/**/x_test
#   fuzz/x_fuzz.c            build/<variant>/fuzz/x_replay (over fuzz/corpus/x), and build/fuzz/x_fuzz with libFuzzer
#   tests/helpers/x.c        build/<variant>/helpers/x

VERSION := 0.1.0
VARIANT ?= release
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60

ifneq ($(filter-out release san tsan fuzz,$(VARIANT)),)
$(error VARIANT is one of release, san, tsan and fuzz)
endif

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

# Most goals are many files; a plain `make` uses every core as well.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

GOALS := $(or $(MAKECMDGOALS),all)

# ---- what the build needs: brought here, before any rule is looked at

NEEDS_NOTHING := help clean
ifneq ($(wildcard build/deps.mk build/release/qanat),)
NEEDS_NOTHING += $(if $(word 2,$(wildcard build/deps.mk build/release/qanat)),install)
endif

ifneq ($(filter-out $(NEEDS_NOTHING),$(GOALS)),)
GROUPS := build
GROUPS += $(if $(filter check test san tsan tests,$(GOALS)),test)
GROUPS += $(if $(filter lint format,$(GOALS)),lint)
GROUPS += $(if $(filter fuzz,$(GOALS)),fuzz)
GROUPS += $(if $(filter demo,$(GOALS)),demo)
GROUPS += $(if $(filter bench,$(GOALS)),bench)
ifeq ($(shell scripts/bootstrap $(GROUPS) >&2 && echo done),)
$(error scripts/bootstrap failed; what went wrong is above)
endif
endif
-include build/deps.mk

# ---- flags

B := build/$(VARIANT)

ifeq ($(origin CC),default)
CC := $(if $(filter fuzz,$(VARIANT)),clang,gcc)
endif
ifeq ($(origin CXX),default)
CXX := $(if $(filter fuzz,$(VARIANT)),clang++,g++)
endif
AR := ar

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wswitch-enum -Wvla -Werror
WARNINGS_C := $(WARNINGS) -Wmissing-prototypes -Wstrict-prototypes
HARDENING := -fstack-protector-strong -fstack-clash-protection $(if $(filter x86_64,$(shell uname -m)),-fcf-protection) -fPIE
FORTIFY := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
LINKING := -pie -pthread -Wl,-z,relro,-z,now,-z,noexecstack

OPTIMISE_release := -O2 $(FORTIFY)
OPTIMISE_san := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -Wno-maybe-uninitialized
OPTIMISE_tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread -Wno-maybe-uninitialized
OPTIMISE_fuzz := -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -Wno-error
LINKING_release := -static-libstdc++ -static-libgcc
LINKING_san := -fsanitize=address,undefined
LINKING_tsan := -fsanitize=thread
LINKING_fuzz := -fsanitize=address,undefined

# Headers are written as "folder/file.h". gcc's own <limits.h> looks for the next one along the whole quote path, where it
# would meet ours; it is shown a view of src/ in which that name passes on.
OURS := -iquote src
ifneq ($(wildcard src/limits.h),)
ifeq ($(filter clang%,$(notdir $(CC))),)
OURS := -iquote build/view
$(shell mkdir -p build/view && cd build/view && for folder in ../../src/*/; do folder=$${folder%/}; \
	[ -e "$${folder##*/}" ] || ln -sfn "$$folder" .; done; [ -e limits.h ] || printf '%s\n' '#ifdef _GCC_NEXT_LIMITS_H' \
	'#include_next <limits.h>' '#else' '#include "../../src/limits.h"' '#endif' >limits.h)
endif
endif

COMMON := -g $(OPTIMISE_$(VARIANT)) $(HARDENING) -pthread -D_GNU_SOURCE -DQANAT_VERSION='"$(VERSION)"' $(OURS) $(DEPS_CFLAGS) \
	$(CPPFLAGS)
COMPILE_C = $(CC) -std=gnu17 $(WARNINGS_C) $(COMMON) $(CFLAGS) -MMD -MP
COMPILE_CXX = $(CXX) -std=gnu++17 $(WARNINGS) $(COMMON) $(CXXFLAGS) -MMD -MP
LINK = $(CXX) $(LINKING) $(LINKING_$(VARIANT)) $(LDFLAGS)
LIBRARIES = $(DEPS_LIBS) $(LDLIBS) -lm

# ---- files

C_ALL := $(sort $(shell find src -name '*.c' 2>/dev/null))
CXX_ALL := $(sort $(shell find src -name '*.cc' 2>/dev/null))
TEST_SOURCES := $(filter %_test.c,$(C_ALL))
LIB_OBJECTS := $(patsubst src/%,$(B)/obj/%.o,$(filter-out %_test.c src/main.c src/cmd/version.c,$(C_ALL)) $(CXX_ALL))
TESTS := $(patsubst src/%.c,$(B)/tests/%,$(TEST_SOURCES))
FUZZ_NAMES := $(patsubst fuzz/%_fuzz.c,%,$(sort $(wildcard fuzz/*_fuzz.c)))
FUZZ_SHARED := $(patsubst fuzz/%.c,$(B)/obj/fuzz/%.o,$(filter-out fuzz/replay_main.c %_fuzz.c,$(wildcard fuzz/*.c)))
REPLAYS := $(FUZZ_NAMES:%=$(B)/fuzz/%_replay)
FUZZERS := $(FUZZ_NAMES:%=build/fuzz/%_fuzz)
HELPERS := $(patsubst tests/helpers/%.c,$(B)/helpers/%,$(wildcard tests/helpers/*.c))
PROGRAM := $(if $(wildcard src/main.c),$(B)/qanat)

# ---- what a person types

.PHONY: help all demo test check lint format bench fuzz san tsan install clean tests

help:
	@echo 'make             build ./build/qanat'
	@echo 'make demo        build, and send 1 GiB each way through a quantum-safe link (KEEP=1: leave it running)'
	@echo 'make test        every test; ends with "N passed, N failed, N skipped"'
	@echo 'make check       unit tests and the fuzz corpus: no root, under 30 seconds'
	@echo 'make lint        format, clang-tidy, floors, sizes, shell scripts'
	@echo 'make bench       side by side with what people use today (BENCH_QUICK=1: a minute)'
	@echo 'make fuzz        libFuzzer on every decoder, FUZZ_SECONDS=60 each'
	@echo 'make san         tests under the address, undefined-behaviour and thread sanitizers'
	@echo 'make install     PREFIX=/usr/local DESTDIR='
	@echo 'make clean       remove build/'

all: $(if $(LIB_OBJECTS),$(B)/libqanat.a) $(PROGRAM) $(HELPERS) $(if $(filter release,$(VARIANT)),$(if $(PROGRAM),build/qanat))

tests: all $(TESTS) $(REPLAYS)

demo: all
	@QANAT='$(abspath $(B)/qanat)' OPENSSL='$(OPENSSL_BIN)' KEEP='$(KEEP)' scripts/demo

check: tests
	@scripts/run-tests check --build $(B)

test: tests
	@OPENSSL='$(OPENSSL_BIN)' scripts/run-tests test --build $(B)

bench: all
	@QANAT='$(abspath $(B)/qanat)' OPENSSL='$(OPENSSL_BIN)' /usr/bin/python3 bench/run.py
	@QANAT='$(abspath $(B)/qanat)' OPENSSL='$(OPENSSL_BIN)' /usr/bin/python3 bench/shake.py
	@QANAT='$(abspath $(B)/qanat)' OPENSSL='$(OPENSSL_BIN)' /usr/bin/python3 bench/vpn.py
	@QANAT='$(abspath $(B)/qanat)' HELPERS='$(abspath $(B)/helpers)' OPENSSL='$(OPENSSL_BIN)' /usr/bin/python3 bench/fleet.py

san:
	@$(MAKE) VARIANT=san tests
	@OPENSSL='$(OPENSSL_BIN)' scripts/run-tests san --build build/san
	@$(MAKE) tsan

tsan:
	@$(MAKE) VARIANT=tsan tests
	@OPENSSL='$(OPENSSL_BIN)' scripts/run-tests tsan --build build/tsan

fuzz:
	@$(MAKE) VARIANT=fuzz fuzzers
	@tools/fuzz --seconds $(FUZZ_SECONDS) $(FUZZERS)

lint:
	@CLANG_FLAGS='-std=gnu17 -D_GNU_SOURCE -DQANAT_VERSION="\"$(VERSION)\"" -iquote src $(DEPS_CFLAGS)' tools/lint

format:
	clang-format -i $(shell find src fuzz tests \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) 2>/dev/null)

install: all
	install -D -m 0755 $(B)/qanat '$(DESTDIR)$(PREFIX)/bin/qanat'
	@for page in $(wildcard docs/man/*.[1-8]); do \
		install -D -m 0644 "$$page" "$(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}" || exit 1; \
	done

clean:
	rm -rf build

# ---- how files are made

# Changes only when the flags do, so that a new flag rebuilds everything and a new comment in this file nothing.
FLAGS_TEXT := $(COMPILE_C) $(COMPILE_CXX) $(LINK) $(LIBRARIES)
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(FLAGS_TEXT))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_TEXT))' > $@

.PHONY: FORCE
FORCE:

$(B)/obj/%.c.o: src/%.c $(B)/flags
	@mkdir -p $(@D)
	@echo '  CC    $<'
	@$(COMPILE_C) -c -o $@ $<

$(B)/obj/%.cc.o: src/%.cc $(B)/flags
	@mkdir -p $(@D)
	@echo '  CXX   $<'
	@$(COMPILE_CXX) -c -o $@ $<

$(B)/obj/fuzz/%.o: fuzz/%.c $(B)/flags
	@mkdir -p $(@D)
	@echo '  CC    $<'
	@$(COMPILE_C) -c -o $@ $<

$(B)/obj/helpers/%.o: tests/helpers/%.c $(B)/flags
	@mkdir -p $(@D)
	@echo '  CC    $<'
	@$(COMPILE_C) -c -o $@ $<

# The list of members is a prerequisite too: a deleted source leaves the archive.
$(B)/members: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_OBJECTS)' | cmp -s - $@ || echo '$(LIB_OBJECTS)' > $@

$(B)/libqanat.a: $(LIB_OBJECTS) $(B)/members
	@rm -f $@.new && $(AR) crs $@.new $(LIB_OBJECTS) && mv $@.new $@

$(B)/built.h: FORCE
	@mkdir -p $(@D)
	@tools/built $(abspath $@)

$(B)/obj/cmd/version.c.o: COMMON += -include $(B)/built.h
$(B)/obj/cmd/version.c.o: $(B)/built.h

$(B)/qanat: $(B)/obj/main.c.o $(B)/obj/cmd/version.c.o $(B)/libqanat.a
	@echo '  LINK  $@'
	@$(LINK) -o $@ $^ $(LIBRARIES)

build/qanat: build/release/qanat
	@ln -sfn release/qanat $@

$(B)/tests/%_test: $(B)/obj/%_test.c.o $(B)/libqanat.a
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	@$(LINK) -o $@ $^ -lcmocka $(LIBRARIES)

$(B)/fuzz/%_replay: $(B)/obj/fuzz/%_fuzz.o $(B)/obj/fuzz/replay_main.o $(FUZZ_SHARED) $(B)/libqanat.a
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	@$(LINK) -o $@ $^ $(LIBRARIES)

$(B)/helpers/%: $(B)/obj/helpers/%.o $(B)/libqanat.a
	@mkdir -p $(@D)
	@echo '  LINK  $@'
	@$(LINK) -o $@ $^ $(LIBRARIES)

ifeq ($(VARIANT),fuzz)
.PHONY: fuzzers
fuzzers: $(FUZZERS)

build/fuzz/%_fuzz: $(B)/obj/fuzz/%_fuzz.o $(FUZZ_SHARED) $(B)/libqanat.a
	@echo '  LINK  $@'
	@$(LINK) -fsanitize=fuzzer -o $@ $^ $(LIBRARIES)
endif

.SECONDARY:

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
