//! Gathers [`Facts`]: from the store, by asking ZFS with every generation, and from the peers.

use super::copies::Wanted as Demand;
use super::facts::{Facts, Own, PeerFacts, RootFacts, Seen};
use super::record::Record;
use crate::backup::receipts::{self, Proven, Receipts};
use crate::boot;
use crate::config::{Config, Peer, Role, Root};
use crate::gate::Questions;
use crate::handover::{ask, list, nonce, proven};
use crate::key::{Fingerprint, Nonce};
use crate::names::{DatasetName, KeyName, NodeName};
use crate::pass::{ONE_CALL, Pass};
use crate::peers::{Ask, KeyTold, Opens};
use crate::plan::Pool;
use crate::report::Severity;
use crate::sorted::{self, Map, Set};
use crate::store::Wanted;
use crate::store::merge::held;
use crate::store::state::Generation;
use crate::store::survey::{Copies, survey};
use crate::time::Deadline;
use crate::trouble::Trouble;
use crate::verify::READ_STORE;
use crate::zfs::{Answer, Dataset, KeyFormat, KeyStatus, Kind, Try};
use std::time::Duration;

/// What each peer said of a key, with the number that its proofs are over.
pub type Heard = Map<NodeName, Result<(KeyTold, Nonce), String>>;

/// Asks every peer what it holds of the key, and what it opens there. To be done without the lock.
pub fn ask_peers(pass: &mut Pass, key: &KeyName) -> Heard {
    // Peers answer only its owner.
    let is_owner = key.owner() == pass.config.node.as_str();
    if pass.config.peers.is_empty() || !is_owner {
        return Heard::new();
    }
    pass.phase("peers", |pass| {
        let peers = pass.config.peers.iter();
        let heard: Heard = peers
            .map(|peer| {
                let told = ask_peer(pass, key, peer);
                let told = told.map_err(|trouble| trouble.of(peer.name.as_str()));
                (peer.name.clone(), told)
            })
            .collect();
        let answering = heard.iter().filter(|(_, told)| told.is_ok()).count();
        let words = format!("{answering} of {} answer", heard.len());
        (heard, words)
    })
}

fn ask_peer(pass: &Pass, key: &KeyName, peer: &Peer) -> Result<(KeyTold, Nonce), Trouble> {
    let nonce = nonce()?;
    let key = key.clone();
    let told = ask(pass, peer, Ask::Key { key, nonce }, &[])?;
    Ok((told, nonce))
}

/// Everything there is to know of a key, with what its peers said. Its bytes are gone from memory
/// afterwards.
///
/// `said` is the number of copies that a person has named for this run.
pub fn look(pass: &mut Pass, key: &KeyName, said: Option<u32>, heard: &Heard) -> Facts {
    pass.phase("pools", |pass| {
        pass.observe_all();
        ((), pass.pools_in_words())
    });
    // A worker looks for the devices of volumes: before any key is in memory.
    let seen: Vec<Result<Seen, String>> = roots(pass.config, key)
        .into_iter()
        .map(|root| see(pass, root))
        .collect();
    let store = read(pass, key);
    let opens: Vec<Opens> = roots(pass.config, key)
        .into_iter()
        .map(|root| opens(pass, root, store.as_ref().ok().map(|store| &store.copies)))
        .collect();
    let copies = store.as_ref().ok().map(|store| &store.copies);
    let peers = pass.config.peers.iter();
    let peers = peers
        .filter_map(|peer| Some(of_peer(pass, key, peer, heard.get(&peer.name)?, copies)))
        .collect();
    let promoted = pass.observed.promoted(pass.config);
    let facts = roots(pass.config, key).into_iter().zip(seen).zip(opens);
    let record = Record::read(pass.node.db, key);
    Facts {
        key: key.clone(),
        node: pass.config.node.clone(),
        wanted: Demand::of(said, pass.config.min_copies),
        store: store.map(|store| own(&store)),
        roots: facts
            .map(|((root, seen), opens)| RootFacts {
                dataset: root.dataset.clone(),
                role: pass
                    .config
                    .role_now(&root.dataset, &promoted)
                    .unwrap_or(Role::Replica),
                seen,
                opens,
            })
            .collect(),
        peers,
        record: record.map_err(|e| e.to_string()),
    }
}

