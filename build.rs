//! Tells the linker what makes the release program small. Each option is tried on a program of
//! nothing first, with the very linker of this build, and left out where that linker does not know it
//! or, where it can be run, the result does not run: the program is then larger, and the same.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `panic = "abort"`: nothing ever unwinds, so nobody reads how.
const NO_UNWIND_TABLES: &str = "SECTIONS {
    /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) }
} INSERT AFTER .text;
";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let linux_or_freebsd = matches!(&*said("CARGO_CFG_TARGET_OS"), "linux" | "freebsd");
    // Tests and a debugger want to unwind.
    if said("PROFILE") != "release" || !linux_or_freebsd {
        return;
    }
    let out = PathBuf::from(said("OUT_DIR"));
    let script = out.join("no-unwind-tables.ld");
    std::fs::write(&script, NO_UNWIND_TABLES).expect("cargo's directory for it can be written");
    let wanted = [
        vec![
            format!("-Wl,-T,{}", script.display()),
            "-Wl,--no-eh-frame-hdr".to_owned(),
        ],
        // The same table of relocations, packed; PIE and RELRO stay.
        vec!["-Wl,-z,pack-relative-relocs".to_owned()],
        // One table of symbols by their hash, where the default is two of them.
        vec!["-Wl,--hash-style=gnu".to_owned()],
        // Functions of one machine code are there once.
        vec!["-Wl,--icf=all".to_owned()],
    ];
    for options in wanted {
        if links(&options, &out) {
            for option in options {
                println!("cargo:rustc-link-arg-bins={option}");
            }
        }
    }
}

fn said(variable: &str) -> String {
    env::var(variable).unwrap_or_default()
}

/// Whether an empty program can be linked with these options, and runs if this machine is its target.
fn links(options: &[String], out: &Path) -> bool {
    let source = out.join("nothing.rs");
    let program = out.join("nothing");
    std::fs::write(&source, "fn main() {}\n").expect("cargo's directory for it can be written");
    let mut rustc = Command::new(said("RUSTC"));
    rustc.args([
        "--crate-type=bin",
        "-Cpanic=abort",
        "--target",
        &said("TARGET"),
        "-o",
    ]);
    rustc.arg(&program).arg(&source);
    let flags = said("CARGO_ENCODED_RUSTFLAGS");
    rustc.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.args(options.iter().map(|option| format!("-Clink-arg={option}")));
    let linked = succeeds(&mut rustc);
    linked && (said("TARGET") != said("HOST") || succeeds(&mut Command::new(&program)))
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
