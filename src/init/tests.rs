//! Every way in which a device may be the wrong one, alone and with the others.

use super::decide::{Inspection, Looked, Refusal, Request, Steps, content, decide, still};
use super::*;
use crate::os::Signature;
use std::path::PathBuf;

const NODE: &str = "/dev/da0";

fn request() -> Request {
    Request {
        device: NODE.into(),
        serial: Some("4C530001".to_owned()),
        label: LABEL.to_owned(),
        overwrite: None,
        fixed: None,
    }
}

/// A blank stick.
fn blank() -> Inspection {
    Inspection {
        candidate: Candidate {
            node: NODE.into(),
            serial: Some("4C530001".to_owned()),
            filesystems: Vec::new(),
            ..Candidate::default()
        },
        usb: Ok(true),
        mounted: Ok(Vec::new()),
        users: Ok(Vec::new()),
        parts: Ok(Vec::new()),
        signatures: Ok(Vec::new()),
        beginning: Ok("00".to_owned()),
    }
}

fn signature(kind: &str, label: Option<&str>) -> Signature {
    Signature {
        kind: kind.to_owned(),
        label: label.map(str::to_owned),
    }
}

fn filesystem(kind: Kind, label: Option<&str>) -> Filesystem {
    Filesystem {
        kind,
        label: label.map(str::to_owned),
    }
}

/// A stick with an ext4 of another use, and what a look into it gave.
fn used(keys: Result<Vec<String>, String>) -> (Inspection, Vec<Looked>) {
    let mut seen = blank();
    let ext = filesystem(Kind::Ext, Some("MY FILES"));
    seen.candidate.filesystems.push(ext.clone());
    seen.signatures = Ok(vec![signature("ext4", Some("MY FILES"))]);
    let looked = Looked {
        filesystem: ext,
        keys,
    };
    (seen, vec![looked])
}

#[test]
fn a_blank_stick_that_is_named_by_its_serial_is_formatted() {
    let steps = Steps {
        node: NODE.into(),
        serial: "4C530001".to_owned(),
        label: LABEL.to_owned(),
        overwrites: String::new(),
    };
    assert_eq!(decide(&request(), &blank(), &[]), Ok(steps));
}

type Change = fn(&mut Request, &mut Inspection);

/// Everything that may be wrong with a request or a device, each by itself.
fn wrongs() -> Vec<(&'static str, Change)> {
    vec![
        ("label", |r, _| r.label = "a b".to_owned()),
        ("not usb", |_, s| s.usb = Ok(false)),
        ("usb unknown", |_, s| s.usb = Err("?".to_owned())),
        ("other fixed", |r, _| r.fixed = Some("/dev/da1".into())),
        ("no serial of its own", |_, s| s.candidate.serial = None),
        ("serial not given", |r, _| r.serial = None),
        ("other serial", |r, _| r.serial = Some("0BAD".to_owned())),
        ("mounted", |_, s| s.mounted = Ok(vec!["/mnt".into()])),
        ("mounts unknown", |_, s| s.mounted = Err("?".to_owned())),
        ("in use", |_, s| s.users = Ok(vec!["swap".to_owned()])),
        ("users unknown", |_, s| s.users = Err("?".to_owned())),
        ("partitioned", |_, s| {
            s.parts = Ok(vec!["/dev/da0p1".to_owned()])
        }),
        ("parts unknown", |_, s| s.parts = Err("?".to_owned())),
        ("content unknown", |_, s| s.signatures = Err("?".to_owned())),
        ("of a pool", |_, s| {
            s.signatures = Ok(vec![signature("zfs_member", Some("tank"))])
        }),
        ("of a pool, on FreeBSD", |_, s| {
            s.signatures = Ok(vec![signature("zfs", None)])
        }),
        ("opaque", |_, s| {
            s.signatures = Ok(vec![signature("crypto_LUKS", None)])
        }),
        ("not looked into", |_, s| {
            s.candidate.filesystems = vec![filesystem(Kind::Ufs2, None)];
        }),
        ("not named", |_, s| {
            s.signatures = Ok(vec![signature("vfat", None)])
        }),
        ("named, but blank", |r, _| {
            r.overwrite = Some("vfat".to_owned())
        }),
    ]
}

#[test]
fn each_wrong_alone_and_each_two_together_refuse() {
    let wrongs = wrongs();
    for (name, one) in &wrongs {
        for (other, two) in &wrongs {
            let (mut request, mut seen) = (request(), blank());
            one(&mut request, &mut seen);
            if name != other {
                two(&mut request, &mut seen);
                // Together these two are no wrong: what is there is named.
                if request.overwrite.as_deref() == Some("vfat")
                    && seen.signatures == Ok(vec![signature("vfat", None)])
                {
                    continue;
                }
            }
            let answer = decide(&request, &seen, &[]);
            assert!(answer.is_err(), "{name} and {other}: {answer:?}");
        }
    }
}

