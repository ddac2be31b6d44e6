"""Walls around the current process, as far as the platform gives them: memory, files, processes, network, signals.

On Linux they need no rights of their own: Landlock (kernel 5.13) for files and a seccomp filter for system calls.
Elsewhere POSIX limits remain. `enter` says what stands. The standard library alone: it runs before anything else does.
"""

import ctypes
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

MEMORY, FILE, OPEN_FILES = 2 * 2**30, 64 * 2**20, 256  # bytes beyond what is held already; bytes of a file; files

_READ = 1 << 2 | 1 << 3  # of a file, of a folder
_WRITE_FILE, _DEVICE = 1 << 1, 1 << 15
_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by version of Landlock; from 5 on:
_NEWEST = (1 << 16) - 1
_SYSTEM = (  # what libraries read
    *("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/usr/share/fonts"),
    *("/etc/fonts", "/etc/localtime", "/etc/ld.so.cache", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat"),
    *("/sys/devices/system", "/dev/urandom", "/dev/random", "/dev/zero"),
)

_REFUSED, _UNKNOWN, _IGNORED = 1, 38, 0  # the errno that the call returns: EPERM, ENOSYS, and none: it does nothing
# Calls with what they answer. New processes, sockets and looks into others are refused; a change of a file's mode,
# owner or time, which Landlock does not know, does nothing. clone3 hides its flags from a filter: libc then uses clone.
_CALLS = {
    _REFUSED: "fork vfork socket tkill ptrace process_vm_readv process_vm_writev pidfd_send_signal pidfd_getfd "
    "io_uring_setup truncate unshare setns setpriority open_by_handle_at shmget",
    _UNKNOWN: "clone3",
    _IGNORED: "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr removexattr "
    "lremovexattr fremovexattr utime utimes futimesat utimensat",
}
_ON_ITSELF = [
    "kill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "prlimit64",
]  # whose first argument is a process
_ARCHITECTURES = {
    "x86_64": (
        0xC000003E,
        "clone=56 fork=57 vfork=58 clone3=435 socket=41 kill=62 tkill=200 tgkill=234 rt_sigqueueinfo=129 "
        "rt_tgsigqueueinfo=297 pidfd_send_signal=424 pidfd_getfd=438 ptrace=101 process_vm_readv=310 "
        "process_vm_writev=311 prlimit64=302 io_uring_setup=425 truncate=76 chmod=90 fchmod=91 fchmodat=268 "
        "fchmodat2=452 chown=92 fchown=93 lchown=94 fchownat=260 setxattr=188 lsetxattr=189 fsetxattr=190 "
        "removexattr=197 lremovexattr=198 fremovexattr=199 utime=132 utimes=235 futimesat=261 utimensat=280 "
        "unshare=272 setns=308 setpriority=141 open_by_handle_at=304 shmget=29",
    ),
    "aarch64": (
        0xC00000B7,
        "clone=220 clone3=435 socket=198 kill=129 tkill=130 tgkill=131 rt_sigqueueinfo=138 rt_tgsigqueueinfo=240 "
        "pidfd_send_signal=424 pidfd_getfd=438 ptrace=117 process_vm_readv=270 process_vm_writev=271 prlimit64=261 "
        "io_uring_setup=425 truncate=45 fchmod=52 fchmodat=53 fchmodat2=452 fchown=55 fchownat=54 setxattr=5 "
        "lsetxattr=6 fsetxattr=7 removexattr=14 lremovexattr=15 fremovexattr=16 utimensat=88 unshare=97 setns=268 "
        "setpriority=140 open_by_handle_at=265 shmget=194",
    ),
}


def enter(writable: Path, readable: Iterable[Path], seconds: int) -> str:
    """Confines this process for good; says in one line what the platform gave.

    Files may be written under `writable` alone, and read there, under `readable`, and where Python and the system's
    libraries lie. No process may be started, none signalled, no network reached. `seconds` are of processor time.
    Has to come before the first thread. Memory is limited later, by `limit_memory`.
    """
    walls = []
    if os.name == "posix":
        _limit("CPU", seconds, 5)
        _limit("FSIZE", FILE)
        _limit("CORE", 0)
        _limit("NOFILE", OPEN_FILES)
        walls.append("processor time and file size")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: SIGKILL when the parent dies
        _drop_capabilities(libc)
        if libc.prctl(38, 1, 0, 0, 0) == 0:  # PR_SET_NO_NEW_PRIVS, without which neither wall may be raised
            if _landlock(libc, writable, readable):
                walls.append("files (Landlock)")
            if _seccomp(libc):
                walls.append("processes, signals and network (seccomp)")
    return " · ".join(walls)


def limit_memory() -> str:
    """Limits the address space to what is held now and `MEMORY` more; says so, or nothing where it cannot."""
    if os.name != "posix":
        return ""
    held = 0
    if sys.platform == "linux":
        held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return "memory" if _limit("AS", held + MEMORY) and held else ""  # macOS takes the limit and does not hold it


def _limit(name: str, value: int, grace: int = 0) -> bool:
    """A limit, and one higher by `grace` that ends what ignores the first."""
    import resource

    number = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(number)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(number, (value, value + grace if hard == resource.RLIM_INFINITY else hard))
    except (OSError, ValueError):
        return False
    return True


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """A root without its powers, but for CAP_DAC_OVERRIDE, which Landlock bounds; nothing for any other user."""
    kept = (1 << 1) if os.geteuid() == 0 else 0
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    libc.capset(header, ctypes.create_string_buffer(struct.pack("6I", kept, kept, 0, 0, 0, 0)))


def _landlock(libc: ctypes.CDLL, writable: Path, readable: Iterable[Path]) -> bool:
    """include/uapi/linux/landlock.h; its three calls have the same numbers on every architecture."""
    create, add, restrict = 444, 445, 446
    version = libc.syscall(create, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = _ALL.get(version, _NEWEST)
    ruleset = libc.syscall(create, struct.pack("Q", rights), ctypes.c_size_t(8), 0)
    if ruleset < 0:
        return False
    libraries = [path for path in sysconfig.get_paths().values() if Path(path).name.startswith(("python", "site-"))]
    base = Path(sysconfig.get_path("stdlib")).parent  # with the shared library of an interpreter of its own
    rules = {str(path): _READ for path in [*_SYSTEM, *libraries, base, *readable]}
    rules |= {str(writable): rights & ~1 & ~_DEVICE, "/dev/null": _READ | _WRITE_FILE}  # bit 0: execute
    try:
        for path, wanted in rules.items():
            if not os.path.exists(path):
                continue
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = wanted if os.path.isdir(path) else wanted & (_READ & ~(1 << 3) | _WRITE_FILE)
            if libc.syscall(add, ruleset, 1, struct.pack("=Qi", allowed & rights, opened), 0):
                return False
            os.close(opened)
        return bool(libc.syscall(restrict, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _seccomp(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in _ARCHITECTURES or sys.maxsize < 2**32:
        return False
    architecture, text = _ARCHITECTURES[platform.machine()]
    numbers = {name: int(number) for name, number in (pair.split("=") for pair in text.split())}
    code = b"".join(struct.pack("HBBI", *line) for line in _filter(architecture, numbers, os.getpid()))
    lines = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(lines))
    return bool(libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0) == 0)  # PR_SET_SECCOMP, by a filter


def _filter(architecture: int, numbers: dict[str, int], pid: int) -> list[tuple[int, int, int, int]]:
    """The filter as lines of classic BPF: (code, lines to skip if true, if false, constant)."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    nr, arch, first_argument = 0, 4, 16  # offsets in struct seccomp_data
    allow, errno, thread = 0x7FFF0000, 0x00050000, 0x00010000
    refuse, go_on = (give, 0, 0, errno | _REFUSED), (give, 0, 0, allow)
    lines = [
        (load, 0, 0, arch),
        (equal, 1, 0, architecture),
        refuse,
        (load, 0, 0, nr),
        (at_least, 0, 1, 0x40000000),  # a second table of calls, on x86_64 alone
        refuse,
    ]
    for answer, names in _CALLS.items():
        for number in (numbers[name] for name in names.split() if name in numbers):
            lines += [(equal, 0, 1, number), (give, 0, 0, errno | answer)]
    lines += [(equal, 0, 4, numbers["clone"]), (load, 0, 0, first_argument), (any_bit, 0, 1, thread), go_on, refuse]
    for name in _ON_ITSELF:
        lines += [(equal, 0, 5, numbers[name]), (load, 0, 0, first_argument)]
        lines += [(equal, 1, 0, 0), (equal, 0, 1, pid), go_on, refuse]
    return [*lines, go_on]
