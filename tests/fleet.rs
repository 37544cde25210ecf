//! Nodes come, go and take other names, as docs/backup.md tells it: each ends with every copy of every
//! key proven, and with nothing lost of what was there.

mod nodes;
mod sim;

use Standing::{Current, Retained};
use f3skeys::boot;
use f3skeys::config::Config;
use f3skeys::init::decide::Request;
use f3skeys::init::init;
use f3skeys::names::KeyName;
use f3skeys::new_key::new_key;
use f3skeys::rotate::{What, rotate};
use f3skeys::store::layout;
use f3skeys::store::state::Standing;
use f3skeys::zfs::KeyStatus;
use nodes::{NODES, World, bytes, config_of, own};
use sim::formatter::formatter;
use sim::{Sim, Stick, at, encrypted};

/// A node with a stick on which nothing is, and an encrypted root that is still to get its key.
fn stranger(node: &str) -> Sim {
    let mut stick = Stick::new("/dev/da0", "", "1");
    stick.candidate.filesystems.clear();
    let root = format!("z{node}");
    Sim::new(&format!("fleet-{node}"))
        .with(vec![at(&format!("/{root}"), encrypted(&root, &root))])
        .stick(stick)
}

fn primary(root: &str, key: &str) -> String {
    format!("(dataset: \"{root}\", key: \"{key}\", role: primary, required: true)")
}

fn replica(root: &str, key: &str) -> String {
    format!(
        "(dataset: \"{root}\", key: \"{key}\", role: replica, required: true, mountpoint: \"/sink\")"
    )
}

/// The current key, by its copy on a node's stick.
fn current(world: &World, node: &str, key: &str) -> [u8; 32] {
    let path = layout::top_path(&key.parse().unwrap());
    world.files(node)[&path].as_slice().try_into().unwrap()
}

/// Makes a key of this node.
fn makes(world: &World, node: &str, key: &str) {
    let (sim, config) = &**world.host(node);
    let name: KeyName = f3skeys::new_key::name(config, key).unwrap();
    let made = sim.verb(|node| new_key(node, config, &name, None));
    assert_eq!(made.report.status, 0, "{}", made.report.complaints());
}

/// What `zfs create`, `zfs change-key` by hand, or a stream that has arrived makes of a root.
fn wrap(world: &World, node: &str, root: &str, key: [u8; 32]) {
    let mut wrapped = world.sim(node).wrapped.borrow_mut();
    wrapped.insert(root.to_owned(), key);
}

/// Power is cut, and the node comes back with all of its roots.
fn comes_back(world: &World, node: &str) {
    let (sim, config) = &**world.host(node);
    sim.reboot("another boot");
    let report = sim.verb(|node| boot::boot(node, config));
    assert_eq!(report.status, 0, "{node}: {}", report.complaints());
    for root in &config.roots {
        let dataset = sim.find(root.dataset.as_str());
        assert_eq!(dataset.key_status, KeyStatus::Available, "{}", root.dataset);
    }
}

/// Every node's backup and `status --peers` are well, and every peer has proven.
fn assert_all_well(world: &World, nodes: &[&str]) {
    for node in nodes {
        let report = world.backup(node, &[]);
        assert_eq!(report.status, 0, "{node}: {}", report.complaints());
    }
    for node in nodes {
        let told = world.copies(node);
        assert_eq!(told.status, 0, "{node}: {}", told.text());
        for key in &told.keys {
            let peers: Vec<&str> = key.peers.iter().map(|peer| peer.peer.as_str()).collect();
            let others = nodes.iter().copied().filter(|other| other != node);
            assert_eq!(peers, others.collect::<Vec<_>>(), "{node}: {}", key.key);
        }
    }
}

/// Whatever a stick held before, it still holds.
fn assert_kept(world: &World, node: &str, before: &sim::medium::Files) {
    let now = world.files(node);
    for (path, content) in before {
        if path != layout::STATE {
            assert_eq!(now.get(path), Some(content), "{node}: {path}");
        }
    }
}

#[test]
fn a_new_node_is_added_and_every_key_ends_on_every_stick() {
    let listed = ["f0", "f1", "f2"];
    let new = config_of("f3", &listed, &primary("zf3", "f3:data"));
    let world = World::backed_up("fleet-add").with(|nodes| nodes.push((stranger("f3"), new)));
    let before: Vec<_> = NODES.map(|node| world.files(node)).into();

    let sim = world.sim("f3");
    let request = Request {
        device: "/dev/da0".into(),
        serial: Some("1".to_owned()),
        label: "K".to_owned(),
        overwrite: None,
        fixed: None,
    };
    let founded = sim.verb(|node| init(node, &formatter(sim), &request, "`hint`"));
    assert_eq!(founded.status, 0, "{}", founded.complaints());
    makes(&world, "f3", "data");
    wrap(&world, "f3", "zf3", current(&world, "f3", "f3:data"));

    // Until the others list it, nobody listens, and nothing is well.
    let report = world.backup("f3", &[]);
    assert_eq!(report.status, 69);
    let said = report.complaints();
    assert!(said.contains("f3 is not one of the peers of f0"), "{said}");
    assert_eq!(world.copies("f3").status, 69);

    let world = NODES.into_iter().fold(world, |world, node| {
        let mut peers: Vec<&str> = listed.into_iter().filter(|peer| *peer != node).collect();
        peers.push("f3");
        let root = primary(&format!("z{node}"), &format!("{node}:data"));
        world.configured(config_of(node, &peers, &root))
    });
    // Now the others see that their copies on it are missing.
    let told = world.copies("f0");
    assert_eq!(told.status, 69);
    assert!(
        told.text().contains("`f3skeys backup --to f3`"),
        "{}",
        told.text()
    );
    assert_all_well(&world, &["f0", "f1", "f2", "f3"]);
    let new = current(&world, "f3", "f3:data");
    for (node, before) in NODES.into_iter().zip(&before) {
        assert_kept(&world, node, before);
        assert_kept(&world, "f3", &own(node));
        assert_eq!(current(&world, node, "f3:data"), new);
    }
    for node in ["f0", "f1", "f2", "f3"] {
        comes_back(&world, node);
    }
}

