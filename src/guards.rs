//! The guard of mountpoints: a bare directory on which nothing is mounted is made immutable, so
//! that nothing can be written beside the dataset that belongs there. Files in it are named, and
//! never moved.

use crate::config::{Condition, Config};
use crate::exit::Fault;
use crate::names::DatasetName;
use crate::pass::{ONE_CALL, Pass};
use crate::report::Severity;
use crate::system::Guard;
use std::path::Path;

/// Guards every bare directory of the configuration.
pub(crate) fn set(pass: &mut Pass) {
    for path in &pass.config.guards {
        let deadline = pass.deadline.at_most(pass.clock(), ONE_CALL);
        let shown = path.display().to_string();
        let (severity, what, remedy) = match pass.node.system.guard(path, deadline) {
            Ok(Guard::Mounted | Guard::Missing) => continue,
            Ok(Guard::Bare { already, files }) => {
                if !already {
                    let change = format!("made the bare directory {shown} immutable");
                    pass.report.changed.push(change);
                }
                match files.as_slice() {
                    [] => continue,
                    files => lost_files(pass.config, path, files),
                }
            }
            Ok(Guard::NotSupported) => (
                Severity::Warning,
                "its file system knows no immutable directories: what is not mounted there is not guarded".to_owned(),
                "take it out of `guards`, or move the directory to ZFS, UFS or ext4",
            ),
            Err(trouble) => {
                pass.report.fail(Fault::System);
                let what = format!("the bare directory could not be made immutable: {trouble}");
                (Severity::Failure, what, "see why; until then it can be written")
            }
        };
        pass.report.find(severity, &shown, &what, remedy);
    }
}

fn lost_files(config: &Config, path: &Path, files: &[String]) -> (Severity, String, &'static str) {
    let beneath = match dataset_of(config, path) {
        Some(dataset) => format!("the directory under {dataset}"),
        None => "the bare directory".to_owned(),
    };
    let what = format!(
        "files lie in {beneath}, written while it was not mounted: {}",
        files.join(", ")
    );
    let remedy = "compare them with the dataset and move them yourself; nothing was touched";
    (Severity::Failure, what, remedy)
}

/// The dataset that a gate needs on this path.
fn dataset_of<'a>(config: &'a Config, path: &Path) -> Option<&'a DatasetName> {
    let mut needs = config.gates.iter().flat_map(|gate| &gate.needs);
    needs.find_map(|need| match need {
        Condition::Mounted { path: at, dataset } if at == path => Some(dataset),
        _ => None,
    })
}
