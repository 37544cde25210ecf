//! The stage of a rehearsal: the three seams over an imagined node. What only looks is asked of the
//! real one; what would change anything happens here alone.

use super::world::World;
use crate::binds::{self, Said};
use crate::bound::{self, Falls, Unit};
use crate::config::Config;
use crate::device::{Candidate, Filesystem};
use crate::early;
use crate::gate::{Bound, Live, Questions};
use crate::host::bare::Beneath;
use crate::host::binds::Bind;
use crate::host::{Fstab, InitSystem};
use crate::key::{Fingerprint, Key};
use crate::legacy::{self, Known};
use crate::links::Ways;
use crate::names::DatasetName;
use crate::os::{Intake, Mount, PATHS, PoolState};
use crate::pass::{Node, ONE_CALL};
use crate::plan::Step;
use crate::report::{Finding, Severity};
use crate::roles;
use crate::seals::Seal;
use crate::shell::command;
use crate::sorted::{Map, Set};
use crate::store::work::{Work, Worked};
use crate::store::{Reading, Wanted};
use crate::system::{Guard, KeyDevices, System};
use crate::time::{Clock, Deadline};
use crate::trouble::Trouble;
use crate::twins;
use crate::ways;
use crate::zfs::{Answer, Dataset, KeyStatus, Listing, Mountpoint, Part, Past, Try, Zfs};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Parts of pools, and what came of looking at them.
type Asked = Vec<(Part, Result<(), Trouble>)>;

/// An imagined node in front of the real one.
pub(super) struct Stage<'a> {
    real: Node<'a>,
    world: RefCell<World>,
    /// What a pool answered when it would not be looked at: it is not asked twice.
    mute: RefCell<Map<String, Trouble>>,
    /// The parts of such pools that were looked at, and what came of it: each is asked once.
    parts: RefCell<Asked>,
    /// What ZFS said of each key on each root: each is asked once.
    answers: RefCell<Map<(DatasetName, Fingerprint), Answer>>,
    /// What is loaded, and what is mounted, on the real node.
    loaded: RefCell<Set<DatasetName>>,
    mounted: RefCell<Set<DatasetName>>,
}

impl<'a> Stage<'a> {
    /// The node right after the power cut; `Err` when the root file system cannot be looked at.
    pub(super) fn after_power_cut(real: Node<'a>, deadline: Deadline) -> Result<Self, Trouble> {
        let top = PathBuf::from("/");
        let questions = Questions {
            paths: Set::from([top.clone()]),
            ..Questions::default()
        };
        let mut live = real.system.look(&questions, deadline)?;
        let root = match live.covering.remove(&top) {
            Some(Ok(Some(root))) => root,
            Some(Err(why)) => return Err(Trouble::failed("looking at /", &why)),
            Some(Ok(None)) | None => return Err(Trouble::failed("looking at /", "no answer")),
        };
        Ok(Stage {
            real,
            world: RefCell::new(World::new(root)),
            mute: RefCell::default(),
            parts: RefCell::default(),
            answers: RefCell::default(),
            loaded: RefCell::default(),
            mounted: RefCell::default(),
        })
    }