/// f0 with a replica of f2's root, opened by what opened that when the last stream was sent.
fn with_replica(world: World, peers: &[&str], key: &str) -> World {
    let roots = format!(
        "{}, {}",
        primary("zf0", "f0:data"),
        replica("zf0/sink", key)
    );
    world.configured(config_of("f0", peers, &roots))
}

fn replicated(name: &str) -> World {
    let world = World::backed_up(name);
    let world = with_replica(world, &["f1", "f2"], "f2:data");
    let sink = at("/sink", encrypted("zf0/sink", "zf0/sink"));
    world.sim("f0").datasets.borrow_mut().push(sink);
    wrap(&world, "f0", "zf0/sink", bytes("f2:data", 2));
    comes_back(&world, "f0");
    world
}

#[test]
fn a_node_that_goes_leaves_its_keys_and_its_replica_opens() {
    let world = replicated("fleet-remove");
    let before = ["f0", "f1"].map(|node| world.files(node));
    // It is off for good: as long as it is listed, that is said.
    for node in ["f0", "f1"] {
        world.sim(node).away.borrow_mut().push("f2".to_owned());
        assert_eq!(world.copies(node).status, 69, "{node}");
        assert_eq!(world.backup(node, &[]).status, 69, "{node}");
    }
    let world = with_replica(world, &["f1"], "f2:data");
    let world = world.configured(config_of("f1", &["f0"], &primary("zf1", "f1:data")));
    assert_all_well(&world, &["f0", "f1"]);
    for (node, before) in ["f0", "f1"].into_iter().zip(&before) {
        assert_eq!(world.files(node), *before, "{node}");
        assert_kept(&world, node, &own("f2"));
        comes_back(&world, node);
    }
    // Should it come back, nobody listens.
    let report = world.backup("f2", &[]);
    let said = report.complaints();
    assert_eq!(report.status, 69);
    assert!(said.contains("f2 is not one of the peers of f0"), "{said}");
}

/// How the roots of a renamed node get their keys.
type Rewrap = fn(&World);

fn by_change_key(world: &World) {
    makes(world, "f9", "data");
    wrap(world, "f9", "zf2", current(world, "f9", "f9:data"));
}

fn by_taking_over(world: &World) {
    makes(world, "f9", "data");
    let (sim, config) = &**world.host("f9");
    sim.change("zf2", |root| root.key_status = KeyStatus::Available);
    let key = "f9:data".parse().unwrap();
    let what = What::Start {
        take_over: true,
        copies: None,
    };
    let done = sim.verb(|node| rotate(node, config, &key, what, &|_| {}));
    assert_eq!(done.report.status, 0, "{}", done.report.complaints());
}

#[test]
fn a_node_that_is_renamed_makes_keys_of_its_new_name_and_loses_none() {
    for (rewrap, generations) in [
        (by_change_key as Rewrap, &[Current][..]),
        (by_taking_over as Rewrap, &[Retained, Current][..]),
    ] {
        let world = replicated("fleet-rename");
        let before = NODES.map(|node| world.files(node));
        let renamed = |nodes: &mut Vec<(Sim, Config)>| {
            let root = primary("zf2", "f9:data");
            nodes[2].1 = config_of("f9", &["f0", "f1"], &root);
        };
        // The others list the new name and not the old; the replica goes on as it was.
        let world = with_replica(world.with(renamed), &["f1", "f9"], "f2:data");
        let root = primary("zf1", "f1:data");
        let world = world.configured(config_of("f1", &["f0", "f9"], &root));
        rewrap(&world);
        assert_all_well(&world, &["f0", "f1", "f9"]);
        let new = current(&world, "f9", "f9:data");
        assert_eq!(world.sim("f9").wrapped.borrow()["zf2"], new);
        for (node, before) in ["f0", "f1", "f9"].into_iter().zip(&before) {
            assert_kept(&world, node, before);
            assert_eq!(current(&world, node, "f9:data"), new, "{node}");
            let state = sim_state(&world, node);
            assert_eq!(state, generations, "{node}");
            comes_back(&world, node);
        }
        // The next stream gives the replica the new wrapping key, and its root the new name.
        wrap(&world, "f0", "zf0/sink", new);
        let world = with_replica(world, &["f1", "f9"], "f9:data");
        comes_back(&world, "f0");
        assert_all_well(&world, &["f0", "f1", "f9"]);
    }
}

/// How the generations of the new key are listed on a node's stick.
fn sim_state(world: &World, node: &str) -> Vec<Standing> {
    let files = world.files(node);
    let state = f3skeys::store::state::State::parse(&files[layout::STATE]).unwrap();
    let key: KeyName = "f9:data".parse().unwrap();
    state.keys[&key].iter().map(|listed| listed.state).collect()
}
