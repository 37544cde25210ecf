//! From facts to a proposal: what this node is called, which key opens which root, and what each
//! root is here. Pure.

use super::advice;
use super::facts::{Facts, Proof, StoreFacts, key_file};
use super::gates;
use super::proposal::{LeftOut, Proposal, Remark, RootEntry, StoreEntry};
use crate::config::{Role, Root};
use crate::device::{self, Choice, Wanted};
use crate::exit::Fault;
use crate::names::{DatasetName, KeyName, NodeName};
use crate::report::Severity;
use crate::sorted::{self, Set};
use crate::store::layout;
use crate::store::state::Standing;
use crate::twins;
use crate::zfs::{Dataset, KeyFormat};

/// The label that a key store is to have.
pub const LABEL: &str = "F3S_KEYS";

/// Infers a configuration and what there is to tell.
#[must_use]
pub fn infer(facts: &Facts) -> Proposal {
    let owners = owners(facts);
    let (node, node_remarks) = node(facts, &owners).unzip();
    let mut proposal = Proposal {
        config_path: facts.config_path.clone(),
        peers: peers(&owners, node.as_ref()),
        node,
        node_remarks: node_remarks.unwrap_or_default(),
        store: None,
        roots: Vec::new(),
        left_out: Vec::new(),
        gates: Vec::new(),
        carp: facts.rc.carp,
        findings: facts.findings.clone(),
        fault: facts.fault,
    };
    store(facts, &mut proposal);
    roots(facts, &mut proposal);
    gates::infer(facts, &mut proposal);
    advice::give(facts, &owners, &mut proposal);
    proposal
}

/// The nodes that own the keys of the store.
fn owners(facts: &Facts) -> Set<String> {
    let keys = facts.store.iter().flat_map(|store| &store.keys);
    keys.map(|key| key.owner().to_owned()).collect()
}

fn peers(owners: &Set<String>, node: Option<&NodeName>) -> Vec<NodeName> {
    owners
        .iter()
        .filter_map(|owner| owner.parse().ok())
        .filter(|owner| Some(owner) != node)
        .collect()
}

/// This node's name: the host's own, in the spelling that its keys have. `None` when it has none.
fn node(facts: &Facts, owners: &Set<String>) -> Option<(NodeName, Vec<Remark>)> {
    let configured = facts.rc.hostname.as_deref();
    let named = [Some(facts.host_name.as_str()), configured]
        .into_iter()
        .flatten()
        .find_map(|name| name.parse::<NodeName>().ok());
    let name = named?;
    if owners.contains(name.as_str()) {
        let why = "it is the name of this host, and keys on the store belong to it".to_owned();
        return Some((name, vec![Remark::Because("node", why)]));
    }
    let alike: Vec<NodeName> = owners
        .iter()
        .filter(|owner| short(owner) == short(name.as_str()))
        .filter_map(|owner| owner.parse().ok())
        .collect();
    if let [owner] = alike.as_slice() {
        let why = format!("the host calls itself {name}, and keys on the store belong to {owner}");
        let decide = format!("is this node {owner}?");
        let remarks = vec![Remark::Because("node", why), Remark::Decide(decide)];
        return Some((owner.clone(), remarks));
    }
    let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
    let why = "it is the name of this host".to_owned();
    let decide = match owners.as_slice() {
        [] => "no key on the store says to which node it belongs".to_owned(),
        owners => format!(
            "no key on the store belongs to {name}; their owners are {}. If this host is one of them, write that name, and look at every `role` again",
            owners.join(", ")
        ),
    };
    let remarks = vec![Remark::Because("node", why), Remark::Decide(decide)];
    Some((name, remarks))
}

/// The first label of a host name.
fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn store(facts: &Facts, proposal: &mut Proposal) {
    let Some(store) = &facts.store else {
        return;
    };
    let given = |name: &Option<String>| name.clone().filter(|name| !name.trim().is_empty());
    let (label, serial) = (given(&store.filesystem.label), given(&store.device.serial));
    let node = store.device.node.display().to_string();
    let mountpoint = Remark::Because("mountpoint", store.mountpoint_why.clone());
    let remarks = vec![
        mountpoint,
        how_named(&node, label.as_ref(), serial.as_ref()),
    ];
    let nameless = label.is_none() && serial.is_none();
    if nameless || !is_unmistakable(store, label.as_ref(), serial.as_ref()) {
        let what = "nothing but its node tells it from other USB disks, and a node may be another tomorrow";
        let remedy = "give each stick a label of its own; until then `boot` does not use it";
        proposal.find(Severity::Failure, &node, what, remedy);
        proposal.fail(Fault::Unavailable);
    }
    proposal.store = Some(StoreEntry {
        label: if nameless {
            Some(LABEL.to_owned())
        } else {
            label
        },
        serial,
        id: store.id.clone(),
        mountpoint: store.mountpoint.clone(),
        remarks,
    });
}

