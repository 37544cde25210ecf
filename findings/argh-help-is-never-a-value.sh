#!/usr/bin/env bash
# argh 0.1.19: the bare word `help` is never a positional value. `asks help` prints the usage and ends with 0, as
# `asks --help` does; only `asks -- help` hands the word on. A program whose exit status is its answer says yes so.
set -euo pipefail
version=0.1.19
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<END
[package]
name = "asks"
version = "0.0.0"
edition = "2021"

[dependencies]
argh = "=$version"
END
cat >"$work/src/main.rs" <<'END'
/// Says what it was asked about.
#[derive(argh::FromArgs)]
struct Asks {
    /// what it is about
    #[argh(positional)]
    name: String,
}

fn main() {
    let asks: Asks = argh::from_env();
    println!("asked about {}", asks.name);
    std::process::exit(7);
}
END
cargo build --quiet --manifest-path "$work/Cargo.toml"

seen() {
	local status=0 said
	said=$("$work/target/debug/asks" "$@" | head -n 1) || status=$?
	echo "asks $*: exit $status, $said"
}

wanted='asks door: exit 7, asked about door
asks help: exit 0, Usage: asks [--] <name>
asks --help: exit 0, Usage: asks [--] <name>
asks -- help: exit 7, asked about help'
got=$(seen door; seen help; seen --help; seen -- help)
printf 'argh %s\n%s\n' "$version" "$got"
[ "$got" = "$wanted" ] || { echo "this has changed; seen before:"; echo "$wanted"; exit 1; }
