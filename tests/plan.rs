//! The plan, for every combination of what two datasets can be: role, promotion, key, keystatus,
//! readonly and mounted. Laws 3, 4 and 5, and convergence: when all steps work, the next plan is empty.

mod sim;

use f3skeys::config::{Config, Role};
use f3skeys::gate::{self, Answer, Known, Live};
use f3skeys::names::{DatasetName, KeyName};
use f3skeys::os::Mount;
use f3skeys::plan::{self, KeyState, Observed, Pool, Step, Verdict};
use f3skeys::preview::imagine;
use f3skeys::promotion::{Promoted, Promotion};
use f3skeys::seals::{self, Seal};
use f3skeys::sorted::Map;
use f3skeys::zfs::{Damaged, Dataset, KeyStatus, Kind, Listing, Mountpoint, OpenedBy};

/// One of the two datasets, in one of its states. Each is an encryption root of its own.
#[derive(Debug, Clone)]
struct Case {
    role: Role,
    promotion: Promoted,
    key: KeyState,
    loaded: bool,
    readonly: bool,
    mounted: bool,
}

impl Case {
    /// Whether nothing may ever be written on it.
    fn is_replica(&self) -> bool {
        self.role == Role::Replica && !matches!(self.promotion, Promoted::Now(_))
    }
}

/// Everything that a promotion can be.
fn promotions() -> [Promoted; 4] {
    let promotion = Promotion {
        epoch: 3,
        since: 1_795_000_000,
        reason: "the primary is dead".to_owned(),
    };
    [
        Promoted::Never,
        Promoted::Now(promotion),
        Promoted::Over(2),
        Promoted::Unknown("yes".to_owned()),
    ]
}

fn cases() -> Vec<Case> {
    let keys = [
        KeyState::Usable,
        KeyState::Damaged("flipped".to_owned()),
        KeyState::Missing,
        KeyState::NoStore("no stick".to_owned()),
    ];
    let mut cases = Vec::new();
    let kinds = [Role::Primary, Role::Replica];
    let kinds = kinds.map(|role| promotions().map(|promotion| (role, promotion)));
    for (role, promotion) in kinds.into_iter().flatten() {
        for key in &keys {
            for (loaded, mounted) in [(false, false), (true, false), (true, true)] {
                for readonly in [false, true] {
                    cases.push(Case {
                        role,
                        promotion: promotion.clone(),
                        key: key.clone(),
                        loaded,
                        readonly,
                        mounted,
                    });
                }
            }
        }
    }
    cases
}

fn dataset(name: &str, path: &str, case: &Case) -> Dataset {
    Dataset {
        readonly: case.readonly,
        mounted: case.mounted,
        promotion: case.promotion.clone(),
        key_status: if case.loaded {
            KeyStatus::Available
        } else {
            KeyStatus::Unavailable
        },
        ..sim::at(path, sim::encrypted(name, name))
    }
}

struct World {
    config: Config,
    observed: Observed,
    keys: Map<KeyName, KeyState>,
}

const NAMES: [&str; 2] = ["zdata/a", "zdata/b"];
const PATHS: [&str; 2] = ["/srv/a", "/srv/b"];
const KEYS: [&str; 2] = ["f0:a", "f0:b"];

/// The configuration of two such roots.
fn configuration(roles: [Role; 2]) -> Config {
    let root = |i: usize| {
        format!(
            r#"(dataset: "{}", key: "{}", role: {}, required: true)"#,
            NAMES[i], KEYS[i], roles[i]
        )
    };
    let gate = |i: usize| {
        format!(
            r#"(name: "gate{i}", needs: [mounted(path: "{}", dataset: "{}")])"#,
            PATHS[i], NAMES[i]
        )
    };
    let text = format!(
        r#"(node: "f0", store: (label: "K"), roots: [{}, {}], gates: [{}, {}])"#,
        root(0),
        root(1),
        gate(0),
        gate(1)
    );
    Config::parse(&text).unwrap()
}

/// Reading a configuration costs more than planning by it.
struct Configurations(Vec<([Role; 2], Config)>);

impl Configurations {
    fn all() -> Configurations {
        let roles = [Role::Primary, Role::Replica];
        let pairs = roles.into_iter().flat_map(|a| roles.map(|b| [a, b]));
        Configurations(pairs.map(|pair| (pair, configuration(pair))).collect())
    }

    fn of(&self, cases: [&Case; 2]) -> Config {
        let roles = cases.map(|case| case.role);
        let found = self.0.iter().find(|(pair, _)| *pair == roles);
        found.unwrap().1.clone()
    }
}

