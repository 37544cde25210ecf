//! The system calls that are left to a process without rights: what reads, computes and answers needs
//! them. Any other call ends the process before the kernel looks at it.

use nix::errno::Errno;
use nix::libc::{self, c_long, sock_filter, sock_fprog};
use std::io;
use std::os::fd::RawFd;

/// The processor's entry into the kernel, `AUDIT_ARCH_*` of linux/audit.h: under another entry the same
/// number is another call.
#[cfg(target_arch = "x86_64")]
const ARCH: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCH: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCH: Option<u32> = None;

/// Where `struct seccomp_data` of linux/seccomp.h has the call's number, the entry, and the lower half of
/// the first argument; on a processor that stores the lowest byte first.
const NUMBER: u32 = 0;
const ENTRY: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What must be true of an argument, in its lower half: all that the kernel takes of a descriptor, and
/// where all flags of memory are.
struct Condition<'a> {
    argument: u32,
    mask: u32,
    /// The masked argument is one of these.
    is: &'a [u32],
}

/// A call that is let through, if all conditions hold.
struct Allowed<'a> {
    call: c_long,
    if_all: &'a [Condition<'a>],
}

/// Lets the calls through that need no look at their arguments: to answer for more memory, to end, and
/// what the standard library does around that.
const ALWAYS: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_rt_sigreturn,
    // The standard library takes its guard of the stack off at the end of a program.
    libc::SYS_sigaltstack,
];

const ALL_BITS: u32 = u32::MAX;
const EXEC: u32 = libc::PROT_EXEC as u32;
const ANONYMOUS: u32 = libc::MAP_ANONYMOUS as u32;

/// Takes every other system call from this process, for good. It may read `input` and write `outputs`.
///
/// # Errors
/// The kernel, or this processor, has no such filter. Then nothing from the network may be touched.
pub fn install(input: RawFd, outputs: &[RawFd]) -> io::Result<()> {
    let unknown = || io::Error::other("no filter of system calls is known for this processor");
    let mut program = program(ARCH.ok_or_else(unknown)?, input, outputs)?;
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = sock_fprog {
        len: length,
        filter: program.as_mut_ptr(),
    };
    keep_memory_that_is_freed();
    let mode = libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: the kernel reads `length` instructions from a live vector and keeps a copy of them.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const filter) };
    Errno::result(done)?;
    Ok(())
}

/// Before it gives memory back, glibc may open a file of /proc, in all threads but the first.
fn keep_memory_that_is_freed() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers. Refused, the process would end where it could have gone on.
    let _ = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, -1) };
}

