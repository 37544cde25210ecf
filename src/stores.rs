//! Which answers of peers count as copies. A copy counts by the identity of its store: the same identity
//! twice, or this node's own, is a stick that was cloned or carried to another node, and counts once.

use crate::names::NodeName;

/// Whether the store that a peer answers with is a copy of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy<'a> {
    /// Yes.
    Counts,
    /// No: it has the identity of this node's own store.
    OurOwn,
    /// No: this peer answers with the same identity, and that one is counted.
    SameAs(&'a NodeName),
    /// No: it has no identity, so nothing is proven on it.
    Nameless,
}

/// Says of each answer (peer, store) whether it counts. Of several with one identity the first counts.
pub fn counted<'a>(
    own: &str,
    answers: impl Iterator<Item = (&'a NodeName, &'a str)>,
) -> Vec<(&'a NodeName, &'a str, Copy<'a>)> {
    let mut said: Vec<(&NodeName, &str, Copy)> = Vec::new();
    for (peer, store) in answers {
        let first = said.iter().find(|(_, other, _)| *other == store);
        let copy = match first {
            _ if store.is_empty() => Copy::Nameless,
            _ if store == own => Copy::OurOwn,
            Some((first, ..)) => Copy::SameAs(first),
            None => Copy::Counts,
        };
        said.push((peer, store, copy));
    }
    said
}

impl Copy<'_> {
    /// Why it does not count, and the way out; `None` when it counts.
    pub fn complaint(&self, store: &str) -> Option<(String, &'static str)> {
        let remedy = "give that node a stick of its own: `f3skeys init` and `f3skeys receive --rebuild` there";
        match self {
            Copy::Counts => None,
            Copy::Nameless => Some((
                "its store has no identity, so it proves nothing".to_owned(),
                "`f3skeys adopt` there",
            )),
            Copy::OurOwn => Some((
                format!(
                    "answers with store {store}, which is this node's own: it is no other copy"
                ),
                remedy,
            )),
            Copy::SameAs(first) => Some((
                format!("answers with store {store}, and so does {first}: that is one copy"),
                remedy,
            )),
        }
    }
}

/// The store of a peer's receipts, when it answers with one that none of them names.
pub fn before<'a>(receipts: impl Iterator<Item = &'a str>, now: &str) -> Option<&'a str> {
    let mut last = None;
    for store in receipts {
        if store == now {
            return None;
        }
        last = Some(store);
    }
    last
}

/// That a peer answers with another store than the one of its last receipt, in words.
pub fn changed(before: &str, now: &str) -> (String, &'static str) {
    let now = match now {
        "" => "a store without an identity".to_owned(),
        now => format!("store {now}"),
    };
    (
        format!("answers with {now}; what it proved before lay on store {before}"),
        "if nobody changed the stick there, find out who did; copies on the stick of before count no more",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way in which three peers answer with this node's own store, two others, or none.
    #[test]
    fn law_7_a_copy_counts_by_its_store_and_each_store_once() {
        let names: Vec<NodeName> = ["f1", "f2", "f3"].map(|n| n.parse().unwrap()).to_vec();
        let ids = ["own", "a", "b", ""];
        for number in 0..64 {
            let stores = [ids[number % 4], ids[number / 4 % 4], ids[number / 16]];
            let said = counted("own", names.iter().zip(stores));
            let counts = said.iter().filter(|(.., copy)| *copy == Copy::Counts);
            let has = |id| usize::from(stores.contains(&id));
            assert_eq!(counts.count(), has("a") + has("b"), "{stores:?}");
            for (peer, store, copy) in &said {
                let well = match copy {
                    Copy::Counts => matches!(*store, "a" | "b"),
                    Copy::OurOwn => *store == "own",
                    Copy::Nameless => store.is_empty(),
                    Copy::SameAs(first) => {
                        let mut all = said.iter();
                        let same = all.find(|(other, ..)| other == first).unwrap();
                        same.1 == *store && same.2 == Copy::Counts && first != peer
                    }
                };
                assert!(well, "{stores:?}: {peer} {copy:?}");
                assert_eq!(copy.complaint(store).is_none(), *copy == Copy::Counts);
            }
        }
    }
}
