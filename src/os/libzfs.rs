//! OpenZFS's own library, opened at run time: what the `zfs` program calls, without its start.
//!
//! Only functions that have had one signature from OpenZFS 2.1 to 2.4 are called, and no structure of
//! theirs is looked into. A system without the library, or with one that is not known here, is none
//! of this module's business: there the program does the work.

#[cfg(target_os = "linux")]
use super::straight::Straight;
use crate::key::KEY_LEN;
use crate::sorted::{Map, Set};
use nix::libc::{self, c_char, c_int, c_uint, c_void};
use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::io;
use std::ptr;

/// The names under which the library is known, the likeliest first: OpenZFS 2.3, 2.1 and 2.2, 2.4; and
/// FreeBSD's, which has kept its name.
#[cfg(target_os = "linux")]
const NAMES: [&CStr; 3] = [c"libzfs.so.6", c"libzfs.so.4", c"libzfs.so.7"];
#[cfg(target_os = "freebsd")]
const NAMES: [&CStr; 3] = [c"libzfs.so.4", c"libzfs.so.6", c"libzfs.so.7"];
/// The names of its lowest part, OpenZFS 2.0 to 2.4: Linux's, FreeBSD's.
const CORE_NAMES: [&CStr; 2] = [c"libzfs_core.so.3", c"libzfs_core.so.2"];
/// File systems and volumes (`ZFS_TYPE_FILESYSTEM | ZFS_TYPE_VOLUME`).
const DATASETS: c_int = 1 | 4;
/// `EZFS_NOENT`: there is no such pool or dataset.
const NO_SUCH_DATASET: c_int = 2009;
/// `ZFS_MAXPROPLEN`, the longest value there is.
const LONGEST_VALUE: usize = 4096;
/// `ZPROP_VALUE` and `ZPROP_SOURCE`, the members of a user property.
const VALUE: &CStr = c"value";
const SOURCE: &CStr = c"source";
/// The source of a property that was received.
const RECEIVED: &[u8] = b"$recvd";

type Root = *mut c_void;
pub(super) type Zfs = *mut c_void;
type List = *mut c_void;
type Each = extern "C" fn(Zfs, *mut c_void) -> c_int;

/// The functions of the library that are called.
struct Calls {
    init: unsafe extern "C" fn() -> Root,
    errno: unsafe extern "C" fn(Root) -> c_int,
    action: unsafe extern "C" fn(Root) -> *const c_char,
    description: unsafe extern "C" fn(Root) -> *const c_char,
    mnttab_init: unsafe extern "C" fn(Root),
    mnttab_fini: unsafe extern "C" fn(Root),
    mnttab_cache: unsafe extern "C" fn(Root, c_int),
    open: unsafe extern "C" fn(Root, *const c_char, c_int) -> Zfs,
    close: unsafe extern "C" fn(Zfs),
    name: unsafe extern "C" fn(Zfs) -> *const c_char,
    children: unsafe extern "C" fn(Zfs, Each, *mut c_void) -> c_int,
    property: unsafe extern "C" fn(*const c_char) -> c_int,
    get: unsafe extern "C" fn(
        Zfs,
        c_int,
        *mut c_char,
        usize,
        *mut c_uint,
        *mut c_char,
        usize,
        c_int,
    ) -> c_int,
    user_properties: unsafe extern "C" fn(Zfs) -> List,
    is_mounted: unsafe extern "C" fn(Zfs, *mut *mut c_char) -> c_int,
    mount: unsafe extern "C" fn(Zfs, *const c_char, c_int) -> c_int,
    properties: unsafe extern "C" fn(Zfs) -> List,
    usual: unsafe extern "C" fn(c_int) -> u64,
    list_in: unsafe extern "C" fn(List, *const c_char, *mut List) -> c_int,
    text_in: unsafe extern "C" fn(List, *const c_char, *mut *const c_char) -> c_int,
    number_in: unsafe extern "C" fn(List, *const c_char, *mut u64) -> c_int,
}

/// A property's value and its source, as bytes: a value may hold any.
pub type Value = (Vec<u8>, Vec<u8>);
/// A dataset's name, and the values of the properties that were asked for, in their order.
pub type Told = (Vec<u8>, Vec<Value>);

