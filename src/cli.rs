//! The command line: reads it, calls the verb, prints, and gives the exit status.

use crate::config::Config;
use crate::exit::{Fault, USAGE};
use crate::gate::Answer;
use crate::host::{Host, hooks};
use crate::os::{self, PATHS};
use crate::pass::Node;
use crate::report::Report;
use crate::system::{Machine, System};
use crate::usb::UsbDisks;
use crate::{boot, late, preview, ready, rehearse, status, zfs};
use argh::FromArgs;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// Brings encrypted OpenZFS storage nodes back after a power cut: finds the USB key device,
/// verifies and loads the keys, keeps replicas read-only, mounts what is missing and opens the
/// gates that services wait for. See f3skeys(8).
#[derive(FromArgs, Debug)]
struct Arguments {
    /// the configuration to use instead of the installed one
    #[argh(option, arg_name = "FILE")]
    config: Option<PathBuf>,
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Verb {
    Boot(Boot),
    Ready(Ready),
    Gate(Gate),
    Plan(Plan),
    Rehearse(Rehearse),
    Status(Status),
    Version(Version),
}

/// Set replicas read-only and load the keys of all configured roots. Mounts nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "boot")]
struct Boot {
    /// a stick was just plugged in: do nothing when no root is missing; else run boot and ready,
    /// and become the command after `--`, if any, when that has opened a gate
    #[argh(switch)]
    late: bool,
}

/// Mount what is still missing and write the markers of the gates that hold.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "ready")]
struct Ready {}

/// Ask whether a gate is open now. Exit 0: open, 1: closed, 2: cannot tell.
/// `gate NAME -- COMMAND...` becomes the command if it is.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "gate")]
struct Gate {
    /// the gate
    #[argh(positional)]
    name: String,
}

/// Show what boot and ready would do now. Changes nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "plan")]
struct Plan {}

/// Would this node come back from a power cut right now? Yes, or every reason why not. Changes
/// nothing.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "rehearse")]
struct Rehearse {
    /// as JSON
    #[argh(switch)]
    json: bool,
}

/// Show how roots and gates stand now, and how the last boot went.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
struct Status {
    /// as JSON
    #[argh(switch)]
    json: bool,
}

/// Show the version.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "version")]
struct Version {}

/// Runs the program; gives its exit status. `arguments` begin with the program's name.
pub fn run(arguments: &[OsString]) -> u8 {
    let (own, command) = split_command(arguments);
    let Some(own) = own.iter().map(|w| w.to_str()).collect::<Option<Vec<_>>>() else {
        complain("f3skeys: the command line is not UTF-8\n");
        return USAGE;
    };
    let parsed = match Arguments::from_args(&["f3skeys"], own.get(1..).unwrap_or_default()) {
        Ok(parsed) => parsed,
        Err(exit) => return show_usage(&exit),
    };
    let takes_command = matches!(parsed.verb, Verb::Gate(_) | Verb::Boot(Boot { late: true }));
    if command.is_some() && !takes_command {
        complain("f3skeys: only `gate` and `boot --late` take a command after `--`\n");
        return USAGE;
    }
    match parsed.verb {
        Verb::Version(_) => {
            say(&format!("f3skeys {}\n", env!("CARGO_PKG_VERSION")));
            0
        }
        verb => with_configuration(&parsed.config.unwrap_or_else(|| PATHS.config.into()), |c| {
            do_verb(&verb, c, command.unwrap_or_default())
        }),
    }
}

/// Parts the command after `--` from the program's own words.
fn split_command(arguments: &[OsString]) -> (&[OsString], Option<&[OsString]>) {
    match arguments.iter().position(|word| word == "--") {
        Some(at) => (&arguments[..at], Some(&arguments[at + 1..])),
        None => (arguments, None),
    }
}

fn show_usage(exit: &argh::EarlyExit) -> u8 {
    match exit.status {
        Ok(()) => {
            say(&format!("{}\n", exit.output.trim_end()));
            0
        }
        Err(()) => {
            complain(&format!("f3skeys: {}\n", exit.output.trim_end()));
            complain("  -> `f3skeys --help` shows the verbs\n");
            USAGE
        }
    }
}

fn with_configuration(path: &Path, verb: impl FnOnce(&Config) -> u8) -> u8 {
    match Config::read(path) {
        Ok(config) => verb(&config),
        Err(error) => {
            complain(&format!(
                "f3skeys: {error}\n  -> correct it; nothing was touched\n"
            ));
            Fault::Configuration.status()
        }
    }
}

fn do_verb(verb: &Verb, config: &Config, command: &[OsString]) -> u8 {
    let machine = Machine::new();
    let disks = UsbDisks::new(machine.clock(), Path::new(PATHS.db), machine.boot_id());
    let zfs = zfs::command::Command {
        program: PATHS.zfs.into(),
        clock: machine.clock(),
    };
    let node = Node {
        zfs: &zfs,
        devices: &disks,
        system: &machine,
        run: Path::new(PATHS.run),
        db: Path::new(PATHS.db),
    };
    match verb {
        Verb::Boot(Boot { late: false }) => privileged(|| show(&boot::boot(node, config))),
        Verb::Boot(Boot { late: true }) => finish_late(node, config, command),
        Verb::Ready(_) => privileged(|| show(&ready::ready(node, config))),
        Verb::Gate(gate) => ask_gate(node, config, &gate.name, command),
        Verb::Plan(_) => privileged(|| {
            let preview = preview::preview(node, config);
            complain(&preview.report.complaints());
            say(&preview.text);
            preview.report.status
        }),
        Verb::Rehearse(Rehearse { json }) => privileged(|| {
            let hooks = hooks::hooks(&Host::here(), PATHS.init);
            show_rehearsal(&rehearse::rehearse(node, config, &hooks), *json)
        }),
        Verb::Status(Status { json }) => show_status(&status::status(node, config), *json),
        Verb::Version(_) => 0,
    }
}

/// Runs a verb that keys may pass through, with the process locked down first.
fn privileged(verb: impl FnOnce() -> u8) -> u8 {
    locked_down(|_| verb())
}

fn locked_down(verb: impl FnOnce(os::LockedDown) -> u8) -> u8 {
    match os::lock_down() {
        Ok(locked) => verb(locked),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            complain("f3skeys: only root can do this\n  -> run it as root\n");
            Fault::NotRoot.status()
        }
        Err(e) => {
            complain(&format!(
                "f3skeys: the process could not be locked down: {e}\n  -> no key was read; report this with the version of your system\n"
            ));
            Fault::System.status()
        }
    }
}

