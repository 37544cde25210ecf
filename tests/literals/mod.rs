//! The string literals of a Rust source, and what stands in backticks in them.

/// The literals of a source in order, as they are written: without comments, and without letters in
/// single quotes.
pub fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '/' if after.starts_with('/') => after.split_once('\n').map_or("", |(_, next)| next),
            '\'' => behind_letter(after),
            'r' if after.starts_with("#\"") => {
                let (text, next) = after[2..].split_once("\"#").unwrap();
                found.push(text.to_owned());
                next
            }
            '"' => {
                let end = end_of_string(after);
                found.push(after[..end].to_owned());
                &after[end + 1..]
            }
            _ => after,
        };
    }
    found
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.find(|c| match c {
        _ if escaped => {
            escaped = false;
            false
        }
        '\\' => {
            escaped = true;
            false
        }
        c => c == '"',
    });
    end.unwrap()
}

/// What follows a letter in single quotes; a lifetime has no second quote.
fn behind_letter(text: &str) -> &str {
    let mut letters = text.char_indices().skip(1);
    match (text.starts_with('\\'), letters.next()) {
        (true, _) => text[2..].split_once('\'').map_or("", |(_, next)| next),
        (false, Some((at, '\''))) => &text[at + 1..],
        _ => text,
    }
}

/// The pieces in backticks that hold a placeholder and more than that: commands, with a name as it
/// came. A placeholder alone is a value that is quoted, but for one that is called a command.
pub fn unquoted_commands(source: &str) -> Vec<String> {
    let pieces = literals(source).into_iter().flat_map(|literal| {
        let plain = literal.replace("{{", "").replace("}}", "");
        let pieces: Vec<String> = plain.split('`').map(str::to_owned).collect();
        pieces.into_iter().skip(1).step_by(2)
    });
    pieces
        .filter(|piece| piece.contains('{') && (!is_placeholder(piece) || piece == "{command}"))
        .collect()
}

fn is_placeholder(piece: &str) -> bool {
    let inside = piece.strip_prefix('{').and_then(|p| p.strip_suffix('}'));
    inside.is_some_and(|inside| !inside.contains(['{', '}']))
}
