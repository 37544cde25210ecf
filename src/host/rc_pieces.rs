//! A shell script as a list of pieces: lists of assignments, and all else, which is not understood.
//! A compound command (a loop, a function) is one piece, however many lines it has.
//!
//! What is not understood still sets no variable but those whose names stand in it, unless it holds
//! a word by which a shell sets what is named elsewhere: then it may set anything.

use crate::sorted::Map;
use std::str::Chars;

/// What a script sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// The last value of each variable; `Err` with the line from which on only a shell knows it.
    pub values: Map<String, Result<String, usize>>,
    /// The line that may set anything, or on which nobody knows where it ends.
    pub anything: Option<usize>,
}

/// Words that set variables which are named elsewhere, or after which a shell reads no further.
const OF_ELSEWHERE: [&str; 9] = [
    ".", "source", "eval", "exec", "exit", "return", "trap", "alias", "builtin",
];
/// Words that set the variables which are named behind them.
const SETTERS: [&str; 7] = [
    "export", "readonly", "local", "read", "unset", "getopts", "setvar",
];
/// Functions of rc.subr(8) that read further files.
const READS_FILES: &str = "load_rc_config";

/// Reads a script.
pub(super) fn contents(text: &str) -> Contents {
    let mut found = Contents::default();
    let mut lexer = Lexer { rest: text.chars() };
    loop {
        let before = text.len() - lexer.rest.as_str().len();
        let (piece, is_last) = piece(&mut lexer);
        let after = text.len() - lexer.rest.as_str().len();
        let line = text[..before].matches('\n').count() + 1;
        if piece.anything {
            found.anything.get_or_insert(line);
        } else if piece.odd {
            let names = names(&text[before..after]);
            let unknown = names.map(|name| (name.to_owned(), Err(line)));
            found.values.extend(unknown);
        } else {
            let known = |value: Option<String>| value.ok_or(line);
            let values = piece.values.into_iter();
            found
                .values
                .extend(values.map(|(name, v)| (name, known(v))));
        }
        if is_last {
            return found;
        }
    }
}

/// All that could be a name of a variable in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

/// A piece: as many lines as belong together.
#[derive(Default)]
struct Piece {
    values: Vec<(String, Option<String>)>,
    /// There is more in it than assignments.
    odd: bool,
    anything: bool,
    /// How many compound commands and brackets are open.
    commands: usize,
    brackets: usize,
    /// Words that mean something only in common.
    sets: bool,
    dynamic: bool,
    /// Something of the present command was seen, and the word that says which it is.
    begun: bool,
    named: bool,
    /// The line before goes on in this one.
    joined: bool,
}

/// Reads the next piece, and tells whether it is the last.
fn piece(lexer: &mut Lexer) -> (Piece, bool) {
    let mut piece = Piece::default();
    loop {
        let token = lexer.next_token();
        let is_open = piece.commands > 0 || piece.brackets > 0 || piece.joined;
        match token {
            Token::LineEnd if !is_open => return (piece.judged(), false),
            Token::LineEnd => piece.ends_command(),
            Token::End => {
                piece.anything |= is_open;
                return (piece.judged(), true);
            }
            Token::Unclear => {
                piece.anything = true;
                return (piece, true);
            }
            Token::Sign(sign) => piece.sign(sign, is_open),
            Token::Joins => {
                piece.sign('&', is_open);
                piece.joined = true;
            }
            Token::Word(word) => piece.word(&word),
        }
    }
}

impl Piece {
    fn ends_command(&mut self) {
        (self.begun, self.named) = (false, false);
    }

    fn sign(&mut self, sign: char, is_open: bool) {
        // A shell that meets one where no command stands reads no further.
        self.anything |= !self.begun && !is_open && ";&)".contains(sign);
        self.odd |= sign != ';';
        match sign {
            '(' => self.brackets += 1,
            ')' => self.brackets = self.brackets.saturating_sub(1),
            _ => {}
        }
        match sign {
            // The name of a file follows.
            '<' | '>' => self.begun = true,
            _ => self.ends_command(),
        }
    }

    fn word(&mut self, word: &Word) {
        let first = !self.named;
        (self.begun, self.joined) = (true, false);
        if let Some((name, value)) = word.assignment() {
            self.values.push((name, value));
            return;
        }
        self.named = true;
        if first && word.is("export") {
            self.sets = true;
            return;
        }
        self.odd = true;
        self.sets |= SETTERS.contains(&word.text.as_str());
        self.dynamic |= word.dynamic;
        // What a word becomes that only a shell knows may be any command.
        self.anything |= first && word.dynamic;
        self.anything |= OF_ELSEWHERE.contains(&word.text.as_str());
        self.anything |= word.text.starts_with(READS_FILES);
        self.compound(word, first);
    }