fn how_named(node: &str, label: Option<&String>, serial: Option<&String>) -> Remark {
    match (label, serial) {
        (Some(_), Some(_)) => {
            Remark::Because("label and serial", format!("they are those of {node}"))
        }
        (Some(_), None) => Remark::Decide(format!(
            "{node} gives no serial number, so any stick of this label is taken; let no other have it"
        )),
        (None, Some(_)) => Remark::Decide(format!(
            "{node} has no label; give it one, then add label: \"{LABEL}\""
        )),
        (None, None) => Remark::Decide(format!(
            "{node} has neither label nor serial number; until it is given this label, nothing finds it"
        )),
    }
}

/// Whether a boot that is told this name takes this disk, and this file system of it.
fn is_unmistakable(store: &StoreFacts, label: Option<&String>, serial: Option<&String>) -> bool {
    let wanted = Wanted {
        label: label.cloned(),
        serial: serial.cloned(),
    };
    match device::choose(&wanted, &store.disks) {
        Choice::Found(found, filesystem) => found == store.device && filesystem == store.filesystem,
        Choice::Absent(_) | Choice::Ambiguous(_) => false,
    }
}

fn roots(facts: &Facts, proposal: &mut Proposal) {
    let mut found: Vec<&Dataset> = facts.roots().collect();
    // Those above come first: what is below a replica is one.
    sorted::sort_by(&mut found, |a, b| a.name.cmp(&b.name));
    for dataset in found {
        match dataset.key_format {
            KeyFormat::Raw => raw_root(facts, dataset, proposal),
            KeyFormat::None | KeyFormat::Hex | KeyFormat::Passphrase => {
                proposal.left_out.push(LeftOut {
                    dataset: dataset.name.clone(),
                    why: format!(
                        "its key is in {} format, which is not kept on a key store",
                        dataset.key_format
                    ),
                    could_be: false,
                });
            }
        }
    }
}

fn raw_root(facts: &Facts, dataset: &Dataset, proposal: &mut Proposal) {
    let all: Vec<&Dataset> = facts.datasets().collect();
    if let Some(found) = twins::copy_at_or_below(&all, &dataset.name) {
        proposal.left_out.push(LeftOut {
            dataset: dataset.name.clone(),
            why: format!(
                "it is a backup copy: {} belongs on {}, where {} lives",
                found.copy.name,
                found.at.display(),
                found.original.name
            ),
            could_be: false,
        });
        return;
    }
    match key_of(facts, dataset, named_key(dataset).as_ref()) {
        Ok((key, mut remarks)) => {
            let (role, mut why) = role(dataset, &key, proposal);
            remarks.append(&mut why);
            note_unproven(facts, dataset, proposal);
            proposal.roots.push(RootEntry {
                root: Root {
                    dataset: dataset.name.clone(),
                    key,
                    role,
                    required: false,  // Decided with the gates.
                    mountpoint: None, // With the gates as well.
                    exec: false,
                },
                remarks,
            });
        }
        Err((why, fault)) => {
            proposal.left_out.push(LeftOut {
                dataset: dataset.name.clone(),
                why,
                could_be: true,
            });
            proposal.fail(fault);
        }
    }
}

fn note_unproven(facts: &Facts, dataset: &Dataset, proposal: &mut Proposal) {
    if let Some(Proof::NotAsked(why)) = facts.proofs.get(&dataset.name) {
        let what = format!("no key was proven to open it: {why}");
        let remedy = "run `f3skeys adopt` again when its pool answers";
        proposal.find(Severity::Warning, dataset.name.as_str(), &what, remedy);
        proposal.fail(Fault::Unavailable);
    }
}

/// The key that a root's `keylocation` names.
pub(super) fn named_key(dataset: &Dataset) -> Option<KeyName> {
    layout::parse_top(&key_file(dataset)?.1)
}

type KeyFound = Result<(KeyName, Vec<Remark>), (String, Fault)>;

