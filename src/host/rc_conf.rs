//! FreeBSD's `rc.conf`: a shell script that is nearly always a list of assignments. It is never run,
//! but read piece by piece (`rc_pieces`). Every name that stands in a piece which only a shell
//! understands is unknown; the other names are read.

use super::Host;
use super::rc_pieces::{Contents, contents};
use crate::sorted::Map;
use crate::trouble::Trouble;
use std::borrow::Cow;

/// What every service reads, in this order.
const FOR_ALL: [&str; 2] = ["/etc/rc.conf", "/etc/rc.conf.local"];
/// What only the service of a file's or directory's name reads, after those, in this order.
const FOR_ONE: [&str; 2] = ["/etc/rc.conf.d", "/usr/local/etc/rc.conf.d"];

/// How our own files of [`FOR_ONE`] begin: what they set holds while f3skeys is enabled, which is
/// another question.
const WHILE_ENABLED: &str = "/etc/rc.d/f3skeys enabled || [ $? -ne 1 ] || return 0\n";

/// A variable as a service finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Setting {
    /// No file sets it: `/etc/defaults/rc.conf` holds.
    Unset,
    /// It has this value.
    Value(String),
    /// Only a shell could tell; this is why.
    Unknown(String),
}

impl Setting {
    /// Whether rc takes it for a yes, as its `checkyesno` does; `Err` with the reason where that is
    /// unknown.
    ///
    /// # Errors
    /// Only a shell could tell.
    pub fn is_yes(&self) -> Result<bool, String> {
        match self {
            Setting::Unset => Ok(false),
            Setting::Value(value) => {
                Ok(["yes", "true", "on", "1"].contains(&value.to_ascii_lowercase().as_str()))
            }
            Setting::Unknown(why) => Err(why.clone()),
        }
    }
}

/// All that the host's files set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcConf {
    for_all: Vec<Layer>,
    for_one: Map<String, Vec<Layer>>,
}

/// One file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Layer {
    path: String,
    contents: Contents,
}

impl RcConf {
    /// What a host sets whose only file is an `/etc/rc.conf` with this text.
    pub fn of(text: &str) -> RcConf {
        RcConf {
            for_all: vec![Layer::of(FOR_ALL[0], text)],
            for_one: Map::new(),
        }
    }

    /// The variable as the script `/etc/rc.d/SERVICE` finds it. What `rc.conf.d` holds for one
    /// service, others do not see.
    pub fn seen_by(&self, service: &str, variable: &str) -> Setting {
        let own = self.for_one.get(service).into_iter().flatten();
        for layer in own.rev().chain(self.for_all.iter().rev()) {
            if let Some(line) = layer.contents.anything {
                return unknown(layer, line, "may set anything");
            }
            match layer.contents.values.get(variable) {
                Some(Ok(value)) => return Setting::Value(value.clone()),
                Some(Err(line)) => return unknown(layer, *line, &format!("names {variable}")),
                None => {}
            }
        }
        Setting::Unset
    }

    /// The variable as every service finds it.
    pub fn get(&self, variable: &str) -> Setting {
        self.seen_by("", variable)
    }
}

/// What a line does that only a shell understands.
fn unknown(layer: &Layer, line: usize, does: &str) -> Setting {
    let path = &layer.path;
    Setting::Unknown(format!(
        "line {line} of {path} {does}, and only a shell knows what comes of it"
    ))
}

/// Reads the host's `rc.conf` files. None need be there.
///
/// # Errors
/// One is there and cannot be read.
pub fn rc_conf(host: &Host) -> Result<RcConf, Trouble> {
    let mut conf = RcConf::default();
    for path in FOR_ALL {
        conf.for_all.extend(layer(host, path)?);
    }
    for directory in FOR_ONE {
        for name in names(host, directory)? {
            let path = format!("{directory}/{name}");
            let layers = match is_directory(host, &path)? {
                false => layer(host, &path)?.into_iter().collect(),
                true => names(host, &path)?
                    .iter()
                    .filter_map(|file| layer(host, &format!("{path}/{file}")).transpose())
                    .collect::<Result<Vec<_>, _>>()?,
            };
            conf.for_one.entry(name).or_default().extend(layers);
        }
    }
    Ok(conf)
}

fn names(host: &Host, directory: &str) -> Result<Vec<String>, Trouble> {
    host.names(directory)
        .map_err(|e| Trouble::failed(directory, &e.to_string()))
}

fn is_directory(host: &Host, path: &str) -> Result<bool, Trouble> {
    let about = host
        .about(path)
        .map_err(|e| Trouble::failed(path, &e.to_string()))?;
    Ok(about.is_some_and(|about| about.is_dir()))
}

fn layer(host: &Host, path: &str) -> Result<Option<Layer>, Trouble> {
    let text = host
        .text(path)
        .map_err(|e| Trouble::failed(path, &e.to_string()))?;
    Ok(text.map(|text| Layer::of(path, &text)))
}

impl Layer {
    fn of(path: &str, text: &str) -> Layer {
        Layer {
            path: path.to_owned(),
            contents: contents(&without_condition(text)),
        }
    }
}

/// The text without our own condition, where that is its first command.
fn without_condition(text: &str) -> Cow<'_, str> {
    let is_comment = |line: &&str| line.trim_start().starts_with('#') || line.trim().is_empty();
    let comments = text.split_inclusive('\n').take_while(is_comment);
    let (before, rest) = text.split_at(comments.map(str::len).sum());
    match rest.strip_prefix(WHILE_ENABLED) {
        Some(after) => format!("{before}\n{after}").into(),
        None => text.into(),
    }
}
