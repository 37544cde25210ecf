//! The status in Prometheus's text exposition format, for node_exporter's textfile collector. Pure.
//!
//! A sample whose value is not known is left out, since both 0 and 1 would be a claim; that something
//! is not known has metrics of its own. Times are told as times and not as ages: the file may be read
//! long after it was written.

use super::{GateState, PoolState, RootNow, Status};
use crate::foreign;
use crate::report::{Report, Severity};
use std::fmt::{Display, Write as _};

/// Names and values of labels.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// Metrics in the making; all are gauges.
struct Page {
    text: String,
    name: &'static str,
    /// What is left to say of the metric before its first sample.
    help: &'static str,
}

impl Page {
    fn metric(&mut self, name: &'static str, help: &'static str) {
        (self.name, self.help) = (name, help);
    }

    fn sample(&mut self, labels: Labels, value: &dyn Display) {
        let name = self.name;
        let help = std::mem::take(&mut self.help);
        if !help.is_empty() {
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge");
        }
        self.text.push_str(name);
        for (number, (label, value)) in labels.iter().enumerate() {
            let open = if number == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    fn known(&mut self, labels: Labels, value: Option<bool>) {
        if let Some(value) = value {
            self.sample(labels, &u8::from(value));
        }
    }
}

/// A label's value may hold anything but line ends, which the filter shows as escapes, and these two,
/// which are written in two characters.
fn escaped(value: &str) -> String {
    let backslash = foreign::line(value).replace('\\', "\\\\");
    backslash.replace('"', "\\\"")
}

impl Status {
    /// The state for Prometheus.
    pub fn prometheus(&self) -> String {
        let mut page = Page {
            text: String::new(),
            name: "",
            help: "",
        };
        self.node_metrics(&mut page);
        self.root_metrics(&mut page);
        self.gate_metrics(&mut page);
        self.run_metrics(&mut page);
        page.text
    }

    fn node_metrics(&self, page: &mut Page) {
        page.metric("f3skeys_build_info", "The program that wrote this.");
        page.sample(&[("version", env!("CARGO_PKG_VERSION"))], &1);
        page.metric(
            "f3skeys_well",
            "Whether the key of every required root is loaded.",
        );
        page.sample(&[], &u8::from(self.status == 0));
        page.metric("f3skeys_locked", "Whether a person has locked this node.");
        page.known(&[], self.locked);
        page.metric(
            "f3skeys_store_rebuild_open",
            "Whether peers may put keys of others on the key store of this node.",
        );
        page.known(&[], self.rebuild.open);
        page.metric(
            "f3skeys_pool_state",
            "The state of a pool: 1 for the one that it is in.",
        );
        for pool in &self.pools {
            for (name, state) in [
                ("imported", PoolState::Imported),
                ("suspended", PoolState::Suspended),
                ("not-imported", PoolState::NotImported),
                ("unknown", PoolState::Unknown),
            ] {
                let is_it = u8::from(pool.state == state);
                page.sample(&[("pool", &pool.pool), ("state", name)], &is_it);
            }
        }
    }

    fn root_metrics(&self, page: &mut Page) {
        page.metric(
            "f3skeys_root_info",
            "A configured encryption root, its role and its key.",
        );
        for root in &self.roots {
            let role = root.role.to_string();
            let labels = [
                ("root", &*root.dataset),
                ("role", &*role),
                ("key", &*root.key),
            ];
            page.sample(&labels, &1);
        }
        self.each_root(
            page,
            "f3skeys_root_required",
            "Whether a boot without this root has failed.",
            |root| Some(root.required),
        );
        self.each_root(
            page,
            "f3skeys_root_known",
            "Whether it is known if the key of this root is loaded.",
            |root| Some(root.key_loaded.is_some()),
        );
        self.each_root(
            page,
            "f3skeys_key_loaded",
            "Whether the key of this root is loaded.",
            |root| root.key_loaded,
        );
        self.each_root(
            page,
            "f3skeys_dataset_mounted",
            "Whether this root, a file system that belongs somewhere, is mounted.",
            |root| root.mounted,
        );
        self.each_root(
            page,
            "f3skeys_replica_readonly",
            "Whether this replica and all that is a replica below it refuse writing.",
            |root| root.is_replica().then_some(root.readonly).flatten(),
        );
        self.each_root(
            page,
            "f3skeys_replica_promoted",
            "Whether a person has made this replica writable.",
            |root| root.is_replica().then_some(root.promoted).flatten(),
        );
    }

    fn each_root(
        &self,
        page: &mut Page,
        name: &'static str,
        help: &'static str,
        value: fn(&RootNow) -> Option<bool>,
    ) {
        page.metric(name, help);
        for root in &self.roots {
            page.known(&[("root", &root.dataset)], value(root));
        }
    }

    fn gate_metrics(&self, page: &mut Page) {
        page.metric(
            "f3skeys_gate_known",
            "Whether it is known if this gate is open.",
        );
        for gate in &self.gates {
            let known = u8::from(gate.state != GateState::Unknown);
            page.sample(&[("gate", &gate.name)], &known);
        }
        page.metric("f3skeys_gate_open", "Whether this gate is open.");
        for gate in &self.gates {
            let open = match gate.state {
                GateState::Open => Some(true),
                GateState::Closed => Some(false),
                GateState::Unknown => None,
            };
            page.known(&[("gate", &gate.name)], open);
        }
        page.metric(
            "f3skeys_snapshot_newest_timestamp_seconds",
            "When the newest snapshot was made, of a dataset that a gate wants fresh.",
        );
        let of_this_boot = |report: &&Report| report.boot.is_some() && report.boot == self.boot;
        let mut runs = self.last.iter().filter(of_this_boot);
        let newest = runs.rfind(|report| matches!(&*report.pass, "ready" | "reconcile"));
        for (dataset, made) in newest.iter().flat_map(|report| &report.snapshots) {
            page.sample(&[("dataset", dataset.as_str())], made);
        }
    }

    fn run_metrics(&self, page: &mut Page) {
        page.metric(
            "f3skeys_last_run_timestamp_seconds",
            "When the last run of this verb ended.",
        );
        for run in &self.last {
            if let Some(ended) = run.ended {
                page.sample(&[("verb", &run.pass)], &ended);
            }
        }
        page.metric(
            "f3skeys_last_run_duration_seconds",
            "How long the last run of this verb took.",
        );
        for run in &self.last {
            let seconds = format!("{}.{:03}", run.millis / 1000, run.millis % 1000);
            page.sample(&[("verb", &run.pass)], &seconds);
        }
        page.metric(
            "f3skeys_last_run_exit_status",
            "The exit status of the last run of this verb.",
        );
        for run in &self.last {
            page.sample(&[("verb", &run.pass)], &run.status);
        }
        page.metric(
            "f3skeys_last_run_this_boot",
            "Whether the last run of this verb was in this boot.",
        );
        for run in &self.last {
            let both = run.boot.as_ref().zip(self.boot.as_ref());
            let is_this = both.map(|(then, now)| then == now);
            page.known(&[("verb", &run.pass)], is_this);
        }
        page.metric(
            "f3skeys_last_run_findings",
            "How many findings of this severity the last run of this verb had.",
        );
        for run in &self.last {
            for (name, severity) in [
                ("warning", Severity::Warning),
                ("failure", Severity::Failure),
                ("alarm", Severity::Alarm),
            ] {
                let all = run.findings.iter();
                let count = all.filter(|finding| finding.severity == severity).count();
                page.sample(&[("verb", &run.pass), ("severity", name)], &count);
            }
        }
        page.metric(
            "f3skeys_copy_proven_timestamp_seconds",
            "When this peer has last proven that it holds a generation of this key.",
        );
        for copy in &self.copies {
            page.sample(&[("key", &copy.key), ("peer", &copy.peer)], &copy.proven);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_early_is_escaped() {
        for (value, written) in [
            ("plain", "plain"),
            ("a\"b", "a\\\"b"),
            ("a\\", "a\\\\"),
            ("a\nb\x1b", "a\\\\nb\\\\x1b"),
            ("\\n", "\\\\n"),
            ("\\\"", "\\\\\\\""),
        ] {
            assert_eq!(escaped(value), written);
        }
    }
}
