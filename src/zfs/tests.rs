//! A dataset for tests, which change what they are about.

use super::{CanMount, Dataset, KeyFormat, KeyStatus, Kind, Mountpoint, Source};
use crate::promotion::Promoted;

/// A file system that is not encrypted, mounted nowhere, and belongs nowhere.
pub(crate) fn dataset(name: &str) -> Dataset {
    Dataset {
        name: name.parse().unwrap(),
        kind: Kind::Filesystem,
        encryption_root: None,
        key_status: KeyStatus::None,
        key_format: KeyFormat::None,
        key_location: None,
        readonly: false,
        readonly_source: Source::Default,
        setuid: true,
        devices: true,
        exec: true,
        can_mount: CanMount::On,
        mountpoint: Mountpoint::None,
        mountpoint_source: Source::Default,
        sharenfs: None,
        sharesmb: None,
        received: Vec::new(),
        mounted: false,
        jailed: false,
        guid: 1,
        promotion: Promoted::Never,
        written: 0,
        origin: None,
    }
}