fn program(arch: u32, input: RawFd, outputs: &[RawFd]) -> io::Result<Vec<sock_filter>> {
    let number = |fd: &RawFd| u32::try_from(*fd).map_err(io::Error::other);
    let (input, outputs) = ([number(&input)?], outputs.iter().map(number));
    let outputs = outputs.collect::<io::Result<Vec<u32>>>()?;
    let only = |argument, mask, is| Condition { argument, mask, is };
    let not_to_be_run = || only(2, EXEC, &[0]);
    let mut program = vec![
        load(ENTRY),
        jump_if(arch, 1, 0),
        end(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    for call in ALWAYS {
        add(
            &mut program,
            Allowed {
                call: *call,
                if_all: &[],
            },
        )?;
    }
    for (call, if_all) in [
        (libc::SYS_read, &[only(0, ALL_BITS, &input)][..]),
        (libc::SYS_write, &[only(0, ALL_BITS, &outputs)]),
        (
            libc::SYS_mmap,
            &[not_to_be_run(), only(3, ANONYMOUS, &[ANONYMOUS])],
        ),
        (libc::SYS_mprotect, &[not_to_be_run()]),
    ] {
        add(&mut program, Allowed { call, if_all })?;
    }
    // In a program with debug assertions the standard library asks of each file that it closes whether
    // it was open.
    if cfg!(debug_assertions) {
        add(
            &mut program,
            Allowed {
                call: libc::SYS_fcntl,
                if_all: &[only(1, ALL_BITS, &[libc::F_GETFD as u32])],
            },
        )?;
    }
    program.push(end(libc::SECCOMP_RET_KILL_PROCESS));
    Ok(program)
}

/// Adds the part about one call. It ends with an answer, so that the number needs no second look.
fn add(program: &mut Vec<sock_filter>, allowed: Allowed) -> io::Result<()> {
    let mut part = Vec::new();
    for condition in allowed.if_all {
        part.push(load(ARGUMENTS + 8 * condition.argument));
        part.push(instruction(
            libc::BPF_ALU | libc::BPF_AND,
            condition.mask,
            0,
            0,
        ));
        let values = condition.is.iter().zip(1..);
        for (value, number) in values {
            let over = condition.is.len() + 1 - number;
            part.push(jump_if(
                *value,
                u8::try_from(over).map_err(io::Error::other)?,
                0,
            ));
        }
        part.push(end(libc::SECCOMP_RET_KILL_PROCESS));
    }
    part.push(end(libc::SECCOMP_RET_ALLOW));
    let call = u32::try_from(allowed.call).map_err(io::Error::other)?;
    let length = u8::try_from(part.len()).map_err(io::Error::other)?;
    program.push(jump_if(call, 0, length));
    program.append(&mut part);
    Ok(())
}

fn load(from: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, from, 0, 0)
}

fn jump_if(equals: u32, so: u8, else_over: u8) -> sock_filter {
    instruction(
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        equals,
        so,
        else_over,
    )
}

fn end(answer: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, answer, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    // All codes are below 256.
    let code = (code & 0xff) as u16;
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::confine::lower;
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// How a process ends that does this after it has given up its rights; 77 if it could not.
    fn ends(job: impl FnOnce()) -> WaitStatus {
        // SAFETY: the child only calls what a worker may, and ends with _exit.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let given_up = crate::os::give_up_rights(&[3]);
                if given_up.is_ok() {
                    job();
                }
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(if given_up.is_ok() { 0 } else { 77 }) }
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        }
    }

    fn is_killed(ended: WaitStatus) -> bool {
        matches!(ended, WaitStatus::Signaled(_, Signal::SIGSYS, _))
    }

    fn is_done(ended: WaitStatus) -> bool {
        matches!(ended, WaitStatus::Exited(_, 0))
    }

    fn call(number: c_long, arguments: [c_long; 6]) -> c_long {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: for tests: a call that is refused, or one on memory that is the test's own.
        unsafe { libc::syscall(number, a, b, c, d, e, f) }
    }

    fn allowed() -> Vec<c_long> {
        let some = [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_mmap,
            libc::SYS_mprotect,
        ];
        [ALWAYS, &some].concat()
    }

    /// On x86_64 a newer kernel never filters these two, by which a probe that root has set in a program
    /// comes back to it: outside a probe they do nothing, or end who calls them.
    const OF_PROBES: [c_long; 2] = match cfg!(target_arch = "x86_64") {
        true => [335, 336],
        false => [-1, -1],
    };

    /// All numbers, those not given to a call yet as well, and on x86_64 those of the x32 entry.
    #[test]
    fn law_9_every_other_system_call_ends_a_process_without_rights() {
        assert!(is_done(ends(|| ())), "without any call it ends well");
        let allowed = allowed();
        let known = [&allowed[..], &OF_PROBES].concat();
        let mut numbers: Vec<c_long> = (0..=600).filter(|n| !known.contains(n)).collect();
        numbers.extend(allowed.iter().map(|number| number | 0x4000_0000));
        numbers.push(-1);
        for number in numbers {
            let ended = ends(|| {
                let _ = call(number, [0; 6]);
            });
            assert!(is_killed(ended), "call {number}: {ended:?}");
        }
    }

    /// By their names, so that nobody lets one of them through without seeing this.
    #[test]
    fn law_9_nothing_that_opens_starts_changes_or_reaches_anything_is_let_through() {
        let never = [
            libc::SYS_openat,
            libc::SYS_openat2,
            libc::SYS_open_by_handle_at,
            libc::SYS_mkdirat,
            libc::SYS_symlinkat,
            libc::SYS_linkat,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_fchmodat,
            libc::SYS_fchownat,
            libc::SYS_truncate,
            libc::SYS_ftruncate,
            libc::SYS_statx,
            libc::SYS_fstat,
            libc::SYS_readlinkat,
            libc::SYS_faccessat,
            libc::SYS_getdents64,
            libc::SYS_chdir,
            libc::SYS_getcwd,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_tgkill,
            libc::SYS_rt_sigqueueinfo,
            libc::SYS_pidfd_send_signal,
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            libc::SYS_recvmsg,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_ioctl,
            libc::SYS_fcntl,
            libc::SYS_dup,
            libc::SYS_dup3,
            libc::SYS_pipe2,
            libc::SYS_writev,
            libc::SYS_pwrite64,
            libc::SYS_pread64,
            libc::SYS_readv,
            libc::SYS_sendfile,
            libc::SYS_splice,
            libc::SYS_memfd_create,
            libc::SYS_shmat,
            libc::SYS_shmget,
            libc::SYS_pkey_mprotect,
            libc::SYS_remap_file_pages,
            libc::SYS_prctl,
            libc::SYS_bpf,
            libc::SYS_seccomp,
            libc::SYS_keyctl,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_prlimit64,
            libc::SYS_setpriority,
            libc::SYS_sched_setaffinity,
            libc::SYS_io_uring_setup,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_getrandom,
            libc::SYS_nanosleep,
            libc::SYS_reboot,
            libc::SYS_sysinfo,
        ];
        let allowed = allowed();
        let through: Vec<_> = never.iter().filter(|call| allowed.contains(call)).collect();
        assert_eq!(through, [&0; 0]);
    }

    #[test]
    fn law_9_only_the_input_is_read_and_only_the_outputs_are_written() {
        for fd in 0..8 {
            let read = ends(|| {
                let _ = call(libc::SYS_read, [fd, 0, 0, 0, 0, 0]);
            });
            assert_eq!(
                (is_done(read), is_killed(read)),
                (fd == 0, fd != 0),
                "read {fd}"
            );
            let written = ends(|| {
                let _ = call(libc::SYS_write, [fd, 0, 0, 0, 0, 0]);
            });
            let may = matches!(fd, 2 | 3);
            assert_eq!(
                (is_done(written), is_killed(written)),
                (may, !may),
                "write {fd}"
            );
        }
    }

    #[test]
    fn law_9_memory_is_its_own_and_is_never_run() {
        let anonymous = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        for access in 0..8 {
            let runs = access & c_long::from(libc::PROT_EXEC) != 0;
            let mapped = ends(|| {
                let at = call(libc::SYS_mmap, [0, 4096, access, anonymous, -1, 0]);
                assert_ne!(at, -1);
            });
            assert_eq!(
                (is_done(mapped), is_killed(mapped)),
                (!runs, runs),
                "mmap {access}"
            );
            let protected = ends(|| {
                let at = call(libc::SYS_mmap, [0, 4096, 1, anonymous, -1, 0]);
                assert_eq!(call(libc::SYS_mprotect, [at, 4096, access, 0, 0, 0]), 0);
            });
            let (done, killed) = (is_done(protected), is_killed(protected));
            assert_eq!((done, killed), (!runs, runs), "mprotect {access}");
            let of_file = c_long::from(libc::MAP_PRIVATE);
            let mapped = ends(|| {
                let _ = call(libc::SYS_mmap, [0, 4096, access, of_file, 0, 0]);
            });
            assert!(is_killed(mapped), "mmap {access} of a file");
        }
    }

    /// The other entry into an x86_64 kernel, where number 3 reads and does not close.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn law_9_the_same_number_by_another_entry_ends_it_too() {
        let ended = ends(|| {
            // SAFETY: reads no byte; a kernel without this entry ends the process by itself.
            unsafe {
                std::arch::asm!(
                    "push rbx", "mov ebx, 0", "int 0x80", "pop rbx",
                    inout("eax") 3 => _, in("ecx") 0, in("edx") 0
                );
            }
        });
        let no_entry = matches!(ended, WaitStatus::Signaled(_, Signal::SIGSEGV, _));
        assert!(is_killed(ended) || no_entry, "{ended:?}");
    }

    #[test]
    fn an_answer_of_any_size_is_put_together_there() {
        let ended = ends(|| {
            let mut all = Vec::new();
            for size in 0..2000_usize {
                all.push(vec![1_u8; size]);
                if size % 7 == 0 {
                    all.remove(all.len() / 2);
                }
            }
            let mut one: Vec<u8> = Vec::new();
            all.iter().for_each(|part| one.extend(part));
            drop(all);
            one.shrink_to_fit();
            let _ = std::time::Instant::now();
            assert!(one.len() > 1_000_000);
        });
        assert!(is_done(ended), "{ended:?}");
    }

    /// A process that does this, and how it has ended; 0 for true, 1 for false.
    fn says(job: impl FnOnce() -> bool) -> WaitStatus {
        // SAFETY: as for `ends`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let said = job();
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(i32::from(!said)) }
            }
            ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        }
    }

    /// Without "no new privileges" only root may install a filter, and nobody may not.
    #[test]
    fn a_kernel_that_refuses_the_filter_is_an_error() {
        let refused = says(|| lower().is_ok() && install(0, &[3]).is_err());
        assert!(is_done(refused), "{refused:?}");
    }

    /// Has the kernel say that a call was done, without doing it.
    fn pretend(call: c_long) {
        let call = u32::try_from(call).unwrap();
        let mut program = [
            load(NUMBER),
            jump_if(call, 0, 1),
            end(libc::SECCOMP_RET_ERRNO),
            end(libc::SECCOMP_RET_ALLOW),
        ];
        let filter = sock_fprog {
            len: 4,
            filter: program.as_mut_ptr(),
        };
        let mode = libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER);
        // SAFETY: as for `install`.
        let done = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const filter) };
        assert_eq!(done, 0);
    }

    /// Who is not root has nothing to give up.
    #[test]
    fn law_9_a_kernel_that_only_says_that_rights_are_gone_is_not_believed() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let groups = [0, 4, 27].map(nix::unistd::Gid::from_raw);
        let honest = says(|| nix::unistd::setgroups(&groups).is_ok() && lower().is_ok());
        assert!(is_done(honest), "{honest:?}");
        for call in [
            libc::SYS_setgroups,
            libc::SYS_setresgid,
            libc::SYS_setresuid,
        ] {
            let noticed = says(|| {
                nix::unistd::setgroups(&groups).unwrap();
                pretend(call);
                lower().is_err()
            });
            assert!(is_done(noticed), "call {call}: {noticed:?}");
        }
    }

    /// What the kernel says of a process without rights, which waits for its input meanwhile.
    #[test]
    fn law_9_a_process_without_rights_is_filtered_and_can_gain_nothing() {
        let (read, write) = nix::unistd::pipe().unwrap();
        // SAFETY: as for `ends`.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                drop(write);
                let ready = nix::unistd::dup2_stdin(&read).is_ok();
                let ready = ready && crate::os::give_up_rights(&[3]).is_ok();
                let ended = ready && call(libc::SYS_read, [0; 6]) == 0;
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(i32::from(!ended)) }
            }
            ForkResult::Parent { child } => child,
        };
        let field = |name: &str| {
            let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap();
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].trim().to_owned()
        };
        let mut looks = 0;
        while field("Seccomp:") != "2" {
            std::thread::sleep(std::time::Duration::from_millis(5));
            looks += 1;
            assert!(looks < 2000, "it is not filtered: {}", field("State:"));
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            assert_eq!(field(set), "0".repeat(16), "{set}");
        }
        drop(write);
        assert!(is_done(waitpid(child, None).unwrap()));
    }
}
