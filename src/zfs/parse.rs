//! What `zfs get -Hp -o name,property,value,source` prints, read strictly.

use super::{CanMount, Dataset, KeyFormat, KeyStatus, Kind, Moment, Mountpoint, Past, Source};
use crate::names::DatasetName;
use crate::os::JAILED_PROPERTY;
use crate::promotion::{self, Promoted};
use crate::sorted::Map;
use std::path::PathBuf;

/// The properties that [`Dataset`] is made of.
pub fn properties() -> String {
    format!(
        "type,guid,encryptionroot,keystatus,keyformat,keylocation,readonly,canmount,mountpoint,mounted,written,origin,{JAILED_PROPERTY},{}",
        promotion::PROPERTY
    )
}

type Row<'a> = Map<&'a str, (&'a str, &'a str)>;

/// Reads the whole output, one dataset for each name.
///
/// # Errors
/// A line, a value or a set of properties is not as expected; the words name it.
pub fn datasets(text: &str) -> Result<Vec<Dataset>, String> {
    // All names at once: they come in no order that counts, and there may be thousands.
    let names = text.lines().filter_map(|line| line.split('\t').next());
    let mut rows: Map<&str, Row> = names.map(|name| (name, Row::new())).collect();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, property, value, source] = fields[..] else {
            return Err(format!("not four columns: `{line}`"));
        };
        let row = rows.entry(name).or_default();
        if row.insert(property, (value, source)).is_some() {
            return Err(format!("{name}: {property} is given twice"));
        }
    }
    rows.into_iter()
        .map(|(name, row)| dataset(name, &row).map_err(|what| format!("{name}: {what}")))
        .collect()
}

fn dataset(name: &str, row: &Row) -> Result<Dataset, String> {
    let get = |property: &str| {
        row.get(property)
            .copied()
            .ok_or_else(|| format!("no property {property}"))
    };
    let (readonly, readonly_source) = get("readonly")?;
    let kind = match get("type")?.0 {
        "filesystem" => Kind::Filesystem,
        "volume" => Kind::Volume,
        other => return Err(format!("type is `{other}`")),
    };
    Ok(Dataset {
        name: name.parse().map_err(|_| "not a dataset name".to_owned())?,
        kind,
        guid: number("guid", get("guid")?.0)?,
        encryption_root: encryption_root(get("encryptionroot")?.0)?,
        key_status: match get("keystatus")?.0 {
            "available" => KeyStatus::Available,
            "unavailable" => KeyStatus::Unavailable,
            "-" | "none" => KeyStatus::None,
            other => return Err(format!("keystatus is `{other}`")),
        },
        key_format: match get("keyformat")?.0 {
            "raw" => KeyFormat::Raw,
            "hex" => KeyFormat::Hex,
            "passphrase" => KeyFormat::Passphrase,
            "none" | "-" => KeyFormat::None,
            other => return Err(format!("keyformat is `{other}`")),
        },
        key_location: match get("keylocation")?.0 {
            "none" | "-" => None,
            location => Some(location.to_owned()),
        },
        readonly: on_off("readonly", readonly)?,
        readonly_source: source("readonly", readonly_source)?,
        can_mount: can_mount(kind, get("canmount")?.0)?,
        mountpoint: mountpoint(kind, get("mountpoint")?.0)?,
        mountpoint_source: source("mountpoint", get("mountpoint")?.1)?,
        mounted: match get("mounted")?.0 {
            "yes" => true,
            "no" | "-" => false,
            other => return Err(format!("mounted is `{other}`")),
        },
        jailed: match get(JAILED_PROPERTY)?.0 {
            "-" => false,
            value => on_off(JAILED_PROPERTY, value)?,
        },
        promotion: match get(promotion::PROPERTY)? {
            (value, "local") => promotion::parse(value),
            _ => Promoted::Never,
        },
        written: match get("written")?.0 {
            "-" => 0,
            bytes => number("written", bytes)?,
        },
        origin: match get("origin")?.0 {
            "-" => None,
            snapshot => Some(origin(snapshot)?),
        },
    })
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
            written: number("written", bytes)?,
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
        guid: number("guid", guid)?,
        created: number("creation", created)?,
        bookmark,
    };
    Ok((dataset, moment))
}

/// The dataset whose snapshot a clone was made of.
fn origin(snapshot: &str) -> Result<DatasetName, String> {
    let dataset = snapshot.split_once('@').map(|(dataset, _)| dataset);
    let dataset = dataset.and_then(|dataset| dataset.parse().ok());
    dataset.ok_or_else(|| format!("origin is `{snapshot}`"))
}

fn number(what: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{what} is `{text}`"))
}

