//! `f3skeys receive --rebuild`: for a while, and in this boot only, peers may give this node's store
//! keys that it holds nothing of. A person at the node opens it, because its stick is lost; what cannot
//! be told counts as closed.

use super::Refused;
use crate::config::Config;
use crate::exit::Fault;
use crate::foreign::add_line;
use crate::marker;
use crate::names::NodeName;
use crate::pass::Node;
use crate::report::Severity;
use crate::shell::command;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that it may be open, in minutes.
pub const LONGEST: u32 = 24 * 60;
/// How long it is open when a person says nothing, in minutes.
pub const USUAL: u32 = 60;

/// What is kept in the run directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    /// The boot in which it was opened.
    boot: String,
    /// Until when, in seconds since that boot: no wall clock is asked.
    until: u64,
    /// The one peer that may; every peer, when none is named.
    from: Option<NodeName>,
}

fn path(run: &Path) -> PathBuf {
    run.join("rebuild")
}

/// Opens this node for its peers, or for the one that is named; says what that allows.
///
/// # Errors
/// The peer is none, the time is too long, or this could not be remembered.
pub fn open(
    node: Node,
    config: &Config,
    from: Option<&NodeName>,
    minutes: u32,
) -> Result<String, Refused> {
    if let Some(from) = from {
        super::known(config, from)?;
    }
    if minutes == 0 || minutes > LONGEST {
        let what = format!("it is opened for 1 to {LONGEST} minutes");
        return Err(Refused::new(crate::exit::USAGE, what));
    }
    let boot = node.system.boot_id();
    let boot = boot.ok_or_else(|| failed("this boot has no identity yet"))?;
    let since_boot = node.system.since_boot();
    let since_boot = since_boot.map_err(|trouble| failed(&trouble.to_string()))?;
    let opening = Opening {
        boot,
        until: (since_boot + Duration::from_secs(60) * minutes).as_secs(),
        from: from.cloned(),
    };
    let bytes = serde_json::to_vec_pretty(&opening).map_err(|e| failed(&e.to_string()))?;
    let _lock = lock(node)?;
    let kept = marker::replace(&path(node.run), &bytes);
    kept.map_err(|e| failed(&format!("{}: {e}", node.run.display())))?;
    let who = from.map_or("every peer", NodeName::as_str);
    let line = format!("receive --rebuild: opened for {who}, for {minutes} minutes");
    node.system.log(Severity::Warning, &line);
    Ok(allowed(config, from, minutes))
}

/// What a person has just allowed.
fn allowed(config: &Config, from: Option<&NodeName>, minutes: u32) -> String {
    let peers = config.peers.iter().map(|peer| peer.name.to_string());
    let who = match from {
        Some(from) => from.to_string(),
        None => peers.collect::<Vec<_>>().join(", "),
    };
    let node = &config.node;
    let length = match minutes {
        1 => "1 minute".to_owned(),
        _ => format!("{minutes} minutes"),
    };
    let mut text = format!(
        "for {length}, in this boot, {who} may put keys on the store of {node} that it holds nothing of\n"
    );
    add_line!(
        text,
        "  nothing on it is changed or overwritten, and no key is given out"
    );
    add_line!(
        text,
        "  on a peer whose store is whole: {}",
        command!("f3skeys backup --to {} --rebuild", node)
    );
    add_line!(
        text,
        "  then here: `f3skeys receive --rebuild --end`, and `f3skeys rehearse`"
    );
    text
}

/// Ends it; says whether it was open.
///
/// # Errors
/// This could not be remembered.
pub fn end(node: Node) -> Result<String, Refused> {
    let _lock = lock(node)?;
    match std::fs::remove_file(path(node.run)) {
        Ok(()) => {
            let line = "receive --rebuild: ended";
            node.system.log(Severity::Note, line);
            Ok("peers may put no keys of others on this store any more\n".to_owned())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Ok("it was not open for a rebuild\n".to_owned())
        }
        Err(e) => Err(failed(&format!("{}: {e}", node.run.display()))),
    }
}