#[test]
fn every_refusal_says_what_to_do_and_no_serial_number() {
    for (name, wrong) in wrongs() {
        let (mut request, mut seen) = (request(), blank());
        request.serial = Some("GIVEN".to_owned());
        seen.candidate.serial = Some("GIVEN".to_owned());
        wrong(&mut request, &mut seen);
        seen.candidate.serial = seen.candidate.serial.map(|_| "SECRETSERIAL".to_owned());
        let Err(refusal) = decide(&request, &seen, &[]) else {
            panic!("{name}");
        };
        let said = refused(&request, &refusal, "by `hint`").complaints();
        assert!(
            said.contains("not formatted") && said.contains("  -> "),
            "{said}"
        );
        assert!(!said.contains("SECRETSERIAL"), "{name}: {said}");
    }
    let wrong = Refusal::OtherSerial.remedy(&request(), "by `hint`");
    assert!(wrong.contains("by `hint`"));
}

#[test]
fn what_is_overwritten_must_be_named_exactly() {
    let (seen, looked) = used(Ok(Vec::new()));
    let with = |overwrite: Option<&str>| {
        let request = Request {
            overwrite: overwrite.map(str::to_owned),
            ..request()
        };
        decide(&request, &seen, &looked)
    };
    let shown = match with(None) {
        Err(Refusal::NotNamed(shown)) => shown,
        other => panic!("{other:?}"),
    };
    assert_eq!(shown, "ext4=MY FILES");
    assert_eq!(with(Some(&shown)).unwrap().overwrites, shown);
    for other in ["", "ext4", "MY FILES", "ext4=my files", "ext4=MY FILES,dos"] {
        assert_eq!(
            with(Some(other)),
            Err(Refusal::OtherNamed(shown.clone())),
            "{other}"
        );
    }
    let remedy = Refusal::NotNamed("vfat=it's".to_owned()).remedy(&request(), "");
    assert!(remedy.contains(r"--overwrite 'vfat=it'\''s'"), "{remedy}");
}

#[test]
fn law_7_keys_are_not_overwritten_whatever_is_named() {
    let keys = vec!["f0:zdata.key".to_owned()];
    for fixed in [None, Some(PathBuf::from(NODE))] {
        for overwrite in [None, Some("ext4=MY FILES"), Some("f0:zdata.key")] {
            for usb in [true, false] {
                let request = Request {
                    overwrite: overwrite.map(str::to_owned),
                    fixed: fixed.clone(),
                    ..request()
                };
                let (mut seen, looked) = used(Ok(keys.clone()));
                seen.usb = Ok(usb);
                let expected = match (usb, &fixed) {
                    (false, None) => Refusal::NotUsb,
                    _ => Refusal::HoldsKeys(keys.clone()),
                };
                assert_eq!(decide(&request, &seen, &looked), Err(expected));
            }
        }
    }
    // Where nobody could look, there may be some.
    let (seen, looked) = used(Err("unknown superblock".to_owned()));
    let request = Request {
        overwrite: Some("ext4=MY FILES".to_owned()),
        ..request()
    };
    assert!(matches!(
        decide(&request, &seen, &looked),
        Err(Refusal::Opaque(_))
    ));
    // A look into one file system says nothing about another.
    let (mut seen, looked) = used(Ok(Vec::new()));
    seen.candidate
        .filesystems
        .push(filesystem(Kind::Ufs2, None));
    assert!(matches!(
        decide(&request, &seen, &looked),
        Err(Refusal::CannotTell(_))
    ));
}

#[test]
fn content_that_a_store_can_be_on_is_overwritten_only_after_a_look() {
    for (kind, expected) in [
        ("vfat", true),
        ("msdosfs", true),
        ("exfat", true),
        ("dos", true),
        ("gpt", true),
        ("ext4", false),
        ("ufs", false),
        ("btrfs", false),
        ("iso9660", false),
        ("LVM2_member", false),
        ("linux_raid_member", false),
    ] {
        let mut seen = blank();
        seen.signatures = Ok(vec![signature(kind, None)]);
        let request = Request {
            overwrite: Some(kind.to_owned()),
            ..request()
        };
        assert_eq!(decide(&request, &seen, &[]).is_ok(), expected, "{kind}");
    }
}

#[test]
fn a_device_that_is_no_stick_must_be_named_twice() {
    let mut seen = blank();
    seen.usb = Ok(false);
    let fixed = Request {
        fixed: Some(NODE.into()),
        ..request()
    };
    assert_eq!(decide(&request(), &seen, &[]), Err(Refusal::NotUsb));
    assert!(decide(&fixed, &seen, &[]).is_ok());
    assert!(warn_of_fixed(&fixed).is_some() && warn_of_fixed(&request()).is_none());
}

