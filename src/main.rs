//! The binary. The code of the binary is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: drainit::Allocator = drainit::Allocator;

fn main() -> ExitCode {
    drainit::cli::main()
}
