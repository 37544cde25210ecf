use super::log::{BEGUN, Files, HEAD, LARGEST, LOG, OLD, begin, begun, read, write};
use super::*;
use crate::sorted::Map;
use std::cell::Cell;
use std::io;

/// Files in memory. A run is cut after some steps; the last of them may have written only a part.
#[derive(Clone, Default)]
struct Memory {
    files: Map<String, Vec<u8>>,
    steps: Cell<usize>,
    /// How many steps there are before the cut, and how many bytes of the next one are written.
    cut: Option<(usize, usize)>,
}

impl Memory {
    /// Counts a step; gives how much of it is done if it is the last.
    fn step(&self) -> Option<usize> {
        let step = self.steps.replace(self.steps.get() + 1);
        let (before, part) = self.cut?;
        (step >= before).then_some(if step == before { part } else { 0 })
    }

    fn text(&self, name: &str) -> Vec<u8> {
        self.files.get(name).cloned().unwrap_or_default()
    }
}

fn cut<T>() -> io::Result<T> {
    Err(io::Error::other("cut"))
}

impl Files for Memory {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.get(name).cloned())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let part = self.step();
        let written = &bytes[..part.unwrap_or(bytes.len()).min(bytes.len())];
        if !written.is_empty() || part.is_none() {
            let file = self.files.entry(name.to_owned()).or_default();
            file.extend(written);
        }
        part.map_or(Ok(()), |_| cut())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.step().is_some() {
            return cut();
        }
        let file = self.files.remove(from).unwrap();
        self.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.step().is_some() {
            return cut();
        }
        self.files.insert(name.to_owned(), bytes.to_owned());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if self.step().is_some() {
            return cut();
        }
        self.files.remove(name);
        Ok(())
    }
}

#[test]
fn a_change_that_was_cut_off_before_its_line_is_written_down_by_the_next() {
    let note = |verb: &str| Begun {
        verb: verb.to_owned(),
        by: LOCAL.to_owned(),
        time: 5,
    };
    let (mut cases, mut told) = (0, 0);
    // A change: the note, the store, the line, the note gone. Cut at each step, in all of them.
    for step in 0.. {
        let mut files = log_of(1);
        files.steps.set(0);
        files.cut = Some((step, 0));
        let mut is_changed = false;
        let done = begin(&mut files, &note("rotate"))
            .and_then(|()| {
                is_changed = true;
                write(&mut files, did("change"), 9)
            })
            .and_then(|()| files.remove(BEGUN));
        files.cut = None;
        if done.is_ok() {
            break;
        }
        cases += 1;
        let case = format!("cut at step {step}");
        let line = String::from_utf8(files.text(LOG)).unwrap();
        let is_noted = begun(&files).unwrap() == Some(note("rotate"));
        // Nothing is claimed that was not made, and nothing that was made is missed.
        assert!(is_changed || !line.contains("\"change\""), "{case}");
        assert!(!is_changed || is_noted, "{case}");
        begin(&mut files, &note("verify")).unwrap();
        assert_eq!(begun(&files).unwrap(), Some(note("verify")), "{case}");
        write(&mut files, did("more"), 9).unwrap();
        files.remove(BEGUN).unwrap();
        assert_eq!(
            (wrong(&files), begun(&files).unwrap()),
            (None, None),
            "{case}"
        );
        let log = String::from_utf8(files.text(LOG)).unwrap();
        assert_eq!(
            log.contains("was cut off after 5: it may"),
            is_noted,
            "{case}"
        );
        assert!(log.contains("more"), "{case}");
        told += usize::from(is_noted);
    }
    println!("{cases} cuts, {told} of them told");
    assert!(cases >= 4 && told >= 3 && told < cases, "{cases} {told}");
    // A note that was tampered with is one.
    let left = Begun::parse(b"{").cut_off();
    assert!(matches!(left.what, What::Failed(_)));
}

fn did(words: &str) -> Event {
    Event {
        verb: "rotate".to_owned(),
        by: LOCAL.to_owned(),
        store: Some("00".repeat(16)),
        what: What::Did(vec![words.to_owned()]),
    }
}

fn refused(words: &str) -> Event {
    Event {
        verb: "receive".to_owned(),
        by: "f1".to_owned(),
        store: None,
        what: What::Refused(words.to_owned()),
    }
}

/// A log with this many changes.
fn log_of(lines: usize) -> Memory {
    let mut files = Memory::default();
    for line in 1..=lines {
        write(&mut files, did(&format!("wrote {line}")), 7).unwrap();
    }
    files
}

