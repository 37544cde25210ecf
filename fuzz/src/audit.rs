//! The audit log.

use f3skeys::audit::{Begun, Chain, End, Entry, Event, Head, LOCAL, What};

/// A log, its head and a note of what was begun, in one: up to the first empty line the log, behind it
/// the head.
pub fn audit(bytes: &[u8]) -> bool {
    let split = bytes.windows(2).position(|two| two == b"\n\n");
    let (log, head) = match split {
        Some(at) => (&bytes[..=at], Some(&bytes[at + 2..])),
        None => (bytes, None),
    };
    check_note(bytes);
    let head = head.map(Head::parse).transpose();
    if let Ok(Some(head)) = &head {
        let written = head.to_bytes().expect("a head can be written");
        assert_eq!(Head::parse(&written).as_ref(), Ok(head));
    }
    let chain = Chain::of(log);
    check_lines(log, &chain);
    check_next(log, &chain, &chain.end(&head));
    chain.newest.is_some()
}

fn check_note(bytes: &[u8]) {
    let begun = Begun::parse(bytes);
    let written = begun.to_bytes().expect("a note can be written");
    assert_eq!(Begun::parse(&written), begun);
}

/// Every line is an entry, written in the one way there is, or named as what it is not.
fn check_lines(log: &[u8], chain: &Chain) {
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let named = [&chain.torn, &chain.loose].map(Vec::len);
    let entries = lines.iter().filter(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let entry = Entry::parse(line);
        entry.is_some_and(|entry| serde_json::to_vec(&entry).is_ok_and(|same| same == line))
    });
    let entries = entries.count();
    match chain.broken {
        None => assert_eq!(entries + named[0] + named[1], lines.len()),
        Some(at) => assert!((1..=lines.len()).contains(&at)),
    }
    assert_eq!(chain.newest.is_some(), entries > 0);
}

/// Whatever the log was, it can be continued, and what is then read of it is no worse, ends with what
/// was written, and hides nothing.
fn check_next(log: &[u8], chain: &Chain, end: &End) {
    let event = Event {
        verb: "rotate".to_owned(),
        by: LOCAL.to_owned(),
        store: None,
        what: What::Did(vec!["f0:z: staged".to_owned()]),
    };
    let (lines, head) = chain.next(end, event, 7).expect("a line can be written");
    let ending: &[u8] = if chain.lacks_end() { b"\n" } else { b"" };
    let log = [log, ending, &lines].concat();
    let longer = Chain::of(&log);
    let newest = longer.newest.expect("what was written");
    if newest.number < u64::MAX {
        assert_eq!(longer.broken, chain.broken);
        assert_eq!(longer.end(&Ok(Some(head))), End::Fits);
    }
    let told = usize::from(matches!(end, End::Wrong(_)));
    assert_eq!(longer.found.len(), chain.found.len() + told);
    assert!(longer.loose.is_empty());
    assert_eq!(newest.number, head.number);
}
