//! `status` in every state that a node can be found in: the metrics, the JSON and the text say what is
//! so, and what is not known is never taken for fine. The documentation has every field and metric.

mod nodes;
mod scenes;
mod sim;

use f3skeys::ink::Ink;
use f3skeys::os::PoolState;
use f3skeys::receive::rebuild;
use f3skeys::report::Severity;
use f3skeys::status::{Status, status};
use f3skeys::time::Clock;
use f3skeys::verify::{Options, verify};
use f3skeys::zfs::KeyStatus;
use scenes::{F1, SINK, config, peer_answers, prove};
use serde_json::Value;
use sim::{BHYVE, Sim, Stick, ZDATA, good_stick, keys};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn booted(name: &str, stick: Stick) -> Sim {
    scenes::booted(&format!("status-{name}"), Some(stick))
}

fn look(sim: &Sim) -> Status {
    sim.verb(|node| status(node, &config()))
}

/// What Prometheus makes of a page: each sample once, behind its HELP and TYPE, its metric in one
/// piece.
fn samples(page: &str) -> BTreeMap<String, String> {
    let mut samples = BTreeMap::new();
    let mut metrics = BTreeSet::new();
    let mut lines = page.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, words) = help
            .strip_prefix("# HELP ")
            .unwrap()
            .split_once(' ')
            .unwrap();
        assert!(
            name.starts_with("f3skeys_") && words.ends_with('.'),
            "{help}"
        );
        assert!(metrics.insert(name.to_owned()), "{name} is in two pieces");
        assert_eq!(lines.next(), Some(&*format!("# TYPE {name} gauge")));
        let mut count = 0;
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(sample.split('{').next(), Some(name), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let before = samples.insert(sample.to_owned(), value.to_owned());
            assert_eq!(before, None, "{sample} is told twice");
            count += 1;
        }
        assert!(count > 0, "{name} has no sample");
    }
    assert!(page.ends_with('\n'));
    samples
}

/// Checks samples, one a line: with its value, or without one where there must be none.
fn assert_samples(status: &Status, wanted: &str) {
    let page = status.prometheus();
    let samples = samples(&page);
    for line in wanted
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (sample, value) = match line.split_once(' ') {
            Some((sample, value)) => (sample, Some(value)),
            None => (line, None),
        };
        let sample = format!("f3skeys_{sample}");
        let told = samples.get(&sample).map(String::as_str);
        assert_eq!(told, value, "{sample} in\n{page}");
    }
}

#[test]
fn a_healthy_node_in_metrics() {
    let sim = booted("well", good_stick());
    let options = Options {
        pools: false,
        repair: false,
    };
    sim.verb(|node| verify(node, &config(), options));
    assert_samples(
        &look(&sim),
        r#"
        build_info{version="0.1.0"} 1
        well 1
        locked 0
        store_rebuild_open 0
        pool_state{pool="zdata",state="imported"} 1
        pool_state{pool="zdata",state="suspended"} 0
        pool_state{pool="zdata",state="not-imported"} 0
        pool_state{pool="zdata",state="unknown"} 0
        root_info{root="zdata/enc",role="primary",key="f0.lan.buetow.org:zdata"} 1
        root_info{root="zdata/sink/f1",role="replica",key="f1.lan.buetow.org:zdata"} 1
        root_required{root="zdata/enc"} 1
        root_required{root="zroot/bhyve"} 0
        root_known{root="zdata/enc"} 1
        key_loaded{root="zdata/enc"} 1
        key_loaded{root="zdata/sink/f1"} 1
        dataset_mounted{root="zdata/enc"} 1
        replica_readonly{root="zdata/sink/f1"} 1
        replica_readonly{root="zdata/enc"}
        replica_promoted{root="zdata/sink/f1"} 0
        replica_promoted{root="zdata/enc"}
        gate_known{gate="nfs"} 1
        gate_open{gate="nfs"} 1
        gate_open{gate="standby"} 1
        gate_open{gate="failback"} 1
        snapshot_newest_timestamp_seconds{dataset="zdata/sink/f1"} 1794999000
        last_run_exit_status{verb="boot"} 0
        last_run_exit_status{verb="verify"} 0
        last_run_exit_status{verb="backup"}
        last_run_timestamp_seconds{verb="boot"} 1795000000
        last_run_this_boot{verb="boot"} 1
        last_run_findings{verb="boot",severity="alarm"} 0
        copy_proven_timestamp_seconds{key="f0.lan.buetow.org:zdata",peer="f1.lan.buetow.org"}
        "#,
    );
    peer_answers(&sim, false);
    assert_samples(
        &look(&sim),
        r#"
        gate_known{gate="failback"} 0
        gate_open{gate="failback"}
        gate_open{gate="nfs"} 1
        "#,
    );
    let reports = ["boot", "ready", "reconcile", "verify"];
    let kept: Vec<String> = look(&sim).last.into_iter().map(|r| r.pass).collect();
    assert_eq!(kept, reports);
}

