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

# Three nodes, a proxy, a data set and a few searches.
demo:
    cargo run --release --locked -- dev --demo

# Everything that must be green.
ci:
    .ci/run
