//! A proposal as the text of a configuration: RON with a comment for every inference. Pure.

use super::proposal::{GateEntry, LeftOut, Proposal, Remark, RootEntry, StoreEntry};
use crate::config::Condition;
use crate::foreign::{add_line, ron};

impl Proposal {
    /// The text of the configuration; `None` when there is no node, no store or no root to write
    /// one of.
    pub fn text(&self) -> Option<String> {
        let node = self.node.as_ref()?;
        let store = self.store.as_ref()?;
        if self.roots.is_empty() {
            return None;
        }
        let mut text = String::new();
        comment(
            &mut text,
            "",
            &format!("f3skeys on {node}: proposed by `f3skeys adopt`, see f3skeys(8)."),
        );
        comment(
            &mut text,
            "",
            "Each \"because\" says what was inferred from this host, each \"DECIDE\" what only a person knows.",
        );
        comment(
            &mut text,
            "",
            &format!("It belongs in {}, written by root alone.", self.config_path),
        );
        text.push_str("(\n");
        remarks(&mut text, "    ", &self.node_remarks);
        add_line!(text, "    node: {},", ron(node.as_str()));
        text.push('\n');
        write_store(&mut text, store);
        self.write_roots(&mut text);
        self.write_gates(&mut text);
        self.write_peers(&mut text);
        text.push_str(")\n");
        Some(text)
    }

    fn write_roots(&self, text: &mut String) {
        text.push_str("\n    roots: [\n");
        for entry in &self.roots {
            remarks(text, "        ", &entry.remarks);
            add_line!(text, "        {},", root_line(entry));
        }
        for root in &self.left_out {
            write_left_out(text, root);
        }
        text.push_str("    ],\n");
    }

    fn write_gates(&self, text: &mut String) {
        if self.gates.is_empty() {
            text.push('\n');
            comment(
                text,
                "    ",
                "No gates, because no exported path lies on one of the roots.",
            );
            comment(
                text,
                "    ",
                "DECIDE: which services must wait for which file systems?",
            );
            return;
        }
        text.push_str("\n    gates: [\n");
        for entry in &self.gates {
            remarks(text, "        ", &entry.remarks);
            let off = if entry.sure { "" } else { "// " };
            add_line!(text, "        {off}{},", gate_line(entry));
        }
        text.push_str("    ],\n");
    }

    /// What f3skeys knows of other nodes; it is a comment, since only a person knows how to reach
    /// them.
    fn write_peers(&self, text: &mut String) {
        if self.carp && self.gates.iter().any(|entry| entry.sure) {
            text.push('\n');
            comment(
                text,
                "    ",
                "DECIDE: this host takes part in CARP; with this line it waits until the gate is open.",
            );
            comment(text, "    ", "carp: (gate: \"nfs\"),");
        }
        if self.peers.is_empty() {
            return;
        }
        text.push('\n');
        let names: Vec<&str> = self.peers.iter().map(|peer| peer.as_str()).collect();
        comment(
            text,
            "    ",
            &format!(
                "DECIDE: peers that hold copies of the keys, because keys on the store belong to {}.",
                names.join(", ")
            ),
        );
        comment(text, "    ", "peers: [");
        for name in names {
            let line = format!(
                "    (name: {}, ssh: {}),",
                ron(name),
                ron(&format!("root@{name}"))
            );
            comment(text, "    ", &line);
        }
        comment(text, "    ", "],");
    }
}

fn write_store(text: &mut String, store: &StoreEntry) {
    remarks(text, "    ", &store.remarks);
    text.push_str("    store: (\n");
    for (field, value) in [("label", &store.label), ("serial", &store.serial)] {
        if let Some(value) = value {
            add_line!(text, "        {field}: {},", ron(value));
        }
    }
    if let Some(id) = &store.id {
        let line = format!("id: {},  // to use this very store and no other", ron(id));
        comment(text, "        ", &line);
    }
    let mountpoint = ron(&store.mountpoint.to_string_lossy());
    add_line!(text, "        mountpoint: {mountpoint},");
    text.push_str("        wait_seconds: 30,\n    ),\n");
}

fn write_left_out(text: &mut String, root: &LeftOut) {
    let why = format!("{} is left out, because {}", root.dataset, root.why);
    comment(text, "        ", &why);
    if root.could_be {
        comment(
            text,
            "        ",
            "DECIDE: with the right key on the store it would be:",
        );
        let line = format!(
            "(dataset: {}, key: \"OWNER:NAME\", role: replica, required: false),",
            ron(root.dataset.as_str())
        );
        comment(text, "        ", &line);
    }
}

fn root_line(entry: &RootEntry) -> String {
    let root = &entry.root;
    let mountpoint = root.mountpoint.as_ref().map_or_else(String::new, |path| {
        format!(", mountpoint: {}", ron(&path.to_string_lossy()))
    });
    format!(
        "(dataset: {}, key: {}, role: {}, required: {}{mountpoint})",
        ron(root.dataset.as_str()),
        ron(root.key.as_str()),
        root.role,
        root.required
    )
}

fn gate_line(entry: &GateEntry) -> String {
    let needs: Vec<String> = entry.gate.needs.iter().map(condition).collect();
    let name = ron(entry.gate.name.as_str());
    let services = entry.gate.services.iter();
    let services: Vec<String> = services.map(|s| ron(s.as_str())).collect();
    let services = match services.is_empty() {
        true => String::new(),
        false => format!(", services: [{}]", services.join(", ")),
    };
    format!("(name: {name}, needs: [{}]{services})", needs.join(", "))
}

fn condition(condition: &Condition) -> String {
    let (word, value) = match condition {
        Condition::Mounted { path, dataset } => {
            let path = ron(&path.to_string_lossy());
            return format!("mounted(path: {path}, dataset: {})", ron(dataset.as_str()));
        }
        Condition::NotPromoted { peer } => {
            return format!("not_promoted(peer: {})", ron(peer.as_str()));
        }
        Condition::Role { dataset, is } => {
            return format!("role(dataset: {}, is: {is})", ron(dataset.as_str()));
        }
        Condition::FreshSnapshot { dataset, minutes } => {
            return format!(
                "fresh_snapshot(dataset: {}, minutes: {minutes})",
                ron(dataset.as_str())
            );
        }
        Condition::KeyLoaded(dataset) => ("key_loaded", dataset.to_string()),
        Condition::Writable(dataset) => ("writable", dataset.to_string()),
        Condition::Readonly(dataset) => ("readonly", dataset.to_string()),
        Condition::Present(path) => ("present", path.display().to_string()),
        Condition::Absent(path) => ("absent", path.display().to_string()),
        Condition::Gate(gate) => ("gate", gate.to_string()),
    };
    format!("{word}({})", ron(&value))
}

fn remarks(text: &mut String, indent: &str, remarks: &[Remark]) {
    for remark in remarks {
        match remark {
            Remark::Because(what, why) => {
                comment(text, indent, &format!("{what}, because {why}"));
            }
            Remark::Decide(what) => comment(text, indent, &format!("DECIDE: {what}")),
        }
    }
}

/// One line of comment: whatever a label, a file or ZFS has put into it, it ends only here.
fn comment(text: &mut String, indent: &str, words: &str) {
    add_line!(text, "{indent}// {words}");
}
