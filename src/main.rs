//! The program. All of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    ExitCode::from(f3skeys::cli::run(&arguments))
}
