//! ZFS by way of the `zfs` program.
//!
//! A key goes to it on standard input and nowhere else. The program does not wipe its own copy;
//! SECURITY.md names that exception.

use super::framed::Frame;
use super::{Answer, Listing, Part, Past, Try, Zfs, parse};
use crate::child::{self, Call};
use crate::key::Key;
use crate::names::DatasetName;
use crate::os;
use crate::piece::Piece;
use crate::promotion;
use crate::seals::Seal;
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use std::path::PathBuf;

/// The `zfs` program at a fixed path.
pub struct Command<'a> {
    /// Its absolute path.
    pub program: PathBuf,
    /// The clock of the deadlines.
    pub clock: &'a dyn Clock,
}

impl Command<'_> {
    fn call(
        &self,
        args: &[&str],
        secret: Option<&Key>,
        deadline: Deadline,
    ) -> Result<child::Finished, Trouble> {
        let pieces = secret.map(|key| [Piece::from(key)]);
        child::run(
            &Call {
                program: &self.program,
                args,
                input: pieces.as_ref().map(|pieces| &pieces[..]),
            },
            self.clock,
            deadline,
        )
    }

    fn text(&self, args: &[&str], deadline: Deadline) -> Result<String, Trouble> {
        let text = self.done(args, deadline)?;
        String::from_utf8(text).map_err(|_| {
            let what = format!("zfs {}", args.first().unwrap_or(&""));
            Trouble::failed(&what, "its answer is not text")
        })
    }

    fn done(&self, args: &[&str], deadline: Deadline) -> Result<Vec<u8>, Trouble> {
        self.call(args, None, deadline)?.success()
    }

    /// The datasets of these names; with `-r`, and all below them.
    fn listing(
        &self,
        how: &[&str],
        names: &[&str],
        deadline: Deadline,
    ) -> Result<Listing, Trouble> {
        let frame = Frame::new(os::unforeseen(self.clock));
        let properties = frame.properties();
        let begin = ["get", "-Hp"];
        let what = [
            "-t",
            "filesystem,volume",
            "-o",
            "name,property,value,source",
            &properties,
        ];
        let args = [&begin, how, &what, names].concat();
        let text = self.done(&args, deadline)?;
        let seen = frame
            .read(&text)
            .and_then(|entries| parse::listing(&entries));
        seen.map_err(|why| Trouble::failed(&format!("zfs get {}", names.join(" ")), &why))
    }

    /// Nothing where there is no such dataset.
    fn if_there(&self, how: &[&str], name: &str, deadline: Deadline) -> Result<Listing, Trouble> {
        match self.listing(how, &[name], deadline) {
            Err(trouble) if is_not_there(&trouble) => Ok(Listing::default()),
            answer => answer,
        }
    }
}

/// Whether the program says that there is no dataset of a name that it was asked about.
fn is_not_there(trouble: &Trouble) -> bool {
    trouble.to_string().ends_with("dataset does not exist")
}