/// What of a log is not as it was written; torn lines and a head one behind are as a cut leaves them.
fn wrong(files: &Memory) -> Option<String> {
    let seen = read(files).unwrap()?;
    let broken = seen.chain.broken.map(|line| seen.place("", line));
    let found = seen.chain.found.first();
    let found = found.map(|(line, words)| format!("{}: {words}", seen.place("", *line)));
    match &seen.end {
        End::Wrong(why) => Some(why.clone()),
        _ => broken.or(found),
    }
}

fn with(files: &Memory, name: &str, bytes: Vec<u8>) -> Memory {
    let mut other = files.clone();
    other.files.insert(name.to_owned(), bytes);
    other
}

/// The same is found after more has been written: no later line hides it.
fn assert_stays_found(files: &Memory, case: &str) {
    assert!(wrong(files).is_some(), "{case}: not found");
    let mut later = files.clone();
    write(&mut later, did("more"), 8).unwrap();
    assert!(wrong(&later).is_some(), "{case}: hidden by a later line");
}

#[test]
fn a_log_says_what_was_done_and_is_well() {
    assert_eq!(read(&Memory::default()).unwrap(), None);
    let files = log_of(3);
    let seen = read(&files).unwrap().unwrap();
    assert_eq!(seen.end, End::Fits);
    assert_eq!((seen.chain.oldest, seen.chain.broken), (Some(1), None));
    let text = String::from_utf8(files.text(LOG)).unwrap();
    let second = text.lines().nth(1).unwrap();
    let begin = r#"{"number":2,"time":7,"verb":"rotate","by":"local","store":"00000000000000000000000000000000","what":{"did":["wrote 2"]},"previous":""#;
    assert!(second.starts_with(begin), "{second}");
    let entry = Entry::parse(second.as_bytes()).unwrap();
    let first = text.lines().next().unwrap();
    assert_eq!(entry.previous, Link::of(first.as_bytes()));
}

#[test]
fn every_flipped_bit_is_found() {
    let files = log_of(3);
    for name in [LOG, HEAD] {
        let bytes = files.text(name);
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1 << bit;
                let case = format!("{name}, byte {index}, bit {bit}");
                // A head may say that more has gone than has: a cut leaves it so before the files go.
                if let (Ok(head), HEAD) = (Head::parse(&flipped), name)
                    && head.oldest > 1
                {
                    continue;
                }
                assert_stays_found(&with(&files, name, flipped), &case);
            }
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let files = log_of(3);
    for name in [LOG, HEAD] {
        let bytes = files.text(name);
        for length in 0..bytes.len() {
            let cut = with(&files, name, bytes[..length].to_vec());
            assert_stays_found(&cut, &format!("{name}, {length} bytes"));
        }
        let mut gone = files.clone();
        gone.files.remove(name);
        assert_stays_found(&gone, &format!("no {name}"));
    }
}

#[test]
fn lines_that_are_removed_swapped_doubled_or_put_in_are_found() {
    let files = log_of(5);
    let text = String::from_utf8(files.text(LOG)).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let changed = |case: String, lines: Vec<&str>| {
        assert_stays_found(&with(&files, LOG, lines.concat().into_bytes()), &case);
    };
    // Of another log with the same numbers.
    let mut other = log_of(0);
    for line in 1..=6 {
        write(&mut other, did(&format!("other {line}")), 7).unwrap();
    }
    let other = String::from_utf8(other.text(LOG)).unwrap();
    let others: Vec<&str> = other.split_inclusive('\n').collect();
    for one in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(one);
        changed(format!("without {one}"), without);
        for two in 0..lines.len() {
            let mut doubled = lines.clone();
            doubled.insert(two, lines[one]);
            changed(format!("{one} once more at {two}"), doubled);
            if one != two {
                let mut swapped = lines.clone();
                swapped.swap(one, two);
                changed(format!("{one} and {two} swapped"), swapped);
            }
        }
        for stranger in &others {
            for junk in [stranger, &"junk\n", &"\n"] {
                let mut more = lines.clone();
                more.insert(one, junk);
                changed(format!("{junk:?} put in at {one}"), more);
                let mut instead = lines.clone();
                instead[one] = junk;
                changed(format!("{junk:?} instead of {one}"), instead);
            }
        }
    }
    changed("another log".to_owned(), others[..5].to_vec());
}

