//! The command line: reads it, calls the verb, prints, and gives the exit status.

mod show;
mod words;

use crate::backup::copies;
use crate::config::Config;
use crate::exit::{Fault, USAGE};
use crate::foreign;
use crate::gate::Answer;
use crate::host::zfs_generator::{self, Made, Place};
use crate::host::{Host, beside};
use crate::init::decide::Request;
use crate::key::Key;
use crate::names::DatasetName;
use crate::os::{self, PATHS};
use crate::pass::Node;
use crate::peers::{SSH, Ssh, reader};
use crate::pinned::Pinned;
use crate::receive::rebuild;
use crate::report::Report;
use crate::services::Manager;
use crate::system::{Machine, System};
use crate::usb::UsbDisks;
use crate::{
    adopt, backup, boot, carp, doctor, init, late, lock, new_key, next_boot, preview, promote,
    ready, receive, reconcile, rehearse, rotate, status, verdict, verify, zfs,
};
use argh::FromArgs;
use show::{
    complain, complain_of, progress, say, show, show_copies, show_news, show_rehearsal,
    show_status, show_verification, tell_rotated, told,
};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use words::{
    Adopt, Arguments, Backup, Boot, Carp, Demote, Doctor, Init, Promote, Prune, Receive, Rehearse,
    Rotate, Status, Verb, Verify, wrong_together,
};

/// Runs the program; gives its exit status. `arguments` begin with the program's name.
pub fn run(arguments: &[OsString]) -> u8 {
    let (own, command) = split_command(arguments);
    let Some(own) = own.iter().map(|w| w.to_str()).collect::<Option<Vec<_>>>() else {
        complain_of("the command line is not UTF-8", "");
        return USAGE;
    };
    if own.get(1..) == Some(&[reader::READER]) {
        return read_answer();
    }
    if let Some([word, normal, early]) = own.get(1..)
        && *word == beside::CALLS
    {
        return generate_units(Path::new(normal), Path::new(early));
    }
    let parsed = match Arguments::from_args(&["f3skeys"], own.get(1..).unwrap_or_default()) {
        Ok(parsed) => parsed,
        Err(exit) => return show_usage(&exit, &own),
    };
    let takes_command = matches!(
        parsed.verb,
        Verb::Gate(_) | Verb::Boot(Boot { late: true, .. })
    );
    if command.is_some() && !takes_command {
        complain_of(
            "only `gate` and `boot --late` take a command after `--`",
            "",
        );
        return USAGE;
    }
    if let Some(wrong) = wrong_together(&parsed.verb) {
        complain_of(wrong, "");
        return USAGE;
    }
    match parsed.verb {
        Verb::Verify(Verify {
            store: Some(store),
            repair,
            json,
            ..
        }) => verify_directory(&store, repair, json),
        Verb::Version(_) => {
            say(&format!("f3skeys {}\n", env!("CARGO_PKG_VERSION")));
            0
        }
        Verb::Adopt(Adopt { device }) => privileged(|| do_adopt(device.as_deref())),
        Verb::Init(init) => privileged(|| do_init(init)),
        verb => {
            let path = parsed.config.unwrap_or_else(|| PATHS.config.into());
            with_configuration(&path, does_what_it_can(&verb), |config| {
                with_node(|node| do_verb(&verb, config, node, command.unwrap_or_default()))
            })
        }
    }
}

/// Parts the command after `--` from the program's own words.
fn split_command(arguments: &[OsString]) -> (&[OsString], Option<&[OsString]>) {
    match arguments.iter().position(|word| word == "--") {
        Some(at) => (&arguments[..at], Some(&arguments[at + 1..])),
        None => (arguments, None),
    }
}

/// `own` are the words that were given: a complaint repeats them, and each stays within its line.
fn show_usage(exit: &argh::EarlyExit, own: &[&str]) -> u8 {
    match exit.status {
        // The parser takes a bare `help` for its own wherever it stands, also where a name belongs.
        Ok(()) if !asks_for_help(own) => {
            complain_of(
                "`help` behind a verb is no name",
                "`f3skeys help VERB` shows what a verb takes",
            );
            USAGE
        }
        Ok(()) => {
            say(&format!("{}\n", exit.output.trim_end()));
            // A service takes 0 for open, whatever words it came to ask with.
            match own.contains(&"gate") && own.get(1) != Some(&HELP) {
                true => USAGE,
                false => 0,
            }
        }
        Err(()) => {
            let odd = own.iter().filter(|word| foreign::line(word) != **word);
            let output = odd.fold(exit.output.clone(), |output, word| {
                output.replace(word, &foreign::line(word))
            });
            complain(&format!("f3skeys: {}\n", output.trim_end()));
            complain("  -> `f3skeys --help` shows the verbs\n");
            USAGE
        }
    }
}

