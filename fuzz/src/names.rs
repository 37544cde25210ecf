//! Names, and the texts that consist of little else.

use f3skeys::config::{Condition, Config, Role};
use f3skeys::names::{DatasetName, GateName, KeyName, NodeName, ServiceName};
use f3skeys::promotion::{self, Promoted};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Component, Path};
use std::str::FromStr;

/// A name of each kind.
pub fn names(bytes: &[u8]) -> bool {
    let text = super::text(bytes);
    let known = [
        dataset(&text),
        name::<KeyName>(&text, 128, ":").is_some(),
        name::<GateName>(&text, 128, "").is_some(),
        name::<NodeName>(&text, 128, "").is_some(),
        name::<ServiceName>(&text, 128, "@").is_some(),
    ];
    known.contains(&true)
}

/// A name that may stand in a path, a command line and a message: what is not such is refused, also as
/// JSON, and what is taken is taken as it stands.
fn name<T>(text: &str, longest: usize, more: &str) -> Option<T>
where
    T: FromStr + Display + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let json = serde_json::to_string(text).expect("a text is JSON");
    let read: Option<T> = serde_json::from_str(&json).ok();
    let name = text.parse::<T>().ok();
    assert_eq!(name, read, "as text and as JSON");
    let name = name?;
    assert_eq!(name.to_string(), text);
    assert_eq!(serde_json::to_string(&name).ok(), Some(json));
    assert!(!text.is_empty() && text.len() <= longest, "{text}");
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || more.contains(c);
    assert!(text.chars().all(allowed), "{text:?}");
    let parts = text.split([':', '/']);
    for part in parts {
        assert!(!part.is_empty() && part != "." && part != "..", "{text}");
    }
    assert!(!text.starts_with(['-', '.', ':', ' ']), "{text}");
    Some(name)
}

fn dataset(text: &str) -> bool {
    // A part of a dataset's name may be empty between colons.
    let whole = text.replace(':', "_");
    assert_eq!(
        text.parse::<DatasetName>().is_ok(),
        whole.parse::<DatasetName>().is_ok()
    );
    name::<DatasetName>(&whole, 255, "/ ");
    let Ok(name) = text.parse::<DatasetName>() else {
        return false;
    };
    let above: Vec<DatasetName> = name.above().collect();
    for (depth, ancestor) in above.iter().enumerate() {
        assert!(name.is_at_or_below(ancestor) && !ancestor.is_at_or_below(&name));
        assert_eq!(ancestor.pool(), name.pool());
        assert_eq!(ancestor.as_str().split('/').count(), depth + 1);
    }
    assert_eq!(name.as_str().split('/').count(), above.len() + 1);
    true
}

/// A configuration. What is taken holds together, judged here in other ways than the program does.
pub fn configuration(bytes: &[u8]) -> bool {
    let Ok(config) = Config::parse(&super::text(bytes)) else {
        return false;
    };
    check_roots(&config);
    check_peers(&config);
    check_gates(&config);
    assert!(config.store.wanted.label.is_some() || config.store.wanted.serial.is_some());
    assert!(is_plain_path(&config.store.mountpoint));
    assert!(config.store.wait < config.budget);
    true
}

fn is_plain_path(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir) && parts.clone().next().is_some() && {
        parts.all(|part| matches!(part, Component::Normal(_)))
    }
}

fn check_roots(config: &Config) {
    let roots: BTreeSet<&str> = config.roots.iter().map(|r| r.dataset.as_str()).collect();
    assert_eq!(roots.len(), config.roots.len(), "each root once");
    assert!(!roots.is_empty());
    for root in &config.roots {
        assert_eq!(config.role_of(&root.dataset), Some(root.role));
        for above in root.dataset.above() {
            let is_replica = config.role_of(&above) == Some(Role::Replica);
            assert!(!is_replica || root.role == Role::Replica, "{above}");
        }
    }
}

fn check_peers(config: &Config) {
    let peers: BTreeSet<&str> = config.peers.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(peers.len(), config.peers.len(), "each peer once");
    assert!(!peers.contains(config.node.as_str()), "itself");
    for peer in &config.peers {
        let ssh = &peer.ssh;
        assert!(!ssh.is_empty() && !ssh.starts_with('-'), "{ssh:?}");
        assert!(!ssh.contains(char::is_whitespace), "{ssh:?}");
    }
    for replica in &config.replicas {
        assert!(peers.contains(replica.node.as_str()));
        assert_eq!(config.role_of(&replica.of), Some(Role::Primary));
    }
}

/// Every gate has conditions that can be asked, and none waits for itself: take away the gates that
/// wait for none that is left, until nothing is left.
fn check_gates(config: &Config) {
    let names: BTreeSet<&str> = config.gates.iter().map(|g| g.name.as_str()).collect();
    assert_eq!(names.len(), config.gates.len(), "each gate once");
    let mut left = names.clone();
    while !left.is_empty() {
        let waits = |name: &&str| {
            let gate = config.gates.iter().find(|gate| gate.name.as_str() == *name);
            let needs = &gate.expect("a gate of this name").needs;
            assert!(!needs.is_empty());
            let of_gates = |need: &Condition| match need {
                Condition::Gate(other) => left.contains(other.as_str()),
                other => {
                    check_condition(config, other);
                    false
                }
            };
            needs.iter().any(of_gates)
        };
        let waiting: BTreeSet<&str> = left.iter().copied().filter(waits).collect();
        assert!(
            waiting.len() < left.len(),
            "{waiting:?} wait for each other"
        );
        left = waiting;
    }
    let carp = config.carp.as_ref().map(|carp| carp.gate.as_str());
    assert!(carp.is_none_or(|gate| names.contains(gate)));
}

fn check_condition(config: &Config, need: &Condition) {
    if let Some(dataset) = need.dataset() {
        assert!(config.role_of(dataset).is_some(), "{dataset}");
    }
    match need {
        Condition::Mounted { path, .. } | Condition::Present(path) | Condition::Absent(path) => {
            assert!(is_plain_path(path), "{}", path.display());
        }
        Condition::NotPromoted { peer } => {
            assert!(config.peers.iter().any(|known| known.name == *peer));
        }
        _ => {}
    }
}

/// The value of the promotion property.
pub fn promotion(bytes: &[u8]) -> bool {
    let value = super::text(bytes);
    match promotion::parse(&value) {
        Promoted::Now(promotion) => {
            assert_eq!(promotion.value(), value, "there is one spelling");
            assert_eq!(promotion::check_reason(&promotion.reason), Ok(()));
            true
        }
        Promoted::Over(epoch) => {
            let since = value.strip_prefix(&format!("demoted {epoch} "));
            let since = since.and_then(|since| since.parse::<u64>().ok());
            let written = since.map(|since| format!("demoted {epoch} {since}"));
            assert_eq!(written, Some(value), "there is one spelling");
            true
        }
        Promoted::Unknown(same) => {
            assert_eq!(same, value);
            false
        }
        other => panic!("a property alone does not say {other:?}"),
    }
}
