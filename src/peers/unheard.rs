//! Why a peer was not heard, in its own words, and what to check: those words come from f3skeys there, from
//! ssh, or from whatever stands between the two. Pure.

use super::reader;
use crate::child::Finished;
use crate::config::Peer;
use crate::foreign;
use crate::names::NodeName;
use crate::shell::command;

/// How every answer of f3skeys begins.
const ANSWER: &str = "{\"version\":";
/// How every complaint of f3skeys begins.
const COMPLAINT: &str = "f3skeys: ";

/// Why an `ssh` has brought no answer.
pub(super) fn failed(peer: &Peer, from: &NodeName, finished: &Finished) -> String {
    let (out, err) = texts(finished);
    let status = finished.status.map_or(-1, |status| status);
    let is_ours = err.lines().any(|line| line.starts_with(COMPLAINT));
    // f3skeys says all on standard error; others, such as nologin(8), on either.
    let words = match is_ours {
        true => err,
        false => format!("{err} {out}"),
    };
    let hint = match is_ours {
        true => None,
        false => Some(to_check(peer, from, finished.status, &words)),
    };
    let words = format!("ssh exits with {status}: {}", foreign::words(&words));
    joined(words.trim_end_matches(": "), hint.flatten())
}

/// Why what an `ssh` has brought is no answer; `why` is what its reader says.
pub(super) fn not_understood(peer: &Peer, finished: &Finished, why: &str) -> String {
    let (out, _) = texts(finished);
    // An answer of f3skeys speaks for itself, also a damaged one.
    if out.starts_with(ANSWER) || !why.contains(reader::NOT_UNDERSTOOD) {
        return foreign::words(why);
    }
    // Of an answer that is there as well only what stands before it is of interest.
    let before = out.split(ANSWER).next().unwrap_or_default();
    let said = match foreign::words(before) {
        said if said.is_empty() => "it says nothing on standard output".to_owned(),
        said => format!("it says \"{said}\", which is no word of f3skeys"),
    };
    let quiet = command!("ssh -T -- {} </dev/null", &peer.ssh);
    let hint = match out.contains(ANSWER) {
        true => format!(
            "something there writes on standard output before f3skeys: look into the start files of the account's shell (.bashrc, .cshrc, .zshenv) and at what the forced command runs, until {quiet} shows nothing but a complaint of f3skeys"
        ),
        false => format!(
            "something else than f3skeys answers there: check the forced command of this node's key in authorized_keys, `ForceCommand` in sshd_config, and the account's login shell, until {quiet} shows nothing but a complaint of f3skeys"
        ),
    };
    joined(&said, Some(hint))
}

fn texts(finished: &Finished) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    (text(&finished.stdout), text(&finished.stderr))
}

fn joined(words: &str, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{words}; {hint}"),
        None => words.to_owned(),
    }
}