fn encryption_root(value: &str) -> Result<Option<DatasetName>, String> {
    match value {
        "-" | "none" | "" => Ok(None),
        name => name
            .parse()
            .map(Some)
            .map_err(|_| format!("encryptionroot is `{name}`")),
    }
}

fn on_off(property: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("{property} is `{other}`")),
    }
}

fn can_mount(kind: Kind, value: &str) -> Result<CanMount, String> {
    match (kind, value) {
        (Kind::Filesystem, "on") => Ok(CanMount::On),
        (Kind::Filesystem, "noauto") => Ok(CanMount::NoAuto),
        (Kind::Filesystem, "off") | (Kind::Volume, "-") => Ok(CanMount::Off),
        (_, other) => Err(format!("canmount is `{other}`")),
    }
}

fn mountpoint(kind: Kind, value: &str) -> Result<Mountpoint, String> {
    match (kind, value) {
        (Kind::Volume, "-") | (_, "none") => Ok(Mountpoint::None),
        (_, "legacy") => Ok(Mountpoint::Legacy),
        (_, path) if path.starts_with('/') => Ok(Mountpoint::Path(PathBuf::from(path))),
        (_, other) => Err(format!("mountpoint is `{other}`")),
    }
}

fn source(property: &str, text: &str) -> Result<Source, String> {
    match text {
        "local" => Ok(Source::Local),
        "received" => Ok(Source::Received),
        "default" => Ok(Source::Default),
        "temporary" => Ok(Source::Temporary),
        "-" | "none" => Ok(Source::None),
        other => other
            .strip_prefix("inherited from ")
            .and_then(|name| name.parse().ok())
            .map(Source::Inherited)
            .ok_or_else(|| format!("the source of {property} is `{other}`")),
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
            let held = text.and_then(|text| text.strip_suffix('\n')?.parse::<u64>().ok());
            let held = held.ok_or_else(|| "its answer is not understood".to_owned())?;
            Ok(held > 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from OpenZFS 2.3; the property of jails is called by this platform's name.
    const ENC: &str = "\
zdata/enc\ttype\tfilesystem\t-
zdata/enc\tguid\t5134237113093562512\t-
zdata/enc\tencryptionroot\tzdata/enc\t-
zdata/enc\tkeystatus\tunavailable\t-
zdata/enc\tkeyformat\traw\t-
zdata/enc\tkeylocation\tfile:///keys/f0:zdata.key\tlocal
zdata/enc\treadonly\toff\tdefault
zdata/enc\tcanmount\ton\tdefault
zdata/enc\tmountpoint\t/data/enc\tinherited from zdata
zdata/enc\tmounted\tno\t-
zdata/enc\twritten\t98304\t-
zdata/enc\torigin\tzdata/other@a\t-
zdata/enc\tJAILED\toff\tdefault
zdata/enc\tf3skeys:promotion\t-\t-
";
    const VOLUME: &str = "\
zroot/bhyve/vol\ttype\tvolume\t-
zroot/bhyve/vol\tguid\t18446744073709551615\t-
zroot/bhyve/vol\tencryptionroot\tzroot/bhyve\t-
zroot/bhyve/vol\tkeystatus\tavailable\t-
zroot/bhyve/vol\tkeyformat\traw\t-
zroot/bhyve/vol\tkeylocation\tnone\tdefault
zroot/bhyve/vol\treadonly\ton\treceived
zroot/bhyve/vol\tcanmount\t-\t-
zroot/bhyve/vol\tmountpoint\t-\t-
zroot/bhyve/vol\tmounted\t-\t-
zroot/bhyve/vol\twritten\t0\t-
zroot/bhyve/vol\torigin\t-\t-
zroot/bhyve/vol\tJAILED\t-\t-
zroot/bhyve/vol\tf3skeys:promotion\t-\t-
";

    fn here(text: &str) -> String {
        text.replace("JAILED", JAILED_PROPERTY)
    }

    #[test]
    fn a_checkpoint_is_bytes_or_a_dash_and_nothing_else() {
        assert_eq!(checkpoint(b"-\n"), Ok(false));
        assert_eq!(checkpoint(b"0\n"), Ok(false));
        assert_eq!(checkpoint(b"77824\n"), Ok(true));
        for other in [
            &b""[..],
            b"-",
            b"\n",
            b"12",
            b"12K\n",
            b"-\n-\n",
            b"\xff\n",
            b"-1\n",
        ] {
            assert!(checkpoint(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn file_systems_and_volumes_are_read() {
        let found = datasets(&here(&format!("{ENC}{VOLUME}"))).unwrap();
        assert_eq!(found.len(), 2);
        let enc = &found[0];
        assert_eq!(enc.encryption_root.as_ref().unwrap().as_str(), "zdata/enc");
        assert_eq!(enc.key_status, KeyStatus::Unavailable);
        assert_eq!(enc.mountpoint, Mountpoint::Path("/data/enc".into()));
        assert_eq!(enc.readonly_source, Source::Default);
        let location = enc.key_location.as_deref();
        assert_eq!(location, Some("file:///keys/f0:zdata.key"));
        let volume = &found[1];
        assert_eq!(volume.key_location, None);
        assert_eq!(volume.kind, Kind::Volume);
        assert!(volume.readonly);
        assert_eq!(volume.readonly_source, Source::Received);
        assert_eq!(volume.can_mount, CanMount::Off);
        assert_eq!((enc.written, volume.written), (98_304, 0));
        assert_eq!(
            (enc.guid, volume.guid),
            (5_134_237_113_093_562_512, u64::MAX)
        );
        assert_eq!(enc.origin.as_ref().unwrap().as_str(), "zdata/other");
        assert_eq!(volume.origin, None);
    }

    #[test]
    fn every_missing_line_and_every_doubled_line_is_an_error() {
        let lines: Vec<String> = here(ENC).lines().map(str::to_owned).collect();
        for skipped in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(skipped);
            assert!(datasets(&fewer.join("\n")).is_err(), "{}", lines[skipped]);
            let mut more = lines.clone();
            more.push(lines[skipped].clone());
            assert!(datasets(&more.join("\n")).is_err(), "{}", lines[skipped]);
        }
    }

    #[test]
    fn every_unheard_of_value_is_an_error() {
        for (from, to) in [
            ("filesystem", "bookmark"),
            ("unavailable", "maybe"),
            ("\traw\t", "\tcooked\t"),
            ("readonly\toff", "readonly\t-"),
            ("canmount\ton", "canmount\tsometimes"),
            ("\t/data/enc\t", "\tdata/enc\t"),
            ("mounted\tno", "mounted\tperhaps"),
            ("written\t98304", "written\t96K"),
            ("written\t98304", "written\t-1"),
            ("guid\t5", "guid\t-5"),
            ("guid\t5134237113093562512\t-\n", "guid\t-\t-\n"),
            ("zdata/other@a", "zdata/other"),
            ("encryptionroot\tzdata/enc", "encryptionroot\t@"),
            ("off\tdefault", "off\twhoever"),
            ("type\tfilesystem\t-", "type\tfilesystem\t-\textra"),
            ("type\tfilesystem\t-", "type filesystem -"),
        ] {
            let text = here(ENC);
            assert!(text.contains(from), "{from}");
            assert!(datasets(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    #[test]
    fn law_3_only_a_promotion_set_on_the_dataset_itself_counts() {
        let with = |value: &str, source: &str| {
            let from = "promotion\t-\t-";
            let to = format!("promotion\t{value}\t{source}");
            let found = datasets(&here(ENC).replacen(from, &to, 1)).unwrap();
            found[0].promotion.clone()
        };
        let value = "promoted 3 1795000000 f0 is dead";
        assert!(matches!(with(value, "local"), Promoted::Now(p) if p.epoch == 3));
        for source in ["received", "inherited from zdata", "default", "-"] {
            assert_eq!(with(value, source), Promoted::Never, "{source}");
        }
        assert_eq!(with("demoted 3 1", "local"), Promoted::Over(3));
        assert!(matches!(with("yes", "local"), Promoted::Unknown(_)));
    }

    #[test]
    fn snapshots_and_bookmarks_are_read_with_what_was_written_since() {
        let written = "z/r\t4096\nz/r/c\t0\n";
        let moments = "z/r#old\t7\t100\nz/r@a\t8\t200\nz/r/c@a\t9\t200\nz/gone@a\t1\t2\n";
        let pasts = past(written, moments).unwrap();
        assert_eq!(pasts.len(), 2);
        assert_eq!((pasts[0].written, pasts[0].moments.len()), (4096, 2));
        assert!(pasts[0].moments[0].bookmark);
        assert_eq!(pasts[0].newest().unwrap().guid, 8);
        for (written, moments) in [
            ("z/r 4096\n", ""),
            ("z/r\t-\n", ""),
            ("@\t0\n", ""),
            ("z/r\t0\n", "z/r@a\t8\n"),
            ("z/r\t0\n", "z/r\t8\t1\n"),
            ("z/r\t0\n", "z/r@a\tx\t1\n"),
            ("z/r\t0\n", "z/r@a\t8\tnow\n"),
        ] {
            assert!(past(written, moments).is_err(), "{written}{moments}");
        }
    }

    #[test]
    fn nothing_is_no_dataset() {
        assert_eq!(datasets("").unwrap(), []);
    }
}
