//! Which gates a host needs: NFS must not serve the directory under a dataset, and a primary must
//! not take service back while a person has asked it not to. Pure.

use super::facts::Facts;
use super::proposal::{GateEntry, LeftOut, Proposal, Remark, RootEntry};
use crate::binds;
use crate::config::{Condition, Gate, Role, absolute};
use crate::names::{DatasetName, ServiceName};
use crate::plan::Pool;
use crate::report::Severity;
use crate::sorted::{Map, Set};
use crate::zfs::{CanMount, Dataset, Kind, Mountpoint, Source};
use std::path::{Path, PathBuf};

/// The name of the block file of the f3s articles, in the exported directory.
const BLOCK_FILE: &str = "nfs.NO_AUTO_FAILBACK";

/// An exported file system of a configured root.
struct Served {
    dataset: DatasetName,
    mountpoint: PathBuf,
    role: Role,
    /// What exports it, in words.
    why: String,
}

/// Adds the gates, and says which roots are required.
pub fn infer(facts: &Facts, proposal: &mut Proposal) {
    let served = served(facts, proposal);
    require(facts, proposal, &served);
    if !served.is_empty() {
        proposal.gates.extend(nfs(facts, &served));
        proposal.gates.extend(failback(facts, &served));
    }
    place_replicas(facts, proposal);
}

/// A replica is mounted only where the configuration puts it: where no gate does, its root has to.
fn place_replicas(facts: &Facts, proposal: &mut Proposal) {
    let gates = proposal.gates.iter().filter(|entry| entry.sure);
    let needs = gates.flat_map(|entry| &entry.gate.needs);
    let placed: Set<DatasetName> = needs
        .filter_map(|need| match need {
            Condition::Mounted { dataset, .. } => Some(dataset.clone()),
            _ => None,
        })
        .collect();
    for entry in &mut proposal.roots {
        let name = &entry.root.dataset;
        if entry.root.role == Role::Replica && !placed.contains(name) {
            let dataset = facts.datasets().find(|dataset| dataset.name == *name);
            place_replica(entry, dataset);
        }
    }
}

/// What is set here is proposed; what came with a stream a person has to want.
fn place_replica(entry: &mut RootEntry, dataset: Option<&Dataset>) {
    let Some(dataset) = dataset.filter(|d| d.can_mount == CanMount::On) else {
        return;
    };
    let Mountpoint::Path(at) = &dataset.mountpoint else {
        return;
    };
    match dataset.mountpoint_source {
        Source::Local if at.to_str().is_some() && absolute("mountpoint", at).is_ok() => {
            let why =
                "it is set on the dataset, and a replica is mounted only where this file puts it";
            entry
                .remarks
                .push(Remark::Because("mountpoint", why.to_owned()));
            entry.root.mountpoint = Some(at.clone());
        }
        Source::Local | Source::Received => {
            let decide = format!(
                "its mountpoint is {}, and not by this file: `boot` does not load its key; add `mountpoint:` where it belongs, or set canmount=noauto",
                at.display()
            );
            entry.remarks.push(Remark::Decide(decide));
        }
        Source::Inherited(_) | Source::Default | Source::Temporary | Source::None => {}
    }
}

/// The exported file systems that lie on configured roots, each once.
fn served(facts: &Facts, proposal: &mut Proposal) -> Vec<Served> {
    let mut served: Map<DatasetName, Served> = Map::new();
    for (path, file) in &facts.exports {
        let behind = binds::behind(&facts.binds, path);
        let (dataset, mountpoint) = match file_system_at(facts, &behind) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(several) => {
                let what = format!(
                    "exported by {file}, and {} all belong there: no gate is proposed for it",
                    several.join(" and ")
                );
                let remedy = "say with `needs: [mounted(path: ..., dataset: ...)]` which of them must be there";
                proposal.find(
                    Severity::Warning,
                    &path.display().to_string(),
                    &what,
                    remedy,
                );
                continue;
            }
        };
        let Some(role) = role_of(proposal, &dataset.name) else {
            note_ungated(facts, proposal, path, file, dataset);
            continue;
        };
        let entry = served
            .entry(dataset.name.clone())
            .or_insert_with(|| Served {
                dataset: dataset.name.clone(),
                mountpoint: mountpoint.to_owned(),
                role,
                why: String::new(),
            });
        let and = if entry.why.is_empty() { "" } else { ", and " };
        entry.why += &format!("{and}{file} exports {}", path.display());
    }
    served.into_values().collect()
}

type Place<'a> = (&'a Dataset, &'a Path);

/// The file system that is to be seen at a path when all is mounted: the one with the deepest
/// mountpoint at or above it. `None` when none is.
///
/// # Errors
/// Several belong to the same place and none of them, or more than one, is mounted.
fn file_system_at<'a>(facts: &'a Facts, path: &Path) -> Result<Option<Place<'a>>, Vec<String>> {
    let fits = facts.datasets().filter_map(|dataset| {
        let mounts = dataset.kind == Kind::Filesystem
            && dataset.can_mount != CanMount::Off
            && !dataset.jailed;
        match &dataset.mountpoint {
            Mountpoint::Path(at) if mounts && path.starts_with(at) => Some((dataset, at.as_path())),
            _ => None,
        }
    });
    let fits: Vec<Place> = fits.collect();
    let Some(deepest) = fits.iter().map(|(_, at)| at.components().count()).max() else {
        return Ok(None);
    };
    let deepest: Vec<Place> = fits
        .into_iter()
        .filter(|(_, at)| at.components().count() == deepest)
        .collect();
    let mounted: Vec<Place> = deepest.iter().copied().filter(|(d, _)| d.mounted).collect();
    match (deepest.as_slice(), mounted.as_slice()) {
        ([only], _) | (_, [only]) => Ok(Some(*only)),
        _ => Err(deepest.iter().map(|(d, _)| d.name.to_string()).collect()),
    }
}