impl Zfs for Command<'_> {
    fn pools(&self, deadline: Deadline) -> Result<Vec<String>, Trouble> {
        let text = self.text(&["list", "-H", "-d", "0", "-o", "name"], deadline)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn observe(&self, pool: &str, deadline: Deadline) -> Result<Listing, Trouble> {
        self.listing(&["-r"], &[pool], deadline)
    }

    /// Only what is asked about: what lies beside it may be a stranger's, and without an end.
    fn observe_part(
        &self,
        _pool: &str,
        part: &Part,
        deadline: Deadline,
    ) -> Result<Listing, Trouble> {
        let whole = part.shares(1).pop().unwrap_or_default();
        let alone: Vec<&str> = whole.alone.iter().map(DatasetName::as_str).collect();
        let mut listing = Listing::default();
        if !alone.is_empty() {
            match self.listing(&[], &alone, deadline) {
                Err(trouble) if is_not_there(&trouble) => {
                    for name in alone {
                        listing.extend(self.if_there(&[], name, deadline)?);
                    }
                }
                answer => listing.extend(answer?),
            }
        }
        for tree in &whole.trees {
            listing.extend(self.if_there(&["-r"], tree.as_str(), deadline)?);
        }
        Ok(listing)
    }

    fn has_checkpoint(&self, pool: &str, deadline: Deadline) -> Result<bool, Trouble> {
        let zpool = self.program.with_file_name("zpool");
        let call = Call {
            program: &zpool,
            args: &["get", "-Hp", "-o", "value", "checkpoint", pool],
            input: None,
        };
        let answer = child::run(&call, self.clock, deadline)?.success()?;
        parse::checkpoint(&answer)
            .map_err(|why| Trouble::failed(&format!("zpool get checkpoint {pool}"), &why))
    }

    fn try_key(&self, root: &DatasetName, key: &Key, how: Try, deadline: Deadline) -> Answer {
        let args: &[&str] = match how {
            Try::Load => &["load-key", "-L", "prompt", root.as_str()],
            Try::Probe => &["load-key", "-n", "-L", "prompt", root.as_str()],
        };
        match self.call(args, Some(key), deadline) {
            Ok(finished) => answer(&finished),
            Err(trouble) => Answer::CouldNotAsk(trouble),
        }
    }

    fn set_readonly(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.done(&["set", "readonly=on", dataset.as_str()], deadline)
            .map(|_| ())
    }

    fn seal(
        &self,
        dataset: &DatasetName,
        seals: &[Seal],
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let settings = seals.iter().map(|seal| seal.setting());
        let args: Vec<&str> = ["set"]
            .into_iter()
            .chain(settings)
            .chain([dataset.as_str()])
            .collect();
        self.done(&args, deadline).map(|_| ())
    }

    fn set_writable(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.done(&["set", "readonly=off", dataset.as_str()], deadline)
            .map(|_| ())
    }

    fn record(
        &self,
        dataset: &DatasetName,
        promotion: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let setting = format!("{}={promotion}", promotion::PROPERTY);
        self.done(&["set", &setting, dataset.as_str()], deadline)
            .map(|_| ())
    }

    fn snapshot(
        &self,
        datasets: &[DatasetName],
        name: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let snapshots = datasets.iter().map(|dataset| format!("{dataset}@{name}"));
        let snapshots: Vec<String> = snapshots.collect();
        let words = snapshots.iter().map(String::as_str);
        let args: Vec<&str> = ["snapshot"].into_iter().chain(words).collect();
        self.done(&args, deadline).map(|_| ())
    }

    fn past(&self, dataset: &DatasetName, deadline: Deadline) -> Result<Vec<Past>, Trouble> {
        let written = [
            "get",
            "-Hp",
            "-r",
            "-t",
            "filesystem,volume",
            "-o",
            "name,value",
            "written",
            dataset.as_str(),
        ];
        let moments = [
            "list",
            "-Hp",
            "-r",
            "-t",
            "snapshot,bookmark",
            "-s",
            "createtxg",
            "-o",
            "name,guid,creation",
            dataset.as_str(),
        ];
        let written = self.text(&written, deadline)?;
        let moments = self.text(&moments, deadline)?;
        parse::past(&written, &moments)
            .map_err(|why| Trouble::failed(&format!("zfs list -r {dataset}"), &why))
    }

    fn unmount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.done(&["unmount", dataset.as_str()], deadline)
            .map(|_| ())
    }

    fn unload_key(&self, root: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.done(&["unload-key", root.as_str()], deadline)
            .map(|_| ())
    }

    fn change_key(&self, root: &DatasetName, key: &Key, deadline: Deadline) -> Result<(), Trouble> {
        let args = [
            "change-key",
            "-o",
            "keyformat=raw",
            "-o",
            "keylocation=prompt",
            root.as_str(),
        ];
        self.call(&args, Some(key), deadline)?.success().map(|_| ())
    }

    fn set_key_location(
        &self,
        root: &DatasetName,
        location: &str,
        deadline: Deadline,
    ) -> Result<(), Trouble> {
        let setting = format!("keylocation={location}");
        self.done(&["set", &setting, root.as_str()], deadline)
            .map(|_| ())
    }

    fn unwraps(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        // Of all that is asked, this is what opens a file system that nothing has mounted.
        let args = ["userspace", "-Hpn", "-o", "used", dataset.as_str()];
        self.done(&args, deadline).map(|_| ())
    }

    fn mount(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        let mount = || self.done(&["mount", dataset.as_str()], deadline);
        os::as_services_make_files(mount).map(|_| ())
    }
}