/// The word that asks for help, before any verb.
const HELP: &str = "help";

fn asks_for_help(own: &[&str]) -> bool {
    own.get(1) == Some(&HELP) || own.iter().any(|word| ["-h", "--help"].contains(word))
}

/// The verbs of a boot, and those that tell how it went or would go: where the configuration contradicts
/// itself they leave out what that is about. Whatever else changes something wants all of it to be right.
fn does_what_it_can(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Boot(Boot { root: None, .. })
            | Verb::Ready(_)
            | Verb::Carp(Carp { reconcile: false })
            | Verb::Gate(_)
            | Verb::Plan(_)
            | Verb::Rehearse(_)
            | Verb::Status(Status { peers: false, .. })
            | Verb::Doctor(_)
    )
}

fn with_configuration(path: &Path, in_part: bool, verb: impl FnOnce(&Config) -> u8) -> u8 {
    let read = match in_part {
        true => Config::read_what_can_be_used(path),
        false => Config::read(path),
    };
    match read {
        Ok(config) => verb(&config),
        Err(error) => {
            let remedy = match path.exists() {
                true => "correct it; nothing was touched",
                false => "`f3skeys adopt` prints one for this host",
            };
            complain_of(&error.to_string(), remedy);
            Fault::Configuration.status()
        }
    }
}

/// Calls a verb with the real machine.
fn with_node(verb: impl FnOnce(Node) -> u8) -> u8 {
    with_machine(|node, _| verb(node))
}

fn with_machine(verb: impl FnOnce(Node, &UsbDisks) -> u8) -> u8 {
    // An answer is not read by any other program: without a path of our own, by none.
    let reader = os::own_program().unwrap_or_default();
    let machine = Machine::watched();
    let disks = UsbDisks::new(machine.clock(), Path::new(PATHS.db), machine.boot_id());
    let zfs = zfs::direct::Direct::new(zfs::command::Command {
        program: PATHS.zfs.into(),
        clock: machine.clock(),
    });
    let node = Node {
        zfs: &zfs,
        devices: &disks,
        system: &machine,
        services: &Manager {
            clock: machine.clock(),
        },
        peers: &Ssh {
            program: Path::new(SSH),
            reader: &reader,
            clock: machine.clock(),
        },
        run: Path::new(PATHS.run),
        db: Path::new(PATHS.db),
    };
    verb(node, &disks)
}

fn do_verb(verb: &Verb, config: &Config, node: Node, command: &[OsString]) -> u8 {
    match &config.store.id {
        Some(id) => {
            let devices = &Pinned::new(node.devices, id);
            with_store(verb, config, Node { devices, ..node }, command)
        }
        None => with_store(verb, config, node, command),
    }
}

fn with_store(verb: &Verb, config: &Config, node: Node, command: &[OsString]) -> u8 {
    match verb {
        Verb::Boot(Boot { late: true, .. }) => finish_late(node, config, command),
        Verb::Boot(Boot {
            root: Some(root), ..
        }) => privileged(|| boot_by_hand(node, config, root)),
        Verb::Boot(_) => privileged(|| show(&boot::boot(node, config))),
        Verb::Ready(_) => privileged(|| show(&ready::ready(node, config))),
        Verb::Carp(Carp { reconcile: true }) => {
            privileged(|| show_news(&carp::carp(node, config, true)))
        }
        Verb::Carp(_) => privileged(|| show(&carp::carp(node, config, false))),
        Verb::Reconcile(_) => hold(node, config),
        Verb::Lock(_) => privileged(|| show(&lock::lock(node, config))),
        Verb::Promote(Promote { dataset, reason }) => {
            privileged(|| show(&promote::promote(node, config, dataset, reason)))
        }
        Verb::Demote(Demote { dataset }) => {
            privileged(|| show(&promote::demote(node, config, dataset)))
        }
        Verb::Receive(receive) => privileged(|| do_receive(node, config, receive)),
        Verb::Backup(Backup { to, rebuild }) => privileged(|| {
            let rebuild = *rebuild;
            let scope = backup::Scope { to, rebuild };
            show(&backup::backup(node, config, scope, &|change| {
                told(node, change)
            }))
        }),
        Verb::Gate(gate) => ask_gate(node, config, &gate.name, command),
        Verb::Plan(_) => privileged(|| {
            let preview = preview::preview(node, config);
            complain(&preview.report.complaints());
            say(&preview.text);
            preview.report.status
        }),
        Verb::Rehearse(Rehearse { json }) => privileged(|| {
            let hooks = next_boot::look(node, config, &Host::here(), PATHS.init);
            show_rehearsal(&rehearse::rehearse(node, config, &hooks), *json)
        }),
        Verb::Status(Status {
            peers: true, json, ..
        }) => privileged(|| show_copies(&copies::copies(node, config), *json)),
        Verb::Status(asked) => {
            let faults = verdict::of_faults(&config.faults);
            faults.iter().for_each(|fault| complain(&fault.text()));
            show_status(&status::status(node, config), asked)
        }
        Verb::Verify(options) => privileged(|| {
            let (pools, repair) = (options.pools, options.repair);
            let told = verify::verify(node, config, verify::Options { pools, repair });
            show_verification(&told, options.json)
        }),
        Verb::Rotate(asked) => do_rotate(node, config, asked),
        Verb::Prune(asked) => do_prune(node, config, asked),
        Verb::NewKey(new) => match new_key::name(config, &new.name) {
            Ok(name) => privileged(|| {
                let made = new_key::new_key(node, config, &name, new.dataset.as_ref());
                complain(&made.report.complaints());
                say(&made.text);
                made.report.status
            }),
            Err(wrong) => wrong_name(&wrong),
        },
        Verb::Doctor(Doctor { json }) => privileged(|| examine(node, config, *json)),
        Verb::Adopt(_) | Verb::Init(_) | Verb::Version(_) => 0,
    }
}

