//! Law 2, of the one verb that answers others: no verb, flag, message or sequence of two makes
//! `receive` send a key byte. A node whose store holds keys of every owner in every state is asked all
//! there is, and whatever comes out of it is searched: answers, refusals, standard error, reports, the
//! audit log, receipts. What the search would find, it is shown to find.

mod nodes;
mod sim;

use f3skeys::backup::copies::copies;
use f3skeys::config::Config;
use f3skeys::key::keys_alive;
use f3skeys::marker;
use f3skeys::names::{KeyName, NodeName};
use f3skeys::peers::{Ask, Put, Question, VERSION, Vouched};
use f3skeys::receive::{Refused, Time, answer, authorized_keys_line, rebuild, serve, understand};
use f3skeys::store::layout;
use f3skeys::store::state::Standing;
use f3skeys::store::work::Merge;
use nodes::{NODES, World, bytes, key_of, nonce, print, putting, store};
use sim::medium::Files;
use sim::{Sim, Stick, at, encrypted};
use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use Standing::{Current, Pruned, Retained, Retired, Staged};

/// Who asks, who answers, and a third.
const ASKER: &str = NODES[0];
const ANSWERER: &str = NODES[1];
const THIRD: &str = NODES[2];

// ---- the keys

/// What the answerer's store holds of a key.
type Lay = fn(&mut Files, &str);

/// Of each owner one key of each kind: its name, its generations as they are listed, and what is done
/// to its files.
const KINDS: [(&str, &[Standing], Lay); 9] = [
    (
        "all",
        &[Pruned, Retired, Retained, Current, Staged],
        |_, _| {},
    ),
    ("one", &[Current], |_, _| {}),
    ("flipped", &[Retained, Current], |files, key| {
        files.get_mut(&generation(key, 2)).unwrap()[9] ^= 1;
    }),
    ("rotten", &[Retained, Current], |files, key| {
        files.get_mut(&generation(key, 2)).unwrap()[9] ^= 1;
        files.get_mut(&top(key)).unwrap()[31] ^= 1;
    }),
    ("short", &[Retained, Current], |files, key| {
        files.get_mut(&generation(key, 1)).unwrap().truncate(20);
    }),
    ("gone", &[Retained, Current], |files, key| {
        drop(files.remove(&generation(key, 1)));
    }),
    // Not listed: laid on the stick by hand, left by a lost state, or not there at all.
    ("laid", &[], |files, key| {
        drop(files.insert(top(key), bytes(key, 1).to_vec()));
    }),
    ("stray", &[], |files, key| {
        drop(files.insert(generation(key, 1), bytes(key, 1).to_vec()));
    }),
    ("new", &[], |_, _| {}),
];

/// The most generations that a key has, and one of which nobody has heard.
const NUMBERS: [u32; 8] = [1, 2, 3, 4, 5, 6, 7, UNHEARD];
const UNHEARD: u32 = 77;

fn top(key: &str) -> String {
    layout::top_path(&key.parse().unwrap())
}

fn generation(key: &str, number: u32) -> String {
    layout::generation_path(&key.parse().unwrap(), number, print(key, number))
}

/// Every key with its generations as they are listed.
fn keys() -> impl Iterator<Item = (String, &'static [Standing])> {
    NODES.into_iter().flat_map(|owner| {
        let of_kind = move |(kind, standings, _): &(&str, &'static [Standing], Lay)| {
            (format!("{owner}:{kind}"), *standings)
        };
        KINDS.iter().map(of_kind)
    })
}

/// The answerer's store: every key, what a repair has moved aside, and what a cut write has left.
fn whole() -> Files {
    let all: Vec<(String, &[Standing])> = keys().collect();
    let listed = all.iter().filter(|(_, standings)| !standings.is_empty());
    let listed: Vec<(&str, &[Standing])> = listed.map(|(k, s)| (k.as_str(), *s)).collect();
    let mut files = store("01", &listed);
    for owner in NODES {
        for (kind, _, lay) in KINDS {
            lay(&mut files, &format!("{owner}:{kind}"));
        }
        let key = format!("{owner}:one");
        let (aside, torn) = (
            layout::aside(&top(&key), 1),
            layout::temporary(&generation(&key, 6)),
        );
        files.insert(aside, bytes(&key, 7).to_vec());
        files.insert(torn, bytes(&key, 6).to_vec());
    }
    files
}

