//! Law 9: a replica is shared by NFS or SMB only when this node itself says so. Every value and source of
//! both properties, at every place of a replica and beside one.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::Config;
use f3skeys::names::DatasetName;
use f3skeys::plan::{self, KeyState, Observed, Pool, Step, Verdict};
use f3skeys::preview::imagine;
use f3skeys::promotion;
use f3skeys::ready::ready;
use f3skeys::report::Severity;
use f3skeys::seals::{self, Seal};
use f3skeys::sorted::Map;
use f3skeys::zfs::entry::{Entry, PROPERTIES, Value};
use f3skeys::zfs::{Damaged, Dataset, KeyStatus, Source, parse};
use sim::{Sim, Stick, at, dataset, encrypted, restricted};

const ROOT: &str = "z/sink/f0";
const CHILD: &str = "z/sink/f0/a";
const BOTH: [(&str, Seal); 2] = [("sharenfs", Seal::NoNfs), ("sharesmb", Seal::NoSmb)];

fn configuration() -> Config {
    let text = format!(
        r#"(node: "f1", store: (label: "F3S_KEYS", serial: "4C530001"), roots: [
            (dataset: "z/enc", key: "f1:z", role: primary, required: true),
            (dataset: "{ROOT}", key: "f0:z", role: replica, required: true, mountpoint: "/f0"),
        ])"#
    );
    Config::parse(&text).unwrap()
}

/// A dataset as ZFS tells of it, sealed but for what it is shared with: value and source.
fn told(name: &str, shares: [(&str, &str); 2], is_volume: bool, promoted: bool) -> Dataset {
    let root = ["z/enc", ROOT].into_iter().find(|r| name.starts_with(r));
    let value = |property: &&str| {
        let (value, source) = match *property {
            "type" if is_volume => ("volume", "-"),
            "type" => ("filesystem", "-"),
            "guid" | "written" => ("7", "-"),
            "encryptionroot" => (root.unwrap_or("-"), "-"),
            "keystatus" if root.is_some() => ("unavailable", "-"),
            "keyformat" if root.is_some() => ("raw", "-"),
            "readonly" => ("on", "local"),
            "setuid" | "devices" | "exec" | "mountpoint" | "canmount" if is_volume => ("-", "-"),
            "setuid" | "devices" | "exec" => ("off", "local"),
            "canmount" => ("on", "default"),
            "mountpoint" => ("none", "local"),
            "sharenfs" => shares[0],
            "sharesmb" => shares[1],
            promotion::PROPERTY if promoted && name == ROOT => ("promoted 1 1 f0 is dead", "local"),
            _ => ("-", "-"),
        };
        Value {
            value: value.as_bytes().to_vec(),
            source: source.as_bytes().to_vec(),
        }
    };
    let entry = Entry {
        name: name.as_bytes().to_vec(),
        values: PROPERTIES.iter().map(value).collect(),
    };
    let listing = parse::listing(&[entry]).unwrap();
    assert_eq!(listing.damaged, []);
    listing.datasets.into_iter().next().unwrap()
}

fn observed(datasets: Vec<Dataset>) -> Observed {
    Observed {
        pools: Map::from([("z".to_owned(), Pool::Seen(datasets))]),
        ..Observed::default()
    }
}

const UNSHARED: [(&str, &str); 2] = [("off", "default"); 2];
/// Values that share; ZFS takes any text.
const SHARED: [&str; 5] = ["on", "rw=@0.0.0.0/0", "OFF", "", "ro\n/etc\t-maproot=root"];

/// Whether the word on a share is this node's: by its source, and that of the dataset that it is
/// inherited from.
fn is_own(source: &str, above: &str) -> bool {
    match source.strip_prefix("inherited from ") {
        Some(from) => above == "local" && from != "z/unseen",
        None => source == "local",
    }
}

