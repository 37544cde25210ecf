//! The faults, each by its name: in the stick, the keys, the pools and roots, the properties, the
//! gates and their services.

use crate::sim::{self, BHYVE, PEER, Sim, Stick, ZDATA, at, dataset, encrypted, keys};
use f3skeys::bound::Unit;
use f3skeys::device::Foreign;
use f3skeys::host::binds::{Bind, When};
use f3skeys::host::fstab;
use f3skeys::key::Fingerprint;
use f3skeys::names::KeyName;
use f3skeys::os::PoolState;
use f3skeys::services::{Definition, Seen, State as ServiceState};
use f3skeys::store::layout;
use f3skeys::store::state::{Generation, Standing, State};
use f3skeys::zfs::{
    CanMount, Dataset, KeyFormat, KeyStatus, Kind, Moment, Mountpoint, Past, Source,
};
use std::time::Duration;

pub const ZKEY: &str = "f0.lan.buetow.org:zdata";
const BKEY: &str = "f0.lan.buetow.org:bhyve";
const PKEY: &str = "f1.lan.buetow.org:zdata";
pub const OTHER: [u8; 32] = [0x77; 32];

/// Something that is wrong, or only odd: in the configuration, on the node, or both.
#[derive(Clone, Copy)]
pub struct Fault {
    pub name: &'static str,
    pub config: fn(String) -> String,
    pub node: fn(&Sim),
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

/// Gives the replica a snapshot that is so many seconds old.
fn snapshot(sim: &Sim, age: u64) {
    let past = Past {
        dataset: "zdata/sink/f1".parse().unwrap(),
        written: 0,
        moments: vec![Moment {
            name: "sent".to_owned(),
            guid: 1,
            created: sim.wall.get() - age,
            bookmark: false,
        }],
    };
    sim.pasts
        .borrow_mut()
        .insert(past.dataset.to_string(), past);
}

pub fn with_stick(sim: &Sim, change: impl FnOnce(&mut Stick)) {
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

pub fn wrap(sim: &Sim, root: &str, key: [u8; 32]) {
    sim.wrapped.borrow_mut().insert(root.to_owned(), key);
}

fn add(sim: &Sim, dataset: Dataset) {
    sim.datasets.borrow_mut().push(dataset);
}

pub fn pool(sim: &Sim, name: &str, state: PoolState) {
    sim.states.borrow_mut().insert(name.to_owned(), state);
}

/// A clone of the root, promoted: the encryption root has moved to it.
fn promoted_clone(sim: &Sim) {
    for dataset in sim.datasets.borrow_mut().iter_mut() {
        let root = dataset.encryption_root.as_ref();
        if root.is_some_and(|root| root.as_str() == "zdata/enc") {
            dataset.encryption_root = "zdata/clone".parse().ok();
        }
    }
    add(
        sim,
        at("/data/clone", encrypted("zdata/clone", "zdata/clone")),
    );
    wrap(sim, "zdata/clone", ZDATA);
}

/// What is wrong with one thing that the configuration names, and with what other software does to a root.
const HOST: &[Fault] = &[
    on_node("a promoted clone", promoted_clone),
    in_both(
        "a promoted clone, and both are named",
        |text| {
            add_root(
                text,
                r#"(dataset: "zdata/clone", key: "f0.lan.buetow.org:zdata", role: primary, required: true)"#,
            )
        },
        promoted_clone,
    ),
    in_config("a gate that names no root", |text| {
        add_gate(
            text,
            r#"(name: "lost", needs: [mounted(path: "/lost", dataset: "zlost/x")])"#,
        )
    }),
    in_config("a root of two minds", |text| {
        add_root(
            text,
            r#"(dataset: "zroot/bhyve", key: "f0.lan.buetow.org:bhyve", role: replica, required: true)"#,
        )
    }),
    in_config("a root that is named twice alike", |text| {
        add_root(
            text,
            r#"(dataset: "zroot/bhyve", key: "f0.lan.buetow.org:bhyve", role: primary, required: false)"#,
        )
    }),
    on_node("what is not encrypted below what is", |sim| {
        add(sim, at("/data/nfs/pub", dataset("zdata/pub")));
    }),
    on_node("key device on another bus", |sim| {
        with_stick(sim, |s| s.candidate.fixed = true);
    }),
    in_both(
        "key device on another bus, and that is meant",
        |text| swap(text, "wait_seconds: 30", "wait_seconds: 30, any_disk: true"),
        |sim| with_stick(sim, |s| s.candidate.fixed = true),
    ),
    on_node("exFAT in the place of the store", |sim| {
        with_stick(sim, |s| {
            s.candidate.filesystems.clear();
            s.candidate.content = Some(Foreign::ExFat);
        });
    }),
    on_node("a store on an optical drive", |sim| {
        with_stick(sim, |s| s.candidate.optical = true);
    }),
    on_node("two partitions that match", |sim| {
        let twin = Stick::new("/dev/da0s2", "F3S_KEYS", "4C530001");
        sim.sticks.borrow_mut().push(twin.with_store(&keys()));
    }),
];

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
    on_node("primary root not understood", |sim| {
        sim.not_understood("zdata/enc", "zdata/enc");
    }),
    on_node("primary child not understood", |sim| {
        sim.not_understood("zdata/enc/nfsdata", "zdata/enc");
    }),
    on_node("replica root not understood", |sim| {
        sim.not_understood("zdata/sink/f1", "zdata/sink/f1");
    }),
    on_node("replica child not understood", |sim| {
        sim.not_understood("zdata/sink/f1/child", "zdata/sink/f1");
    }),
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
    in_config("gates on keys and roles", |text| {
        let text = add_gate(
            text,
            r#"(name: "keys", needs: [key_loaded("zroot/bhyve/vol"), key_loaded("zdata/enc/nfsdata")])"#,
        );
        add_gate(
            text,
            r#"(name: "roles", needs: [role(dataset: "zdata/sink/f1", is: replica),
                role(dataset: "zdata/enc", is: primary)])"#,
        )
    }),
    in_config(
        "gates on a key that shows nowhere, and the wrong role",
        |text| {
            let text = swap(
                text,
                "roots: [",
                r#"roots: [(dataset: "zroot/no", key: "f0.lan.buetow.org:bhyve", role: primary, required: false),"#,
            );
            let text = add_gate(text, r#"(name: "key", needs: [key_loaded("zroot/no")])"#);
            add_gate(
                text,
                r#"(name: "role", needs: [role(dataset: "zdata/sink/f1", is: primary)])"#,
            )
        },
    ),
    in_config("gate on a snapshot that nobody made", |text| {
        add_gate(
            text,
            r#"(name: "fresh", needs: [fresh_snapshot(dataset: "zdata/sink/f1", minutes: 60)])"#,
        )
    }),
    in_both(
        "gate on a fresh snapshot",
        |text| {
            add_gate(
                text,
                r#"(name: "fresh", needs: [fresh_snapshot(dataset: "zdata/sink/f1", minutes: 60)])"#,
            )
        },
        |sim| snapshot(sim, 600),
    ),
    in_both(
        "gate on a stale snapshot",
        |text| {
            add_gate(
                text,
                r#"(name: "fresh", needs: [fresh_snapshot(dataset: "zdata/sink/f1", minutes: 60)])"#,
            )
        },
        |sim| snapshot(sim, 7200),
    ),
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
            r#"peers: [(name: "f1", ssh: "f1")],
            replicas: [(of: "zdata/enc/nfsdata", node: "f1", dataset: "zdata/sink/nfsdata")],
            gates: ["#,
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
                r#"peers: [(name: "f1", ssh: "f1")],
            replicas: [(of: "zdata/enc/nfsdata", node: "f1", dataset: "zdata/sink/nfsdata")],
            gates: ["#,
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

/// Gives the served dataset to fstab, with these options.
fn in_fstab(sim: &Sim, options: &str) {
    sim.change("zdata/enc/nfsdata", |d| d.mountpoint = Mountpoint::Legacy);
    fstab_line(sim, "zdata/enc/nfsdata /data/nfs", options);
}

fn fstab_line(sim: &Sim, mount: &str, options: &str) {
    let text = format!("/dev/sda1 /boot ext4 rw 0 2\n{mount} zfs {options} 0 0\n");
    *sim.fstab.borrow_mut() = fstab::lines(&text);
}

/// Behind the keys, and before the gates.
const IN_TIME: &str = "x-systemd.after=f3skeys.service,x-systemd.before=f3sready.service";

const FSTAB: &[Fault] = &[
    on_node("fstab stops the boot before the keys", |sim| {
        in_fstab(sim, "defaults");
    }),
    on_node("fstab gives up before the keys", |sim| {
        in_fstab(sim, "defaults,nofail");
    }),
    on_node("fstab mounts behind the keys", |sim| {
        in_fstab(sim, &format!("defaults,nofail,{IN_TIME}"));
    }),
    on_node("fstab mounts behind the keys and may not fail", |sim| {
        in_fstab(sim, &format!("defaults,{IN_TIME}"));
    }),
    on_node("fstab may not fail and its key opens nothing", |sim| {
        in_fstab(sim, &format!("defaults,{IN_TIME}"));
        wrap(sim, "zdata/enc", OTHER);
    }),
    on_node("fstab leaves the dataset to a person", |sim| {
        in_fstab(sim, "defaults,noauto");
    }),
    on_node("fstab names what ZFS mounts itself", |sim| {
        fstab_line(sim, "zdata/enc/nfsdata /data/nfs", "defaults");
    }),
    on_node("fstab mounts what needs no key", |sim| {
        add(sim, dataset("zdata/plain"));
        sim.change("zdata/plain", |d| d.mountpoint = Mountpoint::Legacy);
        fstab_line(sim, "zdata/plain /plain", "defaults,nofail");
    }),
];

/// The mount unit of the served dataset is bound to one that loads its key.
fn bound(sim: &Sim, directory: &str, active: bool) {
    let holder = "zfs-load-key@zdata-enc.service";
    let unit = |name: &str, directory: &str, active, bound_to| Unit {
        name: name.to_owned(),
        active,
        file: format!("/run/systemd/{directory}/{name}"),
        bound_to,
    };
    *sim.units.borrow_mut() = vec![
        unit(
            "data-nfs.mount",
            "generator",
            false,
            vec![holder.to_owned()],
        ),
        unit(holder, directory, active, Vec::new()),
    ];
}

const BOUND: &[Fault] = &[
    on_node("a unit that loads no key unmounts the dataset", |sim| {
        bound(sim, "generator", false);
    }),
    on_node("a unit of ours holds the dataset", |sim| {
        bound(sim, "generator.early", true);
    }),
    on_node("a unit of ours will hold the dataset", |sim| {
        bound(sim, "generator.early", false);
    }),
    on_node("a unit that nobody knows unmounts the dataset", |sim| {
        bound(sim, "generator", true);
        sim.units.borrow_mut().truncate(1);
    }),
];

/// Gives the nfs gate its services, which run.
fn services(text: String) -> String {
    let needs = r#"dataset: "zdata/enc/nfsdata")]"#;
    let services = format!(r#"{needs}, services: ["mountd", "nfsd"]"#);
    swap(text, needs, &services)
}

/// As the manager tells of nfsd now and after the next boot.
fn nfsd(sim: &Sim, definition: Definition, state: ServiceState) {
    run_services(sim);
    let seen = Seen {
        definition,
        ..Seen::only(state)
    };
    sim.odd_services
        .borrow_mut()
        .insert("nfsd".to_owned(), seen);
}

fn run_services(sim: &Sim) {
    for name in ["mountd", "nfsd"] {
        sim.service_states
            .borrow_mut()
            .insert(name.to_owned(), true);
    }
}

/// The states of a gate's services: those in which nothing can start one count, the others are of now.
const SERVICES: &[Fault] = &[
    in_both("services run", services, run_services),
    in_both("services are stopped", services, |sim| {
        run_services(sim);
        sim.service_states
            .borrow_mut()
            .values_mut()
            .for_each(|runs| *runs = false);
    }),
    in_both("service is starting", services, |sim| {
        run_services(sim);
        let slow = (
            Duration::from_secs(40),
            Duration::from_secs(1),
            ServiceState::Running,
        );
        sim.slow_services
            .borrow_mut()
            .insert("nfsd".to_owned(), slow);
        sim.moving_services
            .borrow_mut()
            .insert("nfsd".to_owned(), (Duration::MAX, true));
    }),
    in_both("service has failed", services, |sim| {
        run_services(sim);
        let slow = (Duration::ZERO, Duration::ZERO, ServiceState::Failed);
        sim.service_states
            .borrow_mut()
            .insert("nfsd".to_owned(), false);
        sim.slow_services
            .borrow_mut()
            .insert("nfsd".to_owned(), slow);
    }),
    in_both("service does not exist", services, |sim| {
        nfsd(sim, Definition::Missing, ServiceState::Stopped);
    }),
    in_both("service is masked", services, |sim| {
        nfsd(sim, Definition::Masked, ServiceState::Stopped);
    }),
    in_both("service runs and is masked", services, |sim| {
        nfsd(sim, Definition::Masked, ServiceState::Running);
    }),
    in_both("service is refused by its manager", services, |sim| {
        nfsd(
            sim,
            Definition::Broken("error".into()),
            ServiceState::Failed,
        );
    }),
    in_both(
        "service of which its manager does not tell",
        services,
        |sim| {
            run_services(sim);
            sim.service_states.borrow_mut().remove("nfsd");
        },
    ),
];

/// A link that lies on a dataset is seen only while that is mounted.
fn link_on(sim: &Sim, at: &str, to: &str, on: &str) {
    let link = (at.into(), to.into(), on.to_owned());
    sim.links.borrow_mut().push(link);
}

/// The boot binds a directory to another place, before the keys come or after all is mounted.
fn bind(sim: &Sim, from: &str, at: &str, when: When) {
    sim.binds.borrow_mut().push(Bind {
        from: from.into(),
        at: at.into(),
        named_by: "/etc/fstab".to_owned(),
        when,
    });
}

/// What else there is on the host: links on the way to mountpoints, and binds of them.
const WAYS: &[Fault] = &[
    on_node("a link on the way to every mountpoint", |sim| {
        link_on(sim, "/data", "/mnt/x", sim::ROOT_FILESYSTEM);
    }),
    on_node("a link that leads nowhere on the way", |sim| {
        link_on(sim, "/zroot", "none/x", sim::ROOT_FILESYSTEM);
    }),
    in_both(
        "gates and files where a link leads",
        |text| {
            let text = swap(text, r#"(path: "/data/nfs""#, r#"(path: "/mnt/x/nfs""#);
            swap(text, r#"(path: "/data/f1""#, r#"(path: "/mnt/x/f1""#)
        },
        |sim| link_on(sim, "/data", "mnt/x", sim::ROOT_FILESYSTEM),
    ),
    in_both(
        "gate by a link that leads elsewhere",
        |text| swap(text, r#"(path: "/data/nfs""#, r#"(path: "/export""#),
        |sim| link_on(sim, "/export", "/data/enc", sim::ROOT_FILESYSTEM),
    ),
    in_both(
        "gate by two links",
        |text| swap(text, r#"(path: "/data/nfs""#, r#"(path: "/export""#),
        |sim| {
            link_on(sim, "/export", "/srv/nfs", sim::ROOT_FILESYSTEM);
            link_on(sim, "/srv", "/data", sim::ROOT_FILESYSTEM);
        },
    ),
    in_both(
        "gate by links without end",
        |text| swap(text, r#"(path: "/data/nfs""#, r#"(path: "/export""#),
        |sim| sim.silent.borrow_mut().push("/export".to_owned()),
    ),
    on_node("a link beneath the mount on its directory", |sim| {
        link_on(sim, "/data/nfs", "/data/enc", sim::ROOT_FILESYSTEM);
    }),
    on_node("a bind of what is served, before it is there", |sim| {
        bind(sim, "/data/nfs", "/export/nfs", When::Early);
    }),
    on_node("a bind of a directory in what is served", |sim| {
        bind(sim, "/data/f1/home", "/home", When::Early);
    }),
    on_node("a bind of what is served, after it is there", |sim| {
        bind(sim, "/data/nfs", "/export/nfs", When::AfterReady);
        bind(sim, "/data/nfs", "/export/mnt", When::AfterMounts);
    }),
    on_node("a bind by a link", |sim| {
        link_on(sim, "/srv", "/data", sim::ROOT_FILESYSTEM);
        bind(sim, "/srv/nfs", "/export", When::Early);
    }),
    on_node("a bind that the first mount there follows to", |sim| {
        bind(sim, "/data", "/export", When::Early);
        bind(sim, "/zroot/bhyve", "/guests", When::Early);
    }),
    on_node("a bind of a directory that is none of ours", |sim| {
        bind(sim, "/var/tmp", "/data/tmp", When::Early);
        bind(sim, "/data/other", "/other", When::Early);
    }),
    on_node("a bind that is itself mounted over", |sim| {
        bind(sim, "/data/nfs", "/data/old", When::Early);
    }),
    on_node("a link on the mountpoint of the stick", |sim| {
        link_on(sim, "/keys", "/data/nfs/keys", sim::ROOT_FILESYSTEM);
    }),
    on_node("an automount on the mountpoint of the stick", |sim| {
        sim.mount_over("/keys", "systemd-1", "autofs");
    }),
    on_node("a link that puts a dataset over what is served", |sim| {
        add(sim, at("/srv/over", dataset("zdata/over")));
        link_on(sim, "/srv/over", "/data/nfs", sim::ROOT_FILESYSTEM);
    }),
];

pub fn all_faults() -> Vec<Fault> {
    let healthy = [on_node("nothing", |_| {})];
    [
        &healthy[..],
        STICK,
        HOST,
        KEYS,
        ROOTS,
        PROPERTIES,
        GATES,
        FSTAB,
        BOUND,
        SERVICES,
        WAYS,
    ]
    .concat()
}