// ---- the search

/// So many bytes of a key in a row are found.
const WINDOW: usize = 16;
/// Every part of base64 that is so long holds this many bytes from one of its borders on.
const ON_A_BORDER: usize = 12;

/// Parts of all keys, in each form in which bytes are written.
struct Search {
    raw: HashSet<[u8; WINDOW]>,
    hex: HashSet<String>,
    base64: HashSet<String>,
    searched: Cell<usize>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sextets = |three: &[u8]| {
        let part = |at| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        let digit = |n: usize| DIGITS[(bits >> (18 - 6 * n) & 63) as usize] as char;
        (0..=three.len()).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(sextets).collect()
}

/// The numbers of a text, in rows: between two of a row stands nothing but blanks and signs.
fn rows(text: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let mut rows = vec![Vec::new()];
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        match (word, word.parse::<u8>()) {
            ("", _) => {}
            (_, Ok(number)) => rows.last_mut().unwrap().push(number),
            (_, Err(_)) => rows.push(Vec::new()),
        }
    }
    rows
}

impl Search {
    fn new() -> Search {
        let mut search = Search {
            raw: HashSet::new(),
            hex: HashSet::new(),
            base64: HashSet::new(),
            searched: Cell::new(0),
        };
        let simple = NODES.map(|node| [format!("{node}:data"), format!("{node}:more")]);
        let all = keys().map(|(key, _)| key);
        for key in all.chain(simple.into_iter().flatten()) {
            for number in NUMBERS {
                search.add(&bytes(&key, number));
            }
        }
        search
    }

    fn add(&mut self, key: &[u8; 32]) {
        for part in key.windows(WINDOW) {
            self.raw.insert(part.try_into().unwrap());
            self.hex.insert(hex(part));
        }
        let parts = key.windows(ON_A_BORDER);
        self.base64.extend(parts.map(base64));
    }

    fn finds_raw(&self, text: &[u8]) -> bool {
        text.windows(WINDOW).any(|part| self.raw.contains(part))
    }

    fn finds_text(&self, text: &[u8], length: usize, of: &HashSet<String>) -> bool {
        let parts = text.windows(length).map(std::str::from_utf8);
        parts.flatten().any(|part| of.contains(part))
    }

    fn finds(&self, text: &[u8]) -> bool {
        self.searched.set(self.searched.get() + 1);
        let lower = text.to_ascii_lowercase();
        let plain: Vec<u8> = text
            .iter()
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        self.finds_raw(text)
            || rows(text).iter().any(|row| self.finds_raw(row))
            || self.finds_text(&lower, 2 * WINDOW, &self.hex)
            || self.finds_text(&plain, ON_A_BORDER / 3 * 4, &self.base64)
    }

    fn assert_silent(&self, text: &[u8], case: &dyn Fn() -> String) {
        let shown = || String::from_utf8_lossy(text).into_owned();
        assert!(!self.finds(text), "{}: {}", case(), shown());
    }

    /// All that a node keeps beside its stick: run directory, reports, audit log, receipts.
    fn found_below(&self, directory: &Path) -> Option<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().path())
            .find_map(|path| match path.is_dir() {
                true => self.found_below(&path),
                false => self.finds(&fs::read(&path).unwrap()).then_some(path),
            })
    }

    fn assert_silent_below(&self, directory: &Path) {
        assert_eq!(self.found_below(directory), None);
    }
}