fn world(configurations: &Configurations, cases: [&Case; 2]) -> World {
    let datasets = (0..2)
        .map(|i| dataset(NAMES[i], PATHS[i], cases[i]))
        .collect();
    World {
        config: configurations.of(cases),
        observed: Observed {
            pools: Map::from([("zdata".to_owned(), Pool::Seen(datasets))]),
            ..Observed::default()
        },
        keys: (0..2)
            .map(|i| (KEYS[i].parse().unwrap(), cases[i].key.clone()))
            .collect(),
    }
}

fn find<'a>(observed: &'a Observed, name: &DatasetName) -> &'a Dataset {
    observed.datasets().find(|d| d.name == *name).unwrap()
}

/// Makes the steps one after the other, checking law 3 before and after each.
fn make_all(world: &World, mut observed: Observed, steps: &[Step]) -> Observed {
    for step in steps {
        let dataset = find(&observed, step.dataset());
        let promoted = observed.promoted(&world.config);
        let replica = world.config.role_now(&dataset.name, &promoted) == Some(Role::Replica);
        if replica && !matches!(step, Step::Seal(..)) {
            assert!(
                dataset.readonly,
                "law 3: {step} on a replica not seen to be read-only"
            );
        }
        if world.config.role_of(&dataset.name) == Some(Role::Replica) {
            let allowed = dataset.setuid || dataset.devices || dataset.exec;
            let seals = matches!(step, Step::Seal(..));
            assert!(seals || !allowed, "law 9: {step} before all is set");
        } else {
            assert!(
                !matches!(step, Step::Seal(..)),
                "a primary is not ours to seal"
            );
        }
        if !replica {
            assert!(
                !step.sets(&dataset.name, Seal::Readonly),
                "what is written here is not ours to seal"
            );
        }
        observed = imagine(&observed, std::slice::from_ref(step));
    }
    observed
}

/// Runs both passes until nothing is left, as the program does; gives what is observed then.
fn converge(world: &World) -> Observed {
    let mut observed = world.observed.clone();
    for _ in 0..3 {
        let plan = plan::keys(&world.config, &observed, &world.keys);
        observed = make_all(world, observed, &plan.steps);
    }
    let left = plan::keys(&world.config, &observed, &world.keys).steps;
    assert_eq!(left, [], "boot does not converge");
    for _ in 0..2 {
        let plan = plan::mounts(&world.config, &observed);
        observed = make_all(world, observed, &plan.steps);
    }
    let left = plan::mounts(&world.config, &observed).steps;
    assert_eq!(left, [], "ready does not converge");
    observed
}

/// What the mount table would show.
fn live(observed: &Observed) -> Live {
    let root = Mount {
        at: "/".into(),
        fstype: "zfs".to_owned(),
        source: "zroot/ROOT".to_owned(),
        read_only: false,
        sealed: false,
        fsid: "0".to_owned(),
    };
    let mut live = Live::default();
    for dataset in observed.datasets() {
        let Mountpoint::Path(path) = &dataset.mountpoint else {
            continue;
        };
        let mount = if dataset.mounted {
            Mount {
                at: path.clone(),
                source: dataset.name.to_string(),
                read_only: dataset.readonly,
                sealed: dataset.readonly,
                ..root.clone()
            }
        } else {
            root.clone()
        };
        live.covering.insert(path.clone(), Ok(Some(mount)));
    }
    live
}

#[test]
fn every_combination_of_two_datasets_keeps_the_laws_and_converges() {
    let cases = cases();
    assert_eq!(cases.len(), 192);
    let configurations = Configurations::all();
    let mut worlds = 0;
    for a in &cases {
        for b in &cases {
            let world = world(&configurations, [a, b]);
            let after = converge(&world);
            let live = live(&after);
            for (i, case) in [a, b].into_iter().enumerate() {
                let dataset = find(&after, &NAMES[i].parse().unwrap());
                let opens = case.loaded || case.key == KeyState::Usable;
                assert_eq!(
                    dataset.key_status == KeyStatus::Available,
                    opens,
                    "{case:?}"
                );
                assert_eq!(dataset.mounted, opens, "{case:?}");
                law_3(case, dataset);
                law_4(&world.config, i, case, &after, &live);
            }
            worlds += 1;
        }
    }
    assert_eq!(worlds, 192 * 192);
}

