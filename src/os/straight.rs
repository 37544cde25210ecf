//! Linux: a mount as `zfs mount` makes it, without asking the kernel once more for every property of an
//! encrypted file system, which takes half as long as the mount itself.
//!
//! Options and flags are put together as OpenZFS 2.1 to 2.4 do it, by its own functions where these can
//! be called. What is unusual, or fails, is left to the library altogether.

use super::libzfs::{Handle, Zfs, c_text, function, text_of};
use nix::libc::{c_char, c_int, c_uint, c_ulong, c_void};
use nix::mount::{MsFlags, mount};
use std::ffi::CStr;
use std::path::Path;
use std::ptr;

type Pool = *mut c_void;

/// More than `MNT_LINE_MAX`, up to which the library writes options.
const LINE: usize = 8192;
/// The kernel takes no more than this of options, in bytes.
const PAGE: usize = 4096;

/// Properties in the order of their options: the property, its option when on, and when off.
const SWITCHES: [(&CStr, &str, &str); 7] = [
    (c"atime", "atime", "noatime"),
    (c"relatime", "relatime", "strictatime"),
    (c"devices", "dev", "nodev"),
    (c"exec", "exec", "noexec"),
    (c"readonly", "ro", "rw"),
    (c"setuid", "suid", "nosuid"),
    (c"nbmand", "mand", "nomand"),
];

/// The functions of the library that it takes.
pub struct Straight {
    pool: unsafe extern "C" fn(Zfs) -> Pool,
    pool_property: unsafe extern "C" fn(*const c_char) -> c_int,
    pool_number: unsafe extern "C" fn(Pool, c_int, *mut c_uint) -> u64,
    flags: unsafe extern "C" fn(
        *const c_char,
        *mut c_ulong,
        *mut c_ulong,
        c_int,
        *mut c_char,
        *mut c_char,
    ) -> c_int,
    adjust: unsafe extern "C" fn(Zfs, *const c_char, *mut c_char, *mut c_char),
}

impl Straight {
    /// `None` if the library lacks one of them.
    pub fn of(library: *mut c_void) -> Option<Straight> {
        // SAFETY: these signatures have been the functions' own in every known version.
        unsafe {
            Some(Straight {
                pool: function(library, c"zfs_get_pool_handle").ok()?,
                pool_property: function(library, c"zpool_name_to_prop").ok()?,
                pool_number: function(library, c"zpool_get_prop_int").ok()?,
                flags: function(library, c"zfs_parse_mount_options").ok()?,
                adjust: function(library, c"zfs_adjust_mount_options").ok()?,
            })
        }
    }

    /// Mounts a plain case; whether it is mounted now. If not, nothing has changed.
    pub fn mount(&self, handle: &Handle, name: &str, at: &str) -> bool {
        let is_usual = handle.named("overlay").is_some_and(|value| value == "on")
            && self.is_writable(handle)
            && Path::new(at).symlink_metadata().is_ok();
        if !is_usual {
            return false;
        }
        let Some((flags, options)) = self.options(handle, at) else {
            return false;
        };
        mount(Some(name), at, Some("zfs"), flags, Some(&options[..])).is_ok()
    }

    /// Whether its pool is not imported read-only.
    fn is_writable(&self, handle: &Handle) -> bool {
        // SAFETY: an open handle, whose pool is open as long, and a property of pools.
        unsafe {
            let pool = (self.pool)(handle.zfs);
            let property = (self.pool_property)(c"readonly".as_ptr());
            !pool.is_null()
                && property >= 0
                && (self.pool_number)(pool, property, ptr::null_mut()) == 0
        }
    }

    /// The flags and the options of its mount; `None` where the library has another view of them.
    fn options(&self, handle: &Handle, at: &str) -> Option<(MsFlags, Vec<u8>)> {
        let values: Option<Vec<bool>> = SWITCHES
            .iter()
            .map(|(property, ..)| handle.switch(property).map(|(is_on, _)| is_on))
            .collect();
        let at = c_text(at).ok()?;
        let line = format!("{}\0", in_words(&values?));
        let mut options = [0u8; LINE];
        options
            .get_mut(..line.len())?
            .copy_from_slice(line.as_bytes());
        let (mut flags, mut of_zfs, mut bad) = (0, 0, [0u8; LINE]);
        let text = options.as_mut_ptr().cast::<c_char>();
        // SAFETY: the options end with a zero; both buffers are longer than the library ever writes, and
        // an option that it does not know is at most as long as all of them.
        let refused = unsafe {
            let bad = bad.as_mut_ptr().cast();
            (self.flags)(
                text,
                &raw mut flags,
                &raw mut of_zfs,
                0,
                bad,
                ptr::null_mut(),
            )
        };
        if refused != 0 {
            return None;
        }
        // SAFETY: as before; the path is a C string.
        let options = unsafe {
            (self.adjust)(handle.zfs, at.as_ptr(), text, ptr::null_mut());
            text_of(text)
        };
        (options.len() < PAGE).then(|| (MsFlags::from_bits_retain(flags), options.into_bytes()))
    }
}

/// The options for these values of [`SWITCHES`]. Without atime nothing is said of relatime: `strictatime`
/// would switch it on again.
fn in_words(values: &[bool]) -> String {
    let mut words = vec!["defaults"];
    let has_atime = values.first() == Some(&true);
    for ((property, on, off), value) in SWITCHES.iter().zip(values) {
        if has_atime || *property != c"relatime" {
            words.push(if *value { on } else { off });
        }
    }
    words.push("zfsutil");
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `strace zfs mount` shows them of OpenZFS 2.3; the lab compares the mounts themselves.
    #[test]
    fn the_options_are_those_of_zfs_mount() {
        let usual = [true, true, true, true, false, true, false];
        let expected = "defaults,atime,relatime,dev,exec,rw,suid,nomand,zfsutil";
        assert_eq!(in_words(&usual), expected);
        let other = [true, false, false, false, true, false, true];
        let expected = "defaults,atime,strictatime,nodev,noexec,ro,nosuid,mand,zfsutil";
        assert_eq!(in_words(&other), expected);
        for relatime in [true, false] {
            let words = in_words(&[false, relatime, true, true, false, true, false]);
            assert_eq!(words, "defaults,noatime,dev,exec,rw,suid,nomand,zfsutil");
        }
    }
}