    /// Counts the compound commands that are open.
    fn compound(&mut self, word: &Word, first: bool) {
        let one_of = |words: &[&str]| words.iter().any(|known| word.is(known));
        self.commands += usize::from(one_of(&["if", "case", "do", "{"]));
        if first && one_of(&["fi", "esac", "done", "}"]) {
            self.anything |= self.commands == 0;
            self.commands = self.commands.saturating_sub(1);
        }
        const BEFORE_COMMANDS: [&str; 9] = [
            "if", "then", "else", "elif", "while", "until", "do", "{", "!",
        ];
        if first && one_of(&BEFORE_COMMANDS) {
            self.named = false;
        }
    }

    fn judged(mut self) -> Piece {
        self.anything |= self.odd && self.sets && self.dynamic;
        self
    }
}

enum Token {
    Word(Word),
    LineEnd,
    /// What ends a command, a bracket, or what leads to a file.
    Sign(char),
    /// What joins two commands.
    Joins,
    /// Nobody knows where this ends, such as a quote that is never closed.
    Unclear,
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

    /// Name and value, should the word be an assignment; no value where only a shell knows it.
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
    rest: Chars<'a>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next_if(&mut self, is_wanted: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|c| is_wanted(*c))?;
        self.rest.next()
    }

    fn next_token(&mut self) -> Token {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => drop(self.rest.next()),
                '\\' if self.rest.as_str().starts_with("\\\n") => drop(self.rest.nth(1)),
                '#' => while self.next_if(|c| c != '\n').is_some() {},
                '\n' => {
                    self.rest.next();
                    return Token::LineEnd;
                }
                // What follows is a text up to a line that it names.
                '<' if self.rest.as_str().starts_with("<<") => return Token::Unclear,
                '|' | '&' => {
                    self.rest.next();
                    let doubled = self.next_if(|next| next == c).is_some();
                    return match c == '|' || doubled {
                        true => Token::Joins,
                        false => Token::Sign(c),
                    };
                }
                ';' | '(' | ')' | '<' | '>' => {
                    self.rest.next();
                    return Token::Sign(c);
                }
                _ => return self.word(),
            }
        }
        Token::End
    }

    fn word(&mut self) -> Token {
        let mut word = Word::default();
        while let Some(c) = self.next_if(|c| !" \t\n;&|()<>".contains(c)) {
            let is_clear = match c {
                '\'' => self.single_quoted(&mut word),
                '"' => self.double_quoted(&mut word),
                '\\' => self.escaped(&mut word, |_| true),
                _ => self.take(&mut word, c, "$`~", false),
            };
            if !is_clear {
                return Token::Unclear;
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
            let is_clear = match c {
                '"' => return true,
                '\\' => self.escaped(word, |c| "$`\"\\".contains(c)),
                c => self.take(word, c, "$`", true),
            };
            if !is_clear {
                return false;
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

    /// Takes a character as it stands; those in `expanded` make the word one that only a shell
    /// knows. Tells whether it is clear where the word ends.
    fn take(&mut self, word: &mut Word, c: char, expanded: &str, quoted: bool) -> bool {
        if !expanded.contains(c) {
            word.text.push(c);
            return true;
        }
        word.mark();
        word.dynamic = true;
        word.text.push(c);
        match (c, self.peek()) {
            ('`', _) => self.ends_by(word, '`'),
            ('$', Some('{')) => self.ends_by(word, '}'),
            // Outside quotes brackets are counted.
            ('$', Some('(')) if quoted => self.ends_by(word, ')'),
            _ => true,
        }
    }

    /// Whether what a shell replaces ends by this character in the same line, with nothing before
    /// it that could hide an end.
    fn ends_by(&mut self, word: &mut Word, end: char) -> bool {
        let opening = self.next_if(|c| "({".contains(c));
        word.text.extend(opening);
        for c in self.rest.by_ref() {
            word.text.push(c);
            match c {
                _ if c == end => return true,
                '\n' | '\'' | '"' | '\\' | '`' | '$' | '(' | '{' => return false,
                _ => {}
            }
        }
        false
    }
}
