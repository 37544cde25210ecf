//! An unwinder that finds no frame. A program that aborts on a panic has no unwind tables (`build.rs`),
//! so every backtrace is empty; where the compiler can see that, it leaves out the standard library's
//! reader of debug information, a tenth of the program.
//!
//! All that is asked of an unwinder is here, so that its library is not loaded at every start.
//!
//! The names are those of the C++ ABI for exceptions, and hidden: a library that is loaded keeps its own.

use std::arch::global_asm;
use std::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK`.
const END_OF_STACK: c_int = 5;

global_asm!(
    ".hidden _Unwind_Backtrace",
    ".hidden _Unwind_GetIPInfo",
    ".hidden _Unwind_GetDataRelBase",
    ".hidden _Unwind_GetTextRelBase",
    ".hidden _Unwind_GetLanguageSpecificData",
    ".hidden _Unwind_GetRegionStart",
    ".hidden _Unwind_Resume",
);

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_each: *const c_void, _with: *mut c_void) -> c_int {
    END_OF_STACK
}

// Where the unwinder is an archive, these come with the one above from one object of it, or not at all.
// Only what unwinds asks them.

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetIPInfo(_of: *mut c_void, _before: *mut c_int) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetDataRelBase(_of: *mut c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetTextRelBase(_of: *mut c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetLanguageSpecificData(_of: *mut c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetRegionStart(_of: *mut c_void) -> usize {
    0
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume(_exception: *mut c_void) -> ! {
    std::process::abort()
}
