//! What a stranger can write into the properties of one dataset: as ZFS tells of it, by the library and by
//! the program, and what each verb makes of it. Nothing is promoted by it, and no other dataset is held up.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::{Config, Role};
use f3skeys::exit::Fault;
use f3skeys::lock::lock;
use f3skeys::names::DatasetName;
use f3skeys::pass::Node;
use f3skeys::plan::{self, KeyState, Observed, Refusal, Verdict};
use f3skeys::promote::{demote, promote};
use f3skeys::promotion::{self, Promoted};
use f3skeys::ready::ready;
use f3skeys::rehearse::rehearse;
use f3skeys::report::{Report, Severity};
use f3skeys::status::status;
use f3skeys::zfs::entry::{self, Entry, PROPERTIES, Value};
use f3skeys::zfs::framed::Frame;
use f3skeys::zfs::parse::listing;
use f3skeys::zfs::{Damaged, Dataset, KeyStatus, Listing};
use sim::{Event, Sim, config, f3s, good_stick};
use std::collections::BTreeSet;

/// The datasets of pool zdata: a file system above all, a primary root with a child, a replica root with a
/// child, and one that nobody configured.
const DATASETS: [&str; 6] = [
    "zdata",
    "zdata/enc",
    "zdata/enc/nfsdata",
    "zdata/other",
    "zdata/sink/f1",
    "zdata/sink/f1/child",
];

fn root_of(name: &str) -> &'static str {
    match name {
        _ if name.starts_with("zdata/enc") => "zdata/enc",
        _ if name.starts_with("zdata/sink/f1") => "zdata/sink/f1",
        _ => "-",
    }
}

/// A dataset as ZFS tells of it after a power cut.
fn entry_of(name: &str) -> Entry {
    let root = root_of(name);
    let locked = |value: &str| if root == "-" { "-" } else { value }.to_owned();
    let value = |property: &&str| {
        let (value, source) = match *property {
            "type" => ("filesystem".to_owned(), "-"),
            "encryptionroot" => (root.to_owned(), "-"),
            "keystatus" => (locked("unavailable"), "-"),
            "keyformat" => (locked("raw"), "-"),
            "keylocation" if root == name => ("prompt".to_owned(), "local"),
            "keylocation" => ("none".to_owned(), "default"),
            "readonly" if name.starts_with("zdata/sink") => ("on".to_owned(), "local"),
            "readonly" => ("off".to_owned(), "default"),
            "canmount" => ("on".to_owned(), "default"),
            "mountpoint" if root == "zdata/sink/f1" => (name.replace(root, "/data/f1"), "local"),
            "mountpoint" => (format!("/{name}"), "local"),
            "guid" => ("7".to_owned(), "-"),
            "mounted" => ("no".to_owned(), "-"),
            "written" => ("0".to_owned(), "-"),
            "origin" | promotion::PROPERTY => ("-".to_owned(), "-"),
            _ => ("off".to_owned(), "default"),
        };
        Value {
            value: value.into_bytes(),
            source: source.as_bytes().to_vec(),
        }
    };
    Entry {
        name: name.as_bytes().to_vec(),
        values: PROPERTIES.iter().map(value).collect(),
    }
}

/// Through the worker's hand-over.
fn by_library(entries: &[Entry]) -> Listing {
    let bytes = entry::write(entries.iter().cloned());
    listing(&entry::read(&bytes).unwrap()).unwrap()
}

/// Through what `zfs get -Hp -o name,property,value,source` prints.
fn by_program(entries: &[Entry]) -> Listing {
    let frame = Frame::new([0x5a; 16]);
    let mut text = Vec::new();
    for entry in entries {
        for property in frame.properties().split(',') {
            let none = Value::none();
            let number = PROPERTIES.iter().position(|known| *known == property);
            let value = number.map_or(&none, |number| &entry.values[number]);
            let row = [
                &entry.name,
                property.as_bytes(),
                &value.value,
                &value.source,
            ];
            text.extend(row.join(&b'\t'));
            text.push(b'\n');
        }
    }
    listing(&frame.read(&text).unwrap()).unwrap()
}