#[test]
fn labels_are_what_both_systems_take() {
    for (label, good) in [
        ("F3S_KEYS", true),
        ("a", true),
        ("0123456789abcdef", true),
        ("0123456789abcdefg", false),
        ("", false),
        ("-L", false),
        ("a b", false),
        ("a/b", false),
        ("a\n", false),
        ("ä", false),
    ] {
        let request = Request {
            label: label.to_owned(),
            ..request()
        };
        assert_eq!(decide(&request, &blank(), &[]).is_ok(), good, "{label}");
    }
}

#[test]
fn content_names_what_the_systems_program_missed() {
    let (seen, _) = used(Ok(Vec::new()));
    assert_eq!(content(&seen.candidate, &[]), "ext=MY FILES");
    let both = [signature("dos", None), signature("ext4", Some("MY FILES"))];
    assert_eq!(content(&seen.candidate, &both), "dos,ext4=MY FILES");
    assert_eq!(content(&blank().candidate, &[]), "");
}

#[test]
fn what_is_left_of_a_former_file_system_is_not_taken_for_the_new_one() {
    let steps = decide(&request(), &blank(), &[]).unwrap();
    let mut made = blank().candidate;
    let new = filesystem(Kind::Ufs2, Some(LABEL));
    for (filesystems, good) in [
        (vec![new.clone()], true),
        (vec![], false),
        (vec![filesystem(Kind::Ufs2, None)], false),
        (vec![new.clone(), filesystem(Kind::Ext, None)], false),
    ] {
        made.filesystems = filesystems;
        assert_eq!(the_new_one(made.clone(), &steps).is_ok(), good);
    }
}

/// Everything of a device that may be another while nobody else can use it, each by itself.
#[test]
fn law_8_a_device_that_is_not_what_it_was_is_refused() {
    let (seen, looked) = used(Ok(Vec::new()));
    let request = Request {
        overwrite: Some("ext4=MY FILES".to_owned()),
        ..request()
    };
    let decided = decide(&request, &seen, &looked);
    assert!(decided.is_ok());
    assert_eq!(still(&request, &seen, &looked, &seen), decided);
    type Meanwhile = fn(&mut Inspection);
    let changes: [Meanwhile; 12] = [
        |now| now.candidate.node = "/dev/da1".into(),
        |now| now.candidate.serial = Some("0BAD".to_owned()),
        |now| now.candidate.filesystems.clear(),
        |now| now.candidate.filesystems[0].label = Some("YOUR FILES".to_owned()),
        |now| now.usb = Ok(false),
        |now| now.mounted = Ok(vec!["/mnt".into()]),
        |now| now.users = Ok(vec!["swap".to_owned()]),
        |now| now.parts = Ok(vec!["/dev/da0p1".to_owned()]),
        |now| now.signatures = Ok(vec![signature("zfs_member", None)]),
        |now| now.signatures = Ok(Vec::new()),
        |now| now.beginning = Ok("01".to_owned()),
        |now| now.beginning = Err("?".to_owned()),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut now = seen.clone();
        change(&mut now);
        let refusal = still(&request, &seen, &looked, &now).unwrap_err();
        assert!(!refusal.remedy(&request, "`hint`").is_empty(), "{number}");
    }
    let mut written = seen.clone();
    written.beginning = Ok("01".to_owned());
    assert_eq!(
        still(&request, &seen, &looked, &written),
        Err(Refusal::Changed)
    );
    // What was unknown both times is not the same.
    let mut unknown = seen.clone();
    unknown.beginning = Err("?".to_owned());
    assert!(still(&request, &unknown, &looked, &unknown).is_err());
}

/// lsblk(8) may show the number of the disk behind a bridge, or `_` for a blank: a person who has read one of
/// these has read the very stick.
#[test]
fn a_serial_number_counts_as_the_kernel_has_it_and_as_other_programs_show_it() {
    let mut seen = blank();
    seen.candidate.shown_as = vec!["WD-1234".to_owned()];
    for (given, fits) in [
        ("4C530001", true),
        (" WD-1234 ", true),
        ("WD-123", false),
        ("", false),
    ] {
        let request = Request {
            serial: Some(given.to_owned()),
            ..request()
        };
        let decided = decide(&request, &seen, &[]);
        assert_eq!(
            decided.as_ref().map(|s| s.serial.as_str()),
            match fits {
                // What the configuration is to say.
                true => Ok("4C530001"),
                false => Err(&Refusal::OtherSerial),
            }
        );
    }
}
