/* Records, in order, what a process and its children change in one folder, and when they wait for
 * the disk. Loaded by LD_PRELOAD; tests/power_loss.py compiles it and reads the journal.
 *
 * PARLEY_POWER_FOLDER is the folder as a real path, PARLEY_POWER_JOURNAL the file to append to. A
 * record is a `struct record`, then a path, a second path and data.
 *
 * A seccomp filter turns each system call that writes, names or syncs into a signal, whose handler
 * makes the call and records it, under one lock: so the order in the journal is that on the disk.
 * Functions of the C library would not do, for Rust's crates make some calls without it: the files
 * of safetensors are renamed so. The handler's own calls carry a number that lets them pass.
 *
 * Not seen: what is written through a memory map. Whoever reads the journal compares it with the
 * folder, and so notices.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#define REGISTER(n) gregs[(const int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9}[n]]
#define RESULT gregs[REG_RAX]
#elif defined(__aarch64__)
#define REGISTER(n) regs[n]
#define RESULT regs[0]
#else
#error "only x86-64 and aarch64 are supported"
#endif

#define PASS 0x50617373 /* as the sixth argument, which none of these calls has */

struct record {
    char kind[8]; /* its first character: see `follow` in power_loss.py */
    uint64_t inode;
    int64_t offset;
    uint64_t path_size, other_size, data_size;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static int journal = -1;

/* The journal. */

static long call(long number, long a, long b, long c, long d, long e) {
    return syscall(number, a, b, c, d, e, PASS);
}

static void lock_processes(short type) {
    struct flock all = {.l_type = type, .l_whence = SEEK_SET};
    while (fcntl(journal, F_SETLKW, &all) < 0 && errno == EINTR) {
    }
}

static void enter(void) {
    pthread_mutex_lock(&mutex);
    lock_processes(F_WRLCK);
}

static void leave(void) {
    lock_processes(F_UNLCK);
    pthread_mutex_unlock(&mutex);
}

static void after_fork(void) { pthread_mutex_init(&mutex, NULL); }

static void append(const void *bytes, size_t size) {
    for (const char *at = bytes; size > 0;) {
        ssize_t done = call(SYS_write, journal, (long)at, size, 0, 0);
        if (done < 0 && errno != EINTR) abort(); /* half a journal would lie */
        if (done > 0) at += done, size -= done;
    }
}

static void record(char kind, uint64_t inode, int64_t offset, const char *path, const char *other,
                   const void *data, size_t size) {
    struct record made = {.inode = inode, .offset = offset, .data_size = size};
    made.kind[0] = kind;
    made.path_size = strlen(path);
    made.other_size = strlen(other);
    append(&made, sizeof made);
    append(path, made.path_size);
    append(other, made.other_size);
    append(data, size);
}

static int inside(const char *path) {
    size_t size = strlen(folder);
    return strncmp(path, folder, size) == 0 && (path[size] == '/' || !path[size]);
}

/* Whether a descriptor is of something in the folder. */
static int watched(int fd, struct stat *found, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    path[size < 0 ? 0 : size] = 0;
    return inside(path) && fstat(fd, found) == 0;
}

/* Whether an entry, which need not exist, is in the folder; links above it are followed. */
static int resolved(int at, const char *path, char out[PATH_MAX]) {
    char copy[PATH_MAX + 64], above[PATH_MAX];
    int size = path[0] == '/'    ? snprintf(copy, sizeof copy, "%s", path)
               : at == AT_FDCWD ? snprintf(copy, sizeof copy, "./%s", path)
                                : snprintf(copy, sizeof copy, "/proc/self/fd/%d/%s", at, path);
    if (size < 0 || size >= (int)sizeof copy) return 0;
    while (size > 1 && copy[size - 1] == '/') copy[--size] = 0;
    char *slash = strrchr(copy, '/');
    *slash = 0;
    return realpath(slash == copy ? "/" : copy, above) != NULL &&
           snprintf(out, PATH_MAX, "%s/%s", above, slash + 1) < PATH_MAX && inside(out);
}

/* The calls. All return what the kernel does: a negative number is an error's. */

static long answer(long result) { return result < 0 ? -errno : result; }

static long opened(int at, const char *path, long flags, long mode) {
    struct stat before, now;
    char place[PATH_MAX];
    enter();
    int existed = fstatat(at, path, &before, 0) == 0;
    long fd = answer(call(SYS_openat, at, (long)path, flags, mode, 0));
    if (fd >= 0 && watched(fd, &now, place)) {
        if (!existed)
            record('C', now.st_ino, 0, place, "", NULL, 0);
        else if ((flags & O_TRUNC) && S_ISREG(now.st_mode))
            record('T', now.st_ino, 0, "", "", NULL, 0);
    }
    leave();
    return fd;
}

/* Where a write begins: a file that is appended to takes all at its end, pwrite's too. */
static int64_t position(int fd, int64_t size, int64_t offset) {
    if (fcntl(fd, F_GETFL) & O_APPEND) return size;
    return offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
}

/* Write all pieces at an offset, or where the descriptor stands (-1). */
static long written(int fd, const struct iovec *pieces, int count, int64_t offset) {
    struct stat found;
    char place[PATH_MAX];
    long number = offset < 0 ? SYS_writev : SYS_pwritev;
    if (!watched(fd, &found, place)) return answer(call(number, fd, (long)pieces, count, offset, 0));
    enter();
    fstat(fd, &found);
    int64_t at = position(fd, found.st_size, offset);
    long done = answer(call(number, fd, (long)pieces, count, offset, 0)), left = done;
    for (int i = 0; i < count && left > 0; i++) {
        long size = (long)pieces[i].iov_len < left ? (long)pieces[i].iov_len : left;
        record('W', found.st_ino, at, "", "", pieces[i].iov_base, size);
        at += size, left -= size;
    }
    leave();
    return done;
}

static long written_once(int fd, void *bytes, size_t size, int64_t offset) {
    struct iovec one = {bytes, size};
    return written(fd, &one, 1, offset);
}

/* A call on a descriptor that is recorded when it succeeds. */
static long on_descriptor(char kind, long number, int fd, long size) {
    struct stat found;
    char place[PATH_MAX];
    if (!watched(fd, &found, place)) return answer(call(number, fd, size, 0, 0, 0));
    enter();
    long result = answer(call(number, fd, size, 0, 0, 0));
    if (result == 0) record(kind, found.st_ino, size, "", "", NULL, 0);
    leave();
    return result;
}

static long truncated(const char *path, long size) {
    long fd = answer(call(SYS_openat, AT_FDCWD, (long)path, O_WRONLY | O_CLOEXEC, 0, 0));
    if (fd < 0) return fd;
    long result = on_descriptor('T', SYS_ftruncate, fd, size);
    close(fd);
    return result;
}

static long renamed(int from, const char *old, int to, const char *new, long flags) {
    char left[PATH_MAX], right[PATH_MAX];
    enter();
    if (!resolved(from, old, left)) left[0] = 0;
    if (!resolved(to, new, right)) right[0] = 0;
    long result = answer(call(SYS_renameat2, from, (long)old, to, (long)new, flags));
    if (result == 0 && (left[0] || right[0])) /* 1: it must replace nothing */
        record(flags & ~1 ? '?' : 'R', 0, 0, left, right, NULL, 0);
    leave();
    return result;
}

static long removed(int at, const char *path, long flags) {
    char place[PATH_MAX];
    enter();
    int seen = resolved(at, path, place);
    long result = answer(call(SYS_unlinkat, at, (long)path, flags, 0, 0));
    if (result == 0 && seen) record('U', 0, 0, place, "", NULL, 0);
    leave();
    return result;
}

/* A call that makes the entry `path`, with five arguments. */
static long made(char kind, int at, const char *path, const char *target, long number, long a,
                 long b, long c, long d, long e) {
    char place[PATH_MAX];
    struct stat found;
    enter();
    long result = answer(call(number, a, b, c, d, e));
    if (result == 0 && resolved(at, path, place) && lstat(place, &found) == 0)
        record(kind, found.st_ino, 0, place, "", target, strlen(target));
    leave();
    return result;
}

static long folder_made(int at, const char *path, long mode) {
    return made('D', at, path, "", SYS_mkdirat, at, (long)path, mode, 0, 0);
}
static long linked(const char *target, int at, const char *path) {
    return made('S', at, path, target, SYS_symlinkat, (long)target, at, (long)path, 0, 0);
}
static long named_again(int from, const char *old, int to, const char *new, long flags) {
    return made('L', to, new, "", SYS_linkat, from, (long)old, to, (long)new, flags);
}

#define FD(n) ((int)a[n])
#define TEXT(n) ((char *)a[n])

static long handled(int number, const long a[5]) {
    switch (number) {
    case SYS_openat: return opened(FD(0), TEXT(1), a[2], a[3]);
    case SYS_write: return written_once(FD(0), TEXT(1), a[2], -1);
    case SYS_pwrite64: return written_once(FD(0), TEXT(1), a[2], a[3]);
    case SYS_writev: return written(FD(0), (struct iovec *)a[1], a[2], -1);
    case SYS_pwritev:
    case SYS_pwritev2: return written(FD(0), (struct iovec *)a[1], a[2], a[3]);
    case SYS_ftruncate: return on_descriptor('T', number, FD(0), a[1]);
    case SYS_truncate: return truncated(TEXT(0), a[1]);
    case SYS_fsync:
    case SYS_fdatasync: return on_descriptor('F', number, FD(0), 0);
    case SYS_renameat2: return renamed(FD(0), TEXT(1), FD(2), TEXT(3), a[4]);
    case SYS_unlinkat: return removed(FD(0), TEXT(1), a[2]);
    case SYS_mkdirat: return folder_made(FD(0), TEXT(1), a[2]);
    case SYS_symlinkat: return linked(TEXT(0), FD(1), TEXT(2));
    case SYS_linkat: return named_again(FD(0), TEXT(1), FD(2), TEXT(3), a[4]);
    case SYS_renameat: return renamed(FD(0), TEXT(1), FD(2), TEXT(3), 0);
#ifdef SYS_open /* older calls, which newer machines do not have */
    case SYS_open: return opened(AT_FDCWD, TEXT(0), a[1], a[2]);
    case SYS_creat: return opened(AT_FDCWD, TEXT(0), O_CREAT | O_WRONLY | O_TRUNC, a[1]);
    case SYS_rename: return renamed(AT_FDCWD, TEXT(0), AT_FDCWD, TEXT(1), 0);
    case SYS_unlink: return removed(AT_FDCWD, TEXT(0), 0);
    case SYS_rmdir: return removed(AT_FDCWD, TEXT(0), AT_REMOVEDIR);
    case SYS_mkdir: return folder_made(AT_FDCWD, TEXT(0), a[1]);
    case SYS_symlink: return linked(TEXT(0), AT_FDCWD, TEXT(1));
    case SYS_link: return named_again(AT_FDCWD, TEXT(0), AT_FDCWD, TEXT(1), 0);
#endif
    }
    return -ENOSYS;
}

static void on_call(int signal, siginfo_t *info, void *context) {
    int kept = errno;
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    long arguments[5];
    (void)signal;
    for (int n = 0; n < 5; n++) arguments[n] = machine->REGISTER(n);
    machine->RESULT = handled(info->si_syscall, arguments);
    errno = kept;
}

/* The filter. */

#define FIELD(name) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, name))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define IF(number, value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), RETURN(value)
#define TRAPPED(name) IF(SYS_##name, SECCOMP_RET_TRAP)
#define REFUSED(name, error) IF(SYS_##name, SECCOMP_RET_ERRNO | error)
#define TRAPPED_WITH(name, argument, bits)                                            \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), FIELD(args[argument]),     \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1), RETURN(SECCOMP_RET_TRAP),   \
        RETURN(SECCOMP_RET_ALLOW)

static struct sock_filter filter[] = {
    FIELD(args[5]), IF(PASS, SECCOMP_RET_ALLOW), FIELD(nr),
    TRAPPED_WITH(openat, 2, O_CREAT | O_TRUNC),
    TRAPPED(write), TRAPPED(pwrite64), TRAPPED(writev), TRAPPED(pwritev), TRAPPED(pwritev2),
    TRAPPED(ftruncate), TRAPPED(truncate), TRAPPED(fsync), TRAPPED(fdatasync),
    TRAPPED(renameat), TRAPPED(renameat2), TRAPPED(unlinkat), TRAPPED(mkdirat),
    TRAPPED(symlinkat), TRAPPED(linkat),
#ifdef SYS_open
    TRAPPED_WITH(open, 1, O_CREAT | O_TRUNC),
    TRAPPED(creat), TRAPPED(rename), TRAPPED(unlink), TRAPPED(rmdir), TRAPPED(mkdir),
    TRAPPED(symlink), TRAPPED(link),
#endif
    /* Who is refused these reads and writes instead. */
    REFUSED(copy_file_range, EINVAL), REFUSED(sendfile, EINVAL), REFUSED(splice, EINVAL),
    REFUSED(fallocate, EOPNOTSUPP), REFUSED(io_uring_setup, ENOSYS), REFUSED(openat2, ENOSYS),
    RETURN(SECCOMP_RET_ALLOW),
};

static void refuse(const char *what) {
    perror(what);
    _exit(1);
}

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("PARLEY_POWER_JOURNAL"), *place = getenv("PARLEY_POWER_FOLDER");
    struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    if (!file || !place || strlen(place) >= sizeof folder) return;
    strcpy(folder, place);
    int opened = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
    journal = fcntl(opened, F_DUPFD_CLOEXEC, 700); /* where no program counts on finding its own */
    if (journal < 0) refuse("the journal cannot be opened");
    close(opened);
    pthread_atfork(NULL, NULL, after_fork);
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        refuse("seccomp is not allowed here, and without it no system calls can be recorded");
}

/* Called by the recorded program itself: something has been promised from here on. */
void parley_power_mark(const char *text) {
    if (journal < 0) return;
    enter();
    record('M', 0, 0, "", "", text, strlen(text));
    leave();
    syscall(SYS_getpid, 0, 0, 0, 0, 0, 0); /* the next call of the program must not pass */
}