    /// The imagined node.
    pub(super) fn node(&self) -> Node<'_> {
        Node {
            zfs: self,
            devices: self,
            system: self,
            ..self.real
        }
    }

    /// Looks at every pool there is. Pools that could not be looked at are told, but for those `known` to the
    /// passes, which told of them already.
    pub(super) fn see_all(&self, known: &[String], deadline: Deadline) -> Vec<Finding> {
        let mut unknown = self.see_other_pools(known, deadline);
        unknown.extend(self.seen_in_part(known));
        unknown
    }

    /// What the system does between the passes, over every pool there is.
    pub(super) fn mount_all(&self) {
        self.world.borrow_mut().mount_all();
    }

    /// What fstab mounts behind that; tells of the lines that a boot has trouble with.
    pub(super) fn mount_fstab(&self, config: &Config) -> Vec<Finding> {
        let fstab = match self.real.system.fstab() {
            Ok(fstab) => fstab,
            Err(trouble) => {
                let what = format!("not known what the boot mounts by it: {trouble}");
                return vec![failure("/etc/fstab", &what, "see why it cannot be read")];
            }
        };
        let odd = fstab.odd.iter().map(|line| {
            let what = format!("not known what the boot makes of it: {line}");
            failure("/etc/fstab", &what, "correct the line")
        });
        let mut told: Vec<Finding> = odd.collect();
        let mut world = self.world.borrow_mut();
        let mut steps = Vec::new();
        let known = Known::of(PATHS.init, config, world.observed());
        for legacy in legacy::lines(PATHS.init, &fstab) {
            told.extend(known.foretold(&legacy));
            if known.is_mounted(&legacy) && PATHS.init == InitSystem::Systemd {
                let dataset = legacy.dataset;
                let at = PathBuf::from(&legacy.line.at);
                steps.push(Step::Mount { dataset, at });
            }
        }
        world.make(&steps);
        told
    }

    /// Mount units that would not let stand what the boot mounts, as systemd has them now.
    pub(super) fn bound(&self, config: &Config, deadline: Deadline) -> Vec<Falls> {
        let one_call = deadline.at_most(self.clock(), ONE_CALL);
        bound::look(
            self.real.system,
            config,
            self.world.borrow().observed(),
            one_call,
        )
    }

    /// What systemd takes off again, once it is mounted.
    pub(super) fn unmount(&self, falls: &[Falls]) {
        let mut world = self.world.borrow_mut();
        let then = falls.iter().filter_map(|one| one.then.as_ref());
        then.for_each(|dataset| world.unmount(dataset));
    }

    /// File systems that the boot mounts on one directory.
    pub(super) fn twins(&self, config: &Config) -> Vec<(Set<DatasetName>, Finding)> {
        let world = self.world.borrow();
        let name = |dataset: &&Dataset| dataset.name.clone();
        twins::of(config, world.observed())
            .into_iter()
            .map(|twins| (twins.all.iter().map(name).collect(), twins.finding()))
            .collect()
    }

    /// What a stream says of datasets that are none of the configured roots', and what a boot without the
    /// stick would mount too early.
    /// Binds what the boot binds to other places before the keys come; tells what there is to say of it.
    pub(super) fn bind(&self, config: &Config, binds: &[Bind]) -> Vec<Said> {
        self.world.borrow_mut().take_in_binds(binds);
        let world = self.world.borrow();
        let real = |path: &Path| world.real(path);
        let is_ours = |name: &DatasetName| config.role_of(name).is_some();
        let datasets = world.observed().datasets();
        binds::judge(is_ours, datasets, binds, &Map::new(), real)
    }

    /// Looks for links.
    pub(super) fn see_ways(&self, config: &Config, binds: &[Bind], deadline: Deadline) {
        let asked = ways::asked(config, self.world.borrow().observed(), binds);
        for paths in asked.into_values() {
            let deadline = deadline.at_most(self.clock(), ONE_CALL);
            let ways = self.real.system.ways(&paths, deadline);
            let unseen = |trouble: Trouble| {
                let why = trouble.to_string();
                let paths = paths.into_iter();
                paths.map(|path| (path, Err(why.clone()))).collect()
            };
            let ways = ways.unwrap_or_else(unseen);
            self.world.borrow_mut().take_in_ways(ways);
        }
    }

    /// What a stream says of datasets that are none of the configured roots'.
    pub(super) fn strays(&self, config: &Config) -> Vec<Finding> {
        let world = self.world.borrow();
        let mut found = roles::strays(config, world.observed());
        found.extend(early::findings(config, world.observed()));
        found
    }

    fn see_other_pools(&self, known: &[String], deadline: Deadline) -> Vec<Finding> {
        let one_call = || deadline.at_most(self.clock(), ONE_CALL);
        let pools = match self.real.zfs.pools(one_call()) {
            Ok(pools) => pools,
            Err(trouble) => {
                let what = format!("not known which there are: {trouble}");
                return vec![failure("pools", &what, "see why `zfs list` fails")];
            }
        };
        let others = pools.iter().filter(|pool| !known.contains(pool));
        others
            .filter_map(|pool| {
                let why = self.see(pool, one_call()).err()?;
                let what = format!("not known what the boot would mount of this pool: {why}");
                Some(failure(pool, &what, &command!("zpool status {}", pool)))
            })
            .collect()
    }

    fn see(&self, pool: &str, deadline: Deadline) -> Result<(), String> {
        match self.pool_state(pool) {
            PoolState::Works(_) => {
                let seen = self.observe(pool, deadline);
                seen.map(|_| ()).map_err(|trouble| trouble.to_string())
            }
            PoolState::Suspended => Err("it is suspended".to_owned()),
            PoolState::NotImported => Ok(()),
            PoolState::Unknown(why) => Err(why),
        }
    }

    /// Datasets of which nothing is known, and so not what the system would mount of them. Those at or
    /// below a configured root the passes complain of.
    pub(super) fn not_understood(&self, config: &Config) -> Vec<Finding> {
        let world = self.world.borrow();
        let damaged = world
            .damaged()
            .filter(|d| config.role_of(&d.name).is_none());
        damaged
            .map(|d| {
                let what = format!("not known where the boot would mount it: {d}");
                failure(d.name.as_str(), &what, &d.remedy())
            })
            .collect()
    }

    /// Why nothing is known of a dataset, if that is so.
    pub(super) fn why_unknown(&self, dataset: &DatasetName) -> Option<String> {
        let world = self.world.borrow();
        let damaged = world.damaged().find(|d| d.name == *dataset)?;
        Some(format!("nothing is known of {dataset}: {damaged}"))
    }

    /// Whether the root's key is loaded on the real node, and no key that was tried opens it.
    pub(super) fn is_locked_out(&self, root: &DatasetName) -> bool {
        let answers = self.answers.borrow();
        let mut of_root = answers.iter().filter(|((of, _), _)| of == root).peekable();
        self.loaded.borrow().contains(root)
            && of_root.peek().is_some()
            && of_root.all(|(_, answer)| *answer == Answer::WrongKey)
    }

    /// The encryption root that keeps a dataset locked on the imagined node. Where the pool was not
    /// seen, that is the configured root above it.
    pub(super) fn locked_root(&self, config: &Config, name: &DatasetName) -> Option<DatasetName> {
        let world = self.world.borrow();
        if world.pool(name.pool()).is_some() {
            let dataset = world.find(name)?;
            let locked = dataset.key_status == KeyStatus::Unavailable;
            return dataset.encryption_root.clone().filter(|_| locked);
        }
        let above = config.roots.iter().map(|root| &root.dataset);
        let above = above.filter(|root| name.is_at_or_below(root));
        above.max_by_key(|root| root.as_str().len()).cloned()
    }

    /// Imagines that all configured roots were opened after all, and nothing mounted yet.
    pub(super) fn open_all(&self, config: &Config) {
        let mut world = self.world.borrow_mut();
        world.unmount_all();
        for root in &config.roots {
            world.load_key(&root.dataset);
        }
    }

    /// Whether the dataset is mounted on the real node.
    pub(super) fn was_mounted(&self, dataset: &DatasetName) -> bool {
        self.mounted.borrow().contains(dataset)
    }

    fn see_part(&self, pool: &str, part: &Part, deadline: Deadline) -> Result<(), Trouble> {
        let answer = self.real.zfs.observe_part(pool, part, deadline);
        let answer = answer.map(|listing| {
            self.note_state(&listing);
            self.world.borrow_mut().take_in_more(pool, listing);
        });
        let mut parts = self.parts.borrow_mut();
        parts.push((part.clone(), answer.clone()));
        answer
    }

    /// Of the pools that the passes know, those of which only parts were seen: the system mounts of the
    /// rest what nobody can tell.
    fn seen_in_part(&self, known: &[String]) -> Vec<Finding> {
        let mute = self.mute.borrow();
        let world = self.world.borrow();
        let in_part = |pool: &&String| world.pool(pool).is_some();
        let pools = known.iter().filter(in_part);
        let finding = |pool: &String| {
            let trouble = mute.get(pool)?;
            let what = format!("not known what else the boot would mount of this pool: {trouble}");
            let list = command!("zfs list -r {}", pool);
            let remedy = format!("{list} shows what takes so long or so much");
            Some(failure(pool, &what, &remedy))
        };
        pools.filter_map(finding).collect()
    }

    fn take_in(&self, pool: &str, listing: Listing) {
        self.note_state(&listing);
        self.world.borrow_mut().take_in(pool, listing);
    }

    /// Notes what is loaded and mounted on the real node.
    fn note_state(&self, listing: &Listing) {
        let named = |wanted: fn(&Dataset) -> bool| {
            let found = listing.datasets.iter().filter(|d| wanted(d));
            found.map(|d| d.name.clone()).collect::<Vec<_>>()
        };
        let loaded = named(|d| d.key_status == KeyStatus::Available);
        self.loaded.borrow_mut().extend(loaded);
        self.mounted.borrow_mut().extend(named(|d| d.mounted));
    }

    /// Whether files are there, asked of the real node. Its answer holds only where the directory
    /// shows the same file system now as it would then.
    fn files(&self, files: &Set<PathBuf>, deadline: Deadline, live: &mut Live) {
        if files.is_empty() {
            return;
        }
        let above = files.iter().flat_map(|file| file.ancestors().skip(1));
        let questions = Questions {
            paths: above.map(Path::to_owned).collect(),
            files: files.clone(),
            ..Questions::default()
        };
        let real = self.real.system.look(&questions, deadline);
        let world = self.world.borrow();
        for file in files {
            let answer = match &real {
                Ok(real) => still_so(file, real, &world),
                Err(trouble) => Err(trouble.to_string()),
            };
            live.files.insert(file.clone(), answer);
        }
    }

    /// Whether snapshots are there, which ZFS has just named: asked of the real node where the file
    /// system is mounted now, too.
    fn snapshots(&self, snapshots: &Map<DatasetName, String>, deadline: Deadline, live: &mut Live) {
        for (dataset, name) in snapshots {
            if !self.was_mounted(dataset) {
                live.snapshots.insert(dataset.clone(), Ok(true));
                continue;
            }
            let questions = Questions {
                datasets: Set::from([dataset.clone()]),
                snapshots: Map::from([(dataset.clone(), name.clone())]),
                ..Questions::default()
            };
            let answer = match self.real.system.look(&questions, deadline) {
                Ok(mut real) => real.snapshots.remove(dataset),
                Err(trouble) => Some(Err(trouble.to_string())),
            };
            let answer = answer.unwrap_or_else(|| Err("no answer".to_owned()));
            live.snapshots.insert(dataset.clone(), answer);
        }
    }
}