/// Control: every part of a key that is long enough is found, in each form and in any surroundings.
#[test]
fn the_search_finds_a_planted_key_in_every_form() {
    let search = Search::new();
    let key = bytes("f2:all", 3);
    let list = |sign: &str, part: &[u8]| {
        let numbers: Vec<String> = part.iter().map(u8::to_string).collect();
        numbers.join(sign)
    };
    for part in key.windows(WINDOW) {
        let url = |text: String| text.replace('+', "-").replace('/', "_");
        let shifted = |by: usize| base64(&[&vec![b'x'; by], part, b"y"].concat());
        let mut forms = vec![hex(part), hex(part).to_uppercase()];
        forms.extend([",", ", ", " ", ",\n    "].map(|sign| format!("[{}]", list(sign, part))));
        forms.extend((0..3).flat_map(|by| [shifted(by), url(shifted(by))]));
        for form in forms {
            assert!(search.finds(form.as_bytes()), "{form}");
            let told = format!("{{\"held\":\"ab{form}cd\",\"more\":[1,2]}}");
            assert!(search.finds(told.as_bytes()), "{told}");
        }
        assert!(search.finds(&[b"line\n", part, b"\n"].concat()));
    }
    let other = blake3::hash(b"none of them");
    for innocent in [
        hex(other.as_bytes()),
        base64(other.as_bytes()),
        list(",", other.as_bytes()),
        print("f2:all", 3).hex(),
    ] {
        assert!(!search.finds(innocent.as_bytes()), "{innocent}");
    }
    // Also where it looks for itself.
    let sim = Sim::new("answers-control");
    fs::create_dir_all(sim.db().join("receipts")).unwrap();
    search.assert_silent_below(&sim.directory);
    let planted = sim.db().join("receipts/f1.json");
    fs::write(&planted, hex(&key)).unwrap();
    assert_eq!(search.found_below(&sim.directory), Some(planted));
}

// ---- what is asked

/// A question with the bytes that follow it.
type Asked = (Ask, Vec<u8>);

/// All that may be asked about a key.
fn about(key: &str, listed: &[Standing]) -> Vec<Asked> {
    let name: KeyName = key.parse().unwrap();
    let replicas = ["zall", "zdata", "znone"].map(|name| name.parse().unwrap());
    let seeds = [
        Ask::Replicas(replicas.to_vec()),
        Ask::Key {
            key: name,
            nonce: nonce(),
        },
        Ask::Put(Put {
            merge: putting(key, listed).0,
            vouched: None,
        }),
    ];
    assert_eq!(
        kinds(),
        BTreeSet::from(["replicas", "key", "put"].map(str::to_owned))
    );
    seeds
        .into_iter()
        .flat_map(|seed| match seed {
            // A new kind of question, or a new part of one, is to be asked here as well.
            Ask::Replicas(all) => {
                let some = (0..all.len()).map(|n| all[..=n].to_vec());
                some.map(|some| (Ask::Replicas(some), Vec::new())).collect()
            }
            Ask::Key { key, nonce } => vec![(Ask::Key { key, nonce }, Vec::new())],
            Ask::Put(Put {
                merge:
                    Merge {
                        key: _,
                        list: _,
                        bring: _,
                        nonce: _,
                    },
                vouched:
                    None
                    | Some(Vouched {
                        by: _,
                        challenge: _,
                        proof: _,
                    }),
            }) => puts(key, listed),
        })
        .collect()
}

