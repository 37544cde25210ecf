//! How a pass looks at pools. A pool that holds replicas is looked at in pieces: this node's own datasets
//! first, then the trees of the replicas. A tree that is too large, damaged or too slow is unknown by
//! itself, and hides nothing else of its pool.

use super::{Pass, Scope};
use crate::names::DatasetName;
use crate::os::PoolState;
use crate::plan::{self, Pool};
use crate::sorted::Set;
use crate::time::Deadline;
use crate::trouble::Trouble;
use crate::zfs::{Damaged, Listing, Part};

impl Pass<'_> {
    /// Observes every pool of the configuration.
    pub fn observe_all(&mut self) {
        self.each_pool(Pass::observe);
    }

    /// Observes one pool, asking the kernel for its state first. A pool that once did not answer
    /// in time is not asked again.
    pub fn observe(&mut self, pool: &str, deadline: Deadline) {
        if self.given_up.contains(pool) {
            return;
        }
        let seen = match self.part_of(pool) {
            Some(part) => self.look_at(pool, &part, Listing::default(), deadline),
            None => self.look_at_all(pool, deadline),
        };
        self.take_in(pool, seen);
    }

    /// Observes the configured roots of a pool, and nothing below them.
    pub fn observe_roots(&mut self, pool: &str, deadline: Deadline) {
        if !self.given_up.contains(pool) {
            let part = plan::part_for_roots(self.config, pool);
            let seen = self.seen(pool, Some(&part), deadline);
            self.take_in(pool, seen);
        }
    }

    /// What the kernel has said of keys stays the last word where ZFS could not be asked since.
    fn take_in(&mut self, pool: &str, seen: Result<Listing, Pool>) {
        match seen {
            Ok(listing) => {
                self.observed.taken.retain(|root| root.pool() != pool);
                self.observed.take_in(pool, listing);
            }
            Err(unseen) => self.observed.lose(pool, unseen),
        }
    }

    /// Looks at this part of a pool as well, or again; all else stays as it was seen.
    pub fn observe_also(&mut self, pool: &str, part: &Part, deadline: Deadline) {
        let Some(Pool::Seen(before)) = self.observed.pools.get(pool) else {
            return self.observe(pool, deadline);
        };
        if self.given_up.contains(pool) {
            return;
        }
        let before = Listing {
            datasets: before.clone(),
            damaged: self.observed.damaged.values().cloned().collect(),
        };
        match self.look_at(pool, part, before, deadline) {
            Ok(listing) => self.observed.take_in(pool, listing),
            Err(unseen) => self.observed.lose(pool, unseen),
        }
    }

    /// Observes again, after steps on these datasets: them, and all that is a replica.
    pub fn observe_again(&mut self, changed: &Set<DatasetName>) {
        self.each_pool(|pass, pool, deadline| {
            let part = plan::part_after(pass.config, pool, changed);
            pass.observe_also(pool, &part, deadline);
        });
    }

    /// Looks at a whole pool; where that fails and it holds replicas, at what matters of it, in pieces.
    fn look_at_all(&mut self, pool: &str, deadline: Deadline) -> Result<Listing, Pool> {
        if !plan::has_replicas(self.config, pool) {
            return self.seen(pool, None, deadline);
        }
        self.asked(pool)?;
        let three_quarters = deadline.left(self.clock()) * 3 / 4;
        let most = deadline.at_most(self.clock(), three_quarters);
        self.node.datasets(pool, None, most).or_else(|_| {
            let part = plan::part_for_mounts(self.config, pool);
            self.in_pieces(pool, &part, Listing::default(), deadline)
        })
    }

    /// Looks at a part of a pool, and gives it with what was known `before` of the rest.
    fn look_at(
        &mut self,
        pool: &str,
        part: &Part,
        before: Listing,
        deadline: Deadline,
    ) -> Result<Listing, Pool> {
        let (_, trees) = plan::own_and_trees(self.config, part);
        if trees.is_empty() {
            let now = self.seen(pool, Some(part), deadline)?;
            return Ok(before.with(pool, part, now));
        }
        match self.together(pool, part, &trees, deadline)? {
            Some(now) => Ok(before.with(pool, part, now)),
            None => self.in_pieces(pool, part, before, deadline),
        }
    }

    /// Looks at what is this node's own of a part, and then at each tree of a replica by itself.
    fn in_pieces(
        &mut self,
        pool: &str,
        part: &Part,
        before: Listing,
        deadline: Deadline,
    ) -> Result<Listing, Pool> {
        let (own, trees) = plan::own_and_trees(self.config, part);
        let mut known = before;
        if own.pieces() > 0 {
            let now = self.seen(pool, Some(&own), deadline)?;
            known = known.with(pool, &own, now.within(&own));
        }
        self.each_tree(pool, &trees, known, deadline)
    }

    /// Looks at all of a part by one question, which takes the least time where all is well; `None` where
    /// it is not.
    fn together(
        &self,
        pool: &str,
        part: &Part,
        trees: &Set<DatasetName>,
        deadline: Deadline,
    ) -> Result<Option<Listing>, Pool> {
        if trees.iter().any(|tree| self.dark.contains_key(tree)) {
            return Ok(None);
        }
        self.asked(pool)?;
        let half = deadline.share(self.clock(), 2);
        Ok(self.node.datasets(pool, Some(part), half).ok())
    }

    /// Looks at each of these trees by itself, each with its share of the time.
    fn each_tree(
        &mut self,
        pool: &str,
        trees: &Set<DatasetName>,
        mut known: Listing,
        deadline: Deadline,
    ) -> Result<Listing, Pool> {
        for (done, tree) in trees.iter().enumerate() {
            self.asked(pool)?;
            let share = deadline.share(self.clock(), trees.len() - done);
            let part = Part::tree(tree.clone());
            let now = self.one_tree(pool, tree, &part, share);
            known = known.with(pool, &part, now);
        }
        Ok(known)
    }

    /// One tree; as unknown where it cannot be looked at. Such a tree is not asked about again.
    fn one_tree(
        &mut self,
        pool: &str,
        tree: &DatasetName,
        part: &Part,
        deadline: Deadline,
    ) -> Listing {
        if !self.dark.contains_key(tree) {
            match self.node.datasets(pool, Some(part), deadline) {
                Ok(now) => return now.within(part),
                Err(trouble) => drop(self.dark.insert(tree.clone(), trouble.to_string())),
            }
        }
        Listing {
            datasets: Vec::new(),
            damaged: self.unknown_at(tree),
        }
    }

    /// What is unknown with a tree that could not be looked at: all configured roots in it.
    fn unknown_at(&self, tree: &DatasetName) -> Vec<Damaged> {
        let why = self.dark.get(tree).cloned().unwrap_or_default();
        let roots = self.config.roots.iter().map(|root| &root.dataset);
        let inside = roots.filter(|root| root.is_at_or_below(tree));
        inside
            .map(|root| Damaged::tree(root.clone(), why.clone()))
            .collect()
    }

    /// Whether the kernel says that ZFS may be asked about a pool: else it could hang for ever.
    fn asked(&self, pool: &str) -> Result<(), Pool> {
        match self.node.system.pool_state(pool) {
            PoolState::NotImported => Err(Pool::NotImported),
            PoolState::Suspended => Err(Pool::Suspended),
            PoolState::Unknown(why) => Err(Pool::NotSeen(why)),
            PoolState::Works(_) => Ok(()),
        }
    }

    fn seen(
        &mut self,
        pool: &str,
        part: Option<&Part>,
        deadline: Deadline,
    ) -> Result<Listing, Pool> {
        self.asked(pool)?;
        let answer = self.node.datasets(pool, part, deadline);
        answer.map_err(|trouble| self.not_seen(pool, &trouble))
    }

    fn not_seen(&mut self, pool: &str, trouble: &Trouble) -> Pool {
        if trouble.is_timeout() {
            self.given_up.insert(pool.to_owned());
        }
        Pool::NotSeen(trouble.to_string())
    }

    fn part_of(&self, pool: &str) -> Option<Part> {
        match self.scope {
            Scope::Whole => None,
            Scope::Keys => Some(plan::part_for_keys(self.config, pool)),
            Scope::Mounts => Some(plan::part_for_mounts(self.config, pool)),
        }
    }

    /// Has the pools that answer begin to tell of themselves, beside what else is done meanwhile: of what
    /// they will be asked first.
    pub fn begin_asking(&self) {
        for pool in self.config.pools() {
            let Some(part) = self.part_of(&pool).filter(|_| self.works(&pool)) else {
                continue;
            };
            let first = match self.scope {
                Scope::Keys if plan::has_both(self.config, &pool) => {
                    Some(plan::part_for_roots(self.config, &pool))
                }
                Scope::Keys if !plan::has_replicas(self.config, &pool) => None,
                _ => Some(part.clone()),
            };
            self.node.zfs.begin(&pool, part.pieces(), first.as_ref());
        }
    }
}
