//! `f3skeys plan`: what `boot` and `ready` would do now. Opens the stick if it is there; changes
//! nothing.

use crate::boot::{self, Store};
use crate::config::Config;
use crate::foreign::add_line;
use crate::pass::{Node, Pass};
use crate::plan::{self, MountPlan, Observed, Plan, Pool, Step};
use crate::report::Report;
use crate::seals::{self, Seal};
use crate::verdict;
use crate::zfs::{CanMount, Dataset, KeyStatus};
use std::time::Duration;

/// What would be done, as text, and the complaints of looking.
pub struct Preview {
    /// The steps, for standard output.
    pub text: String,
    /// What was found while looking.
    pub report: Report,
}

/// Looks at the node and tells what is left to do.
pub fn preview(node: Node, config: &Config) -> Preview {
    let mut pass = Pass::begin("plan", node, config);
    let device = boot::key_device(&mut pass, Duration::ZERO);
    let store = match &device {
        Err(missing) => Store::Closed(missing.why.clone()),
        Ok(_) => match pass.lock() {
            Some(_lock) => boot::open_store(&mut pass, device),
            None => Store::Closed("another f3skeys is at work".to_owned()),
        },
    };
    let states = boot::key_states(config, &store);
    drop(store);
    pass.observe_all();
    let first = plan::keys(config, &pass.observed, &states);
    // What a replica waits for is done in the first round; the second shows the keys as well.
    let sealed = imagine(&pass.observed, &seals::steps(config, &pass.observed));
    let keys = plan::keys(config, &sealed, &states);
    let open = imagine(&sealed, &keys.steps);
    let mounts = plan::mounts(config, &open);
    let text = written(&pass, &first, &keys, &mounts);
    Preview {
        text,
        report: pass.report,
    }
}

fn written(pass: &Pass, first: &Plan, keys: &Plan, mounts: &MountPlan) -> String {
    let mut text = String::new();
    add_line!(text, "f3skeys plan for {}", pass.config.node);
    let sealing = first.steps.iter().filter(|s| matches!(s, Step::Seal(..)));
    section(&mut text, "boot would", sealing.chain(&keys.steps));
    section(&mut text, "ready would", mounts.steps.iter());
    for (root, (dataset, verdict)) in pass.config.roots.iter().zip(&keys.roots) {
        let said = verdict::of_root(root, verdict, None);
        if let (plan::Verdict::Locked(_), Some(finding)) = (verdict, said.finding) {
            add_line!(text, "  {dataset} {}", finding.what);
        }
    }
    for (dataset, why) in &mounts.refused {
        let (what, _) = crate::ready::not_mounted(why);
        add_line!(text, "  {dataset} would be {what}");
    }
    text
}

fn section<'a>(text: &mut String, title: &str, steps: impl Iterator<Item = &'a Step>) {
    add_line!(text, "  {title}:");
    let before = text.len();
    for step in steps {
        add_line!(text, "    {step}");
    }
    if text.len() == before {
        add_line!(text, "    nothing");
    }
}

fn set(dataset: &mut Dataset, seal: Seal) {
    match seal {
        Seal::Readonly => dataset.readonly = true,
        Seal::Setuid => dataset.setuid = false,
        Seal::Devices => dataset.devices = false,
        Seal::Exec => dataset.exec = false,
        Seal::NoAuto => dataset.can_mount = CanMount::NoAuto,
        Seal::NoNfs => dataset.sharenfs = None,
        Seal::NoSmb => dataset.sharesmb = None,
    }
}

/// The observation as it would be if the steps were made and all worked.
pub fn imagine(observed: &Observed, steps: &[Step]) -> Observed {
    let mut after = observed.clone();
    let datasets = after.pools.values_mut().flat_map(|pool| match pool {
        Pool::Seen(datasets) => datasets.as_mut_slice(),
        _ => &mut [],
    });
    for dataset in datasets {
        for step in steps {
            match step {
                Step::Seal(name, seals) if *name == dataset.name => {
                    seals.iter().for_each(|seal| set(dataset, *seal));
                }
                Step::LoadKey { root, .. } if Some(root) == dataset.encryption_root.as_ref() => {
                    dataset.key_status = KeyStatus::Available;
                }
                Step::Mount { dataset: name, .. } if *name == dataset.name => {
                    dataset.mounted = true;
                }
                _ => {}
            }
        }
    }
    after
}