/// A property as the library knows it.
enum Property {
    Own(c_int),
    /// `mounted`, which is a question to the table of mounts.
    Mounted(c_int),
    /// `readonly` and what else a mount can differ in, for which the library looks there as well.
    OfMount(c_int, CString),
    /// `written`, of which the library says 0 where the kernel could not count.
    Counted(c_int),
    User(CString),
}

/// The library, ready to be asked.
pub struct Library {
    calls: Calls,
    #[cfg(target_os = "linux")]
    straight: Option<Straight>,
    root: Root,
    properties: Vec<Property>,
    kept: RefCell<Kept>,
}

/// Datasets that were told of and are not mounted: they need not be opened once more.
#[derive(Default)]
struct Kept {
    /// In which state of knowledge they were told of.
    state: u64,
    /// Whether no file system of ZFS was mounted then. Of such a table the library keeps nothing, and
    /// reads it anew for every question: a boot would be slower with each dataset.
    none_mounted: bool,
    /// What was mounted here since.
    mounted: Set<String>,
    handles: Map<String, Zfs>,
}

/// What came of asking for a mount.
pub enum Mounting {
    /// It is mounted.
    Done,
    /// The library refused, in these words.
    Refused(String),
    /// It is no plain case: the program knows what to say of it.
    NotPlain,
}

/// The lowest part of the library: calls of the kernel, and little else to load.
#[derive(Clone, Copy)]
pub struct Core {
    init: unsafe extern "C" fn() -> c_int,
    load_key: unsafe extern "C" fn(*const c_char, c_int, *mut u8, c_uint) -> c_int,
}

impl Core {
    /// Maps it into memory, and calls nothing of it. Once is enough for all that are forked afterwards.
    ///
    /// # Errors
    /// There is none that is known here.
    pub fn find() -> Result<Core, String> {
        let library = opened(&CORE_NAMES).ok_or("there is no libzfs_core that is known here")?;
        // SAFETY: these signatures have been the functions' own in every known version.
        unsafe {
            Ok(Core {
                init: function(library, c"libzfs_core_init")?,
                load_key: function(library, c"lzc_load_key")?,
            })
        }
    }

    /// Turns to the kernel, which may block; gives what is ready then.
    ///
    /// # Errors
    /// ZFS is not there.
    pub fn begin(&self) -> Result<&Core, String> {
        // SAFETY: takes nothing; the library counts how often it was called.
        match unsafe { (self.init)() } {
            0 => Ok(self),
            why => Err(format!(
                "libzfs_core: {}",
                io::Error::from_raw_os_error(why)
            )),
        }
    }

    /// Loads a root's key, or only asks whether it would open the root; 0 or an error number.
    pub fn load_key(&self, root: &str, only_ask: bool, key: &[u8; KEY_LEN]) -> c_int {
        let Ok(text) = c_text(root) else {
            return libc::EINVAL;
        };
        let noop = c_int::from(only_ask);
        let (bytes, length) = (key.as_ptr().cast_mut(), KEY_LEN as c_uint);
        // SAFETY: a C string and the bytes live through the call, which only reads them.
        unsafe { (self.load_key)(text.as_ptr(), noop, bytes, length) }
    }
}

/// The first of these libraries that the system has.
fn opened(names: &[&CStr]) -> Option<*mut c_void> {
    let open = |name: &&CStr| {
        // SAFETY: the system's own library, which its `zfs` program loads as well.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) }
    };
    names.iter().map(open).find(|library| !library.is_null())
}

impl Library {
    /// Opens the library, to ask for these properties.
    ///
    /// # Errors
    /// There is none that is known here, it lacks a function or a property, or ZFS is not there.
    pub fn open(properties: &[&str]) -> Result<Library, String> {
        without_environment();
        let library = opened(&NAMES).ok_or("there is no libzfs that is known here")?;
        let calls = Calls::of(library)?;
        // SAFETY: takes nothing.
        let root = unsafe { (calls.init)() };
        if root.is_null() {
            return Err(format!("libzfs: {}", io::Error::last_os_error()));
        }
        let mut library = Library {
            calls,
            #[cfg(target_os = "linux")]
            straight: Straight::of(library),
            root,
            properties: Vec::new(),
            kept: RefCell::default(),
        };
        for name in properties {
            let property = library.property(name)?;
            library.properties.push(property);
        }
        Ok(library)
    }

