//! Which versions of OpenZFS the library may be called in: those whose functions and structures are known
//! here. With any other the `zfs` program does the work. Pure.

use crate::digits;

/// The tested versions, in words.
pub const TESTED: &str = "OpenZFS 2.1 to 2.4";

/// Whether the library of this version was tested. The version is the kernel module's own word, such as
/// `2.3.9-1` or `2.4.2-FreeBSD_g9d7c3f1`.
pub fn is_tested(version: &str) -> bool {
    let numbers = version.trim().split(['.', '-', '_']);
    let mut numbers = numbers.map(digits::number::<u32>);
    let mut next = || numbers.next().flatten();
    let (major, minor, patch) = (next(), next(), next());
    // The next version, before it has its name.
    let is_unfinished = patch == Some(99);
    match (major, minor) {
        (Some(2), Some(minor)) => {
            let minor = minor.checked_add(u32::from(is_unfinished));
            minor.is_some_and(|minor| (1..=4).contains(&minor))
        }
        _ => false,
    }
}

/// Why the program does the work, if it does.
pub fn why_program(version: Option<&str>) -> Option<String> {
    match version {
        Some(version) if is_tested(version) => None,
        Some(version) => Some(format!(
            "version {} of ZFS is none of {TESTED}, in which its library was tested",
            version.trim()
        )),
        None => Some("the kernel does not say which version of ZFS it has".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tested_versions_are_known_and_what_is_no_version_is_none() {
        for good in [
            "2.1.0",
            "2.1.9-FreeBSD_g92e0d9d18",
            "2.2.2-0ubuntu9",
            "2.3.9-1\n",
            "2.4.4",
            "2.4.0-rc1",
            "2.3.99-1",
        ] {
            assert!(is_tested(good), "{good}");
            assert_eq!(why_program(Some(good)), None);
        }
        for other in [
            "",
            "2",
            "2.",
            "2.0.7",
            "2.5.0",
            "2.5.0-rc1",
            "2.4.99-100_g1",
            "3.1.0",
            "12.1.0",
            "0.8.6",
            "v2.3.9",
            "2.x.1",
            "-2.3.1",
            "2.10.0",
            "2.41.0",
            "+2.3.1",
            "2.+3.1",
            "2.4294967296.0",
            "2.4294967295.99",
        ] {
            assert!(!is_tested(other), "{other}");
            assert!(why_program(Some(other)).is_some());
        }
        assert!(why_program(None).is_some());
    }
}
