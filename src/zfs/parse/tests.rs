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
zdata/enc\tsetuid\ton\tdefault
zdata/enc\tdevices\toff\treceived
zdata/enc\texec\ton\tlocal
zdata/enc\tcanmount\ton\tdefault
zdata/enc\tmountpoint\t/data/enc\tinherited from zdata
zdata/enc\tsharenfs\ton\treceived
zdata/enc\tsharesmb\toff\tdefault
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
zroot/bhyve/vol\tsetuid\t-\t-
zroot/bhyve/vol\tdevices\t-\t-
zroot/bhyve/vol\texec\t-\t-
zroot/bhyve/vol\tcanmount\t-\t-
zroot/bhyve/vol\tmountpoint\t-\t-
zroot/bhyve/vol\tsharenfs\t-\t-
zroot/bhyve/vol\tsharesmb\t-\t-
zroot/bhyve/vol\tmounted\t-\t-
zroot/bhyve/vol\twritten\t0\t-
zroot/bhyve/vol\torigin\t-\t-
zroot/bhyve/vol\tJAILED\t-\t-
zroot/bhyve/vol\tf3skeys:promotion\t-\t-
";

fn here(text: &str) -> String {
    text.replace("JAILED", JAILED_PROPERTY)
}

/// Recorded rows, of values that hold no tab.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in here(text).lines() {
        let [name, property, value, source] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        if entries
            .last()
            .is_none_or(|last| last.name != name.as_bytes())
        {
            entries.push(Entry {
                name: name.as_bytes().to_vec(),
                values: Vec::new(),
            });
        }
        let values = &mut entries.last_mut().unwrap().values;
        assert_eq!(PROPERTIES[values.len()], property);
        values.push(Value {
            value: value.as_bytes().to_vec(),
            source: source.as_bytes().to_vec(),
        });
    }
    entries
}

fn read(text: &str) -> Vec<Dataset> {
    let listing = listing(&entries(text)).unwrap();
    assert_eq!(listing.damaged, []);
    listing.datasets
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
        b"+12\n",
    ] {
        assert!(checkpoint(other).is_err(), "{other:?}");
    }
}