#[test]
fn law_9_no_stream_has_a_replica_shared_and_what_this_node_says_stays() {
    let config = configuration();
    let keys = ["f0:z", "f1:z"].map(|key| (key.parse().unwrap(), KeyState::Usable));
    let keys = keys.into();
    let mut worlds = 0;
    // The one that it is inherited from, and where the sharing dataset lies.
    for (above, name) in [
        ("z/sink", ROOT),
        ("z/sink", CHILD),
        (ROOT, CHILD),
        ("z", "z/enc"),
    ] {
        for above_source in ["local", "received", "default", "-", "inherited from z"] {
            let from = format!("inherited from {above}");
            for source in [
                "local",
                "received",
                "default",
                "temporary",
                "-",
                &from,
                "inherited from z/unseen",
            ] {
                for value in SHARED.into_iter().chain(["off"]) {
                    for (number, (_, seal)) in BOTH.into_iter().enumerate() {
                        for (is_volume, promoted) in [(false, false), (false, true), (true, false)]
                        {
                            let mut shares = UNSHARED;
                            shares[number] = (value, source);
                            let mut outer = UNSHARED;
                            outer[number] = (value, above_source);
                            let all = ["z", "z/enc", "z/sink", ROOT, CHILD];
                            let datasets = all.map(|other| match other {
                                _ if other == name => told(other, shares, is_volume, promoted),
                                _ if other == above => told(other, outer, false, promoted),
                                _ => told(other, UNSHARED, false, promoted),
                            });
                            let context =
                                format!("{name} {source} {above} {above_source} {value:?}");
                            let observed = observed(datasets.into());
                            let steps = seals::steps(&config, &observed);
                            let wanted = value != "off"
                                && name != "z/enc"
                                && !is_volume
                                && !is_own(source, above_source);
                            let sets = |name: &str, seal| {
                                steps.iter().any(|s| s.sets(&name.parse().unwrap(), seal))
                            };
                            assert_eq!(sets(name, seal), wanted, "{context}");
                            let above_wanted = value != "off"
                                && above == ROOT
                                && !is_own(above_source, "received");
                            assert_eq!(sets(above, seal), above_wanted, "{context}");
                            let count = usize::from(wanted) + usize::from(above_wanted);
                            assert_eq!(steps.len(), count, "{context} {steps:?}");
                            let plan = plan::keys(&config, &observed, &keys);
                            let verdict = |number: usize| plan.roots[number].1 == Verdict::ToOpen;
                            assert_eq!((verdict(0), verdict(1)), (true, count == 0), "{context}");
                            let after = imagine(&observed, &steps);
                            assert_eq!(seals::steps(&config, &after), [], "{context}");
                            worlds += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(worlds, 4 * 5 * 7 * 6 * 2 * 3);
}

/// To end a share, `zfs set` goes through what lies below and mounts what is still shared there.
#[test]
fn law_3_no_share_is_ended_above_what_is_still_shared_or_not_yet_sealed() {
    let config = configuration();
    let names = [ROOT, CHILD, "z/sink/f0/a/b", "z/sink/f0/a b", "z/sink/f0/b"];
    for shared in 0..32_u32 {
        let datasets = names.iter().enumerate().map(|(number, name)| Dataset {
            readonly: false,
            sharenfs: (shared & (1 << number) != 0).then_some(Source::Received),
            sharesmb: (number % 2 == 0).then_some(Source::Received),
            ..restricted(encrypted(name, ROOT))
        });
        let mut observed = observed(datasets.collect());
        let steps = seals::steps(&config, &observed);
        let is_share = |step: &Step| {
            let sets = |seal| step.sets(step.dataset(), seal);
            sets(Seal::NoNfs) || sets(Seal::NoSmb)
        };
        let first = steps.iter().position(is_share).unwrap();
        assert_eq!(steps[..first], seals::but_shares(&config, &observed));
        assert_eq!(first, names.len(), "read-only comes first, on all of them");
        let shares = &steps[first..];
        assert!(shares.iter().all(is_share));
        for (number, step) in shares.iter().enumerate() {
            let mut later = shares[number + 1..].iter();
            let is_below = |other: &Step| other.dataset().is_at_or_below(step.dataset());
            assert!(!later.any(is_below), "{step}: {steps:?}");
        }
        // What is not understood may be shared.
        for odd in ["z/sink/f0/a/b/odd", "z/sink/f0/a"] {
            let odd: DatasetName = odd.parse().unwrap();
            observed.damaged =
                Map::from([(odd.clone(), Damaged::tree(odd.clone(), "odd".to_owned()))]);
            let left = seals::steps(&config, &observed)
                .into_iter()
                .filter(is_share);
            let clear = shares.iter().filter(|s| !odd.is_at_or_below(s.dataset()));
            assert_eq!(left.collect::<Vec<_>>(), clear.cloned().collect::<Vec<_>>());
        }
    }
}

/// A node whose replica is shared as the stream says, and whose primary as the node itself says.
fn node(name: &str) -> Sim {
    let replicas = [ROOT, CHILD].map(|name| Dataset {
        sharenfs: Some(Source::Received),
        sharesmb: Some(Source::Inherited(ROOT.parse().unwrap())),
        ..encrypted(name, ROOT)
    });
    let primary = Dataset {
        sharenfs: Some(Source::Local),
        ..at("/enc", encrypted("z/enc", "z/enc"))
    };
    let own = [dataset("z"), dataset("z/sink"), primary];
    let sim = Sim::new(name)
        .with(own.into_iter().chain(replicas).collect())
        .stick(
            Stick::new("/dev/da0", "F3S_KEYS", "4C530001")
                .with_store(&[("f0:z", [1; 32]), ("f1:z", [2; 32])]),
        );
    for (root, key) in [(ROOT, 1), ("z/enc", 2)] {
        sim.wrapped.borrow_mut().insert(root.to_owned(), [key; 32]);
    }
    sim
}

#[test]
fn law_9_a_boot_ends_a_streams_shares_before_the_key_and_keeps_this_nodes_own() {
    let config = &configuration();
    let sim = node("shares");
    let first = sim.verb(|node| boot(node, config));
    assert!(first.fault.is_none(), "{:?}", first.findings);
    let place = |line: &str| {
        first
            .changed
            .iter()
            .position(|changed| changed.contains(line))
    };
    let of_child = place("set sharenfs=off sharesmb=off on z/sink/f0/a").unwrap();
    let of_root = first
        .changed
        .iter()
        .position(|l| l == "set sharenfs=off sharesmb=off on z/sink/f0");
    assert!(
        Some(of_child) < of_root && of_root < place("load key f0:z"),
        "{:?}",
        first.changed
    );
    for name in [ROOT, CHILD] {
        let found = sim.find(name);
        assert_eq!((found.sharenfs, found.sharesmb), (None, None), "{name}");
        assert_eq!(found.key_status, KeyStatus::Available);
    }
    assert_eq!(sim.find("z/enc").sharenfs, Some(Source::Local));
    // What is open already and was received anew is ended by the next pass as well.
    sim.change(CHILD, |d| d.sharenfs = Some(Source::Received));
    let second = sim.verb(|node| ready(node, config));
    assert_eq!(sim.find(CHILD).sharenfs, None, "{:?}", second.changed);
}

#[test]
fn law_9_a_share_that_cannot_be_ended_keeps_the_replica_locked_and_nothing_else() {
    let config = &configuration();
    for stubborn in [ROOT, CHILD] {
        let sim = node("stubborn");
        for name in [ROOT, CHILD] {
            sim.change(name, |d| {
                *d = Dataset {
                    readonly: true,
                    ..restricted(d.clone())
                }
            });
        }
        sim.stubborn.borrow_mut().push(stubborn.to_owned());
        let report = sim.verb(|node| boot(node, config));
        assert_eq!(
            sim.find(ROOT).key_status,
            KeyStatus::Unavailable,
            "{stubborn}"
        );
        assert_eq!(sim.find("z/enc").key_status, KeyStatus::Available);
        let alarms = report
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Alarm);
        assert_eq!(
            alarms.filter(|f| f.subject == stubborn).count(),
            1,
            "{:?}",
            report.findings
        );
    }
}