fn roots<'a>(config: &'a Config, key: &KeyName) -> Vec<&'a Root> {
    let roots = config.roots.iter();
    roots.filter(|root| root.key == *key).collect()
}

/// What this node's store holds of a key.
pub struct Stored {
    /// The key's generations, with their bytes.
    pub copies: Copies,
    /// Whether the store is plain.
    plain: bool,
    /// The identity of the store; empty when it has none.
    id: String,
}

/// Reads what the store holds of the key.
///
/// # Errors
/// There is no store to be read, in words.
pub fn read(pass: &mut Pass, key: &KeyName) -> Result<Stored, String> {
    let found = boot::key_device(pass, Duration::ZERO);
    let (device, filesystem) =
        found.map_err(|missing| format!("{missing} ({})", missing.remedy))?;
    pass.phase("key store", |pass| {
        let wanted = [key.clone()];
        let wanted = Wanted::These(&wanted);
        let at = &pass.config.store.mountpoint;
        let deadline = Deadline::after(pass.clock(), READ_STORE);
        let devices = pass.node.devices;
        let read = devices.read(&device, &filesystem, at, wanted, deadline);
        let found = read
            .map_err(|trouble| trouble.to_string())
            .and_then(|reading| {
                if reading.gone {
                    return Err(boot::GONE.to_owned());
                }
                let mut survey = survey(wanted, reading).map_err(|format| format.to_string())?;
                if let Some(damage) = survey.damage.first() {
                    return Err(format!("{damage}; `f3skeys verify --repair` first"));
                }
                Ok(Stored {
                    copies: survey.keys.remove(key).unwrap_or_default(),
                    plain: survey.plain,
                    id: survey.state.map(|state| state.store).unwrap_or_default(),
                })
            });
        let words = match &found {
            Ok(store) => match store.copies.known.len() {
                1 => format!("1 generation of {key}"),
                many => format!("{many} generations of {key}"),
            },
            Err(why) => why.clone(),
        };
        (found, words)
    })
}

fn own(store: &Stored) -> Own {
    let held = held(&store.copies, None);
    Own {
        id: store.id.clone(),
        whole: held
            .iter()
            .filter(|h| h.whole)
            .map(|h| h.generation.fingerprint)
            .collect(),
        list: held.into_iter().map(|held| held.generation).collect(),
        damage: store.copies.damage.clone(),
        plain: store.plain,
    }
}

