//! The starts that a gate owes its services: a file in the run directory, made when the gate closes, so
//! that a run that is killed loses none, and one that goes on later knows how far they have come.

use crate::marker;
use crate::names::{GateName, ServiceName};
use crate::sorted::Set;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file that remembers, in the boot `boot`, that a gate's services are to be started once it
/// opens.
fn pending(run: &Path, gate: &GateName) -> PathBuf {
    run.join("pending").join(gate.as_str())
}

/// How far the start of a gate's services has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Starts {
    /// Those that were asked to start and have not been seen running since.
    pub asked: Set<ServiceName>,
    /// Those that have started: what an admin stops then stays stopped.
    pub done: Set<ServiceName>,
}

/// The starts that a gate's services wait for once it opens; `None` when nothing is to be started.
///
/// # Errors
/// The run directory could not be read.
pub fn read(run: &Path, gate: &GateName, boot: &str) -> io::Result<Option<Starts>> {
    let text = match fs::read_to_string(pending(run, gate)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut lines = text.split('\n');
    if lines.next() != Some(boot) {
        return Ok(None);
    }
    let mut starts = Starts::default();
    for line in lines {
        // What is not understood is started once more.
        match line.split_once(' ').map(|(how, name)| (how, name.parse())) {
            Some(("asked", Ok(name))) => starts.asked.insert(name),
            Some(("done", Ok(name))) => starts.done.insert(name),
            _ => false,
        };
    }
    Ok(Some(starts))
}

/// Remembers that a gate's services are to be started once it opens, and how far that has come.
///
/// # Errors
/// The run directory could not be written.
pub fn write(run: &Path, gate: &GateName, boot: &str, to: &Starts) -> io::Result<()> {
    if read(run, gate, boot).is_ok_and(|now| now.as_ref() == Some(to)) {
        return Ok(());
    }
    let mut text = boot.to_owned();
    for (how, names) in [("asked", &to.asked), ("done", &to.done)] {
        for name in names {
            text += &format!("\n{how} {name}");
        }
    }
    marker::make_directory(run)?;
    marker::make_directory(&run.join("pending"))?;
    marker::replace(&pending(run, gate), text.as_bytes())
}

/// Remembers that a gate's services have all been started.
///
/// # Errors
/// The run directory could not be written.
pub fn clear(run: &Path, gate: &GateName) -> io::Result<()> {
    match fs::remove_file(pending(run, gate)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Set<ServiceName> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_owed_is_of_one_boot_and_says_how_far_it_has_come() {
        let name = format!("f3skeys-starts-{}", std::process::id());
        let run = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&run);
        let gate: GateName = "nfs".parse().unwrap();
        let is = |boot: &str| read(&run, &gate, boot).unwrap();
        assert_eq!(is("b1"), None);
        write(&run, &gate, "b1", &Starts::default()).unwrap();
        assert_eq!(
            (is("b1"), is("b2"), is("")),
            (Some(Starts::default()), None, None)
        );
        let some = Starts {
            asked: names(&["k3s.service"]),
            done: names(&["mountd", "nfsd"]),
        };
        write(&run, &gate, "b2", &some).unwrap();
        assert_eq!((is("b1"), is("b2")), (None, Some(some)));
        // What nobody has written that way is started once more.
        fs::write(
            pending(&run, &gate),
            "b2\nasked\nfar x\ndone nfsd\ndone a b\n",
        )
        .unwrap();
        let rest = Starts {
            asked: Set::new(),
            done: names(&["nfsd"]),
        };
        assert_eq!(is("b2"), Some(rest));
        clear(&run, &gate).unwrap();
        assert_eq!(is("b2"), None);
        clear(&run, &gate).unwrap();
        // What nobody can remove as a file is a failure.
        fs::create_dir_all(pending(&run, &gate)).unwrap();
        assert!(clear(&run, &gate).is_err() && read(&run, &gate, "b2").is_err());
        fs::remove_dir_all(&run).unwrap();
    }
}
