//! The rehearsal against the truth: for every fault its answer is compared with what the boot that
//! follows then does, on a simulated node.

mod sim;

use f3skeys::boot::boot;
use f3skeys::config::{Condition, Config};
use f3skeys::exit::Fault as Status;
use f3skeys::gate::{self, Answer};
use f3skeys::key::Fingerprint;
use f3skeys::names::KeyName;
use f3skeys::os::PoolState;
use f3skeys::ready::{ask, named, ready};
use f3skeys::rehearse::{Forecast, Rehearsal, rehearse};
use f3skeys::report::{Finding, Severity};
use f3skeys::store::layout;
use f3skeys::store::state::{Generation, Standing, State};
use f3skeys::system::System;
use f3skeys::time::Deadline;
use f3skeys::zfs::{CanMount, Dataset, KeyFormat, KeyStatus, Kind, Mountpoint, Source};
use sim::{BHYVE, CONFIG, PEER, Sim, Stick, ZDATA, at, dataset, encrypted, f3s, good_stick, keys};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const ZKEY: &str = "f0.lan.buetow.org:zdata";
const BKEY: &str = "f0.lan.buetow.org:bhyve";
const PKEY: &str = "f1.lan.buetow.org:zdata";
const OTHER: [u8; 32] = [0x77; 32];

/// Something that is wrong, or only odd: in the configuration, on the node, or both.
#[derive(Clone, Copy)]
struct Fault {
    name: &'static str,
    config: fn(String) -> String,
    node: fn(&Sim),
}

const fn on_node(name: &'static str, node: fn(&Sim)) -> Fault {
    Fault {
        name,
        config: |text| text,
        node,
    }
}

const fn in_config(name: &'static str, config: fn(String) -> String) -> Fault {
    Fault {
        name,
        config,
        node: |_| {},
    }
}

const fn in_both(name: &'static str, config: fn(String) -> String, node: fn(&Sim)) -> Fault {
    Fault { name, config, node }
}

/// Replaces a part of the configuration that must be there.
fn swap(text: String, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no `{from}` in the configuration");
    text.replacen(from, to, 1)
}

fn add_root(text: String, root: &str) -> String {
    swap(text, "roots: [", &format!("roots: [{root},"))
}

fn add_gate(text: String, gate: &str) -> String {
    swap(text, "gates: [", &format!("gates: [{gate},"))
}

fn with_stick(sim: &Sim, change: impl FnOnce(&mut Stick)) {
    // Two faults at once: the other one may have taken the stick away.
    if let Some(stick) = sim.sticks.borrow_mut().first_mut() {
        change(stick);
    }
}

/// Gives a key these generations, the first of which lies at the top.
fn generations(sim: &Sim, key: &str, held: &[(u32, [u8; 32], Standing)]) {
    let name: KeyName = key.parse().unwrap();
    with_stick(sim, |stick| {
        let bytes = stick.files.remove(layout::STATE).unwrap();
        let mut state = State::parse(&bytes).unwrap();
        stick.files.retain(|path, _| !path.contains(key));
        let top = layout::top_path(&name);
        let mut listed = Vec::new();
        for (number, bytes, standing) in held {
            let fingerprint = Fingerprint::of(bytes);
            let path = layout::generation_path(&name, *number, fingerprint);
            stick.files.insert(path, bytes.to_vec());
            stick.files.entry(top.clone()).or_insert(bytes.to_vec());
            listed.push(Generation {
                generation: *number,
                fingerprint,
                state: *standing,
            });
        }
        state.keys.insert(name.clone(), listed);
        stick
            .files
            .insert(layout::STATE.to_owned(), state.to_bytes());
    });
}

fn wrap(sim: &Sim, root: &str, key: [u8; 32]) {
    sim.wrapped.borrow_mut().insert(root.to_owned(), key);
}

fn add(sim: &Sim, dataset: Dataset) {
    sim.datasets.borrow_mut().push(dataset);
}

fn pool(sim: &Sim, name: &str, state: PoolState) {
    sim.states.borrow_mut().insert(name.to_owned(), state);
}

