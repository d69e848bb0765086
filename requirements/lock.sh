#!/bin/sh
# Recompiles the locks. They name packages, versions and hashes, never a package host: whose index is used is the
# reader's own configuration.
set -eu
uv=$1
compile() {
  out=$1; shift
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links "$@" -o "$out"
}
cd "$(dirname "$0")/.."
compile requirements.txt --extra scale --extra mail pyproject.toml
compile requirements/dev.lock -c requirements.txt --extra scale --extra mail pyproject.toml requirements/dev.in
compile requirements/bench.lock -c requirements/dev.lock --extra scale --extra mail pyproject.toml requirements/dev.in requirements/bench.in
compile requirements/training.lock -c requirements/dev.lock --extra scale --extra mail pyproject.toml requirements/dev.in requirements/training.in