/// For whom this node is open, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The one peer that may give keys; every peer, when none is named.
    pub from: Option<NodeName>,
    /// How much longer, unless the node is rebooted before.
    pub left: Duration,
}

impl Open {
    /// Who may do what, for how long.
    pub fn text(&self) -> String {
        let who = match &self.from {
            Some(from) => from.as_str(),
            None => "every peer",
        };
        let left = match self.left.as_secs().div_ceil(60) {
            1 => "1 more minute".to_owned(),
            minutes => format!("{minutes} more minutes"),
        };
        format!(
            "is open for a rebuild: {who} may put keys of any node on its key store, for {left}"
        )
    }
}

/// Whether there is an opening, and whether it still counts.
enum Found {
    None,
    OfAnotherBoot,
    Over,
    Open(Open),
}

/// For whom this node is open now; `None` when it is not.
///
/// # Errors
/// It cannot be told.
pub fn open_now(node: Node) -> Result<Option<Open>, String> {
    Ok(match find(node)? {
        Found::Open(open) => Some(open),
        Found::None | Found::OfAnotherBoot | Found::Over => None,
    })
}

fn find(node: Node) -> Result<Found, String> {
    let cannot_tell = |why: &str| format!("cannot tell whether it is open for a rebuild: {why}");
    let bytes = marker::read_file(&path(node.run)).map_err(|e| cannot_tell(&e.to_string()))?;
    let Some(bytes) = bytes else {
        return Ok(Found::None);
    };
    let opening: Opening =
        serde_json::from_slice(&bytes).map_err(|e| cannot_tell(&e.to_string()))?;
    let boot = node.system.boot_id();
    let boot = boot.ok_or_else(|| cannot_tell("this boot has no identity"))?;
    let now = node.system.since_boot();
    let now = now.map_err(|trouble| cannot_tell(&trouble.to_string()))?;
    if opening.boot != boot {
        return Ok(Found::OfAnotherBoot);
    }
    Ok(match opening.until.checked_sub(now.as_secs()) {
        None | Some(0) => Found::Over,
        Some(left) => Found::Open(Open {
            from: opening.from,
            left: Duration::from_secs(left),
        }),
    })
}

/// Whether this peer may give what is missing now.
///
/// # Errors
/// Why it may not; what cannot be told counts as closed.
pub fn admits(node: Node, from: &NodeName) -> Result<(), String> {
    let why = match find(node)? {
        Found::None => "it is not open for a rebuild; `f3skeys receive --rebuild` there".to_owned(),
        Found::OfAnotherBoot => "it was opened for a rebuild in another boot".to_owned(),
        Found::Over => {
            "the time for a rebuild is over; `f3skeys receive --rebuild` there".to_owned()
        }
        Found::Open(Open {
            from: Some(other), ..
        }) if other != *from => {
            format!("it is open for a rebuild by {other} alone")
        }
        Found::Open(_) => return Ok(()),
    };
    Err(why)
}

fn failed(what: &str) -> Refused {
    Refused::new(Fault::System.status(), what)
}

fn lock(node: Node) -> Result<marker::Lock, Refused> {
    match marker::lock(node.run, node.system.clock()) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Refused::new(
            Fault::Busy.status(),
            "another f3skeys is at work",
        )),
        Err(e) => Err(failed(&format!("{}: {e}", node.run.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_put_keys_here_and_how_long_is_said() {
        for (from, seconds, who, left) in [
            (None, 1, "every peer", "1 more minute"),
            (None, 60, "every peer", "1 more minute"),
            (Some("f1"), 61, "f1", "2 more minutes"),
            (Some("f1"), 3600, "f1", "60 more minutes"),
        ] {
            let open = Open {
                from: from.map(|from| from.parse().unwrap()),
                left: Duration::from_secs(seconds),
            };
            let text = open.text();
            assert!(text.contains(&format!(" {who} may ")), "{text}");
            assert!(text.ends_with(&format!("for {left}")), "{text}");
        }
    }
}