#[test]
fn a_root_in_every_state_in_metrics() {
    for (name, change, wanted) in [
        (
            "locked",
            (|sim| sim.change("zdata/enc", |d| d.key_status = KeyStatus::Unavailable)) as fn(&Sim),
            r#"
            well 0
            root_known{root="zdata/enc"} 1
            key_loaded{root="zdata/enc"} 0
            "#,
        ),
        (
            "optional",
            |sim| sim.change("zroot/bhyve", |d| d.key_status = KeyStatus::Unavailable),
            r#"
            well 1
            key_loaded{root="zroot/bhyve"} 0
            "#,
        ),
        (
            "unencrypted",
            |sim| {
                sim.change("zdata/enc", |d| {
                    (d.key_status, d.encryption_root) = (KeyStatus::None, None);
                });
            },
            r#"
            well 0
            key_loaded{root="zdata/enc"} 0
            "#,
        ),
        (
            "unmounted",
            |sim| sim.unmount("zdata/enc"),
            r#"dataset_mounted{root="zdata/enc"} 0"#,
        ),
        (
            "not-to-be-mounted",
            |sim| {
                sim.unmount("zdata/enc");
                sim.change("zdata/enc", |d| d.can_mount = f3skeys::zfs::CanMount::Off);
            },
            r#"dataset_mounted{root="zdata/enc"}"#,
        ),
        (
            "gone",
            |sim| {
                sim.datasets
                    .borrow_mut()
                    .retain(|d| d.name.as_str() != "zdata/enc")
            },
            r#"
            well 0
            root_known{root="zdata/enc"} 1
            key_loaded{root="zdata/enc"} 0
            dataset_mounted{root="zdata/enc"} 0
            "#,
        ),
        (
            "not-imported",
            |sim| {
                let gone = PoolState::NotImported;
                sim.states.borrow_mut().insert("zdata".to_owned(), gone);
            },
            r#"
            well 0
            pool_state{pool="zdata",state="not-imported"} 1
            pool_state{pool="zdata",state="imported"} 0
            key_loaded{root="zdata/enc"} 0
            replica_readonly{root="zdata/sink/f1"}
            replica_promoted{root="zdata/sink/f1"}
            gate_open{gate="nfs"} 0
            "#,
        ),
        (
            "suspended",
            |sim| {
                let sick = PoolState::Suspended;
                sim.states.borrow_mut().insert("zdata".to_owned(), sick);
            },
            r#"
            well 0
            pool_state{pool="zdata",state="suspended"} 1
            root_known{root="zdata/enc"} 0
            key_loaded{root="zdata/enc"}
            dataset_mounted{root="zdata/enc"}
            replica_readonly{root="zdata/sink/f1"}
            gate_open{gate="nfs"} 0
            "#,
        ),
        (
            "silent",
            |sim| {
                let odd = PoolState::Unknown("no such word".to_owned());
                sim.states.borrow_mut().insert("zdata".to_owned(), odd);
            },
            r#"
            well 0
            pool_state{pool="zdata",state="unknown"} 1
            root_known{root="zdata/enc"} 0
            key_loaded{root="zdata/enc"}
            key_loaded{root="zroot/bhyve"} 1
            gate_known{gate="nfs"} 0
            gate_open{gate="nfs"}
            "#,
        ),
        (
            "hanging",
            |sim| sim.hanging.borrow_mut().push("zdata".to_owned()),
            r#"
            well 0
            pool_state{pool="zdata",state="unknown"} 1
            key_loaded{root="zdata/sink/f1"}
            replica_readonly{root="zdata/sink/f1"}
            "#,
        ),
    ] {
        let sim = booted(name, good_stick());
        change(&sim);
        assert_samples(&look(&sim), wanted);
    }
}