#[test]
fn what_a_boot_looks_at_is_all_that_its_plan_depends_on() {
    let configurations = Configurations::all();
    for a in &cases() {
        for b in &cases() {
            let mut world = world(&configurations, [a, b]);
            let unseen = dataset("zdata/else", "/else", a);
            let child = dataset("zdata/a/child", "/srv/a/child", b);
            for pool in world.observed.pools.values_mut() {
                let Pool::Seen(datasets) = pool else {
                    panic!("{pool:?}");
                };
                datasets.extend([unseen.clone(), child.clone()]);
            }
            let part = plan::part_for_keys(&world.config, "zdata");
            assert!(!part.has(&unseen.name));
            assert_eq!(part.has(&child.name), a.role == Role::Replica);
            let mut seen = world.observed.clone();
            for pool in seen.pools.values_mut() {
                if let Pool::Seen(datasets) = pool {
                    datasets.retain(|dataset| part.has(&dataset.name));
                }
            }
            let plan = |observed| plan::keys(&world.config, observed, &world.keys);
            assert_eq!(plan(&seen), plan(&world.observed), "{a:?} {b:?}");
        }
    }
}

fn law_3(case: &Case, dataset: &Dataset) {
    match case.is_replica() {
        true => assert!(dataset.readonly, "law 3: {case:?}"),
        false => assert_eq!(dataset.readonly, case.readonly, "{case:?}"),
    }
}

fn law_4(config: &Config, i: usize, case: &Case, after: &Observed, live: &Live) {
    let dataset = find(after, &NAMES[i].parse().unwrap());
    let known = Known {
        promoted: after.promoted(config),
        ..Known::default()
    };
    let gate = config.gate(&format!("gate{i}").parse().unwrap()).unwrap();
    let open = gate::decide(config, gate, live, &known) == Answer::Open;
    let right = dataset.mounted && dataset.readonly == case.is_replica();
    assert_eq!(open, right, "law 4: {case:?}");
}

#[test]
fn law_5_what_one_dataset_is_never_changes_what_is_done_for_the_other() {
    let cases = cases();
    let configurations = Configurations::all();
    for a in &cases {
        let of_a = |b: &Case| {
            let world = world(&configurations, [a, b]);
            let name: DatasetName = NAMES[0].parse().unwrap();
            let keys = plan::keys(&world.config, &world.observed, &world.keys);
            let mounts = plan::mounts(&world.config, &world.observed);
            let steps: Vec<Step> = keys
                .steps
                .into_iter()
                .chain(mounts.steps)
                .filter(|step| *step.dataset() == name)
                .collect();
            (steps, keys.roots[0].1.clone())
        };
        let alone = of_a(&cases[0]);
        for b in &cases {
            assert_eq!(of_a(b), alone, "{a:?} beside {b:?}");
        }
    }
}

#[test]
fn law_3_a_key_waits_while_any_replica_behind_it_could_be_written() {
    // A child, a grandchild and a root of its own below the replica; a replica that shares its
    // encryption root with a primary above it; and one that does as a clone somewhere else.
    let config = Config::parse(
        r#"(node: "f0", store: (label: "K"), roots: [
            (dataset: "z/r", key: "f0:r", role: replica, required: true),
            (dataset: "z/p", key: "f0:p", role: primary, required: true),
            (dataset: "z/p/r", key: "f0:p", role: replica, required: true),
            (dataset: "z/q", key: "f0:q", role: primary, required: true),
            (dataset: "z/clone", key: "f0:q", role: replica, required: true),
        ])"#,
    )
    .unwrap();
    let names = ["z/r", "z/r/a", "z/r/a/b", "z/r/own"];
    for writable in 0..1 << names.len() {
        let mut datasets: Vec<Dataset> = names
            .iter()
            .enumerate()
            .map(|(bit, name)| {
                let root = if *name == "z/r/own" { "z/r/own" } else { "z/r" };
                Dataset {
                    readonly: writable & (1 << bit) == 0,
                    ..sim::restricted(sim::encrypted(name, root))
                }
            })
            .collect();
        datasets.push(sim::encrypted("z/p", "z/p"));
        datasets.push(sim::restricted(sim::encrypted("z/p/r", "z/p")));
        datasets.push(sim::encrypted("z/q", "z/q"));
        datasets.push(sim::restricted(sim::encrypted("z/clone", "z/q")));
        let observed = Observed {
            pools: Map::from([("z".to_owned(), Pool::Seen(datasets))]),
            ..Observed::default()
        };
        let keys = Map::from([
            ("f0:r".parse().unwrap(), KeyState::Usable),
            ("f0:p".parse().unwrap(), KeyState::Usable),
            ("f0:q".parse().unwrap(), KeyState::Usable),
        ]);
        let plan = plan::keys(&config, &observed, &keys);
        let loads = |root: &str| {
            let of = |s: &Step| matches!(s, Step::LoadKey { root: r, .. } if r.as_str() == root);
            plan.steps.iter().any(of)
        };
        assert_eq!(loads("z/r"), writable == 0, "{writable:04b}");
        assert!(!loads("z/p"), "z/p/r could be written");
        assert!(!loads("z/q"), "z/clone could be written");
        let sealed = imagine(&observed, &seals::steps(&config, &observed));
        let next = plan::keys(&config, &sealed, &keys);
        assert!(matches!(next.roots[0].1, Verdict::ToOpen));
        assert!(matches!(next.roots[1].1, Verdict::ToOpen));
        assert!(matches!(next.roots[3].1, Verdict::ToOpen));
    }
}