/// The kinds of questions that are understood, by the parser's own word.
fn kinds() -> BTreeSet<String> {
    let why = serde_json::from_str::<Ask>("{\"give\":0}").unwrap_err();
    let words = why.to_string();
    let (_, expected) = words.split_once("expected").expect(&words);
    let names = expected.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// Lists as they are, advanced, set back and forged, with all, some and none of the bytes, with others
/// and with too few.
fn puts(key: &str, listed: &[Standing]) -> Vec<Asked> {
    let more = [listed, &[Staged]].concat();
    let committed: Vec<Standing> = listed
        .iter()
        .map(|standing| match standing {
            Staged => Current,
            Current if listed.contains(&Staged) => Retained,
            other => *other,
        })
        .collect();
    let less = &listed[..listed.len().saturating_sub(1)];
    let retired = vec![Retired; listed.len()];
    let mut puts = Vec::new();
    for standings in [listed, &more, &committed, less, &retired, &[Current]] {
        let (merge, _) = putting(key, standings);
        let of = |wanted: &dyn Fn(usize) -> bool| {
            let numbers = (0..standings.len()).filter(|n| standings[*n] != Pruned && wanted(*n));
            numbers.collect::<Vec<_>>()
        };
        let last = standings.len().saturating_sub(1);
        for brought in [of(&|_| true), of(&|n| n == last), Vec::new()] {
            let bring = brought.iter().map(|n| merge.list[*n].fingerprint);
            let bring = bring.collect();
            let merge = Merge {
                bring,
                ..merge.clone()
            };
            let behind = brought.iter().flat_map(|n| bytes(key, *n as u32 + 1));
            let behind: Vec<u8> = behind.collect();
            // A key of which nothing is there yet is its owner's word, without a proof.
            if listed.is_empty() {
                puts.push((unvouched(merge.clone()), behind.clone()));
            }
            puts.push((list_of(merge), behind));
        }
        let silent = Merge {
            nonce: None,
            ..merge.clone()
        };
        let others = standings.iter().flat_map(|_| bytes(key, UNHEARD));
        puts.push((unvouched(silent), others.collect()));
        puts.push((list_of(merge), bytes(key, 1)[..20].to_vec()));
    }
    puts
}

/// A list as its owner vouches for it, with a generation that the answerer holds whole.
fn list_of(merge: Merge) -> Ask {
    let (owner, key) = (merge.key.owner().to_owned(), merge.key.to_string());
    let number = match key.split(':').nth(1) {
        Some("all") => 4,
        Some("one" | "rotten") => 1,
        _ => 2,
    };
    let by = key_of(&key, number);
    Ask::Put(sim::vouched(ANSWERER, &"01".repeat(16), &owner, merge, &by))
}

/// One that nobody vouches for.
fn unvouched(merge: Merge) -> Ask {
    let vouched = None;
    Ask::Put(Put { merge, vouched })
}

fn line(from: &str, ask: &Ask) -> Vec<u8> {
    let question = Question {
        version: VERSION,
        from: from.parse().unwrap(),
        ask: ask.clone(),
    };
    let mut line = serde_json::to_vec(&question).unwrap();
    line.push(b'\n');
    line
}

/// The line in words that are none, or that mean to get at what is not told.
fn malformed(line: &[u8]) -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(line).unwrap();
    let put = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    let mut all = vec![
        put("\"version\":2", "\"version\":0"),
        put("\"version\":2", "\"version\":1"),
        put("\"version\":2", "\"version\":2,\"give\":true"),
        put("\"ask\":{", "\"ask\":{\"give\":{},"),
        put("\"replicas\"", "\"keys\""),
        put("{\"key\":", "{\"bytes\":true,\"key\":"),
        put("\"nonce\":\"", "\"nonce\":\"0"),
        put("\"nonce\":", "\"nonce\":null,\"nonce\":"),
        put("\"list\":[", "\"list\":[[],"),
        put("\"bring\":[", "\"bring\":[\"\","),
        put("\"bring\":", "\"take\":[],\"bring\":"),
        put("{\"put\":", "{\"get\":"),
        put(":", ":/../../"),
        [line, line].concat(),
        [line, b"{}"].concat(),
        [&[0xff, 0xfe], line].concat(),
        vec![b'['; 100_000],
        Vec::new(),
    ];
    all.extend((1..6).map(|sixth| line[..line.len() * sixth / 6].to_vec()));
    all.retain(|changed| changed != line);
    all
}

// ---- who is asked