/// The key of a root: what opens it, or else what its `keylocation` names and nothing contradicts.
fn key_of(facts: &Facts, dataset: &Dataset, named: Option<&KeyName>) -> KeyFound {
    let held = |key: &KeyName| facts.store.iter().any(|store| store.keys.contains(key));
    let not_asked = Proof::NotAsked("it was not asked".to_owned());
    match facts.proofs.get(&dataset.name).unwrap_or(&not_asked) {
        Proof::Opens {
            key,
            fingerprint,
            standing,
        } => Ok((
            key.clone(),
            proven(key, &fingerprint.to_string(), *standing, named),
        )),
        Proof::NotAsked(why) => match named.filter(|key| held(key)) {
            Some(key) => Ok((
                key.clone(),
                vec![
                    Remark::Because("key", "keylocation names it".to_owned()),
                    Remark::Decide(format!("not proven that it opens the root: {why}")),
                ],
            )),
            None => Err((
                format!("which key opens it is not known: {why}"),
                Fault::Unavailable,
            )),
        },
        Proof::OpensUnlisted(key) => Err((
            format!(
                "{} opens it, but is none of the generations of {key} that the store knows",
                layout::top_path(key)
            ),
            Fault::BadKey,
        )),
        Proof::NoneOpens => Err((no_key(dataset, named), Fault::BadKey)),
    }
}

fn proven(
    key: &KeyName,
    fingerprint: &str,
    standing: Standing,
    named: Option<&KeyName>,
) -> Vec<Remark> {
    let why = match named {
        Some(named) if named == key => "keylocation names it, and it",
        _ => "of all keys on the store it",
    };
    let why = format!("{why} opens the root: proven ({fingerprint})");
    let mut remarks = vec![Remark::Because("key", why)];
    if let Some(named) = named.filter(|named| *named != key) {
        remarks.push(Remark::Decide(format!(
            "keylocation names {named}, which does not open it; `zfs load-key` by hand would fail"
        )));
    }
    if standing != Standing::Current {
        remarks.push(Remark::Decide(
            "it is not the key's current generation: a rotation was cut short".to_owned(),
        ));
    }
    remarks
}

fn no_key(dataset: &Dataset, named: Option<&KeyName>) -> String {
    let location = dataset.key_location.as_deref().unwrap_or("nothing");
    match (named, key_file(dataset)) {
        (Some(named), _) => {
            format!("no key on the store opens it; keylocation names {named}")
        }
        (None, Some((_, file))) => format!(
            "no key on the store opens it; keylocation names the file {file}, which is not called OWNER:NAME.key: rename it on the stick and set keylocation"
        ),
        (None, None) => format!("no key on the store opens it; its keylocation is {location}"),
    }
}

/// What a root is on this node. A wrong `primary` lets a replica be written, a wrong `replica` makes
/// a primary read-only until somebody mends it: in doubt it is a replica.
fn role(dataset: &Dataset, key: &KeyName, proposal: &Proposal) -> (Role, Vec<Remark>) {
    let reasons = replica_reasons(dataset, key, proposal);
    let own_key = is_own(key, proposal);
    if reasons.is_empty() {
        let why = "its key belongs to this node, and nothing says that it was received";
        let mut remarks = vec![Remark::Because("primary", why.to_owned())];
        if dataset.readonly {
            remarks.push(Remark::Decide(
                "it is read-only now; if another node sends it, write `replica`".to_owned(),
            ));
        }
        return (Role::Primary, remarks);
    }
    let mut remarks = vec![Remark::Because("replica", reasons.join(", and "))];
    if reasons.len() == 1 && (own_key || !dataset.readonly) {
        remarks.push(Remark::Decide(
            "a replica is made read-only at the next boot, with all below it; if this node writes it, write `primary`".to_owned(),
        ));
    }
    (Role::Replica, remarks)
}

fn is_own(key: &KeyName, proposal: &Proposal) -> bool {
    let node = proposal.node.as_ref();
    node.is_some_and(|node| node.as_str() == key.owner())
}

fn replica_reasons(dataset: &Dataset, key: &KeyName, proposal: &Proposal) -> Vec<String> {
    let mut reasons = Vec::new();
    let above = proposal.roots.iter().find(|entry| {
        entry.root.role == Role::Replica && dataset.name.is_at_or_below(&entry.root.dataset)
    });
    if let Some(above) = above {
        reasons.push(format!("it is below the replica {}", above.root.dataset));
    }
    if !is_own(key, proposal) {
        reasons.push(format!("its key belongs to {}", key.owner()));
    }
    if let Some(sink) = sink_above(&dataset.name) {
        reasons.push(format!("it is below {sink}"));
    }
    if dataset.readonly && dataset.key_location.as_deref() == Some("prompt") {
        reasons.push(
            "it is read-only and its keylocation is `prompt`, as a received dataset's is"
                .to_owned(),
        );
    }
    reasons
}

/// The dataset above that is called `sink`, as replicators call what they receive below.
fn sink_above(name: &DatasetName) -> Option<&str> {
    let name = name.as_str();
    let ends = name.match_indices('/').map(|(end, _)| &name[..end]);
    let mut above = ends.filter(|above| above.ends_with("/sink"));
    above.next()
}
