#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    f3skeys_fuzz::zfs_cache(bytes);
});
