/* Sees every change that a process makes to the files below one folder, and can make it fail.
 *
 * Preloaded (LD_PRELOAD), it stands between the process and libc, so it sees what Python, SQLite
 * and python-tuf do alike. Each change becomes one record in memory: `crash_trace.py` reads them.
 * One thread at a time. A record: kind (u8), result fd (i32), offset (i64), two lengths (u32), then
 * the two byte strings: path and data, or two paths.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN = 1, CLOSE, WRITE, TRUNCATE, RENAME, UNLINK, MKDIR, SYMLINK, FSYNC, RMDIR, MARK };
enum { MAX_FDS = 4096 };

static char root[4096];
static size_t root_len; /* 0: nothing is watched */
static unsigned char watched[MAX_FDS];
static unsigned char *trace;
static size_t trace_len, trace_room;
static long changes;       /* changes tried since the start */
static long fail_from = 0; /* the first that fails; 0: none */
static long fail_to = 0;
static int fail_errno;

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static void put(const void *data, size_t size) {
    if (trace_len + size > trace_room) {
        trace_room = 2 * (trace_len + size);
        trace = realloc(trace, trace_room);
        if (!trace) abort();
    }
    memcpy(trace + trace_len, data, size);
    trace_len += size;
}

static void note(uint8_t kind, int fd, int64_t offset, const void *a, size_t na, const void *b,
                 size_t nb) {
    int32_t fd32 = fd;
    uint32_t la = (uint32_t)na, lb = (uint32_t)nb;
    put(&kind, 1);
    put(&fd32, 4);
    put(&offset, 8);
    put(&la, 4);
    put(&lb, 4);
    put(a, na);
    put(b, nb);
}

static int below(const char *path) {
    return root_len && path && strncmp(path, root, root_len) == 0 &&
           (path[root_len] == '/' || path[root_len] == 0);
}

static int is_watched(int fd) { return root_len && fd >= 0 && fd < MAX_FDS && watched[fd]; }

static int in_fault(long change) { return fail_from && change >= fail_from && change <= fail_to; }

/* Counts one change; whether it must fail, with errno set. A full disk still lets files go. */
static int refused(int frees) {
    changes++;
    if (!in_fault(changes) || (frees && fail_errno == ENOSPC)) return 0;
    errno = fail_errno;
    return 1;
}

/* The handle of the harness. */
void crash_watch(const char *folder) {
    strncpy(root, folder, sizeof root - 1);
    root_len = strlen(root);
    trace_len = 0;
    changes = fail_from = 0;
    memset(watched, 0, sizeof watched);
}
void crash_unwatch(void) { root_len = 0; }
void crash_fail(long from, long to, int number) {
    fail_from = from;
    fail_to = to;
    fail_errno = number;
}
void crash_mark(const char *data, size_t size) {
    if (root_len) note(MARK, -1, 0, data, size, "", 0);
}
long crash_changes(void) { return changes; }
size_t crash_size(void) { return trace_len; }
const unsigned char *crash_data(void) { return trace; }

static int opened(const char *path, int flags, mode_t mode,
                  int (*call)(const char *, int, ...)) {
    struct stat before;
    if (!below(path)) return call(path, flags, mode);
    int is_new = (flags & O_CREAT) && lstat(path, &before) != 0;
    int change = is_new || (flags & O_TRUNC);
    if (change && refused(0)) return -1;
    if (!change && fail_errno == EROFS && (flags & O_ACCMODE) != O_RDONLY && in_fault(changes + 1)) {
        errno = EROFS; /* a read-only system refuses the opening itself */
        return -1;
    }
    int fd = call(path, flags, mode);
    if (fd >= 0 && fd < MAX_FDS) {
        watched[fd] = 1;
        note(OPEN, fd, (is_new ? 1 : 0) | ((flags & O_TRUNC) ? 2 : 0), path, strlen(path), "", 0);
    }
    return fd;
}

#define OPENER(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return opened(path, flags, mode, real); \
    }
OPENER(open)
OPENER(open64)

int close(int fd) {
    REAL(close);
    if (is_watched(fd)) {
        watched[fd] = 0;
        note(CLOSE, fd, 0, "", 0, "", 0);
    }
    return real(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (!is_watched(fd)) return real(fd, data, size);
    if (refused(0)) return -1;
    ssize_t done = real(fd, data, size);
    if (done > 0) {
        int64_t end = lseek(fd, 0, SEEK_CUR); /* behind what was written, O_APPEND or not */
        note(WRITE, fd, end - done, "", 0, data, (size_t)done);
    }
    return done;
}

#define PWRITER(name, offset_t) \
    ssize_t name(int fd, const void *data, size_t size, offset_t offset) { \
        REAL(name); \
        if (!is_watched(fd)) return real(fd, data, size, offset); \
        if (refused(0)) return -1; \
        ssize_t done = real(fd, data, size, offset); \
        if (done > 0) note(WRITE, fd, offset, "", 0, data, (size_t)done); \
        return done; \
    }
PWRITER(pwrite, off_t)
PWRITER(pwrite64, off64_t)

#define TRUNCATER(name, offset_t) \
    int name(int fd, offset_t size) { \
        REAL(name); \
        if (!is_watched(fd)) return real(fd, size); \
        struct stat before; \
        int same = fstat(fd, &before) == 0 && before.st_size == size; \
        if (!same && refused(0)) return -1; \
        int done = real(fd, size); \
        if (done == 0 && !same) note(TRUNCATE, fd, size, "", 0, "", 0); \
        return done; \
    }
TRUNCATER(ftruncate, off_t)
TRUNCATER(ftruncate64, off64_t)

#define SYNCER(name) \
    int name(int fd) { \
        REAL(name); \
        if (!is_watched(fd)) return real(fd); \
        if (refused(0)) return -1; \
        note(FSYNC, fd, 0, "", 0, "", 0); /* recorded, and not waited for */ \
        return 0; \
    }
SYNCER(fsync)
SYNCER(fdatasync)

#define ON_PATH(name, kind) \
    int name(const char *path) { \
        REAL(name); \
        if (!below(path)) return real(path); \
        struct stat before; \
        if (lstat(path, &before) != 0) return real(path); \
        if (refused(1)) return -1; \
        int done = real(path); \
        if (done == 0) note(kind, -1, 0, path, strlen(path), "", 0); \
        return done; \
    }
ON_PATH(unlink, UNLINK)
ON_PATH(rmdir, RMDIR)
ON_PATH(remove, UNLINK)

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    if (!below(path)) return real(path, mode);
    struct stat before;
    if (lstat(path, &before) == 0) return real(path, mode);
    if (refused(0)) return -1;
    int done = real(path, mode);
    if (done == 0) note(MKDIR, -1, 0, path, strlen(path), "", 0);
    return done;
}

#define ON_TWO(name, kind, tested) \
    int name(const char *from, const char *to) { \
        REAL(name); \
        if (!below(tested)) return real(from, to); \
        if (refused(0)) return -1; \
        int done = real(from, to); \
        if (done == 0) note(kind, -1, 0, from, strlen(from), to, strlen(to)); \
        return done; \
    }
ON_TWO(rename, RENAME, to)
ON_TWO(symlink, SYMLINK, to)
