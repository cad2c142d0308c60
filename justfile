# The verbs of the project. `just` alone lists them.

_list:
    @just --list

# Format the code.
fmt:
    cargo fmt --all

# Every lint as an error.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# All tests.
test *ARGS:
    cargo test --workspace --locked {{ ARGS }}

# A simulated cluster from each of many seeds: `just sim --seeds 10000`, `just sim --seed 7 --trace`.
sim *ARGS:
    cargo run --release --locked -p miroir-sim -- {{ ARGS }}

# The documentation of the code, without warnings.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# What `just ci` checks of the documentation; also its spelling where `typos` is installed.
docs: doc
    command -v typos > /dev/null && typos || true

# Write the page of routes anew.
compatibility:
    UPDATE_DOCS=1 cargo test --locked -p miroir-http --lib routes

# One node alone against Miroir over one and three nodes, then the micro benchmarks.
bench *ARGS:
    cargo build --profile dist --locked -p miroir
    cargo run --profile dist --locked -p miroir-testkit --bin miroir-bench -- {{ ARGS }}
    cargo bench --locked -p miroir-core

# Random data and requests to one node and to Miroir over three: `just fuzz --seconds 600`.
fuzz *ARGS:
    cargo build --locked -p miroir
    cargo run --locked -p miroir-testkit --bin miroir-fuzz -- {{ ARGS }}

# Real processes under a nemesis, with two copies and with three, each for so long:
# `just chaos --minutes 15 --seed 7`. MIROIR_TEST_NODE names real nodes.
chaos *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    minutes=5
    export MIROIR_CHAOS_SEED="${MIROIR_CHAOS_SEED:-$(date +%s)}"
    set -- {{ ARGS }}
    while [ "$#" -gt 0 ]; do
        case "$1" in
            --minutes) minutes="$2" ;;
            --seed) MIROIR_CHAOS_SEED="$2" ;;
            *) echo "unknown: $1; known: --minutes N, --seed N" >&2; exit 2 ;;
        esac
        shift 2
    done
    MIROIR_CHAOS_SECONDS=$((minutes * 60)) \
        cargo test --locked -p miroir --test chaos -- --test-threads 1 --nocapture

# Three nodes, a proxy, a data set and a few searches.
demo:
    cargo run --release --locked -- dev --demo

# COMMAND in FOLDER against Miroir as a client's own test suite expects a Meilisearch: on port 7700,
# with the master key `masterKey`; three nodes, two copies. MIROIR_DEV_NODE_BINARY names real nodes.
sdk-suite FOLDER +COMMAND:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --release --locked -p miroir
    data=$(mktemp -d)
    cargo run --release --locked -p miroir -- dev --nodes 3 --rf 2 --master-key masterKey \
        --http-addr 127.0.0.1:7700 --data "$data" &
    proxy=$!
    trap 'kill "$proxy"; wait "$proxy" || true; rm -rf "$data"' EXIT
    until curl --silent --fail --output /dev/null http://127.0.0.1:7700/health; do
        kill -0 "$proxy"
        sleep 0.2
    done
    cd "{{ FOLDER }}"
    MEILISEARCH_URL=http://127.0.0.1:7700 {{ COMMAND }}

# Everything that must be green.
ci:
    .ci/run