/// Finishes a boot, and becomes the command if that has opened a gate.
fn finish_late(node: Node, config: &Config, command: &[OsString]) -> u8 {
    locked_down(|locked| {
        // Plugging a stick into a healthy node is no news.
        let Some(late) = late::late(node, config) else {
            return 0;
        };
        show(&late.boot);
        late.ready.as_ref().map(show);
        if late.opened.is_empty() || command.is_empty() {
            return late.status();
        }
        // Services must not inherit what only a process with keys needs.
        if let Err(e) = locked.lift() {
            complain(&format!("f3skeys: services are not started: {e}\n"));
            return Fault::System.status();
        }
        become_command(command)
    })
}

fn show(report: &Report) -> u8 {
    complain(&report.complaints());
    say(&report.results());
    report.status
}

fn show_rehearsal(rehearsal: &rehearse::Rehearsal, json: bool) -> u8 {
    if json {
        say(&format!(
            "{}\n",
            serde_json::to_string_pretty(rehearsal).unwrap_or_default()
        ));
    } else {
        say(&rehearsal.text());
    }
    rehearsal.status
}

fn show_status(status: &status::Status, json: bool) -> u8 {
    if json {
        say(&format!(
            "{}\n",
            serde_json::to_string_pretty(status).unwrap_or_default()
        ));
    } else {
        say(&status.text());
    }
    if status.is_well() {
        0
    } else {
        Fault::Unavailable.status()
    }
}

fn ask_gate(node: Node, config: &Config, name: &str, command: &[OsString]) -> u8 {
    let gate = match ready::named(config, name) {
        Ok(gate) => gate,
        Err(what) => {
            complain(&format!("f3skeys: {what}\n"));
            return 2;
        }
    };
    match ready::ask(node, config, gate) {
        Answer::Open => become_command(command),
        Answer::Closed(why) => {
            complain(&format!("f3skeys: gate {name} is closed: {why}\n"));
            1
        }
        Answer::CannotTell(why) => {
            complain(&format!(
                "f3skeys: gate {name}: cannot tell, so it counts as closed: {why}\n"
            ));
            2
        }
    }
}

fn become_command(command: &[OsString]) -> u8 {
    let Some((program, arguments)) = command.split_first() else {
        return 0;
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    complain(&format!("f3skeys: {}: {error}\n", program.display()));
    2
}

/// Writes a result. A console that is gone must not end a boot.
fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn a_command_keeps_its_own_options() {
        let line = words("f3skeys gate nfs -- /usr/sbin/mountd -r -- x");
        let (own, command) = split_command(&line);
        assert_eq!(own, words("f3skeys gate nfs"));
        assert_eq!(command.unwrap(), words("/usr/sbin/mountd -r -- x"));
    }

    #[test]
    fn wrong_words_are_a_usage_error() {
        for line in [
            "f3skeys",
            "f3skeys bot",
            "f3skeys boot now",
            "f3skeys gate",
            "f3skeys boot -- ls",
        ] {
            assert_eq!(run(&words(line)), USAGE, "{line}");
        }
        assert_eq!(run(&words("f3skeys --help")), 0);
        assert_eq!(run(&words("f3skeys version")), 0);
    }

    #[test]
    fn a_missing_configuration_is_78() {
        assert_eq!(
            run(&words("f3skeys --config /nowhere/f3skeys.ron status")),
            78
        );
    }
}
