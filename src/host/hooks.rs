//! The boot hooks: is everything in its place that makes the next boot run f3skeys, in time and as
//! this version means it?
//!
//! A failure means that the next boot would not load the keys or not open the gates, or that nobody
//! can tell; a warning, that it would, but not in every way as it should. None: all is well.

use super::{Host, InitSystem, modules, namespaces, rc_hooks, systemd_hooks};
use crate::os::PATHS;
use crate::report::{Finding, Findings};
use crate::shell::command;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What to do about most of it.
pub(super) const INSTALL: &str = "install this version again: `make install`, or its package";

/// Looks at the hooks of a host that `init` starts.
pub fn hooks(host: &Host, init: InitSystem) -> Vec<Finding> {
    let mut found = Found::new(host);
    match init {
        InitSystem::Rc => rc_hooks::look(&mut found),
        InitSystem::Systemd => {
            systemd_hooks::look(&mut found);
            namespaces::look(&mut found);
            modules::look(&mut found);
        }
    }
    found.file(configuration(init), &CONFIGURATION);
    found.findings.0
}

/// The program as texts of this version's hooks have it, before an installation with another prefix.
fn usual_program(init: InitSystem) -> &'static str {
    match init {
        InitSystem::Rc => "/usr/local/sbin/f3skeys",
        InitSystem::Systemd => "/usr/sbin/f3skeys",
    }
}

/// The program that the hooks start.
pub(super) fn program(init: InitSystem) -> &'static str {
    match init {
        _ if init == PATHS.init => PATHS.program,
        _ => usual_program(init),
    }
}

/// A text of this version's hooks as it is installed.
pub(super) fn fitted(text: &str, init: InitSystem) -> String {
    text.replace(usual_program(init), program(init))
}

/// Where a boot looks for the configuration.
fn configuration(init: InitSystem) -> &'static str {
    match init {
        _ if init == PATHS.init => PATHS.config,
        InitSystem::Rc => "/usr/local/etc/f3skeys.ron",
        InitSystem::Systemd => "/etc/f3skeys.ron",
    }
}

const CONFIGURATION: Wanted = Wanted {
    executable: false,
    early: &["/"],
    without: "without a configuration the boot loads no key",
    remedy: "`f3skeys adopt` prints one to begin with",
};

/// What is wanted of a file.
pub(super) struct Wanted {
    /// It is run.
    pub executable: bool,
    /// Directories whose file systems are there when the boot needs the file.
    pub early: &'static [&'static str],
    /// What it means that it is not there.
    pub without: &'static str,
    /// What to do when it is not there.
    pub remedy: &'static str,
}

/// The findings so far.
pub(super) struct Found<'a> {
    pub host: &'a Host,
    pub findings: Findings,
}

impl<'a> Found<'a> {
    fn new(host: &'a Host) -> Found<'a> {
        Found {
            host,
            findings: Findings::default(),
        }
    }

    /// The text of a file, `None` where there is none or, with a finding, where it cannot be read.
    pub fn text(&mut self, path: &str) -> Option<String> {
        match self.host.text(path) {
            Ok(text) => text,
            Err(e) => {
                self.findings.unknown(path, &e.to_string());
                None
            }
        }
    }

    /// The names in a directory; a finding where it cannot be read.
    pub fn names(&mut self, directory: &str) -> Vec<String> {
        self.host.names(directory).unwrap_or_else(|e| {
            self.findings.unknown(directory, &e.to_string());
            Vec::new()
        })
    }

    /// Checks that a file is there, can be used, can be changed by root alone, and is there early
    /// enough. Tells whether there is anything to read in it.
    pub fn file(&mut self, path: &str, wanted: &Wanted) -> bool {
        let about = match self.host.about(path) {
            Ok(Some(about)) => about,
            Ok(None) => {
                let what = format!("is not there: {}", wanted.without);
                self.findings.fail(path, &what, wanted.remedy);
                return false;
            }
            Err(e) => {
                self.findings.unknown(path, &e.to_string());
                return false;
            }
        };
        if !about.is_file() {
            let what = "is not a regular file; where a link leads may not be there at early boot";
            self.findings.fail(path, what, INSTALL);
            return false;
        }
        let mode = about.mode() & 0o7777;
        if about.uid() != self.host.owner() {
            let what = format!("belongs to user {}, who could change it", about.uid());
            self.findings
                .fail(path, &what, &command!("chown root {}", path));
        }
        if mode & 0o022 != 0 {
            let what = format!("others may write it (mode {mode:04o})");
            self.findings
                .fail(path, &what, &command!("chmod go-w {}", path));
        }
        if wanted.executable && mode & 0o111 == 0 {
            let what = format!("cannot be run (mode {mode:04o})");
            self.findings
                .fail(path, &what, &command!("chmod 755 {}", path));
        }
        self.is_there_early(path, wanted.early);
        true
    }

    /// Directories are compared: what an overlay says of a file's device is not to be relied on.
    fn is_there_early(&mut self, path: &str, early: &[&str]) {
        let directory = Path::new(path)
            .parent()
            .map_or("/".into(), |p| p.to_string_lossy());
        match self.host.device(&directory) {
            Err(e) => self.findings.unknown(path, &e.to_string()),
            Ok(device) => {
                let early = early
                    .iter()
                    .any(|place| self.host.device(place).is_ok_and(|d| d == device));
                if !early {
                    self.findings.fail(
                        path,
                        "is not on the root file system, so it is not there yet when the boot needs it",
                        &format!("move {directory} to the root dataset"),
                    );
                }
            }
        }
    }
}