fn answering() -> Config {
    let text = format!(
        "(node: \"{ANSWERER}\", store: (label: \"K\", wait_seconds: 1),
          peers: [(name: \"{ASKER}\", ssh: \"a\"), (name: \"{THIRD}\", ssh: \"b\")], roots: [
            (dataset: \"zdata\", key: \"{ANSWERER}:all\", role: primary, required: true),
            (dataset: \"zall\", key: \"{ASKER}:all\", role: replica, required: true),
            (dataset: \"zrot\", key: \"{ASKER}:rotten\", role: replica, required: false),
            (dataset: \"znone\", key: \"{THIRD}:new\", role: replica, required: false),
        ])"
    );
    Config::parse(&text).unwrap()
}

fn node(name: &str) -> Sim {
    let roots = ["zdata", "zall", "zrot", "znone"];
    let datasets = roots.map(|root| at(&format!("/{root}"), encrypted(root, root)));
    let mut stick = Stick::new("/dev/da0", "K", "1");
    stick.files = whole();
    Sim::new(&format!("answers-{name}"))
        .with(datasets.to_vec())
        .opened_by("zdata", bytes(&format!("{ANSWERER}:all"), 4))
        .opened_by("zall", bytes(&format!("{ASKER}:all"), 3))
        .stick(stick)
}

/// Who may put keys of others on the store.
const REBUILDS: [Option<Option<&str>>; 4] =
    [None, Some(None), Some(Some(ASKER)), Some(Some(THIRD))];

fn open(sim: &Sim, rebuild: Option<Option<&str>>) {
    match rebuild {
        None => drop(sim.verb(rebuild::end)),
        Some(from) => {
            let from = from.map(|from| from.parse().unwrap());
            let opened = sim.verb(|node| rebuild::open(node, &answering(), from.as_ref(), 60));
            drop(opened.unwrap());
        }
    }
}

/// One node being asked: what comes out is searched.
struct Asking<'a> {
    sim: &'a Sim,
    config: &'a Config,
    search: &'a Search,
    answered: Cell<u32>,
    refused: Cell<u32>,
}

impl<'a> Asking<'a> {
    fn new(sim: &'a Sim, config: &'a Config, search: &'a Search) -> Asking<'a> {
        Asking {
            sim,
            config,
            search,
            answered: Cell::new(0),
            refused: Cell::new(0),
        }
    }

    fn heard(&self, told: Result<Vec<u8>, Refused>, case: &dyn Fn() -> String) {
        assert_eq!(keys_alive(), 0, "{}", case());
        let (count, text) = match told {
            Ok(answer) => (&self.answered, answer),
            Err(refused) => (&self.refused, refused.what.into_bytes()),
        };
        count.set(count.get() + 1);
        self.search.assert_silent(&text, case);
    }

    /// Whoever asks has not asked too often, and has a number to vouch over.
    fn allow(&self, from: &str, ask: Option<&Ask>) {
        let key = match ask {
            Some(Ask::Put(put)) => put.merge.key.as_str(),
            _ => "f0:none",
        };
        self.sim.gives_number(from, key);
    }

    /// As ssh's daemon starts it: the line by the real way, workers and all.
    fn by_ssh(&self, from: &str, line: &[u8], behind: &[u8]) {
        let question = serde_json::from_slice::<Question>(line.trim_ascii_end());
        self.allow(from, question.as_ref().ok().map(|question| &question.ask));
        let path = self.sim.directory.with_extension("question");
        let mut how = File::options();
        how.read(true).write(true).create(true).truncate(true);
        let mut input = how.open(&path).unwrap();
        fs::remove_file(path).unwrap();
        input.write_all(line).unwrap();
        input.write_all(behind).unwrap();
        input.rewind().unwrap();
        let from: NodeName = from.parse().unwrap();
        let told = self
            .sim
            .verb(|node| serve(node, self.config, &from, Ok(input)));
        self.heard(told, &|| {
            format!("{from}: {}", String::from_utf8_lossy(line))
        });
    }

    /// The same in one process.
    fn straight(&self, from: &str, (ask, behind): &Asked) {
        self.allow(from, Some(ask));
        let line = line(from, ask);
        let from: NodeName = from.parse().unwrap();
        let told = self.sim.verb(|node| {
            let admitted = rebuild::admits(node, &from);
            let ask = understand(self.config, &from, &line[..line.len() - 1], &admitted)?;
            let brought = sim::brought(&ask, behind).map_err(|e| Refused {
                status: 65,
                what: e.to_string(),
                is_of_change: true,
            })?;
            answer(
                node,
                self.config,
                &from,
                ask,
                brought,
                Time::begin(self.sim),
            )
        });
        self.heard(told, &|| {
            format!("{from}: {}", String::from_utf8_lossy(&line))
        });
    }

    fn set_files(&self, files: &Files) {
        self.sim.sticks.borrow_mut()[0].files.clone_from(files);
    }

    /// Searches what is kept, and begins the log anew.
    fn search_kept(&self) {
        self.search.assert_silent_below(&self.sim.directory);
        let _ = fs::remove_dir_all(self.sim.db());
    }
}

/// Faults of a store or a node with which it is asked as well.
const FAULTS: [fn(&Sim); 8] = [
    |_| {},
    |sim| {
        change(sim, |stick| {
            stick.files.get_mut(layout::STATE).unwrap().truncate(99)
        })
    },
    |sim| change(sim, |stick| drop(stick.files.remove(layout::STATE))),
    |sim| {
        change(sim, |stick| {
            stick.files.retain(|path, _| !path.contains('/'))
        })
    },
    |sim| change(sim, |stick| stick.files = store("ff", &[])),
    |sim| {
        change(sim, |stick| {
            stick.broken = Some("Input/output error".to_owned())
        })
    },
    |sim| change(sim, |stick| stick.unwritable = Some("read-only".to_owned())),
    // The audit log cannot be written: what is said of that goes to standard error.
    |sim| {
        let _ = fs::remove_dir_all(sim.db());
        fs::create_dir_all(sim.db().parent().unwrap()).unwrap();
        fs::write(sim.db(), "").unwrap();
    },
];

fn change(sim: &Sim, change: impl FnOnce(&mut Stick)) {
    change(&mut sim.sticks.borrow_mut()[0]);
}

// ---- driving it

/// Every question about every key, by each peer and a stranger, on a whole store; a rebuild closed,
/// open to all, to the asker and to another.
fn every_message(search: &Search) {
    let (sim, config, start) = (node("every"), answering(), whole());
    let asking = Asking::new(&sim, &config, search);
    for rebuild in REBUILDS {
        open(&sim, rebuild);
        for (key, listed) in keys() {
            for asked in about(&key, listed) {
                asking.set_files(&start);
                asking.straight(ASKER, &asked);
            }
            asking.search_kept();
        }
    }
    let asked = about(
        &format!("{THIRD}:all"),
        &[Pruned, Retired, Retained, Current],
    );
    for from in [THIRD, ANSWERER, "f9"] {
        asked.iter().for_each(|asked| asking.straight(from, asked));
    }
    let (answered, refused) = (asking.answered.get(), asking.refused.get());
    println!("{answered} answers, {refused} refusals: every message");
    assert!(answered > 500 && refused > 500);
}

/// By the real way, well-formed and not, on a store or a node with each fault.
fn every_frame(search: &Search) {
    let config = answering();
    let (mut answered, mut refused) = (0, 0);
    for (number, fault) in FAULTS.iter().enumerate() {
        let sim = node(&format!("frame-{number}"));
        fault(&sim);
        let start = sim.sticks.borrow()[0].files.clone();
        let asking = Asking::new(&sim, &config, search);
        for rebuild in [REBUILDS[0], REBUILDS[1]] {
            open(&sim, rebuild);
            for (key, listed) in keys().filter(|(key, _)| key.ends_with(":all")) {
                let asked = about(&key, listed);
                let few = asked.iter().step_by(5).chain(&asked[..4]);
                for (ask, behind) in few {
                    asking.set_files(&start);
                    asking.by_ssh(ASKER, &line(ASKER, ask), behind);
                }
                if number == 0 {
                    for (ask, behind) in &asked[..5] {
                        for bad in malformed(&line(ASKER, ask)) {
                            asking.by_ssh(ASKER, &bad, behind);
                        }
                    }
                }
            }
        }
        search.assert_silent_below(&sim.directory);
        answered += asking.answered.get();
        refused += asking.refused.get();
        let _ = fs::remove_file(sim.db());
    }
    println!("{answered} answers, {refused} refusals: every frame");
    assert!(answered > 50 && refused > 300);
}

/// One after the other, without the store being as it was in between.
fn every_pair(search: &Search) {
    let (sim, config, start) = (node("pairs"), answering(), whole());
    let asking = Asking::new(&sim, &config, search);
    let of_kind = |(key, _): &(String, _)| {
        let kind = key.split(':').nth(1).unwrap();
        ["all", "rotten", "new"].contains(&kind)
    };
    let mut asked: Vec<Asked> = Vec::new();
    for (key, listed) in keys().filter(of_kind) {
        let all = about(&key, listed);
        // About the key; the list as it is, with all bytes; one generation more.
        asked.extend([3, 4, 9].map(|n| all[n].clone()));
    }
    asked.push(about("f0:all", &[])[2].clone());
    for rebuild in [REBUILDS[0], REBUILDS[1]] {
        open(&sim, rebuild);
        for first in &asked {
            for second in &asked {
                asking.set_files(&start);
                asking.straight(ASKER, first);
                asking.straight(ASKER, second);
            }
            asking.search_kept();
        }
    }
    let (answered, refused) = (asking.answered.get(), asking.refused.get());
    println!("{answered} answers, {refused} refusals: every pair");
    assert!(answered > 500 && refused > 500);
}

/// Every flag of `receive`, alone and with the others, and no flag that is not known here.
fn every_flag(search: &Search) {
    let source = include_str!("../src/cli/words.rs");
    let (_, fields) = source.split_once("struct Receive {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let names = fields.lines().filter_map(|line| {
        let field = line.trim().strip_prefix("pub(super) ")?;
        let (name, _) = field.split_once(": ")?;
        name.chars()
            .all(|c| c.is_ascii_lowercase() || c == '_')
            .then_some(name)
    });
    let names: Vec<&str> = names.collect();
    let known = [
        "from",
        "print_authorized_keys_line",
        "rebuild",
        "minutes",
        "end",
    ];
    assert_eq!(names, known, "a new flag is to be driven here as well");
    let (sim, config) = (node("flags"), answering());
    let say = |told: Result<String, f3skeys::receive::Refused>| {
        let text = told.unwrap_or_else(|refused| refused.what);
        search.assert_silent(text.as_bytes(), &|| text.clone());
    };
    for from in [None, Some(ASKER), Some(THIRD), Some(ANSWERER), Some("f9")] {
        let from: Option<NodeName> = from.map(|from| from.parse().unwrap());
        for minutes in [0, 1, rebuild::USUAL, rebuild::LONGEST, u32::MAX] {
            say(sim.verb(|node| rebuild::open(node, &config, from.as_ref(), minutes)));
            say(sim.verb(rebuild::end));
            say(sim.verb(rebuild::end));
        }
        if let Some(from) = &from {
            say(authorized_keys_line(
                &config,
                from,
                Path::new("/usr/sbin/f3skeys"),
            ));
        }
    }
    let lock = marker::try_lock(&sim.run()).unwrap();
    say(sim.verb(|node| rebuild::open(node, &config, None, 60)));
    drop(lock);
    search.assert_silent_below(&sim.directory);
}

/// What the verbs that ask make of the answers, and keep of them.
fn every_verb(search: &Search) {
    let say = |text: String| search.assert_silent(text.as_bytes(), &|| text.clone());
    let lost = World::backed_up("answers-lost");
    lost.loses_its_stick("f1");
    lost.open("f1", None, 60);
    for world in [
        &lost,
        &World::new("answers-new"),
        &World::backed_up("answers-all"),
    ] {
        for (to, rebuild) in [(&["f1"][..], true), (&[], false)] {
            let report = world.backup_with("f0", to, rebuild);
            say(report.results() + &report.complaints());
            say(serde_json::to_string(&report).unwrap());
            let (sim, config) = &**world.host("f0");
            let told = sim.verb(|node| copies(node, config));
            say(told.text());
            say(serde_json::to_string(&told).unwrap());
        }
        for node in NODES {
            search.assert_silent_below(&world.sim(node).directory);
        }
    }
    assert!(lost.sim("f0").db().join("receipts/f1.json").exists());
    assert!(lost.sim("f1").db().join("peers/f0/audit.log").exists());
}

const DRIVEN: &str = "F3SKEYS_ANSWERS_DRIVEN";

/// Runs itself once more, so that what is said on standard error is heard as well.
#[test]
fn law_2_no_verb_flag_message_or_pair_of_messages_makes_a_node_send_a_key_byte() {
    let search = Search::new();
    if std::env::var_os(DRIVEN).is_some() {
        for drive in [
            every_message,
            every_frame,
            every_pair,
            every_flag,
            every_verb,
        ] {
            drive(&search);
        }
        println!("{} texts searched", search.searched.get());
        return;
    }
    let name = "law_2_no_verb_flag_message_or_pair_of_messages_makes_a_node_send_a_key_byte";
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DRIVEN, "1")
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    assert!(ran.status.success(), "{text}");
    assert!(text.contains("is not in the audit log"), "{text}");
    assert!(!search.finds(&said), "{text}");
    let counts = text
        .lines()
        .filter(|line| line.contains(" refusals: ") || line.contains(" texts "));
    counts.for_each(|line| println!("{line}"));
}

/// Whoever says that a rebuild is over must have ended it.
#[test]
fn a_rebuild_that_cannot_be_ended_is_not_said_to_be_over() {
    let sim = node("end");
    let file = sim.run().join("rebuild");
    assert!(sim.verb(rebuild::end).unwrap().contains("not open"));
    fs::create_dir_all(&file).unwrap();
    assert!(sim.verb(rebuild::end).is_err() && file.exists());
}
