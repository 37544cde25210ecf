//! FreeBSD's `rc.conf`: a shell script that is nearly always a list of assignments. It is read as
//! such a list and never run; what only a shell could tell is unknown, and said to be.

use super::Host;
use crate::sorted::Map;
use crate::trouble::Trouble;
use std::iter::Peekable;
use std::str::Chars;

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
    /// The last assignment of each variable; `None` where only a shell knows the value.
    values: Map<String, Option<String>>,
    /// There is more in it than assignments, so that it may set anything.
    script: bool,
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
            match layer.values.get(variable) {
                Some(Some(value)) if !layer.script => return Setting::Value(value.clone()),
                Some(_) => return unknown(layer, "sets it to what only a shell knows"),
                None if layer.script => return unknown(layer, "holds more than assignments"),
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

fn unknown(layer: &Layer, why: &str) -> Setting {
    Setting::Unknown(format!("{} {why}", layer.path))
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
        let (values, script) = assignments(&text.replacen(WHILE_ENABLED, "", 1));
        Layer {
            path: path.to_owned(),
            values,
            script,
        }
    }
}

/// The assignments of a script, and whether there is more in it.
fn assignments(text: &str) -> (Map<String, Option<String>>, bool) {
    let mut values = Map::new();
    let mut script = false;
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
    };
    let mut first = true;
    loop {
        match lexer.next_token() {
            Token::End => return (values, script),
            Token::LineEnd => first = true,
            // A shell that meets one where no command stands reads no further.
            Token::Semicolon => {
                script |= first;
                first = true;
            }
            Token::Other => script = true,
            Token::Word(word) => {
                match word.assignment() {
                    Some((name, value)) => drop(values.insert(name, value)),
                    None if first && word.is("export") => {}
                    None => script = true,
                }
                first = false;
            }
        }
    }
}

enum Token {
    Word(Word),
    LineEnd,
    Semicolon,
    /// What no list of assignments has, such as `&&` or a quote that is never closed.
    Other,
    End,
}

#[derive(Default)]
struct Word {
    text: String,
    /// How many of its bytes come before the first quote, backslash or dollar.
    plain: Option<usize>,
    /// Only a shell knows what it becomes.
    dynamic: bool,
}

impl Word {
    fn is(&self, word: &str) -> bool {
        self.plain.is_none() && self.text == word
    }

    /// Name and value, should the word be an assignment.
    fn assignment(&self) -> Option<(String, Option<String>)> {
        let (name, value) = self.text.split_once('=')?;
        if self.plain.is_some_and(|plain| plain <= name.len()) {
            return None;
        }
        let (name, added) = match name.strip_suffix('+') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let mut letters = name.chars();
        let starts_well = letters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        let known = !added && !self.dynamic;
        Some((name.to_owned(), known.then(|| value.to_owned())))
    }

    fn mark(&mut self) {
        self.plain.get_or_insert(self.text.len());
    }
}

/// Splits a script into words as sh(1) does, without expanding anything.
struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Lexer<'_> {
    fn next_token(&mut self) -> Token {
        while let Some(&c) = self.rest.peek() {
            match c {
                ' ' | '\t' => drop(self.rest.next()),
                '#' => while self.rest.next_if(|c| *c != '\n').is_some() {},
                '\n' => {
                    self.rest.next();
                    return Token::LineEnd;
                }
                ';' => {
                    self.rest.next();
                    return Token::Semicolon;
                }
                '&' | '|' | '(' | ')' | '<' | '>' => {
                    self.rest.next();
                    return Token::Other;
                }
                _ => return self.word(),
            }
        }
        Token::End
    }

    fn word(&mut self) -> Token {
        let mut word = Word::default();
        while let Some(c) = self.rest.next_if(|c| !" \t\n;&|()<>".contains(*c)) {
            let closed = match c {
                '\'' => self.single_quoted(&mut word),
                '"' => self.double_quoted(&mut word),
                '\\' => self.escaped(&mut word, |_| true),
                _ => {
                    take(&mut word, c, "$`~");
                    true
                }
            };
            if !closed {
                return Token::Other;
            }
        }
        Token::Word(word)
    }

    fn single_quoted(&mut self, word: &mut Word) -> bool {
        word.mark();
        for c in self.rest.by_ref() {
            match c {
                '\'' => return true,
                c => word.text.push(c),
            }
        }
        false
    }

    fn double_quoted(&mut self, word: &mut Word) -> bool {
        word.mark();
        while let Some(c) = self.rest.next() {
            match c {
                '"' => return true,
                '\\' => {
                    if !self.escaped(word, |c| "$`\"\\".contains(c)) {
                        return false;
                    }
                }
                c => take(word, c, "$`"),
            }
        }
        false
    }

    /// After a backslash: `special` says before which characters it vanishes.
    fn escaped(&mut self, word: &mut Word, special: impl Fn(char) -> bool) -> bool {
        word.mark();
        match self.rest.next() {
            Some('\n') => {}
            Some(c) if special(c) => word.text.push(c),
            Some(c) => word.text.extend(['\\', c]),
            None => return false,
        }
        true
    }
}

/// Takes a character as it stands; those in `expanded` make the word one that only a shell knows.
fn take(word: &mut Word, c: char, expanded: &str) {
    if expanded.contains(c) {
        word.mark();
        word.dynamic = true;
    }
    word.text.push(c);
}