/// No boot does that, so no rehearsal of one does.
fn not_here(what: &str) -> Trouble {
    Trouble::failed(what, "a boot does nothing of the kind")
}

fn failure(subject: &str, what: &str, remedy: &str) -> Finding {
    Finding::new(Severity::Failure, subject, what, remedy)
}

/// What the real node says of a file, if that would still be the same file.
fn still_so(file: &Path, real: &Live, world: &World) -> Result<bool, String> {
    let then = world.covering(file.parent().unwrap_or(file))?;
    let now = file.ancestors().skip(1).find_map(|above| {
        let answer = real.covering.get(above)?;
        answer.as_ref().ok()?.as_ref()
    });
    match now {
        Some(now) if now.source == then.source && now.at == then.at => real
            .files
            .get(file)
            .cloned()
            .unwrap_or_else(|| Err("no answer".to_owned())),
        _ => Err(format!(
            "it would lie on {}, which is not to be seen there now",
            then.source
        )),
    }
}

impl Zfs for Stage<'_> {
    fn begin(&self, pool: &str, pieces: usize, first: Option<&Part>) {
        self.real.zfs.begin(pool, pieces, first);
    }

    fn pools(&self, deadline: Deadline) -> Result<Vec<String>, Trouble> {
        self.real.zfs.pools(deadline)
    }

    fn observe(&self, pool: &str, deadline: Deadline) -> Result<Listing, Trouble> {
        if let Some(trouble) = self.mute.borrow().get(pool) {
            return Err(trouble.clone());
        }
        if self.world.borrow().pool(pool).is_none() {
            match self.real.zfs.observe(pool, deadline) {
                Ok(listing) => self.take_in(pool, listing),
                Err(trouble) => {
                    let mut mute = self.mute.borrow_mut();
                    mute.insert(pool.to_owned(), trouble.clone());
                    return Err(trouble);
                }
            }
        }
        Ok(self.world.borrow().listing(pool))
    }

    /// The whole pool, for what the system will mount of it. Where that fails, the part alone.
    fn observe_part(
        &self,
        pool: &str,
        part: &Part,
        deadline: Deadline,
    ) -> Result<Listing, Trouble> {
        let three_quarters = deadline.left(self.clock()) * 3 / 4;
        let most = deadline.at_most(self.clock(), three_quarters);
        let Err(trouble) = self.observe(pool, most) else {
            return Ok(self.world.borrow().listing(pool));
        };
        let asked = |parts: &Asked| parts.iter().find(|(of, _)| of == part).cloned();
        let before = asked(&self.parts.borrow());
        let answer = match before {
            Some((_, answer)) => answer,
            None if part.pieces() == 0 => Err(trouble),
            None => self.see_part(pool, part, deadline),
        };
        answer.map(|()| self.world.borrow().listing(pool))
    }

    fn has_checkpoint(&self, _pool: &str, _deadline: Deadline) -> Result<bool, Trouble> {
        Err(not_here("zpool get checkpoint"))
    }

    fn try_key(&self, root: &DatasetName, key: &Key, how: Try, deadline: Deadline) -> Answer {
        let question = (root.clone(), key.fingerprint());
        let known = self.answers.borrow().get(&question).cloned();
        let answer = known.unwrap_or_else(|| {
            let zfs = self.real.zfs;
            let answer = zfs.try_key(root, key, Try::Probe, deadline);
            self.answers.borrow_mut().insert(question, answer.clone());
            answer
        });
        if how == Try::Load && answer == Answer::Opens {
            self.world.borrow_mut().load_key(root);
        }
        answer
    }

    fn set_readonly(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.seal(dataset, &[Seal::Readonly], deadline)
    }

    fn seal(
        &self,
        dataset: &DatasetName,
        seals: &[Seal],
        _deadline: Deadline,
    ) -> Result<(), Trouble> {
        let step = Step::Seal(dataset.clone(), seals.to_vec());
        self.world.borrow_mut().make(&[step]);
        Ok(())
    }

    fn set_writable(&self, _dataset: &DatasetName, _deadline: Deadline) -> Result<(), Trouble> {
        Err(not_here("zfs set"))
    }

    fn record(
        &self,
        _dataset: &DatasetName,
        _promotion: &str,
        _deadline: Deadline,
    ) -> Result<(), Trouble> {
        Err(not_here("zfs set"))
    }

    fn snapshot(
        &self,
        _datasets: &[DatasetName],
        _name: &str,
        _deadline: Deadline,
    ) -> Result<(), Trouble> {
        Err(not_here("zfs snapshot"))
    }

    fn past(&self, dataset: &DatasetName, deadline: Deadline) -> Result<Vec<Past>, Trouble> {
        self.real.zfs.past(dataset, deadline)
    }

    fn unmount(&self, _dataset: &DatasetName, _deadline: Deadline) -> Result<(), Trouble> {
        Err(not_here("zfs unmount"))
    }

    fn unload_key(&self, _root: &DatasetName, _deadline: Deadline) -> Result<(), Trouble> {
        Err(not_here("zfs unload-key"))
    }

    fn change_key(
        &self,
        _root: &DatasetName,
        _key: &Key,
        _deadline: Deadline,
    ) -> Result<(), Trouble> {
        Err(not_here("zfs change-key"))
    }

    fn set_key_location(
        &self,
        _root: &DatasetName,
        _location: &str,
        _deadline: Deadline,
    ) -> Result<(), Trouble> {
        Err(not_here("zfs set"))
    }

    fn unwraps(&self, dataset: &DatasetName, deadline: Deadline) -> Result<(), Trouble> {
        self.real.zfs.unwraps(dataset, deadline)
    }

    fn mount(&self, dataset: &DatasetName, _deadline: Deadline) -> Result<(), Trouble> {
        let found = self.world.borrow().find(dataset).cloned();
        let Some(Mountpoint::Path(at)) = found.map(|found| found.mountpoint) else {
            return Err(Trouble::failed("zfs mount", "it has no mountpoint"));
        };
        let dataset = dataset.clone();
        self.world.borrow_mut().make(&[Step::Mount { dataset, at }]);
        Ok(())
    }
}