/// Every way to cut one write: after each step, and each append at each byte.
fn cuts(before: &Memory, event: &Event) -> Vec<Memory> {
    let mut all = Vec::new();
    let mut steps = 0;
    loop {
        let mut part = 0;
        loop {
            let mut files = before.clone();
            files.steps.set(0);
            files.cut = Some((steps, part));
            if write(&mut files, event.clone(), 9).is_ok() {
                return all;
            }
            files.cut = None;
            let is_same = |last: &Memory| last.files == files.files;
            match (all.last().is_some_and(is_same), part) {
                // All of it is written, or it is a step that is made as a whole.
                (true, 1..) => break,
                (true, 0) => {}
                (false, _) => all.push(files),
            }
            part += 1;
        }
        steps += 1;
    }
}

fn assert_cut_is_harmless(before: &Memory, cut: &Memory, case: usize) {
    assert_eq!(wrong(cut), None, "cut {case}");
    let entries = |files: &Memory| {
        let seen = read(files).unwrap();
        let newest = seen.and_then(|seen| seen.chain.newest);
        newest.map_or(0, |newest| newest.number)
    };
    let (old, now) = (entries(before), entries(cut));
    assert!(now == old || now == old + 1, "cut {case}: {old}, {now}");
    // The chain goes on, and nothing was cut off.
    let mut next = cut.clone();
    write(&mut next, did("after the cut"), 10).unwrap();
    assert_eq!(wrong(&next), None, "after cut {case}");
    assert_eq!(entries(&next), now + 1, "after cut {case}");
    let kept = |name| next.text(name).starts_with(&cut.text(LOG));
    assert!(kept(LOG) || kept(OLD), "after cut {case}");
    let seen = read(&next).unwrap().unwrap();
    assert_eq!((seen.end, seen.chain.loose.len()), (End::Fits, 0));
}

#[test]
fn every_cut_of_a_write_is_harmless_and_so_is_the_next_one() {
    let (mut count, mut torn) = (0, 0);
    for lines in 0..2 {
        let before = log_of(lines);
        for (number, once) in cuts(&before, &did("cut")).iter().enumerate() {
            assert_cut_is_harmless(&before, once, count);
            let mut next = once.clone();
            write(&mut next, did("more"), 10).unwrap();
            torn += read(&next).unwrap().unwrap().chain.torn.len();
            let again = match number % 60 {
                0 => cuts(once, &did("cut again")),
                _ => Vec::new(),
            };
            for twice in again {
                assert_cut_is_harmless(once, &twice, count);
                count += 1;
            }
        }
    }
    println!("{count} pairs of cuts, {torn} torn lines after one");
    assert!(count > 1200 && torn > 300, "{count} {torn}");
}

#[test]
fn every_flipped_bit_of_a_torn_line_that_was_gone_on_after_is_found() {
    let before = log_of(1);
    let all = cuts(&before, &did("cut"));
    for once in all.iter().step_by(100) {
        let mut files = once.clone();
        write(&mut files, did("more"), 10).unwrap();
        let bytes = files.text(LOG);
        for index in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1 << bit;
                let case = format!("byte {index}, bit {bit}");
                assert_stays_found(&with(&files, LOG, flipped), &case);
            }
        }
    }
}

/// A log so large that the next write begins a new file.
fn full(lines: usize) -> Memory {
    let mut files = log_of(lines);
    write(&mut files, did(&"x".repeat(LARGEST)), 7).unwrap();
    files
}

#[test]
fn a_full_log_is_put_aside_and_the_chain_goes_on() {
    let mut files = full(2);
    for _ in 0..2 {
        write(&mut files, did("more"), 7).unwrap();
    }
    let seen = read(&files).unwrap().unwrap();
    assert_eq!(wrong(&files), None);
    assert_eq!((seen.chain.oldest, seen.end.clone()), (Some(1), End::Fits));
    assert_eq!(seen.place("", 3), "line 3 of audit.log.1");
    assert_eq!(seen.place("", 4), "line 1 of audit.log");
    assert!(files.text(OLD).len() > LARGEST && files.text(LOG).len() < 1000);
    // Once more: the first entries are gone, which is as it should be.
    write(&mut files, did(&"x".repeat(LARGEST)), 7).unwrap();
    write(&mut files, did("newest"), 7).unwrap();
    assert_eq!(wrong(&files), None);
    let seen = read(&files).unwrap().unwrap();
    assert_eq!(seen.chain.oldest, Some(4));
    assert_eq!(seen.chain.newest.unwrap().number, 7);
    // Further than that nothing goes.
    for gone in [OLD, LOG, HEAD] {
        let mut without = files.clone();
        without.files.remove(gone);
        assert_stays_found(&without, gone);
    }
    let old = files.text(OLD);
    let first = old.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert_stays_found(&with(&files, OLD, old[first..].to_vec()), "first line gone");
    let mut flipped = old.clone();
    flipped[20] ^= 1;
    assert_stays_found(&with(&files, OLD, flipped), "flip in the old file");
}