    fn property(&self, name: &str) -> Result<Property, String> {
        let text = c_text(name)?;
        if name.contains(':') {
            return Ok(Property::User(text));
        }
        // SAFETY: a C string that lives through the call.
        match unsafe { (self.calls.property)(text.as_ptr()) } {
            number if number >= 0 && name == "mounted" => Ok(Property::Mounted(number)),
            number if number >= 0 && is_of_mount(name) => Ok(Property::OfMount(number, text)),
            number if number >= 0 && name == "written" => Ok(Property::Counted(number)),
            number if number >= 0 => Ok(Property::Own(number)),
            _ => Err(format!("libzfs knows no property {name}")),
        }
    }

    /// What `zfs get -p` says of each of `alone`, and of each of `trees` and all below it. What is not
    /// there is left out.
    ///
    /// # Errors
    /// In the library's words.
    pub fn observe<'a>(
        &self,
        state: u64,
        alone: impl Iterator<Item = &'a str>,
        trees: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Told>, String> {
        self.forget(state);
        let mut walk = Walk {
            library: self,
            seen: Set::new(),
            told: Vec::new(),
            deep: true,
        };
        for (name, deep) in trees
            .map(|name| (name, true))
            .chain(alone.map(|name| (name, false)))
        {
            walk.deep = deep;
            if let Some(dataset) = self.dataset(name)? {
                walk.visit(dataset)?;
            }
        }
        Ok(walk.told)
    }

    /// What was known of datasets is forgotten, and what is mounted is read anew.
    fn forget(&self, state: u64) {
        let mut kept = self.kept.borrow_mut();
        kept.state = state;
        kept.mounted = Set::new();
        kept.none_mounted =
            super::mounts().is_ok_and(|all| all.iter().all(|mount| mount.fstype != "zfs"));
        for (_, zfs) in std::mem::take(&mut kept.handles) {
            drop(Handle { library: self, zfs });
        }
        // SAFETY: the library's own order of calls; its table is empty and whole between them.
        unsafe {
            (self.calls.mnttab_fini)(self.root);
            (self.calls.mnttab_init)(self.root);
            (self.calls.mnttab_cache)(self.root, 1);
        }
    }

    /// `None` if there is no such dataset.
    fn dataset(&self, name: &str) -> Result<Option<Handle<'_>>, String> {
        let text = c_text(name)?;
        // SAFETY: a C string that lives through the call, and the library's handle.
        let zfs = unsafe { (self.calls.open)(self.root, text.as_ptr(), DATASETS) };
        if !zfs.is_null() {
            return Ok(Some(Handle { library: self, zfs }));
        }
        // SAFETY: only reads the handle.
        match unsafe { (self.calls.errno)(self.root) } {
            NO_SUCH_DATASET => Ok(None),
            _ => Err(self.words()),
        }
    }

    /// What the library says of what it just refused.
    fn words(&self) -> String {
        // SAFETY: both are C strings of the handle's own, good until the next call.
        unsafe {
            let action = text_of((self.calls.action)(self.root));
            let description = text_of((self.calls.description)(self.root));
            format!("{action}: {description}")
        }
    }

    fn kept(&self, state: u64, name: &str) -> Option<Option<Handle<'_>>> {
        let mut kept = self.kept.borrow_mut();
        if kept.state != state {
            return None;
        }
        let zfs = kept.handles.remove(name)?;
        Some(Some(Handle { library: self, zfs }))
    }

    /// Mounts a file system as `zfs mount` does: by the very function that it calls, in the cases in
    /// which it calls nothing else. What was told of it in this very state of knowledge still holds.
    pub fn mount(&self, state: u64, name: &str) -> Mounting {
        let handle = match self
            .kept(state, name)
            .map_or_else(|| self.dataset(name), Ok)
        {
            Ok(Some(handle)) => handle,
            Ok(None) => return Mounting::NotPlain,
            Err(why) => return Mounting::Refused(why),
        };
        if !handle.is_plain() {
            return Mounting::NotPlain;
        }
        // SAFETY: an open handle; no options but those that follow from its properties.
        let by_library = || unsafe { (self.calls.mount)(handle.zfs, ptr::null(), 0) == 0 };
        if !self.mount_straight(&handle, name) && !by_library() {
            return Mounting::Refused(self.words());
        }
        self.kept.borrow_mut().mounted.insert(name.to_owned());
        Mounting::Done
    }

    /// Mounts it without the library's own function, where that is known to come to the same.
    #[cfg(target_os = "linux")]
    fn mount_straight(&self, handle: &Handle, name: &str) -> bool {
        let at = handle.named("mountpoint");
        self.straight
            .as_ref()
            .zip(at)
            .is_some_and(|(straight, at)| straight.mount(handle, name, &at))
    }

    #[cfg(target_os = "freebsd")]
    fn mount_straight(&self, _handle: &Handle, _name: &str) -> bool {
        false
    }
}