/// Values that a stream could bring: alone, and behind the value that was there.
fn hostile_values() -> Vec<Vec<u8>> {
    let row =
        |name: &str, property: &str, value: &str| format!("{name}\t{property}\t{value}\tlocal\n");
    let promoted = "promoted 1 1 x";
    let forged = DATASETS
        .map(|name| row(name, promotion::PROPERTY, promoted))
        .concat();
    let whole = DATASETS.map(|name| {
        let rows = PROPERTIES.map(|property| match property {
            promotion::PROPERTY => row(name, property, promoted),
            "readonly" => row(name, property, "on"),
            _ => row(name, property, "-"),
        });
        rows.concat()
    });
    let mut values: Vec<Vec<u8>> = [
        "\t",
        "\n",
        "\t\n",
        "\n\t",
        "\r",
        "\0",
        " ",
        "",
        "-",
        "on",
        promoted,
        &format!("x\tlocal\n{forged}"),
        &format!("{promoted}\tlocal"),
        &format!("\n{forged}"),
        &format!("-\t-\n{}", whole.concat()),
        &format!("f3skeys:promotion\t{promoted}\tlocal"),
    ]
    .map(|value| value.as_bytes().to_vec())
    .into();
    values.push(b"\xff\xfe".to_vec());
    values.push([b"/x\xff\n".as_slice(), forged.as_bytes()].concat());
    values
}

fn observed(listing: Listing) -> Observed {
    let mut observed = Observed::default();
    observed.take_in("zdata", listing);
    observed
}

fn verdicts(config: &Config, observed: &Observed) -> Vec<(DatasetName, Verdict)> {
    let keys = config
        .keys()
        .into_iter()
        .map(|key| (key, KeyState::Usable))
        .collect();
    plan::keys(config, observed, &keys).roots
}

/// No value of a property of one dataset, come by a stream, says anything of another, or promotes.
#[test]
fn law_9_no_value_of_any_property_says_anything_of_another_dataset_or_promotes() {
    let config = config();
    let clean = DATASETS.map(entry_of);
    let good = by_library(&clean);
    assert_eq!(
        (good.datasets.len(), &good.damaged[..]),
        (DATASETS.len(), &[][..])
    );
    assert_eq!(by_program(&clean), good);
    let usual = verdicts(&config, &observed(good.clone()));
    let mut understood = BTreeSet::new();
    for (place, name) in DATASETS.iter().enumerate() {
        for (number, property) in PROPERTIES.iter().enumerate() {
            for value in hostile_values() {
                for source in ["received", "local"] {
                    let mut entries = clean.clone();
                    let behind = [clean[place].values[number].value.as_slice(), &value].concat();
                    for value in [value.clone(), behind] {
                        entries[place].values[number] = Value {
                            value: value.clone(),
                            source: source.as_bytes().to_vec(),
                        };
                        let context =
                            format!("{name} {property} {source} {}", value.escape_ascii());
                        let by_library = by_library(&entries);
                        let seen = [by_program(&entries), by_library.clone()];
                        for listing in seen {
                            others_stand(&good, &listing, name, &context);
                            nobody_is_promoted(
                                &config,
                                listing,
                                (name, property, &value, source),
                                &context,
                            );
                        }
                        let after = verdicts(&config, &observed(by_library.clone()));
                        for (before, after) in usual.iter().zip(&after) {
                            assert_holds(before, after, name, &by_library.damaged, &context);
                        }
                        if by_library.damaged.is_empty() {
                            understood.insert(*property);
                        }
                    }
                }
            }
        }
    }
    // The test would not notice if each of these values were damage.
    assert!(understood.contains("mountpoint") && understood.contains(promotion::PROPERTY));
}

/// Every other dataset is seen as it was.
fn others_stand(good: &Listing, seen: &Listing, name: &str, context: &str) {
    let others = |listing: &Listing| -> Vec<Dataset> {
        let all = listing.datasets.iter();
        all.filter(|d| d.name.as_str() != name).cloned().collect()
    };
    assert!(others(good) == others(seen), "{context}");
    assert!(
        seen.damaged.iter().all(|d| d.name.as_str() == name),
        "{context}"
    );
    let named = seen
        .datasets
        .iter()
        .filter(|d| d.name.as_str() == name)
        .count();
    assert_eq!(named + seen.damaged.len(), 1, "{context}");
}

