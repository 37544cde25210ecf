//! What is read of a stick before its store may be trusted.

use f3skeys::device::{self, Choice, Filesystem, HEAD_LEN, Kind, SUPERBLOCKS, Wanted};
use f3skeys::key::Fingerprint;
use f3skeys::names::KeyName;
use f3skeys::store::layout::{self, Place};
use f3skeys::store::state::{BadState, FORMAT, State};

/// Where the three kinds of superblock begin in a head.
const PLACES: [usize; 3] = [1024, 8192, 65536];

/// The head of a disk; also one with these bytes wherever a superblock may lie.
pub fn superblocks(bytes: &[u8]) -> bool {
    let mut head = vec![0; HEAD_LEN];
    for place in PLACES {
        let some = &bytes[..bytes.len().min(4096)];
        head[place..place + some.len()].copy_from_slice(some);
    }
    let found = look(&head);
    look(bytes) || found
}

fn look(head: &[u8]) -> bool {
    let found = device::identify(head);
    let kinds: Vec<Kind> = found.iter().map(|filesystem| filesystem.kind).collect();
    assert!(kinds.windows(2).all(|two| two[0] < two[1]), "{kinds:?}");
    assert_eq!(device::identify(&elsewhere_changed(head)), found);
    for filesystem in &found {
        check_label(filesystem);
        if let Some(label) = &filesystem.label {
            check_choice(label, &found);
        }
    }
    !found.is_empty()
}

/// The same head with other bytes wherever no superblock lies.
fn elsewhere_changed(head: &[u8]) -> Vec<u8> {
    let is_read = |at: &usize| {
        SUPERBLOCKS
            .iter()
            .any(|(from, to)| (from..to).contains(&at))
    };
    let other = head.iter().enumerate();
    other
        .map(|(at, byte)| if is_read(&at) { *byte } else { !byte })
        .collect()
}

fn check_label(filesystem: &Filesystem) {
    let longest = match filesystem.kind {
        Kind::Ext => 16,
        Kind::Ufs1 | Kind::Ufs2 => 32,
    };
    if let Some(label) = &filesystem.label {
        assert!(!label.is_empty() && !label.contains('\0'), "{label:?}");
        assert!(label.chars().count() <= longest, "{label:?}");
    }
}

/// A disk is taken by its whole label and by no other.
fn check_choice(label: &str, filesystems: &[Filesystem]) {
    let candidate = device::Candidate {
        node: "/dev/da0".into(),
        serial: None,
        filesystems: filesystems.to_vec(),
        ..device::Candidate::default()
    };
    let choose = |label: String| {
        let wanted = Wanted {
            label: Some(label),
            serial: None,
        };
        device::choose(&wanted, std::slice::from_ref(&candidate))
    };
    let is_there = |label: &str| {
        let mut labels = filesystems.iter().filter_map(|fs| fs.label.as_deref());
        labels.any(|known| known == label)
    };
    let cut: String = label.chars().skip(1).collect();
    for label in [label.to_owned(), format!("{label}x"), cut] {
        let found = choose(label.clone());
        assert_eq!(
            matches!(found, Choice::Found(..)),
            is_there(&label),
            "{label:?}"
        );
    }
}

/// A state file as it is, and one whose checksum fits.
pub fn state(bytes: &[u8]) -> bool {
    let sum = blake3::hash(bytes).to_hex();
    let summed = [format!("// checksum {sum}\n").as_bytes(), bytes].concat();
    [bytes, &summed].map(read_state).contains(&true)
}

fn read_state(bytes: &[u8]) -> bool {
    match State::parse(bytes) {
        Ok(state) => {
            assert_eq!(state.format, FORMAT);
            assert_eq!(State::parse(&state.to_bytes()).as_ref(), Ok(&state));
            state.keys.iter().for_each(|(key, _)| check_paths(key));
            true
        }
        Err(BadState::UnknownFormat(format)) => {
            assert_ne!(format, FORMAT);
            false
        }
        Err(BadState::Damaged(_)) => false,
    }
}

/// All files of a key lie in the store, and their names are read as what they are.
fn check_paths(key: &KeyName) {
    let top = layout::top_path(key);
    assert!(!top.contains('/') && !top.starts_with('.'), "{top}");
    assert_eq!(layout::parse_top(&top).as_ref(), Some(key));
    let directory = layout::generations(key);
    let place = Place::Generation {
        number: 7,
        fingerprint: Fingerprint::of(&[1; 32]),
    };
    let (above, name) = split(place.path(key));
    assert_eq!(above, directory);
    assert_eq!(layout::parse_generation(&name), Some(place));
    assert_eq!(split(directory).0, layout::DIRECTORY);
}

fn split(path: String) -> (String, String) {
    let (directory, name) = layout::split(&path);
    (directory.to_owned(), name.to_owned())
}

/// The names of files on a stick.
pub fn store_names(bytes: &[u8]) -> bool {
    let name = super::text(bytes);
    let key = layout::parse_top(&name);
    if let Some(key) = &key {
        assert_eq!(layout::top_path(key), name, "there is one spelling");
        check_paths(key);
    }
    let generation = layout::parse_generation(&name);
    if let Some(place) = generation {
        let key: KeyName = "f0:z".parse().expect("a key name");
        let path = place.path(&key);
        assert_eq!(layout::split(&path).1, name, "there is one spelling");
    }
    check_aside(&name);
    key.is_some() || generation.is_some()
}

/// What is put aside, or written and not whole, stays in its directory and is no key.
fn check_aside(name: &str) {
    let aside = layout::aside(name, 1);
    assert_eq!(layout::split(&aside).0, layout::ASIDE);
    let aside = layout::split(&aside).1;
    assert!(layout::parse_top(aside).is_none(), "{aside}");
    assert!(layout::parse_generation(aside).is_none(), "{aside}");
    let temporary = layout::temporary(name);
    assert_eq!(layout::split(&temporary).0, layout::split(name).0);
    let temporary = layout::split(&temporary).1;
    assert!(layout::is_temporary(temporary), "{temporary}");
    assert!(layout::parse_top(temporary).is_none(), "{temporary}");
    assert!(layout::parse_generation(temporary).is_none(), "{temporary}");
}