#[test]
fn file_systems_and_volumes_are_read() {
    let found = read(&format!("{ENC}{VOLUME}"));
    assert_eq!(found.len(), 2);
    let enc = &found[0];
    assert_eq!(enc.encryption_root.as_ref().unwrap().as_str(), "zdata/enc");
    assert_eq!(enc.key_status, KeyStatus::Unavailable);
    assert_eq!(enc.mountpoint, Mountpoint::Path("/data/enc".into()));
    assert_eq!(enc.readonly_source, Source::Default);
    assert_eq!((enc.setuid, enc.devices, enc.exec), (true, false, true));
    let shares = (&enc.sharenfs, &enc.sharesmb);
    assert_eq!(shares, (&Some(Source::Received), &None));
    assert_eq!(
        enc.mountpoint_source,
        Source::Inherited("zdata".parse().unwrap())
    );
    let location = enc.key_location.as_deref();
    assert_eq!(location, Some("file:///keys/f0:zdata.key"));
    let volume = &found[1];
    assert_eq!(volume.key_location, None);
    assert_eq!(volume.kind, Kind::Volume);
    assert!(volume.readonly);
    assert!(!volume.setuid && !volume.devices && !volume.exec);
    assert_eq!((&volume.sharenfs, &volume.sharesmb), (&None, &None));
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
fn law_5_a_dataset_without_all_its_values_is_damaged_alone() {
    let whole = entries(&format!("{ENC}{VOLUME}"));
    for fewer in 0..PROPERTIES.len() {
        let mut cut = whole.clone();
        cut[0].values.truncate(fewer);
        let found = listing(&cut).unwrap();
        assert_eq!(found.datasets, read(VOLUME), "{fewer}");
        assert_eq!(found.damaged[0].name.as_str(), "zdata/enc");
        assert_eq!(found.damaged[0].property, "encryptionroot");
    }
}

#[test]
fn law_5_a_dataset_that_is_listed_twice_is_damaged_alone() {
    for other in [&entries(ENC)[0].values, &entries(VOLUME)[0].values] {
        let mut doubled = entries(&format!("{ENC}{VOLUME}"));
        doubled.push(Entry {
            name: b"zdata/enc".to_vec(),
            values: other.clone(),
        });
        let found = listing(&doubled).unwrap();
        assert_eq!(found.datasets, read(VOLUME));
        assert_eq!(found.damaged.len(), 1);
        let root = "zroot/other".parse().unwrap();
        assert!(!found.damaged[0].may_be_opened_by(&root));
        assert!(found.damaged[0].may_be_opened_by(&"zdata/any".parse().unwrap()));
    }
}

#[test]
fn law_5_every_unheard_of_value_is_damage_of_its_dataset_and_names_its_property() {
    for (from, to, property) in [
        ("filesystem", "bookmark", "type"),
        ("unavailable", "maybe", "keystatus"),
        ("\traw\t", "\tcooked\t", "keyformat"),
        ("readonly\toff", "readonly\t-", "readonly"),
        ("setuid\ton", "setuid\t-", "setuid"),
        ("devices\toff", "devices\tno", "devices"),
        ("exec\ton", "exec\t1", "exec"),
        ("canmount\ton", "canmount\tsometimes", "canmount"),
        ("\t/data/enc\t", "\tdata/enc\t", "mountpoint"),
        ("\t/data/enc\t", "\t\t", "mountpoint"),
        ("mounted\tno", "mounted\tperhaps", "mounted"),
        ("written\t98304", "written\t96K", "written"),
        ("written\t98304", "written\t-1", "written"),
        ("written\t98304", "written\t-", "written"),
        ("written\t98304", "written\t+98304", "written"),
        ("guid\t5", "guid\t-5", "guid"),
        ("guid\t5", "guid\t+5", "guid"),
        ("guid\t5134237113093562512\t-\n", "guid\t-\t-\n", "guid"),
        (
            "inherited from zdata\n",
            "inherited from nowhere@\n",
            "mountpoint",
        ),
        ("zdata/other@a", "zdata/other", "origin"),
        (
            "encryptionroot\tzdata/enc",
            "encryptionroot\t@",
            "encryptionroot",
        ),
        ("off\tdefault", "off\twhoever", "readonly"),
        ("JAILED\toff", "JAILED\tmaybe", JAILED_PROPERTY),
        ("on\treceived", "on\twhoever", "sharenfs"),
    ] {
        assert!(ENC.contains(from), "{from}");
        let found = listing(&entries(&format!("{}{VOLUME}", ENC.replacen(from, to, 1))));
        let found = found.unwrap();
        assert_eq!(found.datasets, read(VOLUME), "{to}");
        assert_eq!(found.damaged.len(), 1, "{to}");
        assert_eq!(found.damaged[0].property, property, "{to}");
        let value = to.trim_end_matches("\t-\n").trim_matches(['\t', '\n']);
        let value = value.rsplit('\t').next().unwrap_or_default();
        let what = &found.damaged[0].what;
        assert!(what.contains(&format!("`{value}")), "{to}: {what}");
        let known = match property {
            "encryptionroot" => OpenedBy::NotKnown,
            _ => OpenedBy::Root("zdata/enc".parse().unwrap()),
        };
        assert_eq!(found.damaged[0].opened_by, known, "{to}");
    }
}

#[test]
fn what_is_no_name_of_zfs_is_no_answer_of_zfs() {
    for name in [&b""[..], b"z@s", b"z/\xff", b"z/a\tb", b"z/a\nb"] {
        let mut odd = entries(ENC);
        odd[0].name = name.to_vec();
        assert!(listing(&odd).is_err(), "{name:?}");
    }
}

#[test]
fn law_3_only_a_promotion_set_on_the_dataset_itself_counts() {
    let with = |value: &str, source: &str| {
        let from = "promotion\t-\t-";
        let to = format!("promotion\t{value}\t{source}");
        read(&ENC.replacen(from, &to, 1))[0].promotion.clone()
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
        ("z/r\t+0\n", ""),
        ("z/r\t0\n", "z/r@a\t+8\t1\n"),
        ("z/r\t0\n", "z/r@a\t8\t+1\n"),
    ] {
        assert!(past(written, moments).is_err(), "{written}{moments}");
    }
}

#[test]
fn nothing_is_no_dataset() {
    assert_eq!(listing(&[]), Ok(Listing::default()));
}

#[test]
fn what_a_stream_says_of_mounting_sharing_and_writing_is_known_by_its_source() {
    let values = |property| match property {
        "readonly" => vec![("off", true), ("on", false)],
        "setuid" | "devices" | "exec" => vec![("on", true), ("off", false)],
        "canmount" => vec![("on", true), ("noauto", false), ("off", false)],
        "mountpoint" => vec![("/etc", true), ("none", false), ("legacy", false)],
        "sharenfs" | "sharesmb" => vec![("on", true), ("ro", true), ("", true), ("off", false)],
        _ => vec![],
    };
    let sources = ["local", "received", "default", "temporary", "-"];
    let sources = sources.into_iter().chain(["inherited from zdata"]);
    let mut rows = 0;
    for source in sources {
        for (number, property) in PROPERTIES.into_iter().enumerate() {
            for (value, is_telling) in values(property) {
                let mut entries = entries(&ENC.replace("received", "local"));
                entries[0].values[number] = Value {
                    value: value.as_bytes().to_vec(),
                    source: source.as_bytes().to_vec(),
                };
                let found = &listing(&entries).unwrap().datasets[0];
                let told = is_telling && source == "received";
                let expected: &[&str] = if told { &[property] } else { &[] };
                assert_eq!(found.received, expected, "{property} {value} {source}");
                rows += 1;
            }
        }
    }
    assert_eq!(rows, 6 * (2 + 3 * 2 + 3 + 3 + 2 * 4));
}