/// An open dataset.
pub(super) struct Handle<'a> {
    library: &'a Library,
    pub(super) zfs: Zfs,
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: closed exactly once.
        unsafe { (self.library.calls.close)(self.zfs) }
    }
}

impl Handle<'_> {
    fn is_filesystem(&self) -> bool {
        self.named("type").is_some_and(|kind| kind == "filesystem")
    }

    fn none_is_mounted(&self) -> bool {
        self.library.kept.borrow().none_mounted
    }

    fn is_mounted(&self) -> bool {
        // SAFETY: an open handle; where it is mounted is not asked for.
        let ask = || unsafe { (self.library.calls.is_mounted)(self.zfs, ptr::null_mut()) };
        let by_us = || self.library.kept.borrow().mounted.contains(&self.name());
        by_us() || (!self.none_is_mounted() && ask() != 0)
    }

    /// Whether the library mounts it with nothing left to say: it mounts nothing, and is content,
    /// where the program would complain.
    fn is_plain(&self) -> bool {
        let is = |name, wanted: &dyn Fn(&str) -> bool| self.named(name).is_some_and(|v| wanted(&v));
        !self.is_mounted()
            && self.is_filesystem()
            && is("mountpoint", &|value| value.starts_with('/'))
            && is("canmount", &|value| value == "on" || value == "noauto")
            && is(super::JAILED_PROPERTY, &|value| value == "off")
            && is("inconsistent", &|value| value == "0")
            && is("redacted", &|value| value == "0")
    }

    /// Keeps it, if it may be mounted next.
    fn keep(self) {
        let status = self.named("keystatus");
        let locked = status.is_none_or(|status| status == "unavailable");
        if !locked && self.is_plain() {
            let mut kept = self.library.kept.borrow_mut();
            kept.handles.insert(self.name(), self.zfs);
            std::mem::forget(self);
        }
    }

    fn name(&self) -> String {
        // SAFETY: a C string of the handle's own.
        unsafe { text_of((self.library.calls.name)(self.zfs)) }
    }

    /// The value of the property of this name; `None` where there is none, or it is no text.
    pub(super) fn named(&self, name: &str) -> Option<String> {
        let property = self.library.property(name).ok()?;
        String::from_utf8(self.value(&property).0).ok()
    }

    /// A property's value and source, in the words of `zfs get`: a dash where the library has none.
    fn value(&self, property: &Property) -> Value {
        let value = match property {
            Property::Mounted(_) if self.none_is_mounted() && self.is_filesystem() => {
                Some((b"no".to_vec(), b"-".to_vec()))
            }
            // What is set on a file system reaches the volumes below it in name; of all that a mount can
            // differ in, a volume has `readonly` alone.
            Property::OfMount(number, name)
                if self.none_is_mounted()
                    && (name.as_c_str() == c"readonly" || self.is_filesystem()) =>
            {
                let set = self.switch(name);
                let words = |(is_on, source)| (if is_on { "on" } else { "off" }.into(), source);
                set.map(words).or_else(|| self.own_value(*number))
            }
            Property::Counted(_) if self.own(c"written").is_none() => None,
            Property::Own(number)
            | Property::Mounted(number)
            | Property::OfMount(number, _)
            | Property::Counted(number) => self.own_value(*number),
            Property::User(name) => self.user_value(name),
        };
        value.unwrap_or_else(|| (b"-".to_vec(), b"-".to_vec()))
    }

    fn own_value(&self, number: c_int) -> Option<Value> {
        let mut value = [0; LONGEST_VALUE];
        let mut from = [0; LONGEST_VALUE];
        let mut source = 0;
        // SAFETY: an open handle, and two buffers with their lengths.
        let got = unsafe {
            (self.library.calls.get)(
                self.zfs,
                number,
                value.as_mut_ptr(),
                value.len(),
                &raw mut source,
                from.as_mut_ptr(),
                from.len(),
                1,
            )
        };
        // SAFETY: the library ends what it writes with a zero, and both began as zeros.
        let (value, from) = unsafe { (bytes_of(value.as_ptr()), bytes_of(from.as_ptr())) };
        (got == 0).then(|| (value, source_in_words(source, &from)))
    }

    fn user_value(&self, name: &CStr) -> Option<Value> {
        let calls = &self.library.calls;
        let mut list = ptr::null_mut();
        let (mut value, mut source) = (ptr::null(), ptr::null());
        // SAFETY: the lists belong to the open handle; each is looked into only where it was found.
        let (value, source) = unsafe {
            let all = (calls.user_properties)(self.zfs);
            if all.is_null()
                || (calls.list_in)(all, name.as_ptr(), &raw mut list) != 0
                || (calls.text_in)(list, VALUE.as_ptr(), &raw mut value) != 0
                || (calls.text_in)(list, SOURCE.as_ptr(), &raw mut source) != 0
            {
                return None;
            }
            (bytes_of(value), bytes_of(source))
        };
        Some((value, self.source(&source)))
    }

    /// A property that is on or off, and its source, as it is set: whatever the table of mounts says.
    pub(super) fn switch(&self, name: &CStr) -> Option<(bool, Vec<u8>)> {
        let calls = &self.library.calls;
        let (mut value, mut source) = (0, ptr::null());
        let Some(one) = self.own(name) else {
            // SAFETY: a C string that lives through the calls.
            let usual = unsafe {
                let number = (calls.property)(name.as_ptr());
                (number >= 0).then(|| (calls.usual)(number) != 0)
            };
            return usual.map(|usual| (usual, b"default".to_vec()));
        };
        // SAFETY: the list belongs to the open handle, and is looked into only for what it has.
        unsafe {
            if (calls.number_in)(one, VALUE.as_ptr(), &raw mut value) != 0
                || (calls.text_in)(one, SOURCE.as_ptr(), &raw mut source) != 0
            {
                return None;
            }
            Some((value != 0, self.source(&bytes_of(source))))
        }
    }

    /// What the kernel says of a property itself; `None` where it says nothing.
    fn own(&self, name: &CStr) -> Option<List> {
        let calls = &self.library.calls;
        let mut one = ptr::null_mut();
        // SAFETY: the list belongs to the open handle, and is looked into only where it was found.
        unsafe {
            let all = (calls.properties)(self.zfs);
            let found = !all.is_null() && (calls.list_in)(all, name.as_ptr(), &raw mut one) == 0;
            found.then_some(one)
        }
    }

    /// Where a value comes from, in the words of `zfs get`.
    fn source(&self, source: &[u8]) -> Vec<u8> {
        match source {
            b"" => b"default".to_vec(),
            own if own == self.name().as_bytes() => b"local".to_vec(),
            RECEIVED => b"received".to_vec(),
            above => [b"inherited from ", above].concat(),
        }
    }
}