/// A promotion is the whole value of the property, set here; nothing else ever is one.
fn nobody_is_promoted(
    config: &Config,
    seen: Listing,
    (name, property, value, source): (&str, &str, &[u8], &str),
    context: &str,
) {
    let here = property == promotion::PROPERTY && source == "local";
    let is_one = here
        && std::str::from_utf8(value)
            .is_ok_and(|v| matches!(promotion::parse(v), Promoted::Now(_)));
    for dataset in &seen.datasets {
        let promoted = matches!(dataset.promotion, Promoted::Now(_));
        assert_eq!(
            promoted,
            is_one && dataset.name.as_str() == name,
            "{context}"
        );
    }
    let promoted = observed(seen).promoted(config);
    assert!(is_one || promoted.is_empty(), "{context}");
}

/// A root stands as before, unless it is damaged itself, or a replica that its key may open is.
fn assert_holds(
    before: &(DatasetName, Verdict),
    after: &(DatasetName, Verdict),
    name: &str,
    damaged: &[Damaged],
    context: &str,
) {
    let (root, verdict) = after;
    match damaged {
        [damaged]
            if root.as_str() == name
                || (root.as_str() == "zdata/sink/f1" && name.starts_with(root.as_str())) =>
        {
            let refusal = Refusal::NotUnderstood(damaged.clone());
            assert_eq!(*verdict, Verdict::Locked(refusal), "{context}");
        }
        // Of a replica nobody knows any more that it is the root's own.
        [damaged] if damaged.property == "encryptionroot" => {}
        _ if root.as_str() == name || name.starts_with(root.as_str()) => {}
        _ => assert_eq!(before, after, "{context}"),
    }
}

/// The f3s node, of which one dataset is damaged.
fn with(name: &str, label: &str) -> Sim {
    let sim = f3s(&format!("damage-{label}-{}", name.replace('/', "-"))).stick(good_stick());
    sim.datasets.borrow_mut().push(sim::dataset("zdata/other"));
    sim.not_understood(name, root_of(name));
    sim
}

fn open(sim: &Sim) -> Vec<&'static str> {
    let roots = ["zdata/enc", "zroot/bhyve", "zdata/sink/f1"];
    let is_open = |root: &&str| sim.find(root).key_status == KeyStatus::Available;
    roots.into_iter().filter(is_open).collect()
}

/// The roots that one damaged dataset keeps locked.
fn held_up(name: &str) -> Vec<&'static str> {
    match name {
        "zdata/enc" => vec!["zdata/enc"],
        "zdata/sink/f1" | "zdata/sink/f1/child" => vec!["zdata/sink/f1"],
        _ => vec![],
    }
}

/// There is a complaint of this dataset or of the root that it holds up, and its way out leads to it.
fn is_named(report: &Report, name: &str) {
    let way = format!("`zfs inherit mountpoint {name}`");
    let said = report.findings.iter().any(|f| {
        f.severity >= Severity::Warning
            && f.remedy.contains(&way)
            && f.what.contains("not understood")
    });
    assert!(said, "{name}:\n{}", report.complaints());
}

#[test]
fn law_5_boot_opens_all_but_what_a_damaged_dataset_holds_up() {
    for name in DATASETS {
        let sim = with(name, "boot");
        let report = sim.verb(|node| boot(node, &config()));
        let held = held_up(name);
        let expected: Vec<&str> = ["zdata/enc", "zroot/bhyve", "zdata/sink/f1"]
            .into_iter()
            .filter(|root| !held.contains(root))
            .collect();
        assert_eq!(open(&sim), expected, "{name}");
        match held.as_slice() {
            [] => assert_eq!(report.fault, None, "{name}:\n{}", report.complaints()),
            _ => {
                assert_eq!(report.fault, Some(Fault::Unavailable), "{name}");
                is_named(&report, name);
            }
        }
    }
}

#[test]
fn law_3_no_key_of_a_replica_is_loaded_while_something_of_it_is_not_understood() {
    for name in ["zdata/sink/f1", "zdata/sink/f1/child"] {
        for writable in [true, false] {
            let sim = with(name, &format!("replica-{writable}"));
            sim.change(name, |d| d.readonly = !writable);
            sim.verb(|node| boot(node, &config()));
            sim.zfs_mount_all();
            sim.verb(|node| ready(node, &config()));
            let trace = sim.trace.borrow();
            let loaded = |event: &&Event| matches!(event, Event::Loaded(root) if root.starts_with("zdata/sink"));
            assert_eq!(trace.iter().find(loaded), None, "{name}");
        }
    }
}