/// What to check where f3skeys has not spoken.
fn to_check(peer: &Peer, from: &NodeName, status: Option<i32>, words: &str) -> Option<String> {
    let try_it = || command!("ssh -v -T -- {} </dev/null", &peer.ssh);
    let line = || {
        command!(
            "f3skeys receive --from {} --print-authorized-keys-line",
            from
        )
    };
    let says = |part: &str| words.contains(part);
    match status {
        Some(255) if says("Host key verification failed") => Some(
            "compare the peer's host key with root's known_hosts here, and put it there".to_owned(),
        ),
        // sshd refuses an account whose shell does not exist in the same words.
        Some(255) if says("Permission denied") => Some(format!(
            "check there that this node's key is in authorized_keys, that `PermitRootLogin` and `AllowUsers` let it in, and that the account's login shell exists; {} shows what was tried",
            try_it()
        )),
        // ssh's own words are enough: no route, no name, refused, reset.
        Some(255) => None,
        Some(126 | 127) => Some(format!(
            "f3skeys is not found there: the forced command in authorized_keys names its whole path, as {} on the peer prints it",
            line()
        )),
        _ => Some(format!(
            "something else than f3skeys answers there: check the account's login shell (nologin, or one that is restricted) and the forced command of this node's key, as {} on the peer prints it",
            line()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        crate::config::Config::parse(
            r#"(
            node: "f0", store: (label: "K"),
            roots: [(dataset: "z", key: "f0:z", role: primary, required: true)],
            peers: [(name: "f1", ssh: "root@f1")],
        )"#,
        )
        .unwrap()
        .peers
        .remove(0)
    }

    fn ended(status: i32, out: &str, err: &str) -> Finished {
        Finished {
            command: "ssh".to_owned(),
            status: Some(status),
            stdout: out.into(),
            stderr: err.into(),
        }
    }

    fn why(status: i32, out: &str, err: &str) -> String {
        let from = "f0".parse().unwrap();
        failed(&peer(), &from, &ended(status, out, err))
    }

    #[test]
    fn the_peers_own_words_are_shown_whichever_stream_they_come_by() {
        let nologin = "This account is currently not available.";
        for (out, err) in [(nologin, ""), ("", nologin)] {
            let why = why(1, out, err);
            assert!(
                why.contains(nologin) && why.contains("login shell"),
                "{why}"
            );
        }
        let missing = why(127, "", "sh: f3skeys: not found");
        assert!(missing.contains("f3skeys: not found"), "{missing}");
        assert!(
            missing.contains("--print-authorized-keys-line"),
            "{missing}"
        );
    }

    #[test]
    fn what_f3skeys_or_ssh_says_needs_no_guess() {
        for (status, err) in [
            (69, "f3skeys: no"),
            (
                66,
                "f3skeys: key device K: not there\n  -> insert the stick",
            ),
            (255, "ssh: connect to host f1 port 22: Connection refused"),
        ] {
            let said = why(status, "", err);
            let words = err.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(said, format!("ssh exits with {status}: {words}"));
        }
        // A banner before it hides nothing.
        let after = why(69, "", "Welcome to f1\nf3skeys: no");
        assert_eq!(after, "ssh exits with 69: Welcome to f1 f3skeys: no");
    }

    #[test]
    fn the_hint_is_about_what_was_said() {
        let key = why(255, "", "root@f1: Permission denied (publickey).");
        let host = why(255, "", "Host key verification failed.");
        let other = why(128, "", "fatal: Interactive git shell is not enabled.");
        assert!(key.contains("login shell exists") && !key.contains("known_hosts"));
        assert!(host.contains("known_hosts") && !host.contains("login shell"));
        assert!(other.contains("restricted"));
        assert_eq!(why(1, "", "").split(';').next(), Some("ssh exits with 1"));
    }

    fn unread(out: &str, why: &str) -> String {
        not_understood(&peer(), &ended(0, out, ""), why)
    }

    #[test]
    fn what_stands_before_an_answer_is_told_from_what_is_none() {
        let why = format!("{}: x", reader::NOT_UNDERSTOOD);
        let before = unread("Welcome to f1\n{\"version\":2,", &why);
        assert!(before.contains("\"Welcome to f1\"") && before.contains(".bashrc"));
        let other = unread("Welcome to f1\n", &why);
        assert!(other.contains("\"Welcome to f1\"") && other.contains("ForceCommand"));
        let nothing = unread(" \n", &why);
        assert!(nothing.contains("nothing on standard output"), "{nothing}");
        // An answer, and a reader that has failed, speak for themselves.
        assert_eq!(unread("{\"version\":2,", &why), why);
        assert_eq!(
            unread("Welcome", "its answer could not be read: x"),
            "its answer could not be read: x"
        );
    }

    #[test]
    fn law_9_what_a_peer_says_is_filtered_and_cut() {
        let long = format!("\u{1b}[31m\u{202e}{}", "x".repeat(5000));
        let understood = format!("{}: x", reader::NOT_UNDERSTOOD);
        for said in [
            why(1, &long, ""),
            why(1, "", &long),
            unread(&long, &understood),
        ] {
            assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said}");
            assert!(said.contains("\\x1b[31m"), "{said}");
            assert!(said.chars().count() < 1000, "{}", said.len());
        }
    }
}
