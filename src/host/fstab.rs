//! `/etc/fstab`, read line by line.

use super::Host;
use crate::digits;
use crate::trouble::Trouble;

/// Where it is.
const FSTAB: &str = "/etc/fstab";

/// A line of fstab(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FstabLine {
    /// What is mounted: a device, `LABEL=…` and the like.
    pub device: String,
    /// Where; `none` for swap.
    pub at: String,
    /// The type of file system.
    pub fstype: String,
    /// The options, such as `rw` and `failok`.
    pub options: Vec<String>,
}

impl FstabLine {
    /// Whether an option is there.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|found| found == option)
    }
}

/// What fstab holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fstab {
    /// Its lines.
    pub lines: Vec<FstabLine>,
    /// What is said of each line that is none: its number and its words.
    pub odd: Vec<String>,
}

/// Reads fstab; no lines when there is no such file.
///
/// # Errors
/// It cannot be read.
pub fn fstab(host: &Host) -> Result<Fstab, Trouble> {
    let text = host
        .text(FSTAB)
        .map_err(|e| Trouble::failed(FSTAB, &e.to_string()))?;
    Ok(lines(&text.unwrap_or_default()))
}

/// Reads the text of an fstab. A line that is not understood spoils no other.
pub fn lines(text: &str) -> Fstab {
    let mut fstab = Fstab::default();
    let lines = text.lines().enumerate();
    for (number, line) in lines.map(|(number, line)| (number + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse(line) {
            Some(line) => fstab.lines.push(line),
            None => {
                let what = format!("line {number} is not understood: `{line}`");
                fstab.odd.push(what);
            }
        }
    }
    fstab
}

fn parse(line: &str) -> Option<FstabLine> {
    let mut fields = line.split_whitespace();
    let device = unescape(fields.next()?);
    let at = unescape(fields.next()?);
    let fstype = fields.next()?.to_owned();
    let options = fields.next().unwrap_or_default();
    Some(FstabLine {
        device,
        at,
        fstype,
        options: options.split(',').map(str::to_owned).collect(),
    })
}

/// Undoes `\040` for a space and the like, as both systems write it. Any other backslash is one, as
/// mount(8) and systemd take it.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.as_bytes().get(..3).and_then(digits::octal) {
            Some(code) => {
                text.push(char::from(code));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}
