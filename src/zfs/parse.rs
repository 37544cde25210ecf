//! What ZFS tells of datasets, read strictly. A dataset of which something is not understood is damage of
//! its own and of no other. Pure.

use super::entry::{Entry, PROPERTIES, Value};
use super::{
    CanMount, Damaged, Dataset, KeyFormat, KeyStatus, Kind, Listing, Moment, Mountpoint, OpenedBy,
    Past, Source,
};
use crate::digits;
use crate::foreign;
use crate::names::DatasetName;
use crate::os::{DEVICE_NODES, JAILED_PROPERTY};
use crate::paths;
use crate::promotion::{self, Promoted};
use crate::sorted::{self, Map};

/// Why a dataset is not understood: the property, and what is wrong with it.
type Odd = (&'static str, String);

/// Reads what was told of datasets.
///
/// # Errors
/// A name is none that ZFS has: nothing of this is ZFS's own word.
pub fn listing(entries: &[Entry]) -> Result<Listing, String> {
    let mut named = entries
        .iter()
        .map(|entry| Ok((name(&entry.name)?, entry)))
        .collect::<Result<Vec<_>, String>>()?;
    sorted::sort_by(&mut named, |a, b| a.0.cmp(&b.0));
    let mut listing = Listing::default();
    for same in named.chunk_by(|a, b| a.0 == b.0) {
        let [(name, entry)] = same else {
            let twice = ("encryptionroot", "the dataset is listed twice".to_owned());
            listing
                .damaged
                .extend(same.first().map(|(name, _)| damaged(name, None, twice)));
            continue;
        };
        match dataset(name, entry) {
            Ok(dataset) => listing.datasets.push(dataset),
            Err(odd) => listing.damaged.push(damaged(name, Some(entry), odd)),
        }
    }
    Ok(listing)
}

fn name(bytes: &[u8]) -> Result<DatasetName, String> {
    let name = std::str::from_utf8(bytes)
        .ok()
        .and_then(|name| name.parse().ok());
    name.ok_or_else(|| format!("{} is not a dataset name", shown(bytes)))
}

fn damaged(name: &DatasetName, entry: Option<&Entry>, (property, what): Odd) -> Damaged {
    let opened_by = match entry.map(encryption_root) {
        Some(Ok(Some(root))) => OpenedBy::Root(root),
        Some(Ok(None)) => OpenedBy::NoKey,
        Some(Err(_)) | None => OpenedBy::NotKnown,
    };
    Damaged {
        name: name.clone(),
        property,
        what,
        opened_by,
    }
}

/// A value from outside, as a person may see it.
fn shown(value: &[u8]) -> String {
    format!("`{}`", foreign::words(&String::from_utf8_lossy(value)))
}

fn odd<T>(property: &'static str, value: &[u8]) -> Result<T, Odd> {
    Err((property, format!("it is {}", shown(value))))
}

fn get<'a>(entry: &'a Entry, property: &'static str) -> Result<&'a Value, Odd> {
    if entry.values.len() != PROPERTIES.len() {
        return Err((
            property,
            "not all of its properties could be read".to_owned(),
        ));
    }
    let place = PROPERTIES.iter().position(|known| *known == property);
    let value = place.and_then(|place| entry.values.get(place));
    value.ok_or_else(|| (property, "it was not asked for".to_owned()))
}

/// A value that is text.
fn text<'a>(entry: &'a Entry, property: &'static str) -> Result<&'a str, Odd> {
    let value = &get(entry, property)?.value;
    std::str::from_utf8(value).or_else(|_| odd(property, value))
}

/// A value that is one of these words.
fn one_of<T: Copy>(entry: &Entry, property: &'static str, words: &[(&str, T)]) -> Result<T, Odd> {
    let value = &get(entry, property)?.value;
    let found = words.iter().find(|(word, _)| word.as_bytes() == value);
    found.map_or_else(|| odd(property, value), |(_, meaning)| Ok(*meaning))
}

fn dataset(name: &DatasetName, entry: &Entry) -> Result<Dataset, Odd> {
    // First, since of a dataset that is not understood this is what still matters.
    let encryption_root = encryption_root(entry)?;
    let kinds = [("filesystem", Kind::Filesystem), ("volume", Kind::Volume)];
    let kind = one_of(entry, "type", &kinds)?;
    Ok(Dataset {
        name: name.clone(),
        kind,
        encryption_root,
        guid: number(entry, "guid")?,
        key_status: key_status(entry)?,
        key_format: key_format(entry)?,
        key_location: match text(entry, "keylocation")? {
            "none" | "-" => None,
            location => Some(location.to_owned()),
        },
        readonly: one_of(entry, "readonly", &ON_OFF)?,
        readonly_source: source(entry, "readonly")?,
        setuid: mount_switch(kind, entry, "setuid")?,
        devices: mount_switch(kind, entry, "devices")? && DEVICE_NODES,
        exec: mount_switch(kind, entry, "exec")?,
        can_mount: can_mount(kind, entry)?,
        mountpoint: mountpoint(kind, &get(entry, "mountpoint")?.value)?,
        mountpoint_source: source(entry, "mountpoint")?,
        sharenfs: share(kind, entry, "sharenfs")?,
        sharesmb: share(kind, entry, "sharesmb")?,
        received: received(entry),
        mounted: one_of(
            entry,
            "mounted",
            &[("yes", true), ("no", false), ("-", false)],
        )?,
        jailed: one_of(
            entry,
            JAILED_PROPERTY,
            &[("on", true), ("off", false), ("-", false)],
        )?,
        promotion: promoted(get(entry, promotion::PROPERTY)?),
        written: number(entry, "written")?,
        origin: origin(text(entry, "origin")?)?,
    })
}

const ON_OFF: [(&str, bool); 2] = [("on", true), ("off", false)];

fn key_status(entry: &Entry) -> Result<KeyStatus, Odd> {
    let words = [
        ("available", KeyStatus::Available),
        ("unavailable", KeyStatus::Unavailable),
        ("-", KeyStatus::None),
        ("none", KeyStatus::None),
    ];
    one_of(entry, "keystatus", &words)
}

fn key_format(entry: &Entry) -> Result<KeyFormat, Odd> {
    let words = [
        ("raw", KeyFormat::Raw),
        ("hex", KeyFormat::Hex),
        ("passphrase", KeyFormat::Passphrase),
        ("none", KeyFormat::None),
        ("-", KeyFormat::None),
    ];
    one_of(entry, "keyformat", &words)
}

/// Only a value that was set here counts. One that is no text says nothing that f3skeys ever wrote.
fn promoted(told: &Value) -> Promoted {
    if told.source != b"local" {
        return Promoted::Never;
    }
    match std::str::from_utf8(&told.value) {
        Ok(value) => promotion::parse(value),
        Err(_) => Promoted::Unknown(String::from_utf8_lossy(&told.value).into_owned()),
    }
}

/// A dash is no number: ZFS prints it where it could not count.
fn number(entry: &Entry, property: &'static str) -> Result<u64, Odd> {
    let value = text(entry, property)?;
    digits::number(value).map_or_else(|| odd(property, value.as_bytes()), Ok)
}

/// Reads `zfs get -Hp -o name,value written` and `zfs list -Hp -s createtxg -o name,guid,creation`
/// of the same datasets.
///
/// # Errors
/// A line is not as expected; the words name it.
pub fn past(written: &str, moments: &str) -> Result<Vec<Past>, String> {
    let mut all: Map<&str, Past> = Map::new();
    for line in written.lines() {
        let (name, bytes) = line
            .split_once('\t')
            .ok_or_else(|| format!("not two columns: `{line}`"))?;
        let past = Past {
            dataset: name
                .parse()
                .map_err(|_| format!("`{name}` is not a dataset name"))?,
            written: counted("written", bytes)?,
            moments: Vec::new(),
        };
        all.insert(name, past);
    }
    for line in moments.lines() {
        let (dataset, moment) = moment(line)?;
        // Made between the two questions: then its dataset is new, too.
        if let Some(past) = all.get_mut(dataset) {
            past.moments.push(moment);
        }
    }
    Ok(all.into_values().collect())
}

fn moment(line: &str) -> Result<(&str, Moment), String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [full, guid, created] = fields[..] else {
        return Err(format!("not three columns: `{line}`"));
    };
    let (dataset, name, bookmark) = match (full.split_once('@'), full.split_once('#')) {
        (Some((dataset, name)), _) => (dataset, name, false),
        (None, Some((dataset, name))) => (dataset, name, true),
        (None, None) => return Err(format!("`{full}` is no snapshot or bookmark")),
    };
    let moment = Moment {
        name: name.to_owned(),
        guid: counted("guid", guid)?,
        created: counted("creation", created)?,
        bookmark,
    };
    Ok((dataset, moment))
}

