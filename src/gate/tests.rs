//! What the live system can show, against what a gate needs.

use super::*;

/// A mounted file system with a snapshot, `now` seconds after 1970, that is known for `known_for`.
fn with_snapshot(created: u64, now: u64, known_for: u64) -> Answer {
    let dataset: DatasetName = "z/a".parse().unwrap();
    let at = PathBuf::from("/a");
    let mount = Mount {
        at: at.clone(),
        fstype: "zfs".to_owned(),
        source: "z/a".to_owned(),
        read_only: true,
        sealed: true,
        fsid: String::new(),
    };
    let live = Live {
        covering: Map::from([(at.clone(), Ok(Some(mount)))]),
        mounted_at: Map::from([(dataset.clone(), vec![at])]),
        snapshots: Map::from([(dataset.clone(), Ok(true))]),
        now,
        since_boot: 100_000 + known_for,
        ..Live::default()
    };
    let newest = Newest {
        name: "s".to_owned(),
        created,
        seen: 100_000,
    };
    let known = Known {
        newest: Map::from([(dataset.clone(), newest)]),
        ..Known::default()
    };
    fresh(&dataset, 10, &live, &known)
}

#[test]
fn a_snapshot_is_fresh_to_the_second() {
    for (created, now, expected) in [
        (1000, 1000, Some(true)),
        (1000, 1600, Some(true)),
        (1000, 1601, Some(false)),
        (1060, 1000, Some(true)),
        (1061, 1000, None),
        (u64::MAX, 0, None),
        (0, u64::MAX, Some(false)),
    ] {
        let is_open = is_open(&with_snapshot(created, now, 0));
        assert_eq!(is_open, expected, "{created} {now}");
    }
}

#[test]
fn how_far_ahead_a_snapshot_is_and_why_a_device_is_unknown_are_said() {
    let ahead = with_snapshot(1061, 1000, 0);
    assert!(matches!(&ahead, Answer::CannotTell(why) if why.contains(" 61 s")));
    let volume: DatasetName = "z/v".parse().unwrap();
    let live = Live {
        volumes: Map::from([(volume.clone(), Err("EIO".to_owned()))]),
        ..Live::default()
    };
    let unknown = key_loaded(&volume, &live);
    assert!(matches!(&unknown, Answer::CannotTell(why) if why.contains("EIO")));
}

/// A gate that needs another one by way of a third, and the third besides.
#[test]
fn law_4_a_marker_is_of_another_definition_when_any_gate_that_is_needed_is_another() {
    let text = r#"(
        node: "f0", store: (label: "K"),
        roots: [(dataset: "z/a", key: "f0:z", role: primary, required: true)],
        gates: [
            (name: "top", needs: [gate("middle"), gate("low")]),
            (name: "middle", needs: [gate("low"), present("/m")]),
            (name: "low", needs: [writable("z/a"), present("/l")]),
            (name: "other", needs: [present("/o")]),
        ],
    )"#;
    let of = |text: &str| {
        let config = Config::parse(text).unwrap();
        definition(&config, config.gate(&"top".parse().unwrap()).unwrap())
    };
    assert_eq!(of(text), of(&text.replace("/o", "/changed")));
    for part in [
        "/m",
        "/l",
        "writable(\"z/a\"), ",
        "gate(\"low\"), p",
        "\"f0\"",
    ] {
        let other = match part {
            "gate(\"low\"), p" => "p",
            "writable(\"z/a\"), " => "",
            "\"f0\"" => "\"f1\"",
            _ => "/changed",
        };
        assert!(text.contains(part));
        assert_ne!(of(text), of(&text.replacen(part, other, 1)), "{part}");
    }
}

fn is_open(answer: &Answer) -> Option<bool> {
    match answer {
        Answer::Open => Some(true),
        Answer::Closed(_) => Some(false),
        Answer::CannotTell(_) => None,
    }
}

/// However old it was when it was first seen, however long ago that is, and wherever the clock stood
/// then and was set since.
#[test]
fn law_4_no_clock_makes_a_snapshot_fresh_that_was_seen_too_long_ago() {
    let made: u64 = 1_800_000_000;
    let shifts = [
        -100_000, -3600, -601, -600, -1, 0, 1, 600, 601, 3600, 100_000,
    ];
    for old in [0, 1, 599, 600, 601, 5000] {
        for known_for in [0, 1, 300, 600, 601, 5000] {
            for shift in shifts {
                let truth: u64 = old + known_for;
                let now = (made + truth).checked_add_signed(shift).unwrap();
                let said = is_open(&with_snapshot(made, now, known_for));
                let case = format!("{old} s, known for {known_for} s, clock {shift}: {said:?}");
                if known_for > 600 {
                    assert_eq!(said, Some(false), "{case}");
                }
                if shift == 0 {
                    assert_eq!(said, Some(truth <= 600), "{case}");
                }
            }
        }
    }
}

