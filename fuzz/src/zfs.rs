//! What ZFS tells of datasets. A stream can bring properties with any bytes in their values.

use f3skeys::promotion;
use f3skeys::zfs::entry::{self, Entry, PROPERTIES, Value};
use f3skeys::zfs::framed::Frame;
use f3skeys::zfs::{Listing, Past, parse};

/// The bytes that the name of a frame is made of here; a stranger cannot know them.
const SECRET: [u8; 16] = [0xa5; 16];
/// The properties whose values may hold anything.
const FREE: [&str; 5] = [
    "keylocation",
    "mountpoint",
    "sharenfs",
    "sharesmb",
    promotion::PROPERTY,
];

/// The same bytes as what a worker hands over, as what the program prints, and as the value of a
/// property.
pub fn zfs_rows(bytes: &[u8]) -> bool {
    let handed = entry::read(bytes);
    if let Ok(entries) = &handed {
        assert_eq!(
            entry::write(entries.clone()),
            bytes,
            "there is one spelling"
        );
    }
    let printed = frame().read(bytes);
    let mut understood = false;
    for entries in [handed.unwrap_or_default(), printed.unwrap_or_default()] {
        if let Ok(listing) = parse::listing(&entries) {
            understood |= check_listing(&listing, &entries);
        }
    }
    for property in FREE {
        check_value(property, bytes);
    }
    understood
}

fn frame() -> Frame {
    Frame::new(SECRET)
}

/// Each name is told of once, as understood or as damaged, and what is said of damage may be shown.
fn check_listing(listing: &Listing, entries: &[Entry]) -> bool {
    let understood = listing.datasets.iter().map(|dataset| &dataset.name);
    let damaged = listing.damaged.iter().map(|damaged| &damaged.name);
    let mut named: Vec<&str> = understood
        .chain(damaged)
        .map(|name| name.as_str())
        .collect();
    named.sort_unstable();
    let mut told: Vec<&[u8]> = entries.iter().map(|entry| &entry.name[..]).collect();
    told.sort_unstable();
    told.dedup();
    let named: Vec<&[u8]> = named.into_iter().map(str::as_bytes).collect();
    assert_eq!(named, told);
    for damaged in &listing.damaged {
        super::assert_plain(&damaged.what);
        assert!(PROPERTIES.contains(&damaged.property));
    }
    !listing.datasets.is_empty()
}

/// A dataset whose values are all good.
pub fn good(name: &str) -> Entry {
    let value = |property: &&str| match *property {
        "type" => "filesystem",
        "guid" | "written" => "7",
        "encryptionroot" | "origin" | "keylocation" => "-",
        "keystatus" | "keyformat" => "none",
        "mountpoint" => "/data",
        "canmount" | "setuid" | "devices" | "exec" => "on",
        "mounted" => "no",
        "readonly" | "sharenfs" | "sharesmb" => "off",
        _ => "-",
    };
    let value = |property| Value {
        value: value(property).as_bytes().to_vec(),
        source: b"local".to_vec(),
    };
    Entry {
        name: name.as_bytes().to_vec(),
        values: PROPERTIES.iter().map(value).collect(),
    }
}

/// What `zfs get` prints of datasets that is asked as the program asks it.
pub fn printed(entries: &[Entry]) -> Vec<u8> {
    let mut text = Vec::new();
    for entry in entries {
        let mut values = entry.values.iter();
        for property in frame().properties().split(',') {
            let none = Value::none();
            let value = match PROPERTIES.contains(&property) {
                true => values.next().unwrap_or(&none),
                false => &none,
            };
            let columns = [
                &entry.name,
                property.as_bytes(),
                &value.value,
                &value.source,
            ];
            text.extend(columns.join(&b'\t'));
            text.push(b'\n');
        }
    }
    text
}

/// Whatever a value holds, no other dataset is read in another way for it; and it is itself, unless it
/// holds the name that a stranger cannot know.
fn check_value(property: &str, value: &[u8]) {
    let place = PROPERTIES.iter().position(|known| *known == property);
    let mut hostile = good("z/b");
    hostile.values[place.expect("a property")].value = value.to_vec();
    let told = [good("z/a"), hostile, good("z/c")];
    let read = frame().read(&printed(&told));
    let knows = value.windows(12).any(|part| part == b"f3skeys:end-");
    match read {
        Ok(read) if knows => check_believed(&read, &told),
        read => assert_eq!(read.as_deref(), Ok(&told[..]), "{property}"),
    }
}

/// Of the other datasets only what is true is believed.
fn check_believed(read: &[Entry], told: &[Entry]) {
    let Ok(listing) = parse::listing(read) else {
        return;
    };
    let all = parse::listing(told).expect("names");
    for dataset in listing.datasets {
        let is_other = ["z/a", "z/c"].contains(&dataset.name.as_str());
        assert!(!is_other || all.datasets.contains(&dataset), "{dataset:?}");
    }
}

/// What became of datasets: `zfs get written`, a NUL, and `zfs list` of snapshots and bookmarks; also
/// what `zpool get checkpoint` prints.
pub fn zfs_past(bytes: &[u8]) -> bool {
    if let Ok(holds) = parse::checkpoint(bytes) {
        assert!(bytes.ends_with(b"\n") && (bytes == b"-\n" || bytes[0].is_ascii_digit()));
        assert!(!holds || bytes != b"-\n");
    }
    let text = super::text(bytes);
    let (written, moments) = text.split_once('\0').unwrap_or((&text, ""));
    let Ok(pasts) = parse::past(written, moments) else {
        return false;
    };
    let written: String = pasts.iter().map(written_line).collect();
    let moments: String = pasts.iter().flat_map(moment_lines).collect();
    assert_eq!(parse::past(&written, &moments), Ok(pasts.clone()));
    !pasts.is_empty()
}

fn written_line(past: &Past) -> String {
    format!("{}\t{}\n", past.dataset, past.written)
}

fn moment_lines(past: &Past) -> Vec<String> {
    let line = |moment: &f3skeys::zfs::Moment| {
        let sign = if moment.bookmark { '#' } else { '@' };
        let (dataset, name) = (&past.dataset, &moment.name);
        format!(
            "{dataset}{sign}{name}\t{}\t{}\n",
            moment.guid, moment.created
        )
    };
    past.moments.iter().map(line).collect()
}