#[test]
fn every_cut_of_beginning_a_new_file_is_harmless() {
    let mut before = full(1);
    write(&mut before, did("second file"), 7).unwrap();
    write(&mut before, did(&"x".repeat(LARGEST)), 7).unwrap();
    let steps = 4;
    for step in 0..steps {
        // The third writes the line; the others are made as a whole.
        let parts: &[usize] = if step == 2 { &[0, 50] } else { &[0] };
        for &part in parts {
            let mut files = before.clone();
            files.steps.set(0);
            files.cut = Some((step, part));
            assert!(write(&mut files, did("cut"), 9).is_err());
            files.cut = None;
            assert_cut_is_harmless(&before, &files, step);
        }
    }
    before.steps.set(0);
    write(&mut before, did("whole"), 9).unwrap();
    assert_eq!(before.steps.get(), steps);
}

#[test]
fn peers_that_are_turned_away_cannot_push_the_log_out() {
    let mut files = log_of(1);
    let chain = Chain::of(&files.text(LOG));
    let (mut log, mut newest) = (files.text(LOG), chain.newest.unwrap());
    for _ in 0..MOST_TURNED_AWAY {
        let number = newest.number + 1;
        let event = refused(&"x".repeat(300));
        let line = entry(event, number, 7, newest.hash).line().unwrap();
        newest = Newest {
            number,
            hash: Link::of(&line),
            ..newest
        };
        log.extend([&line[..], b"\n"].concat());
    }
    files.files.insert(LOG.to_owned(), log);
    let head = newest.head(1).to_bytes().unwrap();
    files.files.insert(HEAD.to_owned(), head);
    assert_eq!(wrong(&files), None);
    let before = files.files.clone();
    write(&mut files, refused("one more"), 7).unwrap();
    assert_eq!(files.files, before);
    assert!(files.text(LOG).len() < LARGEST);
    write(&mut files, did("a change"), 7).unwrap();
    write(&mut files, refused("again"), 7).unwrap();
    let seen = read(&files).unwrap().unwrap();
    let newest = seen.chain.newest.unwrap().number;
    assert_eq!(newest, MOST_TURNED_AWAY as u64 + 3);
    assert_eq!((seen.chain.turned_away, wrong(&files)), (1, None));
}

#[test]
fn a_line_is_written_in_one_way_only() {
    let line = log_of(1).text(LOG);
    let line = line.strip_suffix(b"\n").unwrap();
    let text = String::from_utf8(line.to_vec()).unwrap();
    assert!(Entry::parse(line).is_some());
    for (from, to) in [
        ("{\"number\"", "{ \"number\""),
        ("\"number\":1", "\"number\":1.0"),
        ("\"number\":1", "\"number\":1,\"number\":1"),
        ("\"number\":1", "\"number\":1,\"more\":1"),
        ("rotate", "rot\\u0061te"),
        ("{\"did\"", "{\"done\""),
        ("\"by\":\"local\",", ""),
        ("}", "} "),
    ] {
        assert!(text.contains(from), "{from}");
        let other = text.replacen(from, to, 1);
        assert_eq!(Entry::parse(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn fingerprints_are_cut_to_what_people_compare() {
    let print = "0672a236ac158de82d7972e257a9a57234b9a51138dc8f677f72157192aa8f9b";
    for (words, short) in [
        (
            format!("wrote .f3skeys/f0:z/2-{print}.key"),
            "wrote .f3skeys/f0:z/2-0672a236.key",
        ),
        (print.to_owned(), "0672a236"),
        (format!("{print}, {print}"), "0672a236, 0672a236"),
        (format!("{print}{print}"), "0672a236"),
        (format!("ä{print}ö"), "ä0672a236ö"),
        (print.to_uppercase(), "0672A236"),
        (print[1..].to_owned(), &print[1..]),
        (String::new(), ""),
    ] {
        assert_eq!(shortened(&words), short);
    }
}