/// A replica root, a child of it, a replica root below it and its child, and a volume.
const TREE: [(&str, &str); 5] = [
    ("z/r", "z/r"),
    ("z/r/a", "z/r"),
    ("z/r/own", "z/r/own"),
    ("z/r/own/b", "z/r/own"),
    ("z/r/vol", "z/r"),
];

fn tree(promotions: [&Promoted; 2], child: &Promoted, writable: usize) -> Observed {
    let datasets = TREE.iter().enumerate().map(|(bit, (name, root))| Dataset {
        readonly: writable & (1 << bit) == 0,
        kind: match *name {
            "z/r/vol" => Kind::Volume,
            _ => Kind::Filesystem,
        },
        promotion: match *name {
            "z/r" => promotions[0].clone(),
            "z/r/own" => promotions[1].clone(),
            _ => child.clone(),
        },
        ..sim::restricted(sim::encrypted(name, root))
    });
    Observed {
        pools: Map::from([("z".to_owned(), Pool::Seen(datasets.collect()))]),
        ..Observed::default()
    }
}

#[test]
fn law_3_a_promotion_is_about_its_own_part_of_the_tree_alone() {
    let config = Config::parse(
        r#"(node: "f0", store: (label: "K"), roots: [
            (dataset: "z/r", key: "f0:r", role: replica, required: true),
            (dataset: "z/r/own", key: "f0:r", role: replica, required: true),
        ])"#,
    )
    .unwrap();
    let keys = Map::from([("f0:r".parse().unwrap(), KeyState::Usable)]);
    let (all, mut worlds) = (promotions(), 0);
    for (r, own, child) in all.iter().flat_map(|r| {
        let all = &all;
        all.iter()
            .flat_map(move |own| all.iter().map(move |child| (r, own, child)))
    }) {
        let now = |promoted: &Promoted| matches!(promoted, Promoted::Now(_));
        for writable in 0..1 << TREE.len() {
            let observed = tree([r, own], child, writable);
            // What a dataset that is no configured root says of itself never counts.
            let may_be_written = |name: &str| match name.starts_with("z/r/own") {
                true => now(own),
                false => now(r),
            };
            let wrong: Vec<Step> = TREE
                .iter()
                .enumerate()
                .filter(|(bit, (name, _))| writable & (1 << bit) != 0 && !may_be_written(name))
                .map(|(_, (name, _))| Step::Seal(name.parse().unwrap(), vec![Seal::Readonly]))
                .collect();
            assert_eq!(seals::steps(&config, &observed), wrong);
            assert_eq!(plan::mounts(&config, &observed).steps, wrong);
            let plan = plan::keys(&config, &observed, &keys);
            let waits = |root: &str| {
                let below = |step: &&Step| {
                    let root: DatasetName = root.parse().unwrap();
                    step.dataset().is_at_or_below(&root)
                };
                wrong.iter().any(|step| below(&step))
            };
            for (name, verdict) in &plan.roots {
                let opens = matches!(verdict, Verdict::ToOpen);
                assert_eq!(opens, !waits(name.as_str()), "{name} {writable:05b}");
            }
            worlds += 1;
        }
    }
    assert_eq!(worlds, 4 * 4 * 4 * 32);
}