fn see(pass: &Pass, root: &Root) -> Result<Seen, String> {
    let name = &root.dataset;
    let datasets = match pass.observed.pools.get(name.pool()) {
        Some(Pool::Seen(datasets)) => datasets,
        Some(Pool::NotImported) => return Err(format!("pool {} is not imported", name.pool())),
        Some(Pool::Suspended) => return Err(format!("pool {} is suspended", name.pool())),
        Some(Pool::NotSeen(why)) => return Err(why.clone()),
        None => return Err("its pool was not looked at".to_owned()),
    };
    if let Some(damaged) = pass.observed.damaged.get(name) {
        return Err(damaged.to_string());
    }
    let own = datasets.iter().find(|dataset| dataset.name == *name);
    let own = own.ok_or("there is no such dataset")?;
    let of_root = |dataset: &&Dataset| dataset.encryption_root.as_ref() == Some(name);
    let members: Vec<&Dataset> = datasets.iter().filter(of_root).collect();
    let shares = |dataset: &&Dataset| {
        let made_of = |member: &&Dataset| dataset.origin.as_ref() == Some(&member.name);
        (of_root(dataset) && dataset.origin.is_some()) || members.iter().any(made_of)
    };
    let loaded = own.key_status == KeyStatus::Available;
    let promoted = pass.observed.promoted(pass.config);
    let role = |of: &DatasetName| pass.config.role_now(of, &promoted);
    let is_replica = |member: &&Dataset| role(&member.name) == Some(Role::Replica);
    // What tells whether a key unwraps a file system may write to it, so of a replica nobody asks.
    let (replicas, asked): (Vec<&Dataset>, Vec<&Dataset>) =
        members.iter().copied().partition(is_replica);
    Ok(Seen {
        is_root: own.encryption_root.as_ref() == Some(name),
        loaded,
        format: own.key_format,
        location: own.key_location.clone(),
        clones: datasets
            .iter()
            .filter(shares)
            .map(|d| d.name.clone())
            .collect(),
        replicas: match role(name) {
            // It is one itself, so nobody changes its key here.
            Some(Role::Replica) => Vec::new(),
            _ => replicas.iter().map(|d| d.name.clone()).collect(),
        },
        inheriting: match role(name) {
            Some(Role::Replica) => members
                .iter()
                .filter(|d| d.inherits_from(name))
                .map(|d| d.name.clone())
                .collect(),
            _ => Vec::new(),
        },
        sealed: match loaded {
            true => sealed(pass, &asked),
            false => Vec::new(),
        }
        .into_iter()
        .chain(not_understood(pass, name))
        .collect(),
    })
}

/// Those that the root's key may have to unwrap, and of which nothing is known.
fn not_understood(pass: &Pass, root: &DatasetName) -> Vec<(DatasetName, String)> {
    let damaged = pass.observed.damaged.values();
    damaged
        .filter(|d| d.may_be_opened_by(root))
        .map(|d| (d.name.clone(), d.to_string()))
        .collect()
}

/// Those that the root's key does not unwrap. What is mounted, or has its device, is unwrapped.
fn sealed(pass: &Pass, members: &[&Dataset]) -> Vec<(DatasetName, String)> {
    let mut sealed = Vec::new();
    let volumes = members.iter().filter(|d| d.kind == Kind::Volume);
    let questions = Questions {
        volumes: volumes.map(|d| d.name.clone()).collect(),
        ..Questions::default()
    };
    if !questions.volumes.is_empty() {
        let deadline = Deadline::after(pass.clock(), ONE_CALL);
        let live = pass.node.system.look(&questions, deadline);
        let there = live.map(|live| live.volumes).map_err(|e| e.to_string());
        for volume in questions.volumes {
            if let Err(why) = has_device(&there, &volume) {
                sealed.push((volume, why));
            }
        }
    }
    for dataset in members {
        if dataset.kind == Kind::Filesystem && !dataset.mounted {
            let deadline = Deadline::after(pass.clock(), ONE_CALL);
            if let Err(trouble) = pass.node.zfs.unwraps(&dataset.name, deadline) {
                sealed.push((dataset.name.clone(), trouble.to_string()));
            }
        }
    }
    sealed
}

type Devices = Result<Map<DatasetName, Result<bool, String>>, String>;

fn has_device(there: &Devices, volume: &DatasetName) -> Result<(), String> {
    match there.as_ref().map_err(String::clone)?.get(volume) {
        Some(Ok(true)) => Ok(()),
        Some(Err(why)) => Err(why.clone()),
        Some(Ok(false)) | None => Err("it has no device".to_owned()),
    }
}