fn verify_directory(store: &Path, repair: bool, json: bool) -> u8 {
    // A copy may be anybody's: an off-site archive is best tried far from the node, without root.
    locked_by(os::harden, |_| {
        let machine = Machine::new();
        let told = verify::directory(store, os::user(), machine.clock(), repair);
        show_verification(&told, json)
    })
}

fn boot_by_hand(node: Node, config: &Config, root: &DatasetName) -> u8 {
    let input = io::stdin();
    if input.is_terminal() {
        complain_of(
            "the key is not read from a terminal, where it would be seen",
            "`f3skeys boot --root DATASET --key-from-stdin < FILE`",
        );
        return USAGE;
    }
    // Not by way of `Stdin`: its buffer is never wiped.
    let key = input.as_fd().try_clone_to_owned().map(File::from);
    match key.and_then(Key::read) {
        Ok(key) => show(&boot::by_hand(node, config, root, key)),
        Err(e) => {
            complain_of(&format!("standard input: {e}"), "nothing was loaded");
            Fault::BadKey.status()
        }
    }
}

fn do_receive(node: Node, config: &Config, receive: &Receive) -> u8 {
    let from = receive.from.as_ref();
    let answered = match (receive, from) {
        (Receive { rebuild: true, .. }, _) => match receive.end {
            true => rebuild::end(node),
            false => {
                let minutes = receive.minutes.unwrap_or(rebuild::USUAL);
                rebuild::open(node, config, from, minutes)
            }
        }
        .map(String::into_bytes),
        (_, None) => return USAGE,
        (receive, Some(from)) if receive.print_authorized_keys_line => {
            let program = std::env::current_exe().unwrap_or_else(|_| "f3skeys".into());
            receive::authorized_keys_line(config, from, &program).map(String::into_bytes)
        }
        (_, Some(from)) => {
            // Not by way of `Stdin`: what waits in its buffer cannot be waited for, nor left to others.
            let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
            receive::serve(node, config, from, input)
        }
    };
    match answered {
        Ok(text) => match io::stdout().write_all(&text) {
            Ok(()) => 0,
            Err(_) => Fault::System.status(),
        },
        Err(refused) => {
            complain_of(&refused.what, "");
            refused.status
        }
    }
}

/// Is the process without rights that reads a peer's answer for another.
fn read_answer() -> u8 {
    match reader::be_reader(io::stdin(), io::stdout()) {
        Ok(()) => 0,
        Err((status, why)) => {
            complain_of(&why, "");
            status
        }
    }
}

/// Is a part of `f3skeys-generator`: keeps units of `zfs-mount-generator` from doing what f3skeys does.
fn generate_units(normal: &Path, early: &Path) -> u8 {
    let made = |config: &Config| -> io::Result<()> {
        let cache = zfs_generator::in_use(&Host::here())?.unwrap_or_default();
        zfs_generator::made(config, &cache)
            .iter()
            .try_for_each(|file| make_unit(file, normal, early))
    };
    with_configuration(Path::new(PATHS.config), true, |config| match made(config) {
        Ok(()) => 0,
        Err(e) => {
            complain_of(&format!("units beside zfs-mount-generator: {e}"), "");
            Fault::System.status()
        }
    })
}