/// What a dataset is by the roots that are proposed, as the configuration will see it.
fn role_of(proposal: &Proposal, dataset: &DatasetName) -> Option<Role> {
    let above = proposal
        .roots
        .iter()
        .filter(|entry| dataset.is_at_or_below(&entry.root.dataset));
    above.map(|entry| entry.root.role).max()
}

/// An exported path for which there is no gate: said, since a gate is what keeps NFS from serving
/// the directory below.
fn note_ungated(
    facts: &Facts,
    proposal: &mut Proposal,
    path: &Path,
    file: &str,
    dataset: &Dataset,
) {
    let below_left_out = |left_out: &&LeftOut| dataset.name.is_at_or_below(&left_out.dataset);
    let unseen = facts
        .pools
        .values()
        .any(|pool| !matches!(pool, Pool::Seen(_)));
    let (severity, what) = match proposal.left_out.iter().find(below_left_out) {
        Some(root) => (
            Severity::Warning,
            format!(
                "{file} exports it, on {}, whose root is left out: no gate guards it",
                root.dataset
            ),
        ),
        None if unseen => (
            Severity::Warning,
            format!(
                "{file} exports it; by what could be seen it lies on {}, so no gate is proposed",
                dataset.name
            ),
        ),
        None => (
            Severity::Note,
            format!(
                "{file} exports it, on {}, which no configured root opens: no gate is proposed",
                dataset.name
            ),
        ),
    };
    proposal.find(severity, &path.display().to_string(), &what, "");
}

/// Says which roots a boot must not miss: those whose file systems are served. Where nothing is
/// served, all of them: then nothing tells which matters.
fn require(facts: &Facts, proposal: &mut Proposal, served: &[Served]) {
    let root_of = |name: &DatasetName| {
        let dataset = facts.datasets().find(|dataset| dataset.name == *name);
        dataset.and_then(|dataset| dataset.encryption_root.clone())
    };
    let needed: Map<DatasetName, &Served> = served
        .iter()
        .filter_map(|served| Some((root_of(&served.dataset)?, served)))
        .collect();
    for entry in &mut proposal.roots {
        let (what, why) = match needed.get(&entry.root.dataset) {
            Some(served) => ("required", served.why.clone()),
            None if needed.is_empty() => (
                "required",
                "nothing is exported here, so nothing tells which root matters".to_owned(),
            ),
            None => (
                "not required",
                "NFS serves nothing of it; a boot that leaves it locked complains and exits 0"
                    .to_owned(),
            ),
        };
        let required = what == "required";
        entry.root.required = required;
        entry.remarks.push(Remark::Because(what, why));
    }
}

fn nfs(facts: &Facts, served: &[Served]) -> Option<GateEntry> {
    let mut remarks = Vec::new();
    let mut needs = Vec::new();
    let mut places = Set::new();
    for served in served {
        if served.mountpoint.components().count() < 2 || !places.insert(&served.mountpoint) {
            continue; // A gate on `/` would be no gate.
        }
        let what = match served.role {
            Role::Primary => "mounted and writable",
            Role::Replica => "mounted and read-only",
        };
        remarks.push(Remark::Because(what, served.why.clone()));
        needs.push(Condition::Mounted {
            path: served.mountpoint.clone(),
            dataset: served.dataset.clone(),
        });
    }
    let services = facts.services.iter();
    let services: Vec<ServiceName> = services.filter_map(|s| s.parse().ok()).collect();
    if !services.is_empty() {
        let why = "this host starts them; `f3skeys reconcile` stops them while the gate is closed and starts them once it opens".to_owned();
        remarks.push(Remark::Because("services", why));
    }
    let mut entry = gate("nfs", needs, remarks, true)?;
    entry.gate.services = services;
    Some(entry)
}

/// What must hold before this node takes service back from the other.
fn failback(facts: &Facts, served: &[Served]) -> Option<GateEntry> {
    let primaries: Vec<&Served> = served.iter().filter(|s| s.role == Role::Primary).collect();
    let first = primaries.first()?;
    let (block_file, remarks) = match &facts.block_file {
        Some(found) => (
            found.path.clone(),
            vec![Remark::Because(
                "failback",
                format!("its block file is known here by {}", found.named_by),
            )],
        ),
        None => (
            first.mountpoint.join(BLOCK_FILE),
            vec![Remark::Decide(
                "wanted where this node takes service back by itself; its block file keeps it from that".to_owned(),
            )],
        ),
    };
    let mut needs = vec![Condition::Gate("nfs".parse().ok()?)];
    needs.extend(
        primaries
            .iter()
            .map(|s| Condition::Writable(s.dataset.clone())),
    );
    needs.push(Condition::Absent(block_file));
    gate("failback", needs, remarks, facts.block_file.is_some())
}

fn gate(name: &str, needs: Vec<Condition>, remarks: Vec<Remark>, sure: bool) -> Option<GateEntry> {
    let name = name.parse().ok()?;
    (!needs.is_empty()).then_some(GateEntry {
        gate: Gate {
            name,
            needs,
            services: Vec::new(),
        },
        remarks,
        sure,
    })
}
