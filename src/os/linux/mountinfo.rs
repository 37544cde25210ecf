//! What /proc/self/mountinfo says: pure, so that it is tested and fuzzed on every platform. Local users
//! mount things too, and choose names for them.

use crate::digits;
use crate::os::Mount;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount and how the kernel numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The mount's number.
    pub id: u64,
    /// The number of the mount that its directory lies in.
    pub parent: u64,
    /// The device's number, `major:minor`.
    pub device: String,
    /// The directory of the file system that it shows: `/`, but for a bind or a subvolume.
    pub root: PathBuf,
    /// The mount.
    pub mount: Mount,
}

/// The table, with the lines that are not as the kernel documents them.
#[derive(Debug, Default)]
pub struct Table {
    /// The mounts, in the order in which they were made.
    pub entries: Vec<Entry>,
    odd: Vec<Vec<u8>>,
}

impl Table {
    /// Reads the whole text.
    pub fn parse(text: &[u8]) -> Table {
        let mut table = Table::default();
        let lines = text.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            match entry(line) {
                Some(entry) => table.entries.push(entry),
                None => table.odd.push(line.to_vec()),
            }
        }
        table
    }

    /// Refuses an answer about `words` where a line that is not understood mentions one of them.
    ///
    /// # Errors
    /// There is such a line.
    pub fn knows_of(&self, words: &[&[u8]]) -> io::Result<()> {
        let mentions = |line: &&Vec<u8>| {
            let line = unescape(line);
            let is_in = |word: &&[u8]| line.windows(word.len()).any(|part| part == *word);
            words.iter().filter(|word| !word.is_empty()).any(is_in)
        };
        match self.odd.iter().find(mentions) {
            Some(line) => {
                let line = String::from_utf8_lossy(line);
                let why = format!("a line of /proc/self/mountinfo is not understood: {line}");
                Err(io::Error::other(why))
            }
            None => Ok(()),
        }
    }
}