fn make_unit(file: &Made, normal: &Path, early: &Path) -> io::Result<()> {
    let path = match file.place {
        Place::Normal => normal.join(&file.path),
        Place::Early => early.join(&file.path),
    };
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(&path, &file.text)?;
    if file.place == Place::Early {
        // Started by no mount unit, it is there all the same before anything is mounted.
        let wants = normal.join("f3skeys.service.wants");
        fs::create_dir_all(&wants)?;
        symlink(&path, wants.join(&file.path))?;
    }
    Ok(())
}

fn do_init(init: Init) -> u8 {
    let request = Request {
        device: init.device,
        serial: init.serial,
        label: init.label,
        overwrite: init.overwrite,
        fixed: init.fixed,
    };
    with_machine(|node, disks| {
        let founded = init::init(node, disks, &request, os::SERIAL_HINT);
        complain(&founded.complaints());
        say(&founded.text);
        founded.status
    })
}

fn do_adopt(device: Option<&Path>) -> u8 {
    with_node(|node| {
        let host_name = os::host_name();
        let adoption = adopt::adopt(node, &Host::here(), &host_name, device, PATHS.config);
        complain(&adoption.complaints());
        say(adoption.text.as_deref().unwrap_or_default());
        adoption.status()
    })
}

/// Runs a verb that keys may pass through, with the process locked down first.
fn privileged(verb: impl FnOnce() -> u8) -> u8 {
    locked_down(|_| verb())
}

fn locked_down(verb: impl FnOnce(os::LockedDown) -> u8) -> u8 {
    locked_by(os::lock_down, verb)
}

fn locked_by(
    lock: impl FnOnce() -> io::Result<os::LockedDown>,
    verb: impl FnOnce(os::LockedDown) -> u8,
) -> u8 {
    match lock() {
        Ok(locked) => verb(locked),
        Err(e) => refused(&e),
    }
}

fn refused(e: &io::Error) -> u8 {
    if e.kind() == io::ErrorKind::PermissionDenied {
        complain_of("only root can do this", "run it as root");
        return Fault::NotRoot.status();
    }
    complain_of(
        &format!("the process could not be locked down: {e}"),
        "no key was read; report this with the version of your system",
    );
    Fault::System.status()
}

/// Finishes a boot, and becomes the command if that has opened a gate.
fn finish_late(node: Node, config: &Config, command: &[OsString]) -> u8 {
    locked_down(|locked| {
        // Plugging a stick into a healthy node is no news.
        let Some(mut late) = late::late(node, config) else {
            return 0;
        };
        show(&late.boot);
        late.ready.as_ref().map(show);
        // Services must not inherit what only a process with keys needs.
        if let Err(e) = locked.lift() {
            complain_of(&format!("services are not started: {e}"), "");
            return Fault::System.status();
        }
        let settled = late.settle(node, config).map_or(0, |report| show(&report));
        match late.opened.is_empty() || command.is_empty() {
            true if late.status() == 0 => settled,
            true => late.status(),
            false => become_command(command),
        }
    })
}

/// Reconciles, and says nothing when nothing is new. No key passes through, and services are
/// started, so the process is only root's and not locked down.
fn hold(node: Node, config: &Config) -> u8 {
    if let Err(e) = os::only_root() {
        return refused(&e);
    }
    let before = Report::last(node.db, "reconcile");
    let report = reconcile::reconcile(node, config);
    match reconcile::is_news(&report, before.as_ref()) {
        true => show(&report),
        false => report.status,
    }
}

fn do_rotate(node: Node, config: &Config, asked: &Rotate) -> u8 {
    let what = asked.what();
    let key = match &asked.key {
        Some(given) => config.key_name(given).map(Some),
        None => Ok(None),
    };
    match key {
        Ok(key) => privileged(|| {
            let rotated = match &key {
                Some(key) => {
                    let progress = |change: &str| progress(node, key, change);
                    rotate::rotate(node, config, key, what, &progress)
                }
                None => rotate::all(node, config, what, &|key, change| {
                    progress(node, key, change)
                }),
            };
            tell_rotated(&rotated, what.only_shows())
        }),
        Err(wrong) => wrong_name(&wrong),
    }
}

fn wrong_name(wrong: &str) -> u8 {
    complain_of(wrong, "");
    USAGE
}

