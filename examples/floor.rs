//! The floor under every way to load keys and mount file systems: libzfs_core and mount(2), called
//! from one process, one after the other, and nothing else. It observes, checks and proves nothing.
//!
//! `floor < LIST`, where LIST has lines `key ROOT FILE` and then `mount DATASET PATH`, parents first.
//! Prints two times of the monotonic clock in nanoseconds: all keys loaded, all mounted.
//!
//! For the bench of the lab only: it keeps key bytes in ordinary memory.

// What is measured are calls of the C library; the program itself keeps its own inside `os`.
#![allow(unsafe_code)]

use nix::libc;
use nix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::ffi::{CStr, CString};
use std::io::{Error as IoError, read_to_string, stdin};

type Init = unsafe extern "C" fn() -> libc::c_int;
type LoadKey =
    unsafe extern "C" fn(*const libc::c_char, libc::c_int, *const u8, libc::c_uint) -> libc::c_int;

/// Linux's names, and FreeBSD's.
const LIBRARIES: [&CStr; 3] = [c"libzfs_core.so.3", c"libzfs_core.so.2", c"libzfs_core.so"];

fn main() -> Result<(), Box<dyn Error>> {
    let list = read_to_string(stdin())?;
    let (mut keys, mut mounts) = (Vec::new(), Vec::new());
    for line in list.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["key", root, file] => keys.push((root, file)),
            ["mount", dataset, path] => mounts.push((dataset, path)),
            _ => return Err(format!("not understood: {line}").into()),
        }
    }
    let load_key = open_library()?;
    for (root, file) in keys {
        let key = std::fs::read(file)?;
        let name = CString::new(root)?;
        let len = libc::c_uint::try_from(key.len())?;
        // SAFETY: `load_key` has this signature (libzfs_core.h); `name` ends with a NUL and `key` has
        // `len` bytes, and both outlive the call.
        match unsafe { load_key(name.as_ptr(), 0, key.as_ptr(), len) } {
            0 => (),
            error => return Err(format!("{root}: {}", IoError::from_raw_os_error(error)).into()),
        }
    }
    let loaded = now()?;
    for (dataset, path) in mounts {
        mount(dataset, path).map_err(|e| format!("{dataset} on {path}: {e}"))?;
    }
    println!("{loaded} {}", now()?);
    Ok(())
}

fn now() -> nix::Result<i128> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
}

/// `lzc_load_key` of the library that this system has, ready to be called.
fn open_library() -> Result<LoadKey, Box<dyn Error>> {
    // SAFETY: the names end with a NUL; the library's constructors are those of OpenZFS.
    let mut handles = LIBRARIES.map(|name| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) });
    handles.sort_by_key(|handle| handle.is_null());
    if handles[0].is_null() {
        return Err("there is no libzfs_core here".into());
    }
    // SAFETY: a handle that dlopen gave, and names that end with a NUL.
    let [init, load] = [c"libzfs_core_init", c"lzc_load_key"]
        .map(|name| unsafe { libc::dlsym(handles[0], name.as_ptr()) });
    if init.is_null() || load.is_null() {
        return Err("this libzfs_core loads no keys".into());
    }
    // SAFETY: neither is null, and libzfs_core.h declares them with these signatures.
    let (init, load) = unsafe {
        (
            std::mem::transmute::<*mut libc::c_void, Init>(init),
            std::mem::transmute::<*mut libc::c_void, LoadKey>(load),
        )
    };
    // SAFETY: it takes nothing and may be called once, as here.
    match unsafe { init() } {
        0 => Ok(load),
        error => Err(IoError::from_raw_os_error(error).into()),
    }
}

#[cfg(target_os = "linux")]
fn mount(dataset: &str, path: &str) -> Result<(), IoError> {
    use nix::mount::{MsFlags, mount};
    let none = MsFlags::empty();
    Ok(mount(
        Some(dataset),
        path,
        Some("zfs"),
        none,
        Some("zfsutil"),
    )?)
}

#[cfg(target_os = "freebsd")]
fn mount(dataset: &str, path: &str) -> Result<(), IoError> {
    use nix::mount::{MntFlags, Nmount};
    let mut nmount = Nmount::new();
    nmount
        .str_opt(c"fstype", c"zfs")
        .str_opt_owned("fspath", path)
        .str_opt_owned("from", dataset);
    nmount
        .nmount(MntFlags::empty())
        .map_err(|e| IoError::other(e.to_string()))
}
