//! `f3skeys new-key`: a new key on the store, for a root that is yet to be made.

use crate::audit::log::Caller;
use crate::boot;
use crate::config::Config;
use crate::exit::Fault;
use crate::foreign::{add_line, ron};
use crate::names::{DatasetName, KeyName};
use crate::pass::{Node, Pass};
use crate::report::{Report, Severity};
use crate::shell::word;
use crate::store::layout;
use crate::store::work::{Work, Worked};
use crate::time::Deadline;
use crate::verify::WRITE_STORE;
use std::path::Path;
use std::time::Duration;

/// What came of it.
pub struct Made {
    /// What was made and how to use it, for standard output; empty when nothing was made.
    pub text: String,
    /// What there is to tell, and the exit status.
    pub report: Report,
}

/// The whole name of a new key: a name without an owner is this node's.
///
/// # Errors
/// It is no key name, or another node's. Only the owner makes and rotates a key.
pub fn name(config: &Config, given: &str) -> Result<KeyName, String> {
    let name = config.key_name(given)?;
    match name.owner() == config.node.as_str() {
        true => Ok(name),
        false => Err(format!(
            "{name} would belong to {}; make it there, since only its owner rotates a key",
            name.owner()
        )),
    }
}

/// Makes the key on the store of this node. `dataset` is what it is meant for, if that is known.
pub fn new_key(node: Node, config: &Config, name: &KeyName, dataset: Option<&DatasetName>) -> Made {
    let mut pass = Pass::begin("new-key", node, config);
    let text = make(&mut pass, name, dataset).unwrap_or_default();
    let report = pass.report;
    Made { text, report }
}

fn make(pass: &mut Pass, name: &KeyName, dataset: Option<&DatasetName>) -> Option<String> {
    let _lock = pass.lock()?;
    let (device, filesystem) = match boot::key_device(pass, Duration::ZERO) {
        Ok(found) => found,
        Err(missing) => {
            let subject = format!("key device {}", pass.config.store.wanted);
            let report = &mut pass.report;
            report.find(Severity::Failure, &subject, &missing.why, &missing.remedy);
            report.fail(Fault::NoKeyDevice);
            return None;
        }
    };
    let work = Work::NewKey(name.clone());
    let deadline = Deadline::after(pass.clock(), WRITE_STORE);
    let at = &pass.config.store.mountpoint;
    let store = (&device, &filesystem);
    let (worked, unlogged) = Caller::here("new-key").work(pass.node, store, at, &work, deadline);
    pass.report.findings.extend(unlogged);
    let subject = device.node.display().to_string();
    match worked {
        Ok(worked) => tell(pass, name, &subject, &worked)
            .then(|| instructions(name, dataset, &device.node, at, &worked)),
        Err(trouble) => {
            let remedy = "no key was made; all that was on the stick is still there";
            let what = trouble.to_string();
            pass.report.find(Severity::Failure, &subject, &what, remedy);
            pass.report.fail(Fault::Unavailable);
            None
        }
    }
}

/// Tells what reading back has shown; whether the new key may be used.
fn tell(pass: &mut Pass, name: &KeyName, subject: &str, worked: &Worked) -> bool {
    for note in &worked.notes {
        pass.report.find(Severity::Note, subject, note, "");
    }
    for damage in &worked.left {
        let remedy = "`f3skeys verify --repair`";
        let (path, what) = (&damage.path, &damage.what);
        pass.report.find(Severity::Warning, path, what, remedy);
    }
    let own = layout::generations(name);
    let is_own = |path: &str| path == layout::top_path(name) || path.starts_with(&own);
    let whole = worked.keys.get(name).is_some_and(Option::is_some)
        && !worked.left.iter().any(|damage| is_own(&damage.path));
    if !whole {
        let what = "was written, but is not what is read back from the medium";
        let remedy = "do not use it: the stick is failing; move the store to another one";
        pass.report
            .find(Severity::Alarm, name.as_str(), what, remedy);
        pass.report.fail(Fault::BadKey);
    }
    whole
}

fn instructions(
    name: &KeyName,
    dataset: Option<&DatasetName>,
    node: &Path,
    at: &Path,
    worked: &Worked,
) -> String {
    let dataset = dataset.map_or("POOL/DATASET", |dataset| dataset.as_str());
    let print = worked.keys.get(name).copied().flatten();
    let print = print.map(|print| print.to_string()).unwrap_or_default();
    let location = format!("file://{}", at.join(layout::top_path(name)).display());
    let (node, at, location) = (word(node), word(at), word(location));
    let mut text = String::new();
    add_line!(
        text,
        "f3skeys new-key {name}: made, fingerprint {print}, read back from the medium"
    );
    for did in &worked.did {
        add_line!(text, "  {did}");
    }
    if let Some(id) = &worked.store {
        let id = ron(id);
        add_line!(
            text,
            "It is on the store {id}; that as `id` in `store` of the configuration pins this one."
        );
    }
    text.push_str("To make an encrypted file system with it:\n");
    add_line!(text, "    mount -o ro {node} {at}");
    add_line!(
        text,
        "    zfs create -o encryption=on -o keyformat=raw -o keylocation={location} {}",
        word(dataset)
    );
    add_line!(text, "    umount {at}");
    text.push_str("Then add it to `roots` in the configuration:\n");
    add_line!(
        text,
        "    (dataset: {}, key: {}, role: primary, required: true),",
        ron(dataset),
        ron(name.as_str())
    );
    text.push_str("Have a copy of the key on another stick before there is data under it.\n");
    text
}