fn config() -> Config {
    let text = r#"(
        node: "f1", store: (label: "K"),
        roots: [
            (dataset: "z/own", key: "f1:z", role: primary, required: true),
            (dataset: "z/sink", key: "f0:z", role: replica, required: true),
        ],
    )"#;
    Config::parse(text).unwrap()
}

const NAMES: [&str; 2] = ["z/own", "z/sink"];

/// Everything that a path can show, against every demand: only the dataset itself, mounted there by ZFS and
/// as writable as it must be, opens a gate. Whoever may mount can give a mount any source.
#[test]
fn law_4_only_the_dataset_itself_is_seen_on_a_path_and_writable_or_not_as_its_role_is() {
    let path = PathBuf::from("/a");
    let mut cases = 0;
    for name in NAMES {
        let dataset: DatasetName = name.parse().unwrap();
        for bits in 0..32_u8 {
            let [here, zfs, itself, read_only, sealed] =
                [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
            let mount = Mount {
                at: PathBuf::from(if here { "/a" } else { "/" }),
                fstype: if zfs { "zfs" } else { "tmpfs" }.to_owned(),
                source: if itself { name } else { "z/other" }.to_owned(),
                read_only,
                sealed,
                fsid: "1".to_owned(),
            };
            let live = Live {
                covering: Map::from([(path.clone(), Ok(Some(mount)))]),
                mounted_at: Map::from([(dataset.clone(), vec![path.clone()])]),
                ..Live::default()
            };
            let mounted = Condition::Mounted {
                path: path.clone(),
                dataset: dataset.clone(),
            };
            let is_primary = name == "z/own";
            for (need, is_so) in [
                (mounted, if is_primary { !read_only } else { sealed }),
                (
                    Condition::Writable(dataset.clone()),
                    is_primary && !read_only,
                ),
                (Condition::Readonly(dataset.clone()), sealed),
                (Condition::KeyLoaded(dataset.clone()), true),
            ] {
                let found = condition(&config(), &need, &live, &Known::default());
                let expected = here && zfs && itself && is_so;
                assert_eq!(
                    found == Answer::Open,
                    expected,
                    "{need:?} {live:?}: {found:?}"
                );
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 256);
}

/// What is promoted, and where it is mounted how, against the role that a gate wants.
#[test]
fn law_4_a_role_is_what_was_recorded_and_what_is_mounted_agrees_with_it() {
    let path = PathBuf::from("/a");
    for name in NAMES {
        let dataset: DatasetName = name.parse().unwrap();
        for promoted in [false, true] {
            for is in [Role::Primary, Role::Replica] {
                for mounted in [None, Some(None), Some(Some(true)), Some(Some(false))] {
                    let mut live = Live::default();
                    if let Some(place) = mounted {
                        let places = place.map(|_| path.clone()).into_iter().collect();
                        live.mounted_at.insert(dataset.clone(), places);
                    }
                    if let Some(Some(sealed)) = mounted {
                        let mount = Mount {
                            at: path.clone(),
                            fstype: "zfs".to_owned(),
                            source: name.to_owned(),
                            read_only: sealed,
                            sealed,
                            fsid: "1".to_owned(),
                        };
                        live.covering.insert(path.clone(), Ok(Some(mount)));
                    }
                    let known = Known {
                        promoted: promoted.then(|| dataset.clone()).into_iter().collect(),
                        newest: Map::new(),
                    };
                    let now = match (name, promoted) {
                        ("z/sink", false) => Role::Replica,
                        _ => Role::Primary,
                    };
                    // Open, closed, or not to be told.
                    let expected = match (now == is, name, mounted) {
                        (false, ..) => Some(false),
                        (true, "z/own", _) => Some(true),
                        (true, _, None) => None,
                        (true, _, Some(None)) if is == Role::Primary => None,
                        (true, _, Some(None)) => Some(true),
                        (true, _, Some(Some(sealed))) => Some(sealed == (is == Role::Replica)),
                    };
                    let found = role(&config(), &dataset, is, &live, &known);
                    let said = is_open(&found);
                    assert_eq!(
                        said, expected,
                        "{name} {promoted} {is} {mounted:?}: {found:?}"
                    );
                }
            }
        }
    }
}

/// A pool that is not asked about cannot keep a gate closed.
#[test]
fn law_5_a_role_asks_of_the_live_system_only_where_a_promotion_is_to_be_seen() {
    for (name, is_asked) in [("z/own", false), ("z/sink", true)] {
        let need = Condition::Role {
            dataset: name.parse().unwrap(),
            is: Role::Primary,
        };
        let mut questions = Questions::default();
        collect(&config(), &need, &Known::default(), &mut questions);
        let asked = (questions.pools.is_empty(), questions.datasets.is_empty());
        assert_eq!(asked, (!is_asked, !is_asked), "{name}");
    }
}

/// A container or a bind of an administrator's makes the same dataset visible in one more place.
#[test]
fn law_4_a_marker_is_of_file_systems_and_not_of_how_many_places_show_them() {
    let dataset: DatasetName = "z/own".parse().unwrap();
    let config = Config::parse(
        r#"(
            node: "f1", store: (label: "K"),
            roots: [(dataset: "z/own", key: "f1:z", role: primary, required: true)],
            gates: [(name: "write", needs: [writable("z/own")])],
        )"#,
    )
    .unwrap();
    let gate = &config.gates[0];
    let live = |places: &[(&str, &str)]| {
        let mut live = Live::default();
        for (at, fsid) in places {
            let mount = Mount {
                at: at.into(),
                fstype: "zfs".to_owned(),
                source: dataset.to_string(),
                read_only: false,
                sealed: false,
                fsid: (*fsid).to_owned(),
            };
            live.covering.insert(at.into(), Ok(Some(mount)));
        }
        let all = places.iter().map(|(at, _)| at.into()).collect();
        live.mounted_at.insert(dataset.clone(), all);
        live
    };
    let marker = |live: &Live| Marker::new(&config, gate, "boot", live, &Known::default());
    let first = marker(&live(&[("/data", "1")]));
    for (places, is_same) in [
        (&[("/data", "1")][..], true),
        (&[("/data", "1"), ("/export", "1")], true),
        (&[("/export", "1")], true),
        (&[("/data", "2")], false),
        (&[("/data", "1"), ("/export", "2")], false),
        (&[], false),
    ] {
        let answer = check_marker(&marker(&live(places)), &first);
        assert_eq!(answer == Answer::Open, is_same, "{places:?}");
    }
}

#[test]
fn law_4_a_bind_that_shows_what_lies_beneath_closes_and_one_that_is_not_known_is_not_open() {
    let (dataset, path): (DatasetName, PathBuf) = ("z/own".parse().unwrap(), "/data".into());
    let mount = Mount {
        at: path.clone(),
        fstype: "zfs".to_owned(),
        source: dataset.to_string(),
        read_only: false,
        sealed: false,
        fsid: "1".to_owned(),
    };
    let need = Condition::Mounted {
        path: path.clone(),
        dataset,
    };
    let export = Bound {
        at: "/export".into(),
    };
    for (bound, expected) in [
        (None, Some(true)),
        (Some(Ok(vec![])), Some(true)),
        (Some(Ok(vec![export])), Some(false)),
        (Some(Err("no table".to_owned())), None),
    ] {
        let live = Live {
            covering: Map::from([(path.clone(), Ok(Some(mount.clone())))]),
            bound: bound.iter().map(|b| (path.clone(), b.clone())).collect(),
            ..Live::default()
        };
        let answer = condition(&config(), &need, &live, &Known::default());
        assert_eq!(is_open(&answer), expected, "{bound:?}: {answer:?}");
    }
}

#[test]
fn a_path_to_which_a_link_leads_is_compared_where_it_really_is() {
    let (dataset, path): (DatasetName, PathBuf) = ("z/own".parse().unwrap(), "/data".into());
    for (at, real, expected) in [
        ("/mnt/x", Some("/mnt/x"), Some(true)),
        ("/mnt/x", None, Some(false)),
        ("/mnt", Some("/mnt/x"), Some(false)),
        ("/data", Some("/mnt/x"), Some(false)),
    ] {
        let mount = Mount {
            at: at.into(),
            fstype: "zfs".to_owned(),
            source: dataset.to_string(),
            read_only: false,
            sealed: false,
            fsid: "1".to_owned(),
        };
        let way = |real: &str| Way {
            real: real.into(),
            links: Vec::new(),
        };
        let live = Live {
            covering: Map::from([(path.clone(), Ok(Some(mount)))]),
            ways: real.iter().map(|to| (path.clone(), way(to))).collect(),
            ..Live::default()
        };
        let answer = visible(&dataset, &path, Writing::Allowed, &live);
        assert_eq!(is_open(&answer), expected, "{at} {real:?}: {answer:?}");
    }
}