/// Asks ZFS with every generation that is whole, those first that a boot would try first.
fn opens(pass: &mut Pass, root: &Root, copies: Option<&Copies>) -> Opens {
    let Some(copies) = copies else {
        return Opens::CouldNotAsk("the key store could not be read".to_owned());
    };
    match seen(pass, root) {
        Some(dataset) if dataset.key_format == KeyFormat::Raw => {}
        // Of a root in another format a raw key opens nothing, and asking would be misread.
        Some(_) => return Opens::NoKey,
        None => return Opens::CouldNotAsk("it was not seen".to_owned()),
    }
    for print in in_order(copies) {
        let Some(key) = copies.good.get(&print) else {
            continue;
        };
        let deadline = Deadline::after(pass.clock(), ONE_CALL);
        match pass
            .node
            .zfs
            .try_key(&root.dataset, key, Try::Probe, deadline)
        {
            Answer::Opens => return Opens::By(print),
            Answer::WrongKey => {}
            Answer::CouldNotAsk(trouble) => return Opens::CouldNotAsk(trouble.to_string()),
        }
    }
    Opens::NoKey
}

fn seen<'a>(pass: &'a Pass, root: &Root) -> Option<&'a Dataset> {
    pass.observed.dataset(&root.dataset)
}

fn in_order(copies: &Copies) -> Vec<Fingerprint> {
    let standings = copies.standings(&Set::new());
    let mut prints: Vec<Fingerprint> = standings.keys().copied().collect();
    sorted::sort_by_key(&mut prints, |print| standings.get(print).copied());
    prints
}

/// What a peer said, held against the bytes here.
fn of_peer(
    pass: &mut Pass,
    key: &KeyName,
    peer: &Peer,
    told: &Result<(KeyTold, Nonce), String>,
    copies: Option<&Copies>,
) -> PeerFacts {
    let receipts = Receipts::read(pass.node.db, &peer.name);
    let proven = match (told, copies) {
        (Ok((told, nonce)), Some(copies)) => proven(told, &peer.name, nonce, copies),
        _ => Set::new(),
    };
    if let (Ok((told, _)), Some(copies)) = (told, copies) {
        note(pass, peer, key, &list(copies), &told.store, &proven);
    }
    let mut replicas = replicas_on(pass.config, key, peer);
    if let Ok((told, _)) = told {
        // What the peer lists as well: a replica that only its own configuration knows of.
        let more = told.roots.iter().map(|root| &root.dataset);
        let more: Vec<DatasetName> = more
            .filter(|name| !replicas.contains(name))
            .cloned()
            .collect();
        replicas.extend(more);
    }
    PeerFacts {
        name: peer.name.clone(),
        replicas,
        told: told
            .as_ref()
            .map(|(told, _)| told.clone())
            .map_err(String::clone),
        proven,
        receipts: receipts
            .map(|receipts| receipts.stores(key))
            .map_err(|e| e.to_string()),
    }
}

/// Keeps a receipt of what a peer has proven just now: the next rotation demands as much of it.
pub fn note(
    pass: &mut Pass,
    peer: &Peer,
    key: &KeyName,
    list: &[Generation],
    store: &str,
    prints: &Set<Fingerprint>,
) {
    if prints.is_empty() {
        return;
    }
    let proven = Proven {
        key,
        list,
        prints,
        store,
        at: pass.node.system.wall(),
        by: &pass.report.pass.clone(),
    };
    if let Err(e) = receipts::note(pass.node.db, pass.clock(), &peer.name, &proven) {
        let db = pass.node.db.display().to_string();
        let what = format!("a receipt could not be kept: {e}");
        let remedy = "make the directory writable for root";
        pass.report.find(Severity::Warning, &db, &what, remedy);
    }
}

/// The configured replicas on a peer of what this key wraps here.
fn replicas_on(config: &Config, key: &KeyName, peer: &Peer) -> Vec<DatasetName> {
    let of_key = |of: &DatasetName| config.root_above(of).is_some_and(|root| root.key == *key);
    let replicas = config.replicas.iter();
    replicas
        .filter(|replica| replica.node == peer.name && of_key(&replica.of))
        .map(|replica| replica.dataset.clone())
        .collect()
}
