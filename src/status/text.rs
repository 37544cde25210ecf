//! The status for people: a line for each thing, its verdict first.

use super::{GateNow, GateState, RootNow, Status};
use crate::ink::{Ink, Tone};
use crate::report::{Finding, Report, Severity, date, seconds};
use crate::sorted::Set;
use crate::verdict::NOT_KNOWN;
use std::fmt::Write as _;

/// The width of a verdict.
const VERDICT: usize = 9;

impl Status {
    /// The state for people.
    pub fn text(&self, ink: Ink) -> String {
        let mut text = format!("{}: {}\n", self.node, self.headline(ink));
        self.write_notices(&mut text, ink);
        self.write_roots(&mut text, ink);
        self.write_gates(&mut text, ink);
        self.write_keys(&mut text);
        self.write_runs(&mut text, ink);
        text
    }

    fn headline(&self, ink: Ink) -> String {
        let open = match self.status {
            0 => ink.word(Tone::Good, "every required root is open"),
            _ => ink.word(Tone::Bad, "NOT every required root is open"),
        };
        match self.roots.iter().all(|root| root.writable.is_empty()) {
            true => open,
            false => open + ", and " + &ink.word(Tone::Bad, "A REPLICA CAN BE WRITTEN"),
        }
    }

    fn write_notices(&self, text: &mut String, ink: Ink) {
        let notice = match self.locked {
            Some(false) => None,
            Some(true) => Some("locked by a person; `f3skeys boot` undoes it"),
            None => Some("not known whether a person has locked it; every gate stays closed"),
        };
        if let Some(notice) = notice {
            let _ = writeln!(text, "  {}", ink.word(Tone::Odd, notice));
        }
        if self.rebuild.open != Some(false) {
            let what = ink.word(Tone::Odd, &self.rebuild.what);
            let _ = writeln!(text, "  {what}; `f3skeys receive --rebuild --end` ends it");
        }
    }

    fn write_roots(&self, text: &mut String, ink: Ink) {
        let open = self
            .roots
            .iter()
            .filter(|root| root.key_loaded == Some(true));
        let _ = writeln!(text, "roots: {} of {} open", open.count(), self.roots.len());
        let width = widest(self.roots.iter().map(|root| &*root.dataset));
        for root in &self.roots {
            let verdict = verdict(ink, root.verdict());
            let (name, role) = (&root.dataset, root.role.to_string());
            let line = format!("  {verdict} {name:<width$}  {role}  {}", root.words());
            let _ = writeln!(text, "{}", line.trim_end());
            root.write_more(text, ink);
        }
    }