/// The faults of the stick and of the store on it.
const STICK: &[Fault] = &[
    on_node("stick absent", |sim| sim.sticks.borrow_mut().clear()),
    on_node("stick of another serial number", |sim| {
        with_stick(sim, |s| s.candidate.serial = Some("FFFF".to_owned()));
    }),
    on_node("stick without a serial number", |sim| {
        with_stick(sim, |s| s.candidate.serial = None);
    }),
    on_node("stick of another label", |sim| {
        with_stick(sim, |s| {
            s.candidate.filesystems[0].label = Some("X".to_owned());
        });
    }),
    on_node("a decoy beside the right stick", |sim| {
        let decoy = Stick::new("/dev/da9", "F3S_KEYS", "FFFF");
        sim.sticks.borrow_mut().push(decoy.with_store(&keys()));
    }),
    in_both(
        "two sticks that match",
        |text| swap(text, r#", serial: "4C530001""#, ""),
        |sim| {
            let twin = Stick::new("/dev/da9", "F3S_KEYS", "FFFF");
            sim.sticks.borrow_mut().push(twin.with_store(&keys()));
        },
    ),
    on_node("stick that cannot be read", |sim| {
        with_stick(sim, |s| s.broken = Some("input/output error".to_owned()));
    }),
    on_node("stick pulled at once", |sim| {
        with_stick(sim, |s| s.pulled_after = Some(0));
    }),
    on_node("stick pulled after two files", |sim| {
        with_stick(sim, |s| s.pulled_after = Some(2));
    }),
    on_node("stick pulled after four files", |sim| {
        with_stick(sim, |s| s.pulled_after = Some(4));
    }),
    on_node("store of an unknown format", |sim| {
        let body = "(format: 2)\n";
        let sum = blake3::hash(body.as_bytes()).to_hex();
        let state = format!("// checksum {sum}\n{body}").into_bytes();
        with_stick(sim, |s| {
            s.files.insert(layout::STATE.to_owned(), state);
        });
    }),
    on_node("plain store", |sim| {
        with_stick(sim, |s| {
            s.files.clear();
            *s = s.clone().with_plain_store(&keys());
        });
    }),
    on_node("plain store with two keys swapped", |sim| {
        with_stick(sim, |s| {
            s.files.clear();
            let swapped = [(ZKEY, BHYVE), (BKEY, ZDATA), (PKEY, PEER)];
            *s = s.clone().with_plain_store(&swapped);
        });
    }),
    on_node("store without a key", |sim| {
        with_stick(sim, |s| s.files.clear())
    }),
    on_node("state file damaged", |sim| {
        with_stick(sim, |s| s.damage("state.ron", |bytes| bytes[20] ^= 1));
    }),
    on_node("state file cut short", |sim| {
        with_stick(sim, |s| s.damage("state.ron", |bytes| bytes.truncate(40)));
    }),
    on_node("state file missing", |sim| {
        with_stick(sim, |s| {
            s.files.remove(layout::STATE);
        });
    }),
];

fn top(key: &str) -> String {
    format!("{key}.key")
}

/// The faults of single keys.
const KEYS: &[Fault] = &[
    on_node("copy at the top damaged", |sim| {
        with_stick(sim, |s| s.damage(&top(ZKEY), |b| b[5] ^= 4));
    }),
    on_node("copy at the top missing", |sim| {
        with_stick(sim, |s| {
            s.files.remove(&top(ZKEY));
        });
    }),
    on_node("generation file damaged", |sim| {
        with_stick(sim, |s| {
            s.damage(".f3skeys/f0.lan.buetow.org:zdata/", |b| b[5] ^= 4);
        });
    }),
    on_node("generation file missing", |sim| {
        with_stick(sim, |s| {
            s.files
                .retain(|path, _| !path.contains(&format!("{ZKEY}/")));
        });
    }),
    on_node("every copy damaged", |sim| {
        with_stick(sim, |s| s.damage(ZKEY, |b| b[5] ^= 4));
    }),
    on_node("every copy truncated", |sim| {
        with_stick(sim, |s| s.damage(ZKEY, |b| b.truncate(31)));
    }),
    on_node("every copy emptied", |sim| {
        with_stick(sim, |s| s.damage(ZKEY, Vec::clear));
    }),
    on_node("key missing", |sim| {
        with_stick(sim, |s| s.files.retain(|path, _| !path.contains(ZKEY)));
    }),
    on_node("key of the replica missing", |sim| {
        with_stick(sim, |s| s.files.retain(|path, _| !path.contains(PKEY)));
    }),
    on_node("key of the optional root missing", |sim| {
        with_stick(sim, |s| s.files.retain(|path, _| !path.contains(BKEY)));
    }),
    on_node("key of the optional root damaged", |sim| {
        with_stick(sim, |s| s.damage(BKEY, |b| b[0] ^= 1));
    }),
    on_node("two keys swapped", |sim| {
        with_stick(sim, |s| {
            s.damage(ZKEY, |b| *b = BHYVE.to_vec());
            s.damage(BKEY, |b| *b = ZDATA.to_vec());
        });
    }),
    on_node("primary wrapped by another key", |sim| {
        wrap(sim, "zdata/enc", OTHER);
    }),
    on_node("replica wrapped by another key", |sim| {
        wrap(sim, "zdata/sink/f1", OTHER);
    }),
    on_node("optional root wrapped by another key", |sim| {
        wrap(sim, "zroot/bhyve", OTHER);
    }),
    on_node("primary opened by the retained generation", |sim| {
        let held = [
            (2, OTHER, Standing::Current),
            (1, ZDATA, Standing::Retained),
        ];
        generations(sim, ZKEY, &held);
    }),
    on_node("primary opened by the staged generation", |sim| {
        let held = [(1, OTHER, Standing::Current), (2, ZDATA, Standing::Staged)];
        generations(sim, ZKEY, &held);
    }),
    on_node("primary opened by the retired generation", |sim| {
        let held = [(2, OTHER, Standing::Current), (1, ZDATA, Standing::Retired)];
        generations(sim, ZKEY, &held);
    }),
    on_node("replica opened by the retained generation", |sim| {
        let held = [(2, OTHER, Standing::Current), (1, PEER, Standing::Retained)];
        generations(sim, PKEY, &held);
    }),
    on_node("replica opened by the retired generation", |sim| {
        let held = [(2, OTHER, Standing::Current), (1, PEER, Standing::Retired)];
        generations(sim, PKEY, &held);
    }),
    on_node("two generations and no state file", |sim| {
        let held = [
            (2, OTHER, Standing::Current),
            (1, ZDATA, Standing::Retained),
        ];
        generations(sim, ZKEY, &held);
        with_stick(sim, |s| {
            s.files.remove(layout::STATE);
        });
    }),
    on_node("key at the top alone, vouched for by nothing", |sim| {
        generations(sim, ZKEY, &[]);
        with_stick(sim, |s| {
            s.files.insert(top(ZKEY), ZDATA.to_vec());
        });
    }),
    on_node("wrong key at the top alone", |sim| {
        generations(sim, ZKEY, &[]);
        with_stick(sim, |s| {
            s.files.insert(top(ZKEY), OTHER.to_vec());
        });
    }),
    on_node("key of another stick at the top", |sim| {
        with_stick(sim, |s| s.damage(&top(ZKEY), |b| *b = OTHER.to_vec()));
    }),
    on_node(
        "only the key at the top opens, and another is vouched for",
        |sim| {
            generations(sim, ZKEY, &[(1, OTHER, Standing::Current)]);
            with_stick(sim, |s| {
                s.files.insert(top(ZKEY), ZDATA.to_vec());
            });
        },
    ),
    in_config("key named wrongly", |text| {
        swap(text, ZKEY, "f0.lan.buetow.org:other")
    }),
];

/// The faults of pools and roots.
const ROOTS: &[Fault] = &[
    on_node("pool not imported", |sim| {
        sim.states.borrow_mut().remove("zdata");
    }),
    on_node("pool suspended", |sim| {
        pool(sim, "zdata", PoolState::Suspended);
    }),
    on_node("pool hanging", |sim| {
        sim.hanging.borrow_mut().push("zdata".to_owned());
    }),
    on_node("pool unknown", |sim| {
        pool(sim, "zdata", PoolState::Unknown("in a mood".to_owned()));
    }),
    on_node("optional pool not imported", |sim| {
        sim.states.borrow_mut().remove("zroot");
    }),
    on_node("optional pool suspended", |sim| {
        pool(sim, "zroot", PoolState::Suspended);
    }),
    on_node("optional pool hanging", |sim| {
        sim.hanging.borrow_mut().push("zroot".to_owned());
    }),
    on_node("both pools not imported", |sim| {
        sim.states.borrow_mut().clear()
    }),
    on_node("root gone", |sim| {
        let mut datasets = sim.datasets.borrow_mut();
        datasets.retain(|d| !d.name.as_str().starts_with("zdata/enc"));
    }),
    on_node("root renamed", |sim| {
        for (from, to) in [
            ("zdata/enc/nfsdata", "zdata/new/nfsdata"),
            ("zdata/enc", "zdata/new"),
        ] {
            sim.change(from, |d| {
                d.name = to.parse().unwrap();
                d.encryption_root = Some("zdata/new".parse().unwrap());
            });
        }
        wrap(sim, "zdata/new", ZDATA);
    }),
    on_node("root not encrypted", |sim| {
        for name in ["zdata/enc", "zdata/enc/nfsdata"] {
            sim.change(name, |d| {
                d.encryption_root = None;
                d.key_status = KeyStatus::None;
                d.key_format = KeyFormat::None;
            });
        }
    }),
    on_node("root that is one no longer", |sim| {
        add(sim, encrypted("zdata/top", "zdata/top"));
        for name in ["zdata/enc", "zdata/enc/nfsdata"] {
            let top = Some("zdata/top".parse().unwrap());
            sim.change(name, |d| d.encryption_root = top);
        }
    }),
    on_node("root in hex format", |sim| {
        for name in ["zdata/enc", "zdata/enc/nfsdata"] {
            sim.change(name, |d| d.key_format = KeyFormat::Hex);
        }
    }),
    on_node("root in passphrase format", |sim| {
        for name in ["zdata/enc", "zdata/enc/nfsdata"] {
            sim.change(name, |d| d.key_format = KeyFormat::Passphrase);
        }
    }),
    on_node("optional root in passphrase format", |sim| {
        sim.change("zroot/bhyve", |d| d.key_format = KeyFormat::Passphrase);
    }),
    in_config("root that was never made", |text| {
        add_root(
            text,
            r#"(dataset: "zdata/never", key: "f0.lan.buetow.org:zdata", role: primary, required: true)"#,
        )
    }),
    in_config("optional root that was never made", |text| {
        add_root(
            text,
            r#"(dataset: "zdata/never", key: "f0.lan.buetow.org:zdata", role: primary, required: false)"#,
        )
    }),
    in_config("optional root of a pool that is not there", |text| {
        add_root(
            text,
            r#"(dataset: "ztape/enc", key: "f0.lan.buetow.org:zdata", role: primary, required: false)"#,
        )
    }),
    on_node("root that is a volume", |sim| {
        let mut datasets = sim.datasets.borrow_mut();
        datasets.retain(|d| d.name.as_str() != "zroot/bhyve/vol");
        let root = datasets
            .iter_mut()
            .find(|d| d.name.as_str() == "zroot/bhyve");
        let root = root.unwrap();
        root.kind = Kind::Volume;
        root.can_mount = CanMount::Off;
        root.mountpoint = Mountpoint::None;
        root.mounted = false;
    }),
    in_config("required where it was optional", |text| {
        swap(text, "required: false", "required: true")
    }),
    in_both(
        "required root locked where it was optional",
        |text| swap(text, "required: false", "required: true"),
        |sim| wrap(sim, "zroot/bhyve", OTHER),
    ),
    in_both(
        "all optional, no gates, no stick",
        |text| {
            let text = text.replace("required: true", "required: false");
            let gates = text.find("gates:").unwrap();
            format!("{})", &text[..gates])
        },
        |sim| sim.sticks.borrow_mut().clear(),
    ),
    in_both(
        "all optional, gates, no stick",
        |text| text.replace("required: true", "required: false"),
        |sim| sim.sticks.borrow_mut().clear(),
    ),
    in_config("no gates", |text| {
        let gates = text.find("gates:").unwrap();
        format!("{})", &text[..gates])
    }),
    in_both(
        "optional root below a required one, locked",
        |text| {
            add_root(
                text,
                r#"(dataset: "zdata/enc/own", key: "f0.lan.buetow.org:bhyve", role: primary, required: false)"#,
            )
        },
        |sim| {
            let own = encrypted("zdata/enc/own", "zdata/enc/own");
            add(sim, at("/data/enc/own", own));
            wrap(sim, "zdata/enc/own", OTHER);
        },
    ),
    on_node("root file system encrypted", |sim| {
        add(sim, root_filesystem());
        let below = encrypted("zroot/home", sim::ROOT_FILESYSTEM);
        add(
            sim,
            Dataset {
                key_status: KeyStatus::Available,
                ..at("/home", below)
            },
        );
    }),
    in_both(
        "root file system among the roots, opened by no key of the stick",
        |text| {
            add_root(
                text,
                r#"(dataset: "zroot/ROOT/default", key: "f0.lan.buetow.org:bhyve", role: primary, required: true)"#,
            )
        },
        |sim| {
            add(sim, root_filesystem());
            wrap(sim, sim::ROOT_FILESYSTEM, OTHER);
        },
    ),
    in_both(
        "required root below a locked optional one",
        |text| {
            let text = swap(
                text,
                "role: primary, required: true",
                "role: primary, required: false",
            );
            add_root(
                text,
                r#"(dataset: "zdata/enc/own", key: "f0.lan.buetow.org:bhyve", role: primary, required: true)"#,
            )
        },
        |sim| {
            let own = encrypted("zdata/enc/own", "zdata/enc/own");
            add(sim, at("/data/enc/own", own));
            wrap(sim, "zdata/enc/own", BHYVE);
            wrap(sim, "zdata/enc", OTHER);
        },
    ),
];

/// Encrypted, opened and mounted before anything of ours runs.
fn root_filesystem() -> Dataset {
    Dataset {
        key_status: KeyStatus::Available,
        mounted: true,
        can_mount: CanMount::NoAuto,
        ..at("/", encrypted(sim::ROOT_FILESYSTEM, sim::ROOT_FILESYSTEM))
    }
}

/// The faults of properties: readonly, mountpoint, canmount.
const PROPERTIES: &[Fault] = &[
    on_node("replica with a new writable child", |sim| {
        let child = encrypted("zdata/sink/f1/new", "zdata/sink/f1");
        add(
            sim,
            Dataset {
                readonly_source: Source::Received,
                ..at("/data/f1/new", child)
            },
        );
    }),
    on_node("replica with a writable volume", |sim| {
        add(
            sim,
            Dataset {
                kind: Kind::Volume,
                can_mount: CanMount::Off,
                ..encrypted("zdata/sink/f1/vol", "zdata/sink/f1")
            },
        );
    }),
    on_node("replica set writable", |sim| {
        sim.change("zdata/sink/f1", |d| d.readonly = false);
    }),
    on_node("replica mounted writable by hand", |sim| {
        sim.change("zdata/sink/f1", |d| {
            d.readonly = false;
            d.readonly_source = Source::Temporary;
        });
    }),
    on_node("replica mounted read-only by hand", |sim| {
        sim.change("zdata/sink/f1", |d| {
            d.readonly = true;
            d.readonly_source = Source::Temporary;
        });
    }),
    on_node("primary mounted read-only by hand", |sim| {
        sim.change("zdata/enc/nfsdata", |d| {
            d.readonly = true;
            d.readonly_source = Source::Temporary;
        });
    }),
    on_node("read-only primary mounted writable by hand", |sim| {
        sim.change("zdata/enc/nfsdata", |d| {
            d.readonly = false;
            d.readonly_source = Source::Temporary;
        });
    }),
    on_node("primary read-only", |sim| {
        sim.change("zdata/enc/nfsdata", |d| {
            d.readonly = true;
            d.readonly_source = Source::Local;
        });
    }),
    on_node("mountpoint changed", |sim| {
        sim.change("zdata/enc/nfsdata", |d| {
            d.mountpoint = Mountpoint::Path("/srv/nfs".into());
        });
    }),
    on_node("canmount=noauto where a gate waits", |sim| {
        sim.change("zdata/enc/nfsdata", |d| d.can_mount = CanMount::NoAuto);
    }),
    on_node("canmount=noauto where no gate waits", |sim| {
        sim.change("zdata/enc", |d| d.can_mount = CanMount::NoAuto);
    }),
    on_node("canmount=off", |sim| {
        sim.change("zdata/enc/nfsdata", |d| d.can_mount = CanMount::Off);
    }),
    on_node("canmount=off on what lies above", |sim| {
        sim.change("zdata", |d| d.can_mount = CanMount::Off);
    }),
    on_node("mountpoint=legacy", |sim| {
        sim.change("zdata/enc/nfsdata", |d| d.mountpoint = Mountpoint::Legacy);
    }),
    on_node("mountpoint=none", |sim| {
        sim.change("zdata/enc/nfsdata", |d| d.mountpoint = Mountpoint::None);
    }),
    on_node("mountpoint=legacy where no gate waits", |sim| {
        sim.change("zdata/enc", |d| d.mountpoint = Mountpoint::Legacy);
    }),
    on_node("given to a jail", |sim| {
        sim.change("zdata/enc/nfsdata", |d| d.jailed = true);
    }),
    on_node("mountpoint shared, before it by name", |sim| {
        add(
            sim,
            at("/data/nfs", encrypted("zdata/enc/aaa", "zdata/enc")),
        );
    }),
    on_node("mountpoint shared, after it by name", |sim| {
        add(
            sim,
            at("/data/nfs", encrypted("zdata/enc/zzz", "zdata/enc")),
        );
    }),
    on_node("mountpoint shared with one that nobody mounts", |sim| {
        add(
            sim,
            Dataset {
                can_mount: CanMount::NoAuto,
                ..at("/data/nfs", encrypted("zdata/enc/aaa", "zdata/enc"))
            },
        );
    }),
    on_node(
        "mountpoint shared by the one of the gate that is noauto",
        |sim| {
            sim.change("zdata/enc/nfsdata", |d| d.can_mount = CanMount::NoAuto);
            add(
                sim,
                at("/data/nfs", encrypted("zdata/enc/aaa", "zdata/enc")),
            );
        },
    ),
    on_node("mountpoint shared with another pool", |sim| {
        add(sim, at("/data/nfs", dataset("zroot/nfs")));
    }),
    on_node("mountpoint above shared", |sim| {
        add(sim, at("/data", dataset("zdata/other")));
    }),
    on_node("mountpoint below taken", |sim| {
        add(sim, at("/data/nfs/sub", dataset("zroot/sub")));
    }),
    on_node(
        "mountpoint shared with a pool that nobody configured",
        |sim| {
            pool(sim, "zusb", PoolState::Works("ONLINE".to_owned()));
            add(sim, at("/data/nfs", dataset("zusb/nfs")));
        },
    ),
    on_node("mountpoint / taken", |sim| {
        add(sim, at("/", dataset("zroot/ROOT/old")));
    }),
    on_node("buried for now", |sim| {
        sim.mount_over("/data/nfs", "tmpfs", "tmpfs")
    }),
    in_both(
        "parent mounted last would bury its child",
        |text| {
            add_gate(
                text,
                r#"(name: "late", needs: [mounted(path: "/data/late", dataset: "zdata/enc/late")])"#,
            )
        },
        |sim| {
            let late = at("/data/late", encrypted("zdata/enc/late", "zdata/enc"));
            add(
                sim,
                Dataset {
                    can_mount: CanMount::NoAuto,
                    ..late
                },
            );
            let child = encrypted("zdata/enc/late/child", "zdata/enc");
            add(sim, at("/data/late/child", child));
        },
    ),
    on_node("locked ancestor of another root", |sim| {
        let locked = encrypted("zdata/else", "zdata/else");
        add(sim, at("/data/nfs", locked));
        sim.change("zdata/enc/nfsdata", |d| {
            d.mountpoint = Mountpoint::Path("/data/nfs/data".into());
        });
    }),
    on_node("ancestor that only an admin mounts", |sim| {
        sim.change("zdata", |d| d.can_mount = CanMount::NoAuto);
    }),
];

/// The faults of gates.
const GATES: &[Fault] = &[
    in_config("gate at another path", |text| {
        swap(text, r#"path: "/data/nfs""#, r#"path: "/data/wrong""#)
    }),
    in_config("gate over a dataset of another name", |text| {
        swap(
            text,
            r#"dataset: "zdata/enc/nfsdata""#,
            r#"dataset: "zdata/enc/nfs""#,
        )
    }),
    in_config("gate over the parent's directory", |text| {
        swap(
            text,
            r#"dataset: "zdata/enc/nfsdata""#,
            r#"dataset: "zdata/enc""#,
        )
    }),
    in_config("gate that wants a replica where it is", |text| {
        add_gate(
            text,
            r#"(name: "ro", needs: [readonly("zdata/sink/f1/child")])"#,
        )
    }),
    in_config("gate that wants a primary read-only", |text| {
        add_gate(text, r#"(name: "ro", needs: [readonly("zdata/enc")])"#)
    }),
    in_config("gate over an optional root", |text| {
        add_gate(text, r#"(name: "bhyve", needs: [writable("zroot/bhyve")])"#)
    }),
    in_both(
        "gate over an optional root that stays locked",
        |text| add_gate(text, r#"(name: "bhyve", needs: [writable("zroot/bhyve")])"#),
        |sim| wrap(sim, "zroot/bhyve", OTHER),
    ),
    on_node("block file there", |sim| {
        let file = "/data/nfs/nfs.NO_AUTO_FAILBACK".into();
        sim.files.borrow_mut().push(file);
    }),
    on_node("block file on the dataset itself", |sim| {
        let file = "/data/nfs/nfs.NO_AUTO_FAILBACK".into();
        let on = ("zdata/enc/nfsdata".to_owned(), file);
        sim.files_on.borrow_mut().push(on);
    }),
    on_node("block file under the dataset", |sim| {
        let file = "/data/nfs/nfs.NO_AUTO_FAILBACK".into();
        let on = ("zdata".to_owned(), file);
        sim.files_on.borrow_mut().push(on);
    }),
    in_config("file wanted that is not there", |text| {
        add_gate(text, r#"(name: "flag", needs: [present("/etc/flag")])"#)
    }),
    in_both(
        "file wanted that is there",
        |text| add_gate(text, r#"(name: "flag", needs: [present("/etc/flag")])"#),
        |sim| sim.files.borrow_mut().push("/etc/flag".into()),
    ),
    in_both(
        "block file and a dataset that is read-only",
        |text| text,
        |sim| {
            let file = "/data/nfs/nfs.NO_AUTO_FAILBACK".into();
            sim.files.borrow_mut().push(file);
            sim.change("zdata/enc/nfsdata", |d| d.readonly = true);
        },
    ),
    in_config("gate of gates of gates", |text| {
        add_gate(
            text,
            r#"(name: "all", needs: [gate("failback"), gate("standby"), present("/etc/flag")]),
               (name: "most", needs: [gate("all")])"#,
        )
    }),
    in_both(
        "gate of gates over what is not mounted",
        |text| {
            add_gate(
                text,
                r#"(name: "all", needs: [gate("nfs"), gate("standby")])"#,
            )
        },
        |sim| {
            sim.change("zdata/sink/f1", |d| d.mountpoint = Mountpoint::None);
        },
    ),
    in_config("gate that asks a peer", |text| {
        let text = swap(
            text,
            "gates: [",
            r#"peers: [(name: "f1", ssh: "f1")], gates: ["#,
        );
        add_gate(
            text,
            r#"(name: "peer", needs: [gate("nfs"), not_promoted(peer: "f1")])"#,
        )
    }),
    in_both(
        "gate that asks a peer over what is not mounted",
        |text| {
            let text = swap(
                text,
                "gates: [",
                r#"peers: [(name: "f1", ssh: "f1")], gates: ["#,
            );
            add_gate(
                text,
                r#"(name: "peer", needs: [gate("nfs"), not_promoted(peer: "f1")])"#,
            )
        },
        |sim| {
            sim.change("zdata/enc/nfsdata", |d| d.can_mount = CanMount::Off);
        },
    ),
];

fn all_faults() -> Vec<Fault> {
    let healthy = [on_node("nothing", |_| {})];
    [&healthy[..], STICK, KEYS, ROOTS, PROPERTIES, GATES].concat()
}

/// How the node stands when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// It was up and well, and then the fault came.
    Up,
    /// It has just been switched on, and nothing of ours ran.
    Fresh,
    /// It was booted with the fault.
    Booted,
}

const STARTS: [Start; 3] = [Start::Up, Start::Fresh, Start::Booted];

/// Boot, the system's mounts, ready.
fn whole_boot(sim: &Sim, config: &Config) -> [Option<Status>; 2] {
    let first = sim.verb(|node| boot(node, config));
    sim.zfs_mount_all();
    let second = sim.verb(|node| ready(node, config));
    [first.fault, second.fault]
}

fn prepare(label: &str, start: Start, faults: &[Fault]) -> (Sim, Config) {
    let sim = f3s(label).stick(good_stick());
    let text = faults
        .iter()
        .fold(CONFIG.to_owned(), |text, fault| (fault.config)(text));
    let config = Config::parse(&text).unwrap_or_else(|e| panic!("{label}: {e}:\n{text}"));
    if start == Start::Up {
        let well = whole_boot(&sim, &sim::config());
        assert_eq!(well, [None, None]);
    }
    faults.iter().for_each(|fault| (fault.node)(&sim));
    if start == Start::Booted {
        whole_boot(&sim, &config);
    }
    (sim, config)
}

/// How the boot that follows ends.
#[derive(Debug)]
struct Truth {
    fault: Option<Status>,
    roots: Vec<bool>,
    gates: Vec<bool>,
}

fn truth(sim: &Sim, config: &Config, boot_id: &str) -> Truth {
    sim.reboot(boot_id);
    let faults = whole_boot(sim, config);
    let open = |gate: &f3skeys::config::Gate| {
        let answer = sim.verb(|node| ask(node, config, named(config, gate.name.as_str()).unwrap()));
        answer == Answer::Open
    };
    let gates: Vec<bool> = config.gates.iter().map(open).collect();
    let held = config
        .gates
        .iter()
        .all(|gate| held_by_datasets(sim, config, gate));
    let closed = (!held).then_some(Status::Unavailable);
    let loaded = |name: &str| {
        let datasets = sim.datasets.borrow();
        let found = datasets.iter().find(|d| d.name.as_str() == name);
        let pool = name.split('/').next().unwrap();
        // What cannot be asked is not known to be open, whatever it is.
        let answers = matches!(sim.pool_state(pool), PoolState::Works(_))
            && !sim.hanging.borrow().iter().any(|hangs| hangs == pool);
        answers && found.is_some_and(|d| d.key_status == KeyStatus::Available)
    };
    Truth {
        fault: faults.into_iter().flatten().chain(closed).max(),
        roots: config
            .roots
            .iter()
            .map(|root| loaded(root.dataset.as_str()))
            .collect(),
        gates,
    }
}

/// Whether a gate would be open but for files and peers, as the simulated mounts stand.
fn held_by_datasets(sim: &Sim, config: &Config, gate: &f3skeys::config::Gate) -> bool {
    let mut config = config.clone();
    for gate in &mut config.gates {
        gate.needs.retain(|need| {
            !matches!(
                need,
                Condition::Present(_) | Condition::Absent(_) | Condition::NotPromoted { .. }
            )
        });
    }
    let gate = config.gate(&gate.name).unwrap();
    let questions = gate::questions(&config, gate);
    let states: BTreeMap<String, PoolState> = questions
        .pools
        .iter()
        .map(|pool| (pool.clone(), sim.pool_state(pool)))
        .collect();
    if gate::sick_pool(&states).is_some() {
        return false;
    }
    let deadline = Deadline::after(sim, Duration::from_secs(2));
    match sim.look(&questions, deadline) {
        Ok(live) => gate::decide(&config, gate, &live) == Answer::Open,
        Err(_) => false,
    }
}

/// Rehearses, and sees to it that nothing was changed by that.
fn rehearse_untouched(sim: &Sim, config: &Config, label: &str) -> Rehearsal {
    let trace = sim.trace.borrow().clone();
    let datasets = sim.datasets.borrow().clone();
    let files = files_below(&sim.directory);
    let rehearsal = sim.verb(|node| rehearse(node, config, &[]));
    assert_eq!(*sim.trace.borrow(), trace, "{label}: something was done");
    assert_eq!(*sim.datasets.borrow(), datasets, "{label}: not untouched");
    let mut after = files_below(&sim.directory);
    after.retain(|path, _| !path.ends_with("run/lock"));
    assert_eq!(after, files, "{label}: reports or markers were written");
    rehearsal
}

/// Reports and markers, with what they hold.
fn files_below(directory: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if !path.ends_with("run/lock") {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// Whether two file systems share a mountpoint.
fn has_twins(sim: &Sim) -> bool {
    let datasets = sim.datasets.borrow();
    let places = datasets.iter().filter_map(|d| match &d.mountpoint {
        Mountpoint::Path(at) => Some(at),
        _ => None,
    });
    let mut seen = BTreeSet::new();
    places.into_iter().any(|at| !seen.insert(at))
}

/// Rehearses, boots in each order that `zfs mount -a` may choose, and compares. Tells the answer.
fn compare(label: &str, sim: &Sim, config: &Config) -> bool {
    let said = rehearse_untouched(sim, config, label);
    let mut truths = vec![truth(sim, config, "boot-2")];
    if has_twins(sim) {
        sim.twins_reversed.set(true);
        truths.push(truth(sim, config, "boot-3"));
    }
    let context = || format!("{label}:\n{}{truths:#?}", said.text());
    let worst = truths.iter().filter_map(|truth| truth.fault).max();
    assert_eq!(said.comes_back, worst.is_none(), "{}", context());
    assert_eq!(said.fault, worst, "{}", context());
    assert_eq!(
        said.status,
        worst.map_or(0, Status::status),
        "{}",
        context()
    );
    assert_eq!(said.reasons.is_empty(), said.comes_back, "{}", context());
    for truth in &truths {
        let roots: Vec<bool> = said.roots.iter().map(|root| root.open).collect();
        assert_eq!(roots, truth.roots, "{}", context());
        for (forecast, open) in said.gates.iter().zip(&truth.gates) {
            match forecast.state {
                Forecast::Open => assert!(open, "{}: {}", forecast.name, context()),
                Forecast::Closed => assert!(!open, "{}: {}", forecast.name, context()),
                Forecast::Unknown => {}
            }
        }
    }
    for reason in &said.reasons {
        assert!(!reason.remedy.is_empty(), "no mend: {}", context());
        let twice = said.remarks.iter().any(|r| r.subject == reason.subject);
        assert!(!twice, "{}: {}", reason.subject, context());
    }
    said.comes_back
}

/// How often each answer was given.
#[derive(Debug, Default)]
struct Count {
    yes: usize,
    no: usize,
}

impl Count {
    fn add(&mut self, yes: bool) {
        match yes {
            true => self.yes += 1,
            false => self.no += 1,
        }
    }
}

#[test]
fn every_fault_is_foretold_as_the_next_boot_shows_it() {
    let faults = all_faults();
    let mut names: Vec<&str> = faults.iter().map(|fault| fault.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), faults.len(), "a fault is named twice");
    assert!(faults.len() >= 40, "{}", faults.len());
    let mut count = Count::default();
    for (number, fault) in faults.iter().enumerate() {
        for start in STARTS {
            let (sim, config) = prepare(&format!("one{number}"), start, &[*fault]);
            let label = format!("{} ({start:?})", fault.name);
            count.add(compare(&label, &sim, &config));
        }
    }
    println!(
        "{} faults, {} starts each: {count:?}",
        faults.len(),
        STARTS.len()
    );
    assert!(count.yes >= 60 && count.no >= 60, "{count:?}");
}

/// A dozen that have little to do with each other.
const BASIC: [&str; 12] = [
    "stick absent",
    "every copy damaged",
    "primary opened by the retained generation",
    "replica wrapped by another key",
    "key of the optional root missing",
    "pool suspended",
    "optional pool not imported",
    "replica with a new writable child",
    "primary mounted read-only by hand",
    "mountpoint shared, before it by name",
    "gate at another path",
    "block file there",
];

#[test]
fn every_pair_of_faults_is_foretold_too() {
    let all = all_faults();
    let basic = BASIC.map(|name| *all.iter().find(|fault| fault.name == name).unwrap());
    let mut count = Count::default();
    for (i, first) in basic.iter().enumerate() {
        for (j, second) in basic.iter().enumerate().skip(i + 1) {
            for start in STARTS {
                let pair = [*first, *second];
                let (sim, config) = prepare(&format!("two{i}-{j}"), start, &pair);
                let label = format!("{} and {} ({start:?})", first.name, second.name);
                count.add(compare(&label, &sim, &config));
            }
        }
    }
    println!("66 pairs, {} starts each: {count:?}", STARTS.len());
    assert_eq!(count.yes + count.no, 66 * STARTS.len());
    assert!(count.yes >= 20 && count.no >= 20, "{count:?}");
}

fn finding(severity: Severity) -> Finding {
    Finding::new(severity, "/etc/rc.d/f3skeys", "is not there", "install it")
}

fn said(sim: &Sim, config: &Config) -> Rehearsal {
    rehearse_untouched(sim, config, "")
}

/// The reasons in short: `subject: what`.
fn reasons(rehearsal: &Rehearsal) -> Vec<String> {
    let short = |f: &Finding| format!("{}: {}", f.subject, f.what);
    rehearsal.reasons.iter().map(short).collect()
}

#[test]
fn a_well_node_gets_a_short_yes() {
    let (sim, config) = prepare("yes", Start::Up, &[]);
    let text = said(&sim, &config).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "f3skeys rehearse for f0.lan.buetow.org: yes, it would come back"
    );
    assert_eq!(lines.len(), 1 + 3 + 3, "{text}");
    let zdata = Fingerprint::of(&ZDATA);
    assert!(lines[1].ends_with(&format!("open, proven with {ZKEY} {zdata}")));
    assert_eq!(lines[4], "  gate nfs: open");
}

#[test]
fn reasons_are_numbered_in_the_order_of_the_boot_each_with_its_mend() {
    let names = [
        "every copy damaged",
        "replica wrapped by another key",
        "parent mounted last would bury its child",
        "gate that wants a primary read-only",
    ];
    let all = all_faults();
    let faults = names.map(|name| *all.iter().find(|fault| fault.name == name).unwrap());
    let (sim, config) = prepare("order", Start::Up, &faults);
    let said = sim.verb(|node| rehearse(node, &config, &[finding(Severity::Failure)]));
    let subjects: Vec<&str> = said.reasons.iter().map(|r| r.subject.as_str()).collect();
    let expected = [
        "/etc/rc.d/f3skeys",
        "zdata/enc",
        "zdata/sink/f1",
        // Behind the locked roots, and seen all the same.
        "zdata/enc/late",
        "gate ro",
    ];
    assert_eq!(subjects, expected, "{}", said.text());
    assert_eq!(said.status, 65);
    let text = said.text();
    assert!(text.starts_with("f3skeys rehearse for f0.lan.buetow.org: NO: 5 reasons\n"));
    for number in 1..=5 {
        let head = format!("  {number}. ");
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&head));
        assert!(lines.next().is_some(), "{text}");
        assert!(lines.next().unwrap().starts_with("     -> "), "{text}");
    }
}

#[test]
fn a_loaded_root_that_no_key_opens_is_said_to_be_up_still() {
    let (sim, config) = prepare("behind", Start::Up, &[]);
    wrap(&sim, "zdata/enc", OTHER);
    let up = reasons(&said(&sim, &config));
    assert!(
        up[0].contains("the next boot would leave it locked"),
        "{up:?}"
    );
    let (sim, config) = prepare("behind", Start::Fresh, &[]);
    wrap(&sim, "zdata/enc", OTHER);
    let locked = reasons(&said(&sim, &config));
    assert!(
        locked[0].contains("wrong key, in every generation"),
        "{locked:?}"
    );
}

#[test]
fn broken_hooks_are_reasons_and_doubtful_ones_remarks() {
    let (sim, config) = prepare("hooks", Start::Up, &[]);
    for (severity, comes_back) in [
        (Severity::Note, true),
        (Severity::Warning, true),
        (Severity::Failure, false),
        (Severity::Alarm, false),
    ] {
        let hooks = [finding(severity)];
        let said = sim.verb(|node| rehearse(node, &config, &hooks));
        assert_eq!(said.comes_back, comes_back);
        assert_eq!(said.status, if comes_back { 0 } else { 69 });
        let told = if comes_back {
            said.remarks
        } else {
            said.reasons
        };
        assert_eq!(told, hooks);
    }
}

#[test]
fn while_another_run_is_at_work_the_answer_is_no_yes() {
    let (sim, config) = prepare("busy", Start::Up, &[]);
    let lock = f3skeys::marker::try_lock(&sim.run()).unwrap();
    let busy = said(&sim, &config);
    assert!(!busy.comes_back);
    assert_eq!(busy.status, 75);
    drop(lock);
    assert_eq!(said(&sim, &config).status, 0);
}

#[test]
fn a_missing_stick_is_told_though_its_pool_is_missing_too() {
    let (sim, config) = prepare("hidden", Start::Up, &[]);
    sim.sticks.borrow_mut().clear();
    sim.states.borrow_mut().clear();
    let said = said(&sim, &config);
    let told = reasons(&said);
    assert_eq!(told[0], "key device F3S_KEYS (serial 4C530001): not there");
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(said.status, 69, "that is what the boot would exit with");
}

#[test]
fn a_stick_that_is_gone_after_it_was_read_is_no_yes() {
    let (sim, config) = prepare("gone", Start::Up, &[]);
    with_stick(&sim, |stick| stick.pulled_after = Some(6));
    let said = said(&sim, &config);
    assert_eq!(said.status, 66);
    assert!(
        said.roots.iter().all(|root| root.open),
        "every key was read"
    );
    assert_eq!(
        reasons(&said),
        ["/dev/da0: the stick went away while it was read"]
    );
}

#[test]
fn a_pool_that_nobody_configured_and_that_cannot_be_asked_is_no_yes() {
    type MakeSick = fn(&Sim);
    let sick: [MakeSick; 3] = [
        |sim| pool(sim, "zusb", PoolState::Suspended),
        |sim| pool(sim, "zusb", PoolState::Unknown("in a mood".to_owned())),
        |sim| {
            pool(sim, "zusb", PoolState::Works("ONLINE".to_owned()));
            sim.hanging.borrow_mut().push("zusb".to_owned());
        },
    ];
    for make_sick in sick {
        let (sim, config) = prepare("foreign", Start::Up, &[]);
        make_sick(&sim);
        let said = said(&sim, &config);
        assert_eq!(said.status, 69);
        assert_eq!(said.reasons[0].subject, "zusb");
        assert_eq!(said.reasons.len(), 1);
    }
}

#[test]
fn a_kernel_without_an_identity_of_the_boot_opens_no_gate() {
    let (sim, config) = prepare("identity", Start::Up, &[]);
    *sim.boot_id.borrow_mut() = None;
    let said = said(&sim, &config);
    assert_eq!(
        (said.status, said.reasons[0].subject.as_str()),
        (69, "gates")
    );
}

#[test]
fn a_gate_over_a_root_that_is_not_configured_says_so() {
    let (sim, config) = prepare("unnamed", Start::Up, &[]);
    sim.change("zdata/enc/nfsdata", |d| {
        d.encryption_root = Some(d.name.clone());
    });
    let said = said(&sim, &config);
    assert_eq!(said.reasons[0].subject, "gate nfs");
    let remedy = "name zdata/enc/nfsdata in `roots`, so that it is opened";
    assert_eq!(said.reasons[0].remedy, remedy);
}

#[test]
fn zfs_is_asked_once_for_each_root_when_all_is_well() {
    let (sim, config) = prepare("once", Start::Up, &[]);
    sim.probes.set(0);
    said(&sim, &config);
    assert_eq!(sim.probes.get(), 3);
}

#[test]
fn the_answer_for_programs_has_a_version_and_no_key() {
    let (sim, config) = prepare("json", Start::Up, &[]);
    wrap(&sim, "zdata/enc", OTHER);
    let said = said(&sim, &config);
    let text = serde_json::to_string(&said).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["comes_back"], false);
    assert_eq!(json["status"], 65);
    assert_eq!(json["reasons"][0]["subject"], "zdata/enc");
    assert_eq!(json["gates"][0]["state"], "closed");
    for bytes in [ZDATA, BHYVE, PEER, OTHER] {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert!(!text.contains(&hex));
        assert!(!text.as_bytes().windows(32).any(|w| w == bytes));
    }
}
