//! `f3skeys status`: how the node stands now, and how its last boot went. Needs no stick and
//! changes nothing.

use crate::config::Config;
use crate::gate::Answer;
use crate::pass::{Node, Pass};
use crate::plan::Pool;
use crate::promotion::Promoted;
use crate::ready;
use crate::receive::rebuild;
use crate::report::{GateLine, Report, RootLine, seconds, write_roots};
use crate::zfs::{Dataset, KeyStatus};
use serde::Serialize;
use std::fmt::Write as _;

/// The state of the node; its JSON is the interface for monitoring.
#[derive(Debug, Serialize)]
pub struct Status {
    /// This node.
    pub node: String,
    /// This boot's identity.
    pub boot: Option<String>,
    /// Whether a person has locked the node, so that every gate stays closed.
    pub locked: bool,
    /// That the store is open for a rebuild, to whom and for how long, or why that cannot be told;
    /// `None` when it is not.
    pub rebuild: Option<String>,
    /// Every root as it is now.
    pub roots: Vec<RootLine>,
    /// Every gate as it is now.
    pub gates: Vec<GateLine>,
    /// The report of the last `boot`.
    pub last_boot: Option<Report>,
    /// The report of the last `ready`.
    pub last_ready: Option<Report>,
}

/// Looks at the node.
pub fn status(node: Node, config: &Config) -> Status {
    let mut pass = Pass::begin("status", node, config);
    pass.observe_all();
    let roots = config
        .roots
        .iter()
        .map(|root| {
            let (open, state) = live_state(&pass, &root.dataset);
            RootLine {
                dataset: root.dataset.to_string(),
                role: root.role.to_string(),
                required: root.required,
                open,
                state: format!("{state}; key {}", root.key),
            }
        })
        .collect();
    let gates = config
        .gates
        .iter()
        .map(|gate| {
            let (open, reason) = match ready::ask(node, config, gate) {
                Answer::Open => (true, String::new()),
                Answer::Closed(why) => (false, why),
                Answer::CannotTell(why) => (false, format!("cannot tell: {why}")),
            };
            GateLine {
                name: gate.name.to_string(),
                open,
                reason,
            }
        })
        .collect();
    Status {
        node: config.node.to_string(),
        boot: node.system.boot_id(),
        locked: ready::locked(node.run).is_some(),
        rebuild: match rebuild::open_now(node) {
            Ok(open) => open.map(|open| open.text()),
            Err(why) => Some(why),
        },
        roots,
        gates,
        last_boot: Report::last(node.db, "boot"),
        last_ready: Report::last(node.db, "ready"),
    }
}

fn live_state(pass: &Pass, name: &crate::names::DatasetName) -> (bool, String) {
    match pass.observed.pools.get(name.pool()) {
        Some(Pool::Seen(datasets)) => match datasets.iter().find(|d| d.name == *name) {
            Some(dataset) => dataset_state(dataset),
            None => (false, "there is no such dataset".to_owned()),
        },
        Some(Pool::NotImported) => (false, "its pool is not imported".to_owned()),
        Some(Pool::Suspended) => (false, "its pool is suspended".to_owned()),
        Some(Pool::NotSeen(why)) => (false, format!("not known: {why}")),
        None => (false, "not known".to_owned()),
    }
}

fn dataset_state(dataset: &Dataset) -> (bool, String) {
    let open = dataset.key_status == KeyStatus::Available;
    let key = if open { "open" } else { "LOCKED" };
    let writing = if dataset.readonly {
        "read-only"
    } else {
        "writable"
    };
    let mounted = if dataset.mounted {
        "mounted"
    } else {
        "not mounted"
    };
    let promoted = match &dataset.promotion {
        Promoted::Now(promotion) => format!(", promoted (epoch {})", promotion.epoch),
        Promoted::Unknown(_) => ", promotion not known".to_owned(),
        Promoted::Never | Promoted::Over(_) => String::new(),
    };
    (open, format!("{key}, {writing}, {mounted}{promoted}"))
}

impl Status {
    /// Whether every required root is open and every gate answers.
    pub fn is_well(&self) -> bool {
        self.roots.iter().all(|root| root.open || !root.required)
    }

    /// The state for people.
    pub fn text(&self) -> String {
        let mut text = format!("{} now\n", self.node);
        if self.locked {
            text.push_str("  locked by a person; `f3skeys boot` undoes it\n");
        }
        if let Some(rebuild) = &self.rebuild {
            let _ = writeln!(
                text,
                "  {rebuild}; `f3skeys receive --rebuild --end` ends it"
            );
        }
        write_roots(&mut text, &self.roots);
        for gate in &self.gates {
            let _ = match gate.open {
                true => writeln!(text, "  gate {}: open", gate.name),
                false => writeln!(text, "  gate {}: closed: {}", gate.name, gate.reason),
            };
        }
        for (name, report) in [("boot", &self.last_boot), ("ready", &self.last_ready)] {
            match report {
                Some(report) => self.last_pass(&mut text, name, report),
                None => {
                    let _ = writeln!(text, "last {name}: no report is kept");
                }
            }
        }
        text
    }

    fn last_pass(&self, text: &mut String, name: &str, report: &Report) {
        let when = match (&report.boot, &self.boot) {
            (Some(then), Some(now)) if then == now => "in this boot",
            (Some(_), Some(_)) => "in an earlier boot",
            _ => "in an unknown boot",
        };
        let _ = writeln!(
            text,
            "last {name}: exit status {}, {when}, took {}",
            report.status,
            seconds(report.millis)
        );
        for finding in &report.findings {
            for line in finding.text().lines() {
                let _ = writeln!(text, "  {}", line.trim_start_matches("f3skeys: "));
            }
        }
    }
}