impl KeyDevices for Stage<'_> {
    fn scan(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        self.real.devices.scan(deadline)
    }

    fn scan_fixed(&self, deadline: Deadline) -> Result<Vec<Candidate>, Trouble> {
        self.real.devices.scan_fixed(deadline)
    }

    fn mounted_at(&self, device: &Candidate) -> Result<Vec<PathBuf>, Trouble> {
        self.real.devices.mounted_at(device)
    }

    fn read(
        &self,
        device: &Candidate,
        filesystem: &Filesystem,
        at: &Path,
        wanted: Wanted,
        deadline: Deadline,
    ) -> Result<Reading, Trouble> {
        let devices = self.real.devices;
        devices.read(device, filesystem, at, wanted, deadline)
    }

    fn work(
        &self,
        _device: &Candidate,
        _filesystem: &Filesystem,
        _at: &Path,
        _work: &Work,
        _brought: Option<&mut Intake>,
        _deadline: Deadline,
    ) -> Result<Worked, Trouble> {
        let what = "writing on the key store";
        Err(Trouble::failed(what, "a rehearsal writes nothing"))
    }
}

/// The real clock. What the passes on the stage wait for is told as the rehearsal's.
impl Clock for Stage<'_> {
    fn now(&self) -> Duration {
        self.real.system.clock().now()
    }

    fn sleep(&self, time: Duration) {
        self.real.system.clock().sleep(time);
    }

    fn doing(&self, what: &str) {
        let what = format!("rehearse: {what}");
        self.real.system.clock().doing(what.trim_end_matches(": "));
    }
}