/// `zprop_source_t` in the words of `zfs get`.
fn source_in_words(source: c_uint, from: &[u8]) -> Vec<u8> {
    match source {
        0x02 => b"default".to_vec(),
        0x04 => b"temporary".to_vec(),
        0x08 => b"local".to_vec(),
        0x10 => [b"inherited from ", from].concat(),
        0x20 => b"received".to_vec(),
        _ => b"-".to_vec(),
    }
}

/// A way through datasets, each told once.
struct Walk<'a> {
    library: &'a Library,
    seen: Set<String>,
    told: Vec<Told>,
    deep: bool,
}

impl Walk<'_> {
    fn visit(&mut self, dataset: Handle) -> Result<(), String> {
        let name = dataset.name();
        if !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let properties = self.library.properties.iter();
        let values = properties.map(|property| dataset.value(property)).collect();
        self.told.push((name.into_bytes(), values));
        let mut done = 0;
        if self.deep {
            let myself: *mut Walk = self;
            let children = self.library.calls.children;
            // SAFETY: the callback is given this walk back, which nobody else uses meanwhile.
            done = unsafe { children(dataset.zfs, visit_child, myself.cast()) };
        }
        match done {
            0 => {
                dataset.keep();
                Ok(())
            }
            _ => Err(self.library.words()),
        }
    }
}