/// What `zfs load-key` meant. It exits 255 for a wrong key and for a sick pool alike, so only its
/// words tell; words that it never says of a wrong key are "could not ask".
fn answer(finished: &child::Finished) -> Answer {
    if finished.status == Some(0) {
        return Answer::Opens;
    }
    let said = String::from_utf8_lossy(&finished.stderr);
    if finished.status == Some(255) && said.contains("Incorrect key provided") {
        return Answer::WrongKey;
    }
    Answer::CouldNotAsk(finished.failure())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SystemClock;

    fn finished(status: Option<i32>, stderr: &str) -> child::Finished {
        child::Finished {
            command: "zfs load-key".to_owned(),
            status,
            stdout: Vec::new(),
            stderr: stderr.as_bytes().to_vec(),
        }
    }

    /// What a stand-in for `zfs` was asked, and what came of a look at this part.
    fn asked_for(name: &str, part: &Part) -> (Vec<String>, Result<Listing, Trouble>) {
        let pid = std::process::id();
        let directory = std::env::temp_dir().join(format!("f3skeys-command-{name}-{pid}"));
        std::fs::create_dir_all(&directory).unwrap();
        let (program, log) = (directory.join("zfs"), directory.join("log"));
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {}\ncase \" $* \" in\n\
             *' tank/gone '*) echo \"cannot open 'tank/gone': dataset does not exist\" >&2; exit 1;;\n\
             *' tank/sick '*) echo 'I/O error' >&2; exit 1;;\nesac\n",
            log.display()
        );
        std::fs::write(&program, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let clock = SystemClock::start();
        let command = Command {
            program,
            clock: &clock,
        };
        let deadline = Deadline::after(&clock, std::time::Duration::from_secs(20));
        let answer = command.observe_part("tank", part, deadline);
        let asked = std::fs::read_to_string(log).unwrap_or_default();
        std::fs::remove_dir_all(directory).unwrap();
        let names = |line: &str| {
            let how = if line.contains(" -r ") { "-r " } else { "" };
            let names = line.split(' ').filter(|word| word.starts_with("tank"));
            format!("{how}{}", names.collect::<Vec<_>>().join(" "))
        };
        (asked.lines().map(names).collect(), answer)
    }

    fn part(alone: &[&str], trees: &[&str]) -> Part {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        Part {
            alone: names(alone),
            trees: names(trees),
        }
    }

    #[test]
    fn law_5_the_program_is_asked_for_nothing_beside_the_part_that_is_wanted() {
        let wanted = part(&["tank/a", "tank/b", "tank/t/in"], &["tank/t", "tank/u"]);
        let (asked, answer) = asked_for("part", &wanted);
        assert_eq!(asked, ["tank/a tank/b", "-r tank/t", "-r tank/u"]);
        assert_eq!(answer, Ok(Listing::default()));
        // What is not there is left out, and nothing with it.
        let wanted = part(&["tank/a", "tank/gone"], &["tank/u"]);
        let (asked, answer) = asked_for("gone", &wanted);
        let one_by_one = ["tank/a tank/gone", "tank/a", "tank/gone", "-r tank/u"];
        assert_eq!(asked, one_by_one);
        assert_eq!(answer, Ok(Listing::default()));
        let (_, answer) = asked_for("gone-tree", &part(&[], &["tank/gone"]));
        assert_eq!(answer, Ok(Listing::default()));
        // Anything else that goes wrong is no empty pool.
        for wanted in [part(&["tank/sick"], &[]), part(&["tank/a"], &["tank/sick"])] {
            let (_, answer) = asked_for("sick", &wanted);
            assert!(!answer.unwrap_err().is_timeout());
        }
    }

    #[test]
    fn the_three_answers_are_told_apart() {
        let wrong = "Key load error: Incorrect key provided for 'zdata/enc'.\n";
        assert_eq!(answer(&finished(Some(0), "")), Answer::Opens);
        assert_eq!(answer(&finished(Some(255), wrong)), Answer::WrongKey);
        for (status, stderr) in [
            (
                Some(255),
                "Key load error: Key already loaded for 'zdata/enc'.\n",
            ),
            (
                Some(255),
                "Key load error: Keys must be loaded for encryption root.\n",
            ),
            (Some(255), ""),
            (Some(1), wrong),
            (Some(2), "usage:"),
            (None, wrong),
        ] {
            let said = answer(&finished(status, stderr));
            assert!(
                matches!(said, Answer::CouldNotAsk(_)),
                "{status:?} {stderr}"
            );
        }
    }
}