fn do_prune(node: Node, config: &Config, asked: &Prune) -> u8 {
    let generation = asked.generation.as_deref();
    match config.key_name(&asked.key) {
        Ok(key) => privileged(|| {
            let told = &|change: &str| progress(node, &key, change);
            let pruned = rotate::prune::prune(node, config, &key, generation, told);
            tell_rotated(&pruned, generation.is_none())
        }),
        Err(wrong) => wrong_name(&wrong),
    }
}

fn examine(node: Node, config: &Config, json: bool) -> u8 {
    let findings = doctor::doctor(node, config, &Host::here());
    match json {
        true => say(&format!("{}\n", doctor::json(config, &findings))),
        false => say(&doctor::text(&findings)),
    }
    doctor::status(&findings)
}

fn ask_gate(node: Node, config: &Config, name: &str, command: &[OsString]) -> u8 {
    let gate = match ready::named(config, name) {
        Ok(gate) => gate,
        Err(what) => {
            complain_of(&what, "");
            return 2;
        }
    };
    match ready::ask(node, config, gate) {
        Answer::Open => become_command(command),
        Answer::Closed(why) => {
            complain_of(&format!("gate {name} is closed: {why}"), "");
            1
        }
        Answer::CannotTell(why) => {
            let what = format!("gate {name}: cannot tell, so it counts as closed: {why}");
            complain_of(&what, "");
            2
        }
    }
}

fn become_command(command: &[OsString]) -> u8 {
    let Some((program, arguments)) = command.split_first() else {
        return 0;
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    complain_of(&format!("{}: {error}", program.display()), "");
    2
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
            "f3skeys init",
            "f3skeys adopt /dev/da0",
            "f3skeys boot -- ls",
            "f3skeys status --json --prometheus",
            "f3skeys status --peers --prometheus",
            "f3skeys receive",
            "f3skeys receive --from f1 --for 5",
            "f3skeys receive --from f1 --end",
            "f3skeys receive --rebuild --end --for 5",
            "f3skeys receive --rebuild --for soon",
            "f3skeys receive --rebuild --from f1 --print-authorized-keys-line",
            "f3skeys backup f1",
            "f3skeys backup --rebuild",
            "f3skeys backup --rebuild --to f1 --to f2",
        ] {
            assert_eq!(run(&words(line)), USAGE, "{line}");
        }
        assert_eq!(run(&words("f3skeys --help")), 0);
        assert_eq!(run(&words("f3skeys version")), 0);
    }

    /// What the parser takes for its own, wherever it stands.
    const OWN: [&str; 6] = ["help", "--help", "-h", "--", "-", "--config"];

    #[test]
    fn law_1_no_word_makes_a_question_about_a_gate_end_with_0() {
        let mut cases = 0;
        for first in OWN.iter().chain(&["nfs", ""]) {
            for second in OWN.iter().chain(&["nfs", ""]) {
                for line in [
                    format!("f3skeys --config /nowhere gate {first} {second}"),
                    format!("f3skeys --config /nowhere gate {first} {second} -- true"),
                    format!("f3skeys --config {first} gate {second}"),
                    format!("f3skeys --config=/nowhere gate {first}{second}"),
                    format!("f3skeys {first} gate {second}"),
                ] {
                    // Here no gate is asked: the word before the verb asks for help, or ends the words.
                    if line.starts_with("f3skeys help") {
                        continue;
                    }
                    assert_ne!(run(&words(&line)), 0, "{line}");
                    cases += 1;
                }
            }
        }
        println!("{cases} questions about a gate");
        assert_eq!(cases, 5 * 64 - 8);
    }

    #[test]
    fn a_bare_help_is_no_name_and_asked_for_it_is_shown() {
        const VERBS: [&str; 20] = [
            "adopt",
            "backup",
            "boot",
            "carp",
            "demote",
            "doctor",
            "init",
            "lock",
            "new-key",
            "plan",
            "promote",
            "prune",
            "ready",
            "receive",
            "reconcile",
            "rehearse",
            "rotate",
            "status",
            "verify",
            "version",
        ];
        for verb in VERBS {
            assert_eq!(
                run(&words(&format!("f3skeys {verb} help"))),
                USAGE,
                "{verb}"
            );
            assert_eq!(run(&words(&format!("f3skeys {verb} --help"))), 0, "{verb}");
            assert_eq!(run(&words(&format!("f3skeys help {verb}"))), 0, "{verb}");
        }
        assert_eq!(run(&words("f3skeys help")), 0);
        assert_eq!(run(&words("f3skeys help gate")), 0);
    }

    #[test]
    fn a_missing_configuration_is_78() {
        assert_eq!(
            run(&words("f3skeys --config /nowhere/f3skeys.ron status")),
            78
        );
    }
}
