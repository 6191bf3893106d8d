#!/usr/bin/env bash
# Changes what decides in every small way that cargo-mutants knows, one after the other, and names the changes that no
# test notices: mutants.sh [OPTION OF CARGO-MUTANTS…]. FILES="src/core/stop.rs" is one file, RUNS the number of seeds.
#
# Only the rooms that the core and its tests need are compiled, in a crate of their own in target/mutants: a third of
# the whole, so a mutant costs some four seconds of a processor. What only other rooms use of the core is left to their
# tests.
set -euo pipefail
here=$(realpath "$(dirname "$0")/..") to=$here/target/mutants
rm -rf "$to/src" "$to/docs" && mkdir -p "$to/src/exec"
cd "$here/src" && cp -r types config graph.rs core plan report simulation "$to/src/"
cp exec/{machine,options,rewrite,simulation}.rs "$to/src/exec/"
cp -r "$here/docs" "$to/"
cd "$to"
# It reads the sources of rooms that are not here.
: >src/core/purity.rs
# Tests that load a config; `agreement` needs none.
sed -i '/^#\[cfg(.*test.*)\]$/ { N; /agreement/!{ N; /agreement/!s/^[^\n]*/#[cfg(any())]/ } }' \
    src/plan/{changes,mod,reload}.rs src/report/{mod,startup}.rs

cat >Cargo.toml <<'END'
[workspace]

[package]
name = "mutants"
version = "0.0.0"
edition = "2024"

[features]
default = ["tools"]
tools = []

END
sed -n '/^\[dependencies\]/,/^$/p' "$here/Cargo.toml" |
    grep -E '^(\[|(humantime|nix|regex-lite|serde|serde_json|strsim|thiserror) =)' >>Cargo.toml
cp "$here/Cargo.lock" .

cat >src/lib.rs <<'END'
#![allow(warnings)]
mod config;
mod core;
mod exec {
    mod machine;
    pub mod options;
    pub mod rewrite;
    #[cfg(test)]
    mod simulation;
}
mod graph;
mod plan;
mod report;
mod simulation;
pub mod types;

mod load {
    pub(crate) mod testing {
        pub(crate) fn process(name: &str) -> crate::config::Process {
            crate::config::Process::new(name.to_owned(), vec!["true".to_owned()])
        }
    }
}

mod cli {
    pub(crate) mod simulate {
        use crate::simulation::count::Count;
        use crate::simulation::scenario::Scenario;

        pub(crate) fn jobs(_: Option<u16>) -> u16 {
            1
        }

        /// Ends at the first broken promise.
        pub(crate) fn count<F: Fn(u64) -> Scenario>(
            seeds: std::ops::Range<u64>,
            _: u16,
            scenarios: impl Fn() -> F,
        ) -> Count {
            let (scenario, mut count) = (scenarios(), Count::default());
            seeds.take_while(|seed| { count.play(&scenario(*seed)); count.broken.is_empty() }).for_each(drop);
            count
        }
    }
}

/// The first test that fails ends all of them.
#[cfg(test)]
mod first_failure {
    extern "C" fn prepare() {
        std::panic::set_hook(Box::new(|why| {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{why}\n"));
            std::process::exit(101)
        }));
    }
    #[used]
    #[unsafe(link_section = ".init_array")]
    static PREPARE: extern "C" fn() = prepare;
}
END

export DRAINIT_SIM_RUNS=${RUNS:-5000} CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0
read -ra files <<<"${FILES:-src/core/** src/graph.rs src/exec/machine.rs src/plan/timeline.rs}"
cargo mutants "${files[@]/#/--file=}" --timeout 120 --output "$to" "$@" -- --lib
