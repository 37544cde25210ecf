//! The audit logs: whether the chain of each holds, and ends where it should.

use super::facts::{Audit, Facts};
use crate::audit::log::{self, Seen};
use crate::audit::{Begun, End, MOST_TURNED_AWAY, UNKNOWN};
use crate::report::{Findings, date};

pub(super) fn check(facts: &Facts, said: &mut Findings) {
    facts.audits.iter().for_each(|audit| one(audit, said));
}

fn one(audit: &Audit, said: &mut Findings) {
    let Audit {
        prefix,
        log: seen,
        cut_off,
    } = audit;
    match seen {
        Err(why) => said.unknown(&format!("{prefix}{}", log::LOG), why),
        Ok(None) => {}
        Ok(Some(seen)) => verified(prefix, seen, said),
    }
    let note = format!("{prefix}{}", log::BEGUN);
    match cut_off {
        Err(why) => said.unknown(&note, why),
        Ok(None) => {}
        Ok(Some(begun)) => said.note(&note, &was_cut_off(begun)),
    }
}

fn was_cut_off(begun: &Begun) -> String {
    let Begun { verb, by, time } = begun;
    let when = date(*time);
    format!(
        "a change of the key store by `{verb}`, for {by}, was cut off after {when} and is not in the log: {UNKNOWN}; the next change puts this into the log"
    )
}

/// What to do with a log that somebody may have changed.
const COMPARE: &str = "compare it with a copy of audit.log or audit.head that is kept elsewhere; once that is cleared up, move audit.log, audit.log.1 and audit.head away together, and a new log is begun";

fn verified(prefix: &str, seen: &Seen, said: &mut Findings) {
    let head = format!("{prefix}{}", log::HEAD);
    let place = |line| seen.place(prefix, line);
    let chain = &seen.chain;
    if let Some(line) = chain.broken {
        let what = "does not follow the line before: one of the two was changed, or lines were removed or put in between";
        said.fail(&place(line), what, COMPARE);
    }
    match &seen.end {
        End::Fits => {}
        End::Behind => said.note(
            &head,
            "is one entry behind, as a cut leaves it; the next change of the store mends that",
        ),
        End::Wrong(why) => {
            let what = format!("does not fit the log: {why}");
            said.warn(&head, &what, COMPARE);
        }
    }
    for (line, why) in &chain.found {
        let what = format!("the end of the log was not what had been written: {why}");
        said.warn(&place(*line), &what, COMPARE);
    }
    // Behind an end that does not fit, a line that is none was more likely changed than cut short.
    let loose = match &seen.end {
        End::Wrong(_) => &[][..],
        End::Fits | End::Behind => &chain.loose,
    };
    for line in chain.torn.iter().chain(loose) {
        let what = "was cut short while it was written: what it was about may be only in the report of that time";
        said.note(&place(*line), what);
    }
    if chain.turned_away >= MOST_TURNED_AWAY {
        let what = format!(
            "peers were turned away {MOST_TURNED_AWAY} times in a row; more of that is not written down until the store changes"
        );
        let remedy = "see which peer asks, and whether its ssh key may be known to others";
        said.warn(&format!("{prefix}{}", log::LOG), &what, remedy);
    }
}
