use super::*;
use crate::key::Fingerprint;
use state::{FORMAT, State};
use std::io;

const A: [u8; 32] = [0xaa; 32];
const B: [u8; 32] = [0xbb; 32];

fn name() -> KeyName {
    "f0:zdata".parse().unwrap()
}

fn content(bytes: &[u8; 32]) -> Result<Key, String> {
    Key::take(|place| {
        place.copy_from_slice(bytes);
        io::Result::Ok(())
    })
    .map_err(|e| e.to_string())
}

fn top(bytes: &[u8; 32]) -> KeyFile {
    KeyFile {
        key: name(),
        place: Place::Top,
        content: content(bytes),
    }
}

/// A generation's file that is named for `named` and holds `bytes`.
fn generation(number: u32, named: &[u8; 32], bytes: &[u8; 32]) -> KeyFile {
    KeyFile {
        key: name(),
        place: Place::Generation {
            number,
            fingerprint: Fingerprint::of(named),
        },
        content: content(bytes),
    }
}

fn state(generations: &[(u32, [u8; 32], Standing)]) -> Option<Result<Vec<u8>, String>> {
    let generations = generations
        .iter()
        .map(|(number, bytes, state)| state::Generation {
            generation: *number,
            fingerprint: Fingerprint::of(bytes),
            state: *state,
        })
        .collect();
    let state = State {
        format: FORMAT,
        store: "0".repeat(32),
        keys: Map::from([(name(), generations)]),
    };
    Some(Ok(state.to_bytes()))
}

fn holding(files: Vec<KeyFile>, state: Option<Result<Vec<u8>, String>>) -> (Holding, Keyring) {
    let reading = Reading {
        files,
        state,
        ..Reading::default()
    };
    let mut keyring = verify(Wanted::These(&[name()]), reading).unwrap();
    (keyring.keys.remove(&name()).unwrap(), keyring)
}

/// The order in which a boot tries the generations, by first byte and standing.
fn order(holding: &Holding) -> Vec<(u8, Standing)> {
    let shown = |g: &Generation| (g.key.expose()[0], g.standing);
    holding.generations.iter().map(shown).collect()
}

#[test]
fn generations_that_cannot_be_read_leave_the_copy_at_the_top() {
    let unreadable = || KeyFile {
        place: Place::Generations,
        content: Err("cannot be read".to_owned()),
        ..top(&A)
    };
    for (state, verified) in [
        (state(&[(1, A, Standing::Current)]), true),
        (Some(Err("cannot be read".to_owned())), false),
    ] {
        let (held, keyring) = holding(vec![top(&A), unreadable()], state);
        assert_eq!(order(&held), [(0xaa, Standing::Current)]);
        assert_eq!(held.generations[0].verified, verified);
        assert!(!keyring.plain);
        assert!(held.damage.iter().any(|d| d.path == ".f3skeys/f0:zdata"));
    }
    let (held, _) = holding(vec![unreadable()], state(&[(1, A, Standing::Current)]));
    assert!(held.generations.is_empty());
    assert!(held.damage.iter().any(|d| d.what == "cannot be read"));
}

#[test]
fn current_then_staged_then_retained_and_what_is_retired_last() {
    let c = [0xcc; 32];
    let d = [0xdd; 32];
    let (held, _) = holding(
        vec![
            generation(1, &d, &d),
            generation(2, &c, &c),
            generation(3, &A, &A),
            generation(4, &B, &B),
            top(&A),
        ],
        state(&[
            (1, d, Standing::Retired),
            (2, c, Standing::Retained),
            (3, A, Standing::Current),
            (4, B, Standing::Staged),
        ]),
    );
    assert_eq!(
        order(&held),
        [
            (0xaa, Standing::Current),
            (0xbb, Standing::Staged),
            (0xcc, Standing::Retained),
            (0xdd, Standing::Retired)
        ]
    );
    assert_eq!(held.damage, []);
}

#[test]
fn without_a_state_file_the_top_copy_says_which_is_current() {
    let (held, keyring) = holding(
        vec![generation(1, &A, &A), generation(2, &B, &B), top(&A)],
        None,
    );
    assert_eq!(
        order(&held),
        [(0xaa, Standing::Current), (0xbb, Standing::Staged)]
    );
    assert!(!keyring.plain);
}

#[test]
fn without_state_file_and_top_copy_the_newest_is_current() {
    let (held, _) = holding(vec![generation(1, &A, &A), generation(2, &B, &B)], None);
    assert_eq!(
        order(&held),
        [(0xbb, Standing::Current), (0xaa, Standing::Retained)]
    );
    assert_eq!(held.damage.len(), 1, "the missing copy at the top is named");
}

#[test]
fn a_generation_that_its_state_does_not_know_is_staged() {
    let (held, _) = holding(
        vec![generation(1, &A, &A), generation(2, &B, &B), top(&A)],
        state(&[(1, A, Standing::Current)]),
    );
    assert_eq!(
        order(&held),
        [(0xaa, Standing::Current), (0xbb, Standing::Staged)]
    );
}