/// One line, as proc_pid_mountinfo(5) describes it.
fn entry(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = digits::number(std::str::from_utf8(fields.next()?).ok()?)?;
    let parent = digits::number(std::str::from_utf8(fields.next()?).ok()?)?;
    let device = std::str::from_utf8(fields.next()?).ok()?.to_owned();
    let root = fields.next()?;
    let at = fields.next().filter(|at| at.starts_with(b"/"))?;
    let read_only = is_read_only(fields.next()?)?;
    // Any number of optional fields, `shared:1` and the like, up to the separator.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let fstype = text(rest.next()?);
    let source = text(rest.next()?);
    let sealed = is_read_only(rest.next()?)?;
    Some(Entry {
        id,
        parent,
        device,
        root: path(root),
        mount: Mount {
            at: path(at),
            fstype,
            source,
            read_only: read_only || sealed,
            sealed,
            fsid: String::new(),
        },
    })
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// A name that is compared with names of ASCII: what is no UTF-8 equals none of them.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// The kernel's own word is the first of the options; what comes after it may be a stranger's.
fn is_read_only(options: &[u8]) -> Option<bool> {
    match options.split(|byte| *byte == b',').next()? {
        b"ro" => Some(true),
        b"rw" => Some(false),
        _ => None,
    }
}

/// Undoes the kernel's `\040` for a space and the like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail.get(..3).and_then(digits::octal)) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    #[test]
    fn mountinfo_lines_are_read() {
        let line = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - zfs zdata/enc\\134x ro,xattr";
        let entry = entry(line).unwrap();
        assert_eq!((entry.id, entry.parent), (36, 35));
        assert_eq!(entry.device, "98:0");
        assert_eq!(entry.root, Path::new("/mnt1"));
        assert_eq!(entry.mount.at, Path::new("/mnt 2"));
        assert_eq!(entry.mount.fstype, "zfs");
        assert_eq!(entry.mount.source, "zdata/enc\\x");
        assert!(entry.mount.sealed && entry.mount.read_only);
    }

    #[test]
    fn a_mount_is_read_only_by_the_kernels_own_word_alone() {
        for (of_mount, of_system, read_only, sealed) in [
            ("ro", "rw,xattr", true, false),
            ("rw", "rw,errors=ro2", false, false),
            ("rw", "rw,label=a,ro", false, false),
            ("rw,ro", "rw", false, false),
            ("rw,relatime", "ro,xattr", true, true),
            ("ro", "ro", true, true),
        ] {
            let line = format!("1 0 0:9 / /a {of_mount} - zfs z/a {of_system}");
            let mount = entry(line.as_bytes()).unwrap().mount;
            assert_eq!(
                (mount.read_only, mount.sealed),
                (read_only, sealed),
                "{line}"
            );
        }
    }

    #[test]
    fn broken_mountinfo_lines_are_not_understood() {
        for line in [
            "36 35",
            "x 35 98:0 / / rw - zfs a ro",
            "+36 35 98:0 / / rw - zfs a ro",
            "36 x 98:0 / / rw - zfs a ro",
            "36 35 98:0 / / rw zfs a ro",
            "36 35 98:0 / a rw - zfs a ro",
            "36 35 98:0 / / rx - zfs a ro",
            "36 35 98:0 / / rw - zfs a",
            "36 35 98:0 / / rw - zfs a noatime",
        ] {
            assert_eq!(entry(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn law_5_any_byte_in_a_strangers_mount_leaves_the_others_as_they_are() {
        let ours = b"9 1 0:9 / /data/nfs rw shared:7 - zfs zdata/enc/nfsdata rw,xattr\n";
        let alone = Table::parse(ours).entries;
        assert_eq!(alone[0].mount.source, "zdata/enc/nfsdata");
        for byte in 1..=u8::MAX {
            // The kernel writes these four, and NUL does not occur in a name.
            let shown = match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                _ => vec![byte],
            };
            let name = [b"/a".as_slice(), &[byte]].concat();
            for field in 0..5 {
                let odd = |place: usize| {
                    if field == place {
                        shown.as_slice()
                    } else {
                        b""
                    }
                };
                let line = [
                    b"3 1 0:7 /r",
                    odd(0),
                    b" /a",
                    odd(1),
                    b" rw,nosuid x:1",
                    odd(2),
                    b" - fuse",
                    odd(3),
                    b" s",
                    odd(4),
                    b" rw,user_id=1000\n",
                ];
                let text = [&line.concat()[..], ours, &line.concat()].concat();
                let table = Table::parse(&text);
                assert_eq!(table.entries.len(), 3, "{byte} {field}");
                assert_eq!(table.entries[1], alone[0], "{byte} {field}");
                assert!(table.knows_of(&[b"zfs"]).is_ok());
                let at = table.entries[0].mount.at.as_os_str();
                let expected: &[u8] = if field == 1 { &name } else { b"/a" };
                assert_eq!(at, OsStr::from_bytes(expected));
                assert_ne!(table.entries[0].mount.fstype, "zfs");
            }
        }
    }

    #[test]
    fn a_line_of_any_length_with_any_number_of_optional_fields_is_read() {
        for many in [0, 1, 2, 5000] {
            let fields = "shared:1 ".repeat(many);
            let (at, options) = ("a".repeat(4000), "b=c,".repeat(many));
            let line = format!("1 0 0:9 / /{at} rw {fields}- zfs z/a rw,{options}\n");
            let table = Table::parse(line.as_bytes());
            assert_eq!(table.entries[0].mount.at, Path::new(&format!("/{at}")));
            assert_eq!(table.entries[0].mount.source, "z/a");
        }
        // A source may be empty, and the separator's own sign may be a name.
        for source in ["", "-", "a\\040b"] {
            let line = format!("1 0 0:9 / /- rw - - {source} rw\n");
            let table = Table::parse(line.as_bytes());
            assert_eq!(table.entries[0].mount.source, source.replace("\\040", " "));
            assert_eq!(table.entries[0].mount.at, Path::new("/-"));
        }
    }

    #[test]
    fn law_4_a_line_that_is_not_understood_is_unknown_to_who_asks_about_it_alone() {
        let table =
            Table::parse(b"x 1 8:1 / /data\\040nfs rw - zfs z/a rw\n9 1 0:9 / / rw - ext4 a rw\n");
        assert_eq!(table.entries.len(), 1);
        for word in [&b"zfs"[..], b"/data nfs", b"8:1", b"z/a"] {
            assert!(table.knows_of(&[b"other", word]).is_err(), "{word:?}");
        }
        assert!(table.knows_of(&[b"other", b"8:17", b"", b"z/b"]).is_ok());
    }

    #[test]
    fn only_three_octal_digits_of_one_byte_are_an_escape() {
        for (field, expected) in [
            (&b"\\377\\000"[..], &[0xff, 0][..]),
            (b"\\400", b"\\400"),
            (b"\\+07", b"\\+07"),
            (b"\\08 ", b"\\08 "),
            (b"\\04", b"\\04"),
            (b"\\", b"\\"),
            (b"\\\\040", b"\\ "),
        ] {
            assert_eq!(unescape(field), expected, "{field:?}");
        }
    }
}