    fn write_gates(&self, text: &mut String, ink: Ink) {
        if self.gates.is_empty() {
            return;
        }
        let open = self
            .gates
            .iter()
            .filter(|gate| gate.state == GateState::Open);
        let _ = writeln!(text, "gates: {} of {} open", open.count(), self.gates.len());
        let width = widest(self.gates.iter().map(|gate| &*gate.name));
        for gate in &self.gates {
            let verdict = verdict(ink, gate.verdict());
            let line = format!("  {verdict} {:<width$}  {}", gate.name, gate.reason);
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }

    /// Which key opens what: for the day on which a stick is lost.
    fn write_keys(&self, text: &mut String) {
        let of_roots = self.roots.iter().map(|root| &*root.key);
        let of_copies = self.copies.iter().map(|copy| &*copy.key);
        let keys: Set<&str> = of_roots.chain(of_copies).collect();
        let width = widest(keys.iter().copied());
        text.push_str("keys\n");
        for key in &keys {
            let opened = self.roots.iter().filter(|root| root.key == *key);
            let opened: Vec<&str> = opened.map(|root| &*root.dataset).collect();
            let roots = match opened.is_empty() {
                true => "no root of this node".to_owned(),
                false => opened.join(", "),
            };
            let _ = writeln!(text, "  {key:<width$}  opens {roots}");
            for copy in self.copies.iter().filter(|copy| copy.key == *key) {
                let (then, peer) = (date(copy.proven), &copy.peer);
                let _ = writeln!(text, "  {:<width$}  {peer} proved its copy {then}", "");
            }
        }
    }

    fn write_runs(&self, text: &mut String, ink: Ink) {
        text.push_str("last runs\n");
        for name in super::RUNS {
            match self.last.iter().find(|run| run.pass == name) {
                Some(run) => self.write_run(text, ink, run),
                None => {
                    let verdict = verdict(ink, (None, "none"));
                    let _ = writeln!(text, "  {verdict} {name:<9}  no report is kept");
                }
            }
        }
    }

    fn write_run(&self, text: &mut String, ink: Ink, run: &Report) {
        let exit = format!("exit {}", run.status);
        let verdict = match run.status {
            0 => verdict(ink, (Some(Tone::Good), "ok")),
            _ => verdict(ink, (Some(Tone::Bad), &exit)),
        };
        let when = run
            .ended
            .map_or_else(|| "at a time not kept".to_owned(), date);
        let boot = match (&run.boot, &self.boot) {
            (Some(then), Some(now)) if then == now => "",
            (Some(_), Some(_)) => ", in an earlier boot",
            _ => ", in an unknown boot",
        };
        let (pass, took) = (&run.pass, seconds(run.millis));
        let _ = writeln!(text, "  {verdict} {pass:<9}  {when}, took {took}{boot}");
        let told = run.findings.iter();
        let told = told.filter(|finding| finding.severity > Severity::Note);
        for finding in told.filter(|finding| !self.shows(finding)) {
            write_finding(text, ink, finding);
        }
    }

    /// Whether a finding only sends its reader here, to a root whose line says it all.
    fn shows(&self, finding: &Finding) -> bool {
        let open = |root: &RootNow| root.key_loaded == Some(true);
        let mut roots = self.roots.iter().filter(|root| !open(root));
        finding.remedy.starts_with("`f3skeys status`")
            && roots.any(|root| finding.subject == root.dataset)
    }
}

fn write_finding(text: &mut String, ink: Ink, finding: &Finding) {
    let alarm = match finding.severity {
        Severity::Alarm => format!("{} ", ink.word(Tone::Bad, "ALARM:")),
        _ => String::new(),
    };
    let _ = writeln!(
        text,
        "            {}: {alarm}{}",
        finding.subject, finding.what
    );
    if !finding.remedy.is_empty() {
        let _ = writeln!(text, "              -> {}", finding.remedy);
    }
}

impl RootNow {
    fn verdict(&self) -> (Option<Tone>, &'static str) {
        match (self.key_loaded, self.required) {
            (Some(true), _) => (Some(Tone::Good), "open"),
            // Whoever reads the pool reads it.
            (Some(false), _) if self.unencrypted => (Some(Tone::Bad), "open"),
            (None, _) => (Some(Tone::Odd), NOT_KNOWN),
            (Some(false), true) => (Some(Tone::Bad), "LOCKED"),
            (Some(false), false) => (Some(Tone::Odd), "locked"),
        }
    }

    fn words(&self) -> String {
        if !self.why.is_empty() {
            return self.why.to_string();
        }
        let mut words = Vec::new();
        words.extend(
            self.mounted
                .map(|is| if is { "mounted" } else { "not mounted" }),
        );
        // What is below it and not as it should be has a line of its own.
        let is_readonly = match self.writable.is_empty() || self.writable.contains(&self.dataset) {
            true => self.readonly,
            false => Some(true),
        };
        if self.is_replica() || self.mounted == Some(true) {
            words.extend(is_readonly.map(|is| if is { "read-only" } else { "writable" }));
        }
        if !self.required {
            words.push("not required");
        }
        words.join(", ")
    }

    fn write_more(&self, text: &mut String, ink: Ink) {
        if let Some(promotion) = &self.promotion {
            let _ = writeln!(
                text,
                "            {}",
                ink.word(Tone::Odd, &promotion.to_string())
            );
        } else if self.promoted.is_none() && self.why.is_empty() {
            let what = ink.word(Tone::Odd, "not known whether it is promoted");
            let _ = writeln!(text, "            {what}; `f3skeys doctor` says why");
        }
        for name in &self.writable {
            let what = ink.word(Tone::Bad, "CAN BE WRITTEN");
            let _ = writeln!(text, "            {name} {what}; `f3skeys boot` seals it");
        }
    }
}

impl GateNow {
    fn verdict(&self) -> (Option<Tone>, &'static str) {
        match self.state {
            GateState::Open => (Some(Tone::Good), "open"),
            GateState::Closed => (Some(Tone::Odd), "closed"),
            GateState::Unknown => (Some(Tone::Odd), NOT_KNOWN),
        }
    }
}

/// A verdict in its column; escapes take no room.
fn verdict(ink: Ink, (tone, word): (Option<Tone>, &str)) -> String {
    let room = " ".repeat(VERDICT.saturating_sub(word.len()));
    match tone {
        Some(tone) => ink.word(tone, word) + &room,
        None => word.to_owned() + &room,
    }
}

fn widest<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(str::len).max().unwrap_or_default()
}