impl System for Stage<'_> {
    fn clock(&self) -> &dyn Clock {
        self
    }

    /// A rehearsal changes nothing.
    fn log(&self, _severity: Severity, _line: &str) {}

    fn boot_id(&self) -> Option<String> {
        self.real.system.boot_id()
    }

    fn zfs_version(&self) -> Option<String> {
        self.real.system.zfs_version()
    }

    fn pool_state(&self, pool: &str) -> PoolState {
        self.real.system.pool_state(pool)
    }

    fn mounts(&self) -> Result<Vec<Mount>, Trouble> {
        Ok(self.world.borrow().mounts().cloned().collect())
    }

    fn look(&self, questions: &Questions, deadline: Deadline) -> Result<Live, Trouble> {
        let mut live = Live::default();
        self.files(&questions.files, deadline, &mut live);
        let world = self.world.borrow();
        for dataset in &questions.datasets {
            live.mounted_at
                .insert(dataset.clone(), world.places(dataset));
        }
        let found: Vec<&PathBuf> = live.mounted_at.values().flatten().collect();
        for path in questions.paths.iter().chain(found) {
            let answer = world.covering(path).map(|mount| Some(mount.clone()));
            live.covering.insert(path.clone(), answer);
            if let Some(way) = world.way(path) {
                live.ways.insert(path.clone(), way);
            }
        }
        for path in &questions.paths {
            let bound = world.bound_beneath(path).into_iter();
            let bound: Vec<Bound> = bound.map(|at| Bound { at }).collect();
            if !bound.is_empty() {
                live.bound.insert(path.clone(), Ok(bound));
            }
        }
        for volume in &questions.volumes {
            live.volumes
                .insert(volume.clone(), Ok(world.has_device(volume)));
        }
        live.now = self.real.system.wall();
        live.since_boot = self.real.system.since_boot()?.as_secs();
        drop(world);
        self.snapshots(&questions.snapshots, deadline, &mut live);
        Ok(live)
    }

    fn beneath(
        &self,
        points: &[PathBuf],
        known: &Set<PathBuf>,
        deadline: Deadline,
    ) -> Result<Beneath, Trouble> {
        self.real.system.beneath(points, known, deadline)
    }

    fn binds(&self) -> Result<Vec<Bind>, Trouble> {
        self.real.system.binds()
    }

    fn wall(&self) -> u64 {
        self.real.system.wall()
    }

    fn since_boot(&self) -> Result<Duration, Trouble> {
        self.real.system.since_boot()
    }

    fn carp(&self) -> Result<Option<bool>, Trouble> {
        self.real.system.carp()
    }

    fn set_carp(&self, _allow: bool) -> Result<(), Trouble> {
        Err(not_here("net.inet.carp.allow"))
    }

    fn guard(&self, _path: &Path, _deadline: Deadline) -> Result<Guard, Trouble> {
        Err(not_here("guarding"))
    }

    fn fstab(&self) -> Result<Fstab, Trouble> {
        self.real.system.fstab()
    }

    fn units(&self, names: &[String], deadline: Deadline) -> Result<Vec<Unit>, Trouble> {
        self.real.system.units(names, deadline)
    }

    /// As it is now: what will lie there then nobody can tell before it is mounted.
    fn ways(&self, paths: &[PathBuf], deadline: Deadline) -> Result<Ways, Trouble> {
        self.real.system.ways(paths, deadline)
    }
}
