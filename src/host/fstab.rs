//! `/etc/fstab`, read strictly.

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

/// Reads fstab; no lines when there is no such file.
///
/// # Errors
/// It cannot be read, or a line is not understood.
pub fn fstab(host: &Host) -> Result<Vec<FstabLine>, Trouble> {
    let text = host
        .text(FSTAB)
        .map_err(|e| Trouble::failed(FSTAB, &e.to_string()))?;
    lines(&text.unwrap_or_default()).map_err(|what| Trouble::failed(FSTAB, &what))
}

/// Reads the text of an fstab.
///
/// # Errors
/// A line is not understood; the words give its number and the line.
pub fn lines(text: &str) -> Result<Vec<FstabLine>, String> {
    let lines = text.lines().enumerate();
    lines
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            parse(line).ok_or_else(|| format!("line {number} is not understood: `{line}`"))
        })
        .collect()
}

fn parse(line: &str) -> Option<FstabLine> {
    let mut fields = line.split_whitespace();
    let device = unescape(fields.next()?)?;
    let at = unescape(fields.next()?)?;
    let fstype = fields.next()?.to_owned();
    let options = fields.next().unwrap_or_default();
    Some(FstabLine {
        device,
        at,
        fstype,
        options: options.split(',').map(str::to_owned).collect(),
    })
}

/// Undoes `\040` for a space and the like, as both systems write it.
fn unescape(field: &str) -> Option<String> {
    let mut parts = field.split('\\');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let code = digits::octal(part.as_bytes().get(..3)?)?;
        text.push(char::from(code));
        text.push_str(&part[3..]);
    }
    Some(text)
}