#[test]
fn a_replica_in_every_state_in_metrics() {
    let sim = booted("replica", good_stick());
    let promoted = |value: &str, readonly| {
        sim.set_promotion(SINK, value);
        sim.change(SINK, |d| d.readonly = readonly);
    };
    // Below it, where a stream has brought it.
    sim.change("zdata/sink/f1/child", |d| d.readonly = false);
    assert_samples(&look(&sim), r#"replica_readonly{root="zdata/sink/f1"} 0"#);
    assert_eq!(look(&sim).roots[2].writable, ["zdata/sink/f1/child"]);
    let text = look(&sim).text(Ink::NONE);
    assert!(
        text.contains("zdata/sink/f1/child CAN BE WRITTEN; `f3skeys boot`"),
        "{text}"
    );

    promoted("promoted 3 1795000000 f1 burnt down", false);
    assert_samples(
        &look(&sim),
        r#"
        replica_readonly{root="zdata/sink/f1"} 0
        replica_promoted{root="zdata/sink/f1"} 1
        "#,
    );
    assert!(look(&sim).roots[2].writable.is_empty());
    // The property alone, which a stream or another program may have set.
    sim.change(SINK, |d| {
        d.promotion = f3skeys::promotion::parse("promoted 4 1795000000 f1 burnt down");
    });
    assert_samples(&look(&sim), r#"replica_promoted{root="zdata/sink/f1"}"#);
    assert_eq!(look(&sim).roots[2].writable[0], SINK);
    promoted("promoted, somehow", true);
    assert_samples(&look(&sim), r#"replica_promoted{root="zdata/sink/f1"}"#);
    let text = look(&sim).text(Ink::NONE);
    assert!(text.contains("not known whether it is promoted"), "{text}");
    promoted("demoted 3 1795000001", true);
    assert_samples(&look(&sim), r#"replica_promoted{root="zdata/sink/f1"} 0"#);
}

#[test]
fn the_node_itself_in_every_state_in_metrics() {
    let sim = booted("node", good_stick());
    f3skeys::marker::set_locked(&sim.run(), true).unwrap();
    assert_samples(
        &look(&sim),
        r#"
        locked 1
        gate_known{gate="nfs"} 1
        gate_open{gate="nfs"} 0
        "#,
    );
    f3skeys::marker::set_locked(&sim.run(), false).unwrap();
    sim.verb(|node| rebuild::open(node, &config(), None, 60))
        .unwrap();
    assert_samples(&look(&sim), "store_rebuild_open 1");
    fs::write(sim.run().join("rebuild"), "{").unwrap();
    assert_samples(&look(&sim), "store_rebuild_open");
    assert_eq!(look(&sim).rebuild.open, None);
}

#[test]
fn runs_of_other_boots_and_of_a_program_that_noted_less() {
    let sim = booted("runs", good_stick());
    sim.sleep(Duration::from_secs(60));
    sim.reboot("boot-2");
    assert_samples(
        &look(&sim),
        r#"
        well 0
        last_run_this_boot{verb="boot"} 0
        last_run_timestamp_seconds{verb="boot"} 1795000000
        snapshot_newest_timestamp_seconds{dataset="zdata/sink/f1"}
        "#,
    );
    *sim.boot_id.borrow_mut() = None;
    assert_samples(&look(&sim), r#"last_run_this_boot{verb="boot"}"#);
    // A report as it was before `ended` and `snapshots` were noted.
    let path = sim.db().join("boot.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for field in ["ended", "snapshots"] {
        report.as_object_mut().unwrap().remove(field).unwrap();
    }
    fs::write(&path, report.to_string()).unwrap();
    assert_samples(
        &look(&sim),
        r#"
        last_run_timestamp_seconds{verb="boot"}
        last_run_exit_status{verb="boot"} 0
        "#,
    );
}

#[test]
fn what_went_wrong_is_counted_by_severity() {
    let mut stick = good_stick();
    stick.damage("f0.lan.buetow.org:zdata", |bytes| bytes[0] ^= 1);
    let sim = booted("findings", stick);
    let told = look(&sim);
    let boot = told.last.iter().find(|run| run.pass == "boot").unwrap();
    assert_eq!(boot.status, 65);
    let failures = boot
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Failure);
    let failures = failures.count();
    assert!(failures > 0);
    assert_samples(
        &told,
        &format!(
            r#"
            well 0
            last_run_exit_status{{verb="boot"}} 65
            last_run_findings{{verb="boot",severity="failure"}} {failures}
            "#
        ),
    );
}

#[test]
fn what_a_peer_has_proven_is_told_with_its_time() {
    let sim = booted("copies", good_stick());
    prove(&sim, "f0.lan.buetow.org:zdata", &ZDATA, 1_794_000_000);
    prove(&sim, "f0.lan.buetow.org:bhyve", &BHYVE, 1_794_000_060);
    let told = look(&sim);
    assert_samples(
        &told,
        r#"
        copy_proven_timestamp_seconds{key="f0.lan.buetow.org:zdata",peer="f1.lan.buetow.org"} 1794000000
        copy_proven_timestamp_seconds{key="f0.lan.buetow.org:bhyve",peer="f1.lan.buetow.org"} 1794000060
        "#,
    );
    let words = "f1.lan.buetow.org proved its copy 2026-11-06 21:21 UTC";
    assert!(
        told.text(Ink::NONE).contains(words),
        "{}",
        told.text(Ink::NONE)
    );
    // Receipts that nobody understands are as good as none.
    fs::write(sim.db().join("receipts").join(format!("{F1}.json")), "{").unwrap();
    assert!(look(&sim).copies.is_empty());
}

#[test]
fn a_status_asks_zfs_once_for_each_pool_whatever_is_shown() {
    let sim = booted("calls", good_stick());
    let before = sim.zfs_calls.get();
    // A gate that asks a peer takes one more, to compare.
    let told = sim.verb(|node| status(node, &sim::config()));
    let _ = (told.prometheus(), told.text(Ink::NONE));
    assert_eq!(sim.zfs_calls.get() - before, 2);
}

#[test]
fn law_2_no_form_of_a_status_holds_a_key_byte_sequence() {
    let sim = booted("secret", good_stick());
    prove(&sim, "f0.lan.buetow.org:zdata", &ZDATA, 1_794_000_000);
    let told = look(&sim);
    let json = serde_json::to_string(&told).unwrap();
    for text in [told.prometheus(), told.text(Ink::NONE), json] {
        for (_, bytes) in keys() {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            assert!(!text.contains(&hex));
            assert!(!text.as_bytes().windows(8).any(|w| w == &bytes[..8]));
        }
    }
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    fs::read_to_string(path).unwrap()
}

/// The rows of a document's tables, from this heading to the next: what stands in backquotes in the
/// first column, and the second column.
fn rows(document: &str, heading: &str) -> BTreeMap<String, String> {
    let (_, part) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let part = part.split("\n## ").next().unwrap();
    let rows = part.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let second = rest.split('|').next()?;
        Some((name.to_owned(), second.trim().to_owned()))
    });
    let named: Vec<(String, String)> = rows.collect();
    let rows: BTreeMap<String, String> = named.iter().cloned().collect();
    assert_eq!(rows.len(), named.len(), "{heading}: a row is there twice");
    rows
}

#[test]
fn every_metric_is_documented_and_what_is_documented_is_a_metric() {
    let sim = scenes::scene("well").unwrap();
    let page = look(&sim).prometheus();
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in samples(&page).keys() {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = labels
            .split("\",")
            .filter_map(|label| label.split_once("=\""));
        let labels = labels.map(|(label, _)| format!("`{label}`")).collect();
        let before = told.insert(name.to_owned(), labels);
        let now = &told[name];
        assert!(before.is_none_or(|before| before == *now), "{name}");
    }
    let documented = rows(&document("monitoring.md"), "Metrics");
    let documented: BTreeMap<String, BTreeSet<String>> = documented
        .into_iter()
        .map(|(name, labels)| {
            let labels = labels.split(", ").filter(|label| !label.is_empty());
            (name, labels.map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(told, documented);
}

/// Every field below `value`, as the documentation spells it, and the types that were seen.
fn fields(value: &Value, path: &str, into: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let mut see = |is| into.entry(path.to_owned()).or_default().insert(is);
    match value {
        Value::Null => drop(see("null")),
        Value::Bool(_) => drop(see("bool")),
        Value::Number(_) => drop(see("number")),
        Value::String(_) => drop(see("string")),
        Value::Array(items) => {
            see("list");
            for item in items {
                fields(item, &format!("{path}[]"), into);
            }
        }
        Value::Object(members) => {
            if !path.is_empty() && !path.ends_with("[]") {
                see("object");
            }
            for (name, member) in members {
                // Its members are named by datasets.
                let name = match path.ends_with("snapshots") {
                    true => "DATASET",
                    false => name,
                };
                let dot = if path.is_empty() { "" } else { "." };
                fields(member, &format!("{path}{dot}{name}"), into);
            }
        }
    }
}

/// What was seen and what is documented are the same, and each type that was seen is documented.
fn assert_documented(of: &[Value], heading: &str) {
    let mut seen = BTreeMap::new();
    for value in of {
        fields(value, "", &mut seen);
    }
    // Of a list, or an object in one, the row of the list says it.
    seen.retain(|path, types| {
        let is_of_list = path.ends_with("[]");
        !is_of_list || !types.iter().all(|is| ["string", "object"].contains(is))
    });
    let documented = rows(&document("status.md"), heading);
    let names = |of: &mut dyn Iterator<Item = &String>| of.cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&mut seen.keys()), names(&mut documented.keys()));
    for (path, types) in seen {
        let words: BTreeSet<&str> = documented[&path].split([' ', ',']).collect();
        for is in types {
            assert!(words.contains(is), "{path} is {is}, not {words:?}");
        }
    }
}

fn json(told: &impl serde::Serialize) -> Value {
    serde_json::to_value(told).unwrap()
}

/// Nodes that together have every field, each type of it, and something in every list.
fn all_kinds() -> Vec<Value> {
    let mut worlds: Vec<Sim> = scenes::SCENES
        .iter()
        .filter_map(|name| scenes::scene(name))
        .collect();
    let promoted = booted("all-promoted", good_stick());
    promoted.set_promotion(SINK, "promoted 3 1795000000 f1 burnt down");
    fs::write(promoted.run().join("rebuild"), "{").unwrap();
    *promoted.boot_id.borrow_mut() = None;
    let path = promoted.db().join("boot.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    report["ended"] = Value::Null;
    report["boot"] = Value::Null;
    fs::write(&path, report.to_string()).unwrap();
    worlds.push(promoted);
    let unlockable = booted("all-unlockable", good_stick());
    fs::remove_dir_all(unlockable.run()).unwrap();
    fs::write(unlockable.run(), "").unwrap();
    worlds.push(unlockable);
    worlds.iter().map(|sim| json(&look(sim))).collect()
}

#[test]
fn every_field_of_the_json_is_documented_and_what_is_documented_is_a_field() {
    assert_documented(&all_kinds(), "`status --json`");
}

#[test]
fn every_field_of_the_json_of_the_peers_is_documented_and_the_other_way_round() {
    let world = nodes::World::backed_up("status-peers");
    let well = world.copies("f0");
    assert_eq!(well.status, 0);
    world.sim("f0").away.borrow_mut().push("f2".to_owned());
    let away = world.copies("f0");
    world.change_stick("f1", |stick| stick.damage("f0:data", |bytes| bytes[0] ^= 1));
    let damaged = world.copies("f0");
    world.sim("f0").sticks.borrow_mut().clear();
    let unknown = world.copies("f0");
    // Before anything was ever proven.
    let fresh = nodes::World::new("status-fresh");
    fresh.sim("f0").away.borrow_mut().push("f2".to_owned());
    let all = [well, away, damaged, unknown, fresh.copies("f0")];
    assert_documented(&all.map(|copies| json(&copies)), "`status --peers --json`");
}

/// What stands in the documentation is what the program says. `F3SKEYS_WRITE_DOCS=1` puts it there.
#[test]
fn the_example_of_the_documentation_is_a_real_status() {
    let sim = scenes::scene("no-stick").unwrap();
    let text = serde_json::to_string_pretty(&look(&sim)).unwrap();
    let before = document("status.md");
    let (head, tail) = before.split_once("```json\n").unwrap();
    let (example, tail) = tail.split_once("\n```\n").unwrap();
    if std::env::var_os("F3SKEYS_WRITE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status.md");
        fs::write(path, format!("{head}```json\n{text}\n```\n{tail}")).unwrap();
    } else {
        assert_eq!(
            example, text,
            "F3SKEYS_WRITE_DOCS=1 puts it into docs/status.md"
        );
    }
}

/// The text without its escapes.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let head = parts.next().unwrap().to_owned();
    let tails = parts.map(|part| part.split_once('m').unwrap().1);
    head + &tails.collect::<String>()
}

#[test]
fn colour_adds_nothing_but_colour() {
    let colour = Ink::new(true, None, Some(OsStr::new("xterm")));
    for name in scenes::SCENES {
        let told = look(&scenes::scene(name).unwrap());
        let (coloured, text) = (told.text(colour), told.text(Ink::NONE));
        assert!(
            coloured.contains("\x1b[3") && !text.contains('\x1b'),
            "{name}"
        );
        assert_eq!(plain(&coloured), text, "{name}");
    }
}

#[test]
fn what_people_see_at_a_glance() {
    for (name, lines) in [
        (
            "well",
            &[
                "f0.lan.buetow.org: every required root is open\n",
                "roots: 3 of 3 open\n",
                "  open      zdata/enc      primary  mounted, writable\n",
                "  open      zdata/sink/f1  replica  mounted, read-only\n",
                "gates: 3 of 3 open\n  open      nfs\n",
                "  ok        boot       2026-11-18 11:06 UTC, took 0.600 s\n",
            ][..],
        ),
        (
            "no-stick",
            &[
                "f0.lan.buetow.org: NOT every required root is open\n",
                "  LOCKED    zdata/enc      primary  not mounted\n",
                "  locked    zroot/bhyve    primary  not mounted, not required\n",
                "  closed    nfs       zdata/enc/nfsdata is not to be seen on /data/nfs",
                "  exit 66   boot ",
                "              -> insert the stick; the boot completes by itself\n",
            ],
        ),
        (
            "suspended",
            &[
                "NOT every required root is open\nroots: 1 of 3 open\n",
                "  NOT KNOWN zdata/enc      primary  its pool is suspended\n",
                "  closed    nfs       pool zdata is suspended\n",
            ],
        ),
        (
            "written",
            &[
                "every required root is open, and A REPLICA CAN BE WRITTEN\n",
                "            zdata/sink/f1/child CAN BE WRITTEN; `f3skeys boot` seals it\n",
                "  NOT KNOWN failback  f1.lan.buetow.org: ",
            ],
        ),
    ] {
        let text = look(&scenes::scene(name).unwrap()).text(Ink::NONE);
        for line in lines {
            assert!(text.contains(line), "{name}: {line}\n{text}");
        }
    }
    // That a root is locked is told by its line, and not by a run whose advice is to read it.
    let text = look(&scenes::scene("no-stick").unwrap()).text(Ink::NONE);
    assert!(!text.contains("`f3skeys status`"), "{text}");
    let sim = booted("glance", good_stick());
    f3skeys::marker::set_locked(&sim.run(), true).unwrap();
    let text = look(&sim).text(Ink::NONE);
    assert!(
        text.contains("\n  locked by a person; `f3skeys boot` undoes it\n"),
        "{text}"
    );
    assert!(
        text.contains("  closed    nfs       the node is locked;"),
        "{text}"
    );
}