/// The dataset whose snapshot a clone was made of.
fn origin(snapshot: &str) -> Result<Option<DatasetName>, Odd> {
    if snapshot == "-" {
        return Ok(None);
    }
    let dataset = snapshot.split_once('@').map(|(dataset, _)| dataset);
    let dataset = dataset.and_then(|dataset| dataset.parse().ok());
    dataset.map_or_else(|| odd("origin", snapshot.as_bytes()), |name| Ok(Some(name)))
}

fn counted(what: &str, text: &str) -> Result<u64, String> {
    digits::number(text).ok_or_else(|| format!("{what} is `{text}`"))
}

fn encryption_root(entry: &Entry) -> Result<Option<DatasetName>, Odd> {
    match text(entry, "encryptionroot")? {
        "-" | "none" | "" => Ok(None),
        name => name
            .parse()
            .map(Some)
            .or_else(|_| odd("encryptionroot", name.as_bytes())),
    }
}

/// What a mount allows; a volume has none of it.
fn mount_switch(kind: Kind, entry: &Entry, property: &'static str) -> Result<bool, Odd> {
    match kind {
        Kind::Volume => one_of(entry, property, &[("-", false)]),
        Kind::Filesystem => one_of(entry, property, &ON_OFF),
    }
}

/// What is received and gives the sender a say on this node. A value that only takes something away is
/// not told of.
fn received(entry: &Entry) -> Vec<&'static str> {
    let harmless = |property: &str, value: &[u8]| match property {
        "readonly" => value != b"off",
        "setuid" | "devices" | "exec" | "canmount" => value != b"on",
        "mountpoint" => !value.starts_with(b"/"),
        "sharenfs" | "sharesmb" => value == b"off",
        _ => true,
    };
    let told = PROPERTIES.iter().zip(&entry.values);
    let received = told.filter(|(_, told)| told.source == b"received");
    let telling = received.filter(|(property, told)| !harmless(property, &told.value));
    telling.map(|(property, _)| *property).collect()
}