/// The library hands the child's handle over: it is closed here.
extern "C" fn visit_child(zfs: Zfs, walk: *mut c_void) -> c_int {
    // SAFETY: what `Walk::visit` has given.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let child = Handle {
        library: walk.library,
        zfs,
    };
    c_int::from(walk.visit(child).is_err())
}

fn is_of_mount(name: &str) -> bool {
    matches!(name, "readonly" | "setuid" | "devices" | "exec")
}

/// The library lets environment variables change what a mount does; the program is started without
/// any, too.
fn without_environment() {
    let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    for name in names {
        // SAFETY: a worker has one thread.
        unsafe { std::env::remove_var(name) };
    }
}

pub(super) fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("`{}` is no name", text.escape_debug()))
}

/// # Safety
/// A C string, or null.
pub(super) unsafe fn text_of(text: *const c_char) -> String {
    // SAFETY: the caller's word.
    String::from_utf8_lossy(&unsafe { bytes_of(text) }).into_owned()
}

/// # Safety
/// A C string, or null.
unsafe fn bytes_of(text: *const c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's word.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

/// The function of this name.
///
/// # Safety
/// `F` is a function pointer of its signature.
pub(super) unsafe fn function<F>(library: *mut c_void, name: &CStr) -> Result<F, String> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
    // SAFETY: a C string; the library stays open for good.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    match found.is_null() {
        true => Err(format!("libzfs has no {}", name.to_string_lossy())),
        // SAFETY: a pointer that is not null, as the caller says of what.
        false => Ok(unsafe { std::mem::transmute_copy(&found) }),
    }
}

impl Calls {
    fn of(library: *mut c_void) -> Result<Calls, String> {
        // SAFETY: these signatures have been the functions' own in every known version.
        unsafe {
            Ok(Calls {
                init: function(library, c"libzfs_init")?,
                errno: function(library, c"libzfs_errno")?,
                action: function(library, c"libzfs_error_action")?,
                description: function(library, c"libzfs_error_description")?,
                mnttab_init: function(library, c"libzfs_mnttab_init")?,
                mnttab_fini: function(library, c"libzfs_mnttab_fini")?,
                mnttab_cache: function(library, c"libzfs_mnttab_cache")?,
                open: function(library, c"zfs_open")?,
                close: function(library, c"zfs_close")?,
                name: function(library, c"zfs_get_name")?,
                children: function(library, c"zfs_iter_filesystems")?,
                property: function(library, c"zfs_name_to_prop")?,
                get: function(library, c"zfs_prop_get")?,
                user_properties: function(library, c"zfs_get_user_props")?,
                is_mounted: function(library, c"zfs_is_mounted")?,
                mount: function(library, c"zfs_mount")?,
                properties: function(library, c"zfs_get_all_props")?,
                usual: function(library, c"zfs_prop_default_numeric")?,
                list_in: function(library, c"nvlist_lookup_nvlist")?,
                text_in: function(library, c"nvlist_lookup_string")?,
                number_in: function(library, c"nvlist_lookup_uint64")?,
            })
        }
    }
}

#[cfg(test)]
impl Core {
    /// A library that takes every key, if the memory of its process is locked, what it will yet use as
    /// well; it calls each a wrong one if not.
    #[cfg(target_os = "linux")]
    pub(crate) fn for_locked_memory() -> Core {
        unsafe extern "C" fn init() -> c_int {
            0
        }
        unsafe extern "C" fn load_key(_: *const c_char, _: c_int, _: *mut u8, _: c_uint) -> c_int {
            // A mapping of its own, that was not there when memory was locked.
            let later = vec![1_u8; 1 << 20];
            let flags = super::memory::flags_of_mapping(later.as_ptr().addr());
            match flags.contains(&"lo".to_owned()) {
                true => 0,
                false => libc::EACCES,
            }
        }
        Core { init, load_key }
    }
}