/// Every value of the properties that a mount follows, of a file system and of a volume, at and below
/// a replica and elsewhere.
#[test]
fn law_9_no_key_is_loaded_before_setuid_devices_and_exec_are_off_and_a_promotion_changes_none() {
    let mut worlds = 0;
    for (exec, values) in [false, true]
        .into_iter()
        .flat_map(|exec| (0..16).map(move |v| (exec, v)))
    {
        let text = format!(
            r#"(node: "f0", store: (label: "K"), roots: [
                (dataset: "z/p", key: "f0:p", role: primary, required: true),
                (dataset: "z/r", key: "f0:r", role: replica, required: true, exec: {exec}),
                (dataset: "z/r/own", key: "f0:r", role: replica, required: true),
            ])"#
        );
        let config = Config::parse(&text).unwrap();
        let keys = ["f0:p", "f0:r"].map(|key| (key.parse().unwrap(), KeyState::Usable));
        let names = [
            ("z/p", "z/p"),
            ("z/r", "z/r"),
            ("z/r/a", "z/r"),
            ("z/r/own", "z/r/own"),
        ];
        for (name, root) in names {
            for (kind, promoted) in [Kind::Filesystem, Kind::Volume]
                .into_iter()
                .flat_map(|kind| promotions().map(|promoted| (kind, promoted)))
            {
                let changed = Dataset {
                    kind,
                    readonly: values & 1 != 0,
                    setuid: values & 2 != 0,
                    devices: values & 4 != 0,
                    exec: values & 8 != 0,
                    ..sim::encrypted(name, root)
                };
                let sealed = |(other, root): &(&str, &str)| Dataset {
                    readonly: true,
                    ..sim::restricted(sim::encrypted(other, root))
                };
                let mut datasets: Vec<Dataset> = names.iter().map(sealed).collect();
                datasets.retain(|dataset| dataset.name != changed.name);
                datasets.push(changed.clone());
                for dataset in &mut datasets {
                    if dataset.name.as_str() == "z/r" {
                        dataset.promotion = promoted.clone();
                    }
                }
                let observed = Observed {
                    pools: Map::from([("z".to_owned(), Pool::Seen(datasets))]),
                    ..Observed::default()
                };
                let is_promoted = observed.promoted(&config).len() == 1;
                let own = name == "z/r/own";
                let is_fs = kind == Kind::Filesystem;
                let wanted = [
                    (Seal::Readonly, !changed.readonly && (own || !is_promoted)),
                    (Seal::Setuid, changed.setuid && is_fs),
                    (Seal::Devices, changed.devices && is_fs),
                    (Seal::Exec, changed.exec && is_fs && (own || !exec)),
                ];
                let missing: Vec<Seal> = wanted
                    .into_iter()
                    .filter(|(_, lacks)| *lacks && name != "z/p")
                    .map(|(seal, _)| seal)
                    .collect();
                let steps = seals::steps(&config, &observed);
                let expected: Vec<Step> = match missing.is_empty() {
                    true => Vec::new(),
                    false => vec![Step::Seal(changed.name.clone(), missing.clone())],
                };
                assert_eq!(steps, expected, "{changed:?}");
                let plan = plan::keys(&config, &observed, &keys.clone().into());
                for (root, verdict) in &plan.roots {
                    let waits = !missing.is_empty() && changed.name.is_at_or_below(root);
                    let opens = *verdict == Verdict::ToOpen;
                    assert_eq!(opens, !waits, "{root}: {verdict:?} {changed:?}");
                }
                let after = imagine(&observed, &steps);
                assert_eq!(seals::steps(&config, &after), [], "{changed:?}");
                worlds += 1;
            }
        }
    }
    assert_eq!(worlds, 2 * 16 * 4 * 2 * 4);
}

#[test]
fn law_5_what_is_known_of_a_pool_goes_with_its_look_and_no_other_with_it() {
    let damaged = |name: &str| Damaged {
        name: name.parse().unwrap(),
        property: "guid",
        what: "odd".to_owned(),
        opened_by: OpenedBy::NotKnown,
    };
    let listing = |names: &[&str]| Listing {
        datasets: Vec::new(),
        damaged: names.iter().map(|name| damaged(name)).collect(),
    };
    let mut observed = Observed::default();
    observed.take_in("y", listing(&["y/a"]));
    observed.take_in("z", listing(&["z/a", "z/b"]));
    let names = |observed: &Observed| {
        let names = observed.damaged.keys().map(ToString::to_string);
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&observed), ["y/a", "z/a", "z/b"]);
    observed.take_in("z", listing(&["z/b"]));
    assert_eq!(names(&observed), ["y/a", "z/b"]);
    observed.lose("z", Pool::Suspended);
    assert_eq!(names(&observed), ["y/a"]);
    assert_eq!(observed.pools.get("z"), Some(&Pool::Suspended));
}
