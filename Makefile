# The front door. Meson and Ninja do the work.
PREFIX ?= /usr/local

.PHONY: all weir run test soak bench install clean format fuzz web

all: build/build.ninja
	@ninja -C build

weir: build/build.ninja
	@ninja -C build weir

build/build.ninja:
	@tools/setup run
	@meson setup build >build-setup.log 2>&1 || { cat build-setup.log; exit 1; }
	@rm -f build-setup.log

# Installs what is missing, builds, fetches the default model, starts the server and asks it something.
run:
	@tools/setup run
	@test -x build/weir || echo "building weir: about a minute on two cores" >&2
	@$(MAKE) --no-print-directory weir >build.log 2>&1 || { cat build.log; exit 1; }
	@rm -f build.log
	@exec ./build/weir hello

# Every test; ends with "N passed, N failed".
test:
	@tools/setup test || { echo "0 passed, 1 failed"; exit 1; }
	@python3 tests/run

# The server under everything at once, SECONDS=3600
soak: weir
	@test -f build/test-home/models/smollm2:135m.gguf || WEIR_HOME=build/test-home build/weir pull smollm2:135m
	@python3 tests/soak/soak.py --seconds $(if $(filter command environment,$(firstword $(origin SECONDS))),$(SECONDS),3600)

# Speed, side by side with llama.cpp in the same run where it is built: LLAMA_BENCH, LLAMA_SERVER (docs/performance.md,
# docs/serving.md).
bench: all
	@python3 bench/run
	@WEIR_TIMED=1 build/tests/test_serving
	@test -z "$$LLAMA_SERVER" || python3 bench/serve --model $${WEIR_TEST_MODEL:-build/test-home/models/smollm2:135m.gguf}

install: weir
	@install -D -m 755 build/weir $(DESTDIR)$(PREFIX)/bin/weir
	@mkdir -p $(addprefix $(DESTDIR)$(PREFIX)/share/,man/man1 bash-completion/completions zsh/site-functions \
	  fish/vendor_completions.d)
	@build/weir man >$(DESTDIR)$(PREFIX)/share/man/man1/weir.1
	@build/weir completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/weir
	@build/weir completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_weir
	@build/weir completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/weir.fish
	@for u in weir.service weir.socket; do \
	  sed 's|/usr/local/bin/weir|$(PREFIX)/bin/weir|' packaging/systemd/$$u | \
	  install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/$$u; done
	@echo "$(DESTDIR)$(PREFIX)/bin/weir"

format:
	@clang-format -i $$(git ls-files '*.c' '*.h')

# The page: built from web/ into src/app/page/, which is committed.
web:
	@tools/setup test
	@tools/web-build

# Real fuzzing, FUZZ=name SECONDS=60
SECONDS ?= 60
fuzz:
	@test -f build-fuzz/build.ninja || CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
	@ninja -C build-fuzz fuzz/fuzz_$(FUZZ)
	@mkdir -p build-fuzz/corpus/$(FUZZ)
	@build-fuzz/fuzz/fuzz_$(FUZZ) -max_total_time=$(SECONDS) build-fuzz/corpus/$(FUZZ) fuzz/seeds/$(FUZZ)

clean:
	@rm -rf build build-*