#[test]
fn a_damaged_state_file_is_named_and_loses_no_key() {
    let Some(Ok(mut bytes)) = state(&[(1, A, Standing::Current)]) else {
        unreachable!()
    };
    bytes[100] ^= 1;
    let (held, keyring) = holding(vec![generation(1, &A, &A), top(&A)], Some(Ok(bytes)));
    assert_eq!(order(&held), [(0xaa, Standing::Current)]);
    assert_eq!(keyring.damage[0].path, layout::STATE);
}

#[test]
fn every_single_loss_leaves_a_key_and_is_named() {
    let whole = || vec![generation(1, &A, &A), top(&A)];
    let good = || state(&[(1, A, Standing::Current)]);
    for lost in 0..2 {
        let mut files = whole();
        files.remove(lost);
        let (held, _) = holding(files, good());
        assert_eq!(order(&held), [(0xaa, Standing::Current)]);
        assert_eq!(held.damage.len(), 1);
        assert_eq!(held.damage[0].what, "is missing");
    }
    let (held, keyring) = holding(whole(), None);
    assert_eq!(order(&held), [(0xaa, Standing::Current)]);
    assert_eq!(
        keyring.damage[0].to_string(),
        ".f3skeys/state.ron is missing"
    );
}

#[test]
fn law_1_every_flipped_bit_of_either_copy_is_named_and_not_used() {
    for bit in 0..256 {
        let mut flipped = A;
        flipped[bit / 8] ^= 1 << (bit % 8);
        for files in [
            vec![generation(1, &A, &flipped), top(&A)],
            vec![generation(1, &A, &A), top(&flipped)],
        ] {
            let (held, _) = holding(files, state(&[(1, A, Standing::Current)]));
            assert_eq!(order(&held), [(0xaa, Standing::Current)], "bit {bit}");
            assert_eq!(held.damage.len(), 1, "bit {bit}");
        }
        let both = vec![generation(1, &A, &flipped), top(&flipped)];
        let (held, _) = holding(both, state(&[(1, A, Standing::Current)]));
        assert_eq!(order(&held), [], "bit {bit}");
    }
}

#[test]
fn a_plain_store_is_used_and_said_to_be_unverified() {
    let (held, keyring) = holding(vec![top(&A)], None);
    assert!(keyring.plain && !held.generations[0].verified);
    assert_eq!(held.damage, []);
}

#[test]
fn a_stray_key_on_a_store_of_format_1_is_not_trusted() {
    let (held, _) = holding(vec![top(&B)], state(&[(1, A, Standing::Current)]));
    assert_eq!(order(&held), []);
    assert_eq!(held.damage.len(), 2);
}

#[test]
fn without_a_state_file_what_opens_a_root_is_current() {
    let c = [0xcc; 32];
    let of = |opens: &[[u8; 32]]| {
        let reading = Reading {
            files: vec![
                generation(1, &A, &A),
                generation(2, &B, &B),
                generation(3, &c, &c),
                top(&c),
            ],
            ..Reading::default()
        };
        let survey = survey::survey(Wanted::All, reading).unwrap();
        let opens = opens.iter().map(Fingerprint::of).collect();
        let standings = survey.keys[&name()].standings(&opens);
        [A, B, c].map(|key| standings[&Fingerprint::of(&key)])
    };
    use Standing::{Current, Retained, Staged};
    assert_eq!(of(&[]), [Retained, Retained, Current]);
    assert_eq!(of(&[A]), [Current, Staged, Staged]);
    assert_eq!(of(&[B]), [Retained, Current, Staged]);
    // In the middle of a rotation some roots are open by the older one still.
    assert_eq!(of(&[B, c]), [Retained, Current, Staged]);
    assert_eq!(of(&[[9; 32]]), [Retained, Retained, Current]);
}

#[test]
fn a_key_that_nothing_vouches_for_is_used_beside_those_that_are() {
    let other: KeyName = "f0:other".parse().unwrap();
    let reading = Reading {
        files: vec![
            generation(1, &A, &A),
            top(&A),
            KeyFile {
                key: other.clone(),
                place: Place::Top,
                content: content(&B),
            },
        ],
        state: state(&[(1, A, Standing::Current)]),
        ..Reading::default()
    };
    let keyring = verify(Wanted::All, reading).unwrap();
    let plain = &keyring.keys[&other];
    assert_eq!(order(plain), [(0xbb, Standing::Current)]);
    assert!(!plain.generations[0].verified && plain.damage.is_empty());
    assert!(keyring.keys[&name()].generations[0].verified);
}

#[test]
fn a_copy_at_the_top_of_another_generation_is_named() {
    let (held, _) = holding(
        vec![generation(1, &A, &A), generation(2, &B, &B), top(&A)],
        state(&[(1, A, Standing::Retained), (2, B, Standing::Current)]),
    );
    assert_eq!(held.damage.len(), 1);
    assert!(held.damage[0].what.contains("not the current"));
    assert_eq!(order(&held)[0], (0xbb, Standing::Current));
}