/// Where a share comes from; no volume is shared, nor what is `off`.
fn share(kind: Kind, entry: &Entry, property: &'static str) -> Result<Option<Source>, Odd> {
    match get(entry, property)?.value.as_slice() {
        b"off" => Ok(None),
        _ if kind == Kind::Volume => Ok(None),
        _ => source(entry, property).map(Some),
    }
}

fn can_mount(kind: Kind, entry: &Entry) -> Result<CanMount, Odd> {
    match kind {
        Kind::Volume => one_of(entry, "canmount", &[("-", CanMount::Off)]),
        Kind::Filesystem => {
            let words = [
                ("on", CanMount::On),
                ("noauto", CanMount::NoAuto),
                ("off", CanMount::Off),
            ];
            one_of(entry, "canmount", &words)
        }
    }
}

fn mountpoint(kind: Kind, value: &[u8]) -> Result<Mountpoint, Odd> {
    match (kind, value) {
        (Kind::Volume, b"-") | (_, b"none") => Ok(Mountpoint::None),
        (_, b"legacy") => Ok(Mountpoint::Legacy),
        (_, path) if path.starts_with(b"/") => Ok(Mountpoint::Path(paths::of_bytes(path))),
        (_, other) => odd("mountpoint", other),
    }
}

/// Where a property comes from.
fn source(entry: &Entry, property: &'static str) -> Result<Source, Odd> {
    let value = get(entry, property)?.source.as_slice();
    let inherited = || {
        let above = value.strip_prefix(b"inherited from ")?;
        let name = std::str::from_utf8(above).ok()?.parse().ok()?;
        Some(Source::Inherited(name))
    };
    match value {
        b"local" => Ok(Source::Local),
        b"received" => Ok(Source::Received),
        b"default" => Ok(Source::Default),
        b"temporary" => Ok(Source::Temporary),
        b"-" | b"none" => Ok(Source::None),
        other => inherited().map_or_else(|| odd(property, other), Ok),
    }
}

/// What `zpool get -Hp -o value checkpoint` says: the bytes that a checkpoint holds back, or `-`.
///
/// # Errors
/// It is neither.
pub fn checkpoint(answer: &[u8]) -> Result<bool, String> {
    match answer {
        b"-\n" => Ok(false),
        bytes => {
            let text = std::str::from_utf8(bytes).ok();
            let held = text.and_then(|text| digits::number::<u64>(text.strip_suffix('\n')?));
            let held = held.ok_or_else(|| "its answer is not understood".to_owned())?;
            Ok(held > 0)
        }
    }
}

#[cfg(test)]
mod tests;