#[test]
fn law_5_ready_mounts_all_but_the_damaged_dataset() {
    for name in DATASETS {
        let sim = with(name, "ready");
        sim.verb(|node| boot(node, &config()));
        let report = sim.verb(|node| ready(node, &config()));
        let held = held_up(name);
        for (dataset, root) in [
            ("zdata", ""),
            ("zdata/enc", "zdata/enc"),
            ("zdata/enc/nfsdata", "zdata/enc"),
            ("zdata/sink/f1", "zdata/sink/f1"),
            ("zdata/sink/f1/child", "zdata/sink/f1"),
            ("zroot/bhyve", "zroot/bhyve"),
        ] {
            let expected = dataset != name && !held.contains(&root);
            assert_eq!(
                sim.find(dataset).mounted,
                expected,
                "{dataset} beside {name}"
            );
        }
        if config().role_of(&name.parse().unwrap()).is_some() {
            is_named(&report, name);
            assert_eq!(report.fault, Some(Fault::Unavailable), "{name}");
        }
    }
}

#[test]
fn law_5_lock_closes_all_that_it_can_and_calls_the_rest_unknown() {
    for name in DATASETS {
        let sim = f3s(&format!("damage-lock-{}", name.replace('/', "-"))).stick(good_stick());
        sim.datasets.borrow_mut().push(sim::dataset("zdata/other"));
        sim.verb(|node| boot(node, &config()));
        sim.zfs_mount_all();
        sim.verb(|node| ready(node, &config()));
        sim.not_understood(name, root_of(name));
        let report = sim.verb(|node| lock(node, &config()));
        assert_eq!(open(&sim), [""; 0], "{name}:\n{}", report.complaints());
        for dataset in [
            "zdata/enc",
            "zdata/enc/nfsdata",
            "zdata/sink/f1",
            "zdata/sink/f1/child",
        ] {
            assert!(!sim.find(dataset).mounted, "{dataset} beside {name}");
        }
        match config().role_of(&name.parse().unwrap()) {
            Some(_) => {
                is_named(&report, name);
                assert_eq!(report.fault, Some(Fault::Unavailable), "{name}");
            }
            None => assert_eq!(report.fault, None, "{name}:\n{}", report.complaints()),
        }
    }
}

#[test]
fn status_knows_all_roots_but_the_damaged_one() {
    for name in DATASETS {
        let sim = with(name, "status");
        sim.verb(|node| boot(node, &config()));
        let now = sim.verb(|node| status(node, &config()));
        for root in &now.roots {
            let known = root.dataset != name;
            assert_eq!(
                root.key_loaded.is_some(),
                known,
                "{} beside {name}",
                root.dataset
            );
            let replica = root.role == Role::Replica && name.starts_with(root.dataset.as_str());
            assert_eq!(
                root.readonly.is_some(),
                known && !replica,
                "{} beside {name}",
                root.dataset
            );
            assert_eq!(
                root.why.contains("not understood"),
                !known || replica,
                "{}",
                root.why
            );
        }
    }
}

#[test]
fn a_rehearsal_says_no_while_something_is_not_understood() {
    for name in DATASETS {
        let sim = with(name, "rehearse");
        assert!(
            !sim.verb(|node| rehearse(node, &config(), &[])).comes_back,
            "{name}"
        );
    }
}

type Verb = fn(Node, &Config, &DatasetName) -> Report;

#[test]
fn law_3_a_replica_of_which_something_is_not_understood_is_not_turned() {
    let promotion: Verb = |node, config, root| promote(node, config, root, "f1 is dead");
    for verb in [promotion, demote] {
        for name in ["zdata/sink/f1", "zdata/sink/f1/child"] {
            let sim = with(name, "turn");
            let root = "zdata/sink/f1".parse().unwrap();
            let report = sim.verb(|node| verb(node, &config(), &root));
            assert_eq!(report.fault, Some(Fault::Unavailable), "{name}");
            is_named(&report, name);
            assert_eq!(*sim.trace.borrow(), [], "{name}");
        }
    }
}
