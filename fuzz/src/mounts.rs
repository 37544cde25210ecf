//! The table of mounts, of which local users write a part.

use f3skeys::os::mountinfo::{Entry, Table};
use std::os::unix::ffi::OsStrExt;

/// A mount of the node, as the kernel writes it.
const OURS: &[u8] = b"9 1 0:9 / /data/nfs rw shared:7 - zfs zdata/enc/nfsdata rw,xattr\n";

/// /proc/self/mountinfo.
pub fn mountinfo(bytes: &[u8]) -> bool {
    let entries = Table::parse(bytes).entries;
    check_each_alone(bytes, &entries);
    entries.iter().for_each(check_written_again);
    check_ours(bytes, &entries);
    !entries.is_empty()
}

/// A line means the same whatever stands around it; one that is not understood is unknown to whoever
/// asks about what it mentions.
fn check_each_alone(bytes: &[u8], entries: &[Entry]) {
    let mut alone = Vec::new();
    let mut hides_zfs = false;
    for line in bytes.split(|byte| *byte == b'\n') {
        let of_line = Table::parse(line).entries;
        let is_of_zfs = line.windows(3).any(|word| word == b"zfs");
        hides_zfs |= of_line.is_empty() && is_of_zfs;
        alone.extend(of_line);
    }
    assert_eq!(alone, entries);
    if hides_zfs {
        assert!(Table::parse(bytes).knows_of(&[b"zfs"]).is_err());
    }
}

/// A mount of our own is seen as it is, wherever it stands in the table.
fn check_ours(bytes: &[u8], entries: &[Entry]) {
    let ours = Table::parse(OURS).entries;
    let around = [OURS, bytes, b"\n", OURS].concat();
    let expected = [&ours, entries, &ours].concat();
    assert_eq!(Table::parse(&around).entries, expected);
}

fn check_written_again(entry: &Entry) {
    let mount = &entry.mount;
    let at = mount.at.as_os_str().as_bytes();
    assert!(at.starts_with(b"/"), "{at:?}");
    assert!(mount.read_only || !mount.sealed);
    let word = |is: bool| if is { &b"ro"[..] } else { b"rw" };
    let line = [
        entry.id.to_string().as_bytes(),
        entry.parent.to_string().as_bytes(),
        entry.device.as_bytes(),
        &escaped(entry.root.as_os_str().as_bytes()),
        &escaped(at),
        word(mount.read_only),
        b"-",
        &escaped(mount.fstype.as_bytes()),
        &escaped(mount.source.as_bytes()),
        word(mount.sealed),
    ]
    .join(&b' ');
    assert_eq!(Table::parse(&line).entries, std::slice::from_ref(entry));
}

/// As the kernel escapes what would end a field.
fn escaped(field: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' | b'#' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![*byte],
    };
    field.iter().flat_map(escape).collect()
}
