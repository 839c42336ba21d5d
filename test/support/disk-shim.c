/*
 * Stands between a process and its disk, by LD_PRELOAD: writes down what is written, and lets calls fail. Only files below DISK_SHIM_DIRECTORY.
 *
 * DISK_SHIM_TRACE: a file that gets one record a call, in the order in which the calls took effect. Little-endian: kind (4 bytes), number of the
 * file (4), offset (8), length (8), bytes of that length. Kinds are in disk-trace.ts, which reads it.
 *
 * DISK_SHIM_FAULTS: a file of five 32-bit integers, read and written at each call, which the test changes as it likes: errno (0 = no fault),
 * which calls (1 = writes of whole pages, 2 = syncs, 4 = other writes), how many go well before, how many fail then (-1 = all), how many have failed.
 *
 * DISK_SHIM_SLOW: microseconds that a sync, or a write that writes through, takes longer: what is visible and not durable is so for a while.
 *
 * DISK_SHIM_BOOT: read in place of the boot id, to make a reboot.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPENED = 1, WRITTEN, WRITTEN_THROUGH, SYNC_BEGUN, SYNC_ENDED, TRUNCATED, RENAMED, REMOVED };
enum { FAULT_ERRNO, FAULT_CALLS, FAULT_SKIP, FAULT_LEFT, FAULT_COUNT };
enum { PAGES = 1, SYNCS = 2, PARTS = 4 };

/* A write of whole pages is data to LMDB, and what is shorter says which data counts. */
#define CALL_OF(length) ((length) % 4096 == 0 ? PAGES : PARTS)

#define FILES 4096
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *directory, *boot;
static size_t directory_length;
static int trace = -1;
static useconds_t slow;
static volatile int32_t *faults;
static char *paths[FILES];
static int path_count;
/* Of each descriptor: the number of its file, plus one; and whether it writes through. */
static int file_of[65536];
static char through[65536];

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);

static void start(void) {
  real_open = dlsym(RTLD_NEXT, "open");
  real_close = dlsym(RTLD_NEXT, "close");
  real_write = dlsym(RTLD_NEXT, "write");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
  real_rename = dlsym(RTLD_NEXT, "rename");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  directory = getenv("DISK_SHIM_DIRECTORY");
  directory_length = directory ? strlen(directory) : 0;
  boot = getenv("DISK_SHIM_BOOT");
  const char *path = getenv("DISK_SHIM_SLOW");
  slow = path ? (useconds_t)atoi(path) : 0;
  path = getenv("DISK_SHIM_TRACE");
  if (path) trace = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  path = getenv("DISK_SHIM_FAULTS");
  int file = path ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *map = mmap(NULL, 5 * sizeof(int32_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (map != MAP_FAILED) faults = map;
  real_close(file);
}

static int is_below(const char *path) {
  return directory && strncmp(path, directory, directory_length) == 0;
}

static void record(int kind, int file, uint64_t offset, const void *bytes, uint64_t length) {
  if (trace < 0) return;
  char head[24];
  int32_t pair[2] = {kind, file};
  memcpy(head, pair, 8);
  memcpy(head + 8, &offset, 8);
  memcpy(head + 16, &length, 8);
  struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, length}};
  if (real_writev(trace, parts, 2) != (ssize_t)(sizeof head + length)) abort();
}

/* Number of the file that a descriptor is of, or -1. */
static int file_at(int descriptor) {
  pthread_once(&once, start);
  return descriptor >= 0 && descriptor < 65536 ? file_of[descriptor] - 1 : -1;
}

static int opened(const char *path, int flags, int descriptor) {
  if (descriptor < 0 || descriptor >= 65536) return descriptor;
  pthread_mutex_lock(&mutex);
  file_of[descriptor] = 0;
  if (is_below(path)) {
    int file = 0;
    while (file < path_count && strcmp(paths[file], path) != 0) file++;
    if (file == path_count) {
      if (file == FILES) abort();
      paths[path_count++] = strdup(path);
      record(OPENED, file, 0, path, strlen(path));
    }
    if (flags & O_TRUNC) record(TRUNCATED, file, 0, NULL, 0);
    file_of[descriptor] = file + 1;
    through[descriptor] = (flags & O_DSYNC) != 0;
  }
  pthread_mutex_unlock(&mutex);
  return descriptor;
}

/* The error that this call is to end with, or 0. */
static int fault(int call) {
  if (!faults || !faults[FAULT_ERRNO] || !(faults[FAULT_CALLS] & call)) return 0;
  if (faults[FAULT_SKIP] > 0) {
    faults[FAULT_SKIP]--;
    return 0;
  }
  if (faults[FAULT_LEFT] == 0) return 0;
  if (faults[FAULT_LEFT] > 0) faults[FAULT_LEFT]--;
  faults[FAULT_COUNT]++;
  return faults[FAULT_ERRNO];
}

/* After a write that took effect, while the mutex is held. */
static void written(int descriptor, uint64_t offset, const void *bytes, ssize_t length) {
  if (length <= 0) return;
  int kind = through[descriptor] ? WRITTEN_THROUGH : WRITTEN;
  record(kind, file_at(descriptor), offset, bytes, (uint64_t)length);
}

/*
 * LMDB writes up to 120 bytes of text about a failed write into 100 that it has allocated, and the process may end of that, whatever is done
 * about the failure. Here it gets room, so that the rest can be tested.
 */
extern void *__libc_malloc(size_t);

void *malloc(size_t size) { return __libc_malloc(size == 100 ? 200 : size); }

#define FAIL_IF_WANTED(call)              \
  do {                                    \
    int wanted = fault(call);             \
    if (wanted) {                         \
      pthread_mutex_unlock(&mutex);       \
      errno = wanted;                     \
      return -1;                          \
    }                                     \
  } while (0)

static int open_any(const char *path, int flags, mode_t mode) {
  pthread_once(&once, start);
  if (boot && strcmp(path, BOOT_ID) == 0) return real_open(boot, flags, mode);
  return opened(path, flags, real_open(path, flags, mode));
}

#define MODE_OF(flags)                    \
  mode_t mode = 0;                        \
  if ((flags) & (O_CREAT | O_TMPFILE)) {  \
    va_list rest;                         \
    va_start(rest, flags);                \
    mode = va_arg(rest, mode_t);          \
    va_end(rest);                         \
  }

int open(const char *path, int flags, ...) {
  MODE_OF(flags)
  return open_any(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE_OF(flags)
  return open_any(path, flags, mode);
}

int close(int descriptor) {
  if (file_at(descriptor) >= 0) {
    pthread_mutex_lock(&mutex);
    file_of[descriptor] = 0;
    pthread_mutex_unlock(&mutex);
  }
  return real_close(descriptor);
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
  if (file_at(descriptor) < 0) return real_write(descriptor, bytes, length);
  pthread_mutex_lock(&mutex);
  FAIL_IF_WANTED(CALL_OF(length));
  off_t offset = lseek(descriptor, 0, SEEK_CUR);
  ssize_t done = real_write(descriptor, bytes, length);
  written(descriptor, (uint64_t)offset, bytes, done);
  pthread_mutex_unlock(&mutex);
  return done;
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
  if (file_at(descriptor) < 0) return real_writev(descriptor, parts, count);
  pthread_mutex_lock(&mutex);
  FAIL_IF_WANTED(CALL_OF(parts[0].iov_len));
  off_t offset = lseek(descriptor, 0, SEEK_CUR);
  ssize_t done = real_writev(descriptor, parts, count);
  ssize_t left = done;
  for (int i = 0; i < count && left > 0; i++) {
    ssize_t length = left < (ssize_t)parts[i].iov_len ? left : (ssize_t)parts[i].iov_len;
    written(descriptor, (uint64_t)offset, parts[i].iov_base, length);
    offset += length;
    left -= length;
  }
  pthread_mutex_unlock(&mutex);
  return done;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
  if (file_at(descriptor) < 0) return real_pwrite(descriptor, bytes, length, offset);
  if (through[descriptor]) usleep(slow);
  pthread_mutex_lock(&mutex);
  FAIL_IF_WANTED(CALL_OF(length));
  ssize_t done = real_pwrite(descriptor, bytes, length, offset);
  written(descriptor, (uint64_t)offset, bytes, done);
  pthread_mutex_unlock(&mutex);
  return done;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off_t offset) {
  return pwrite(descriptor, bytes, length, offset);
}

static int sync_any(int descriptor, int (*real)(int)) {
  int file = file_at(descriptor);
  if (file < 0) return real(descriptor);
  pthread_mutex_lock(&mutex);
  FAIL_IF_WANTED(SYNCS);
  record(SYNC_BEGUN, file, 0, NULL, 0);
  pthread_mutex_unlock(&mutex);
  usleep(slow);
  int result = real(descriptor);
  pthread_mutex_lock(&mutex);
  if (result == 0) record(SYNC_ENDED, file, 0, NULL, 0);
  pthread_mutex_unlock(&mutex);
  return result;
}

int fdatasync(int descriptor) {
  pthread_once(&once, start);
  return sync_any(descriptor, real_fdatasync);
}

int fsync(int descriptor) {
  pthread_once(&once, start);
  return sync_any(descriptor, real_fsync);
}

int ftruncate(int descriptor, off_t length) {
  int file = file_at(descriptor);
  if (file < 0) return real_ftruncate(descriptor, length);
  pthread_mutex_lock(&mutex);
  FAIL_IF_WANTED(PAGES);
  int result = real_ftruncate(descriptor, length);
  if (result == 0) record(TRUNCATED, file, (uint64_t)length, NULL, 0);
  pthread_mutex_unlock(&mutex);
  return result;
}

int ftruncate64(int descriptor, off_t length) { return ftruncate(descriptor, length); }

int rename(const char *from, const char *to) {
  pthread_once(&once, start);
  if (!is_below(from)) return real_rename(from, to);
  pthread_mutex_lock(&mutex);
  int result = real_rename(from, to);
  if (result == 0) {
    char both[8192];
    size_t length = strlen(from) + 1 + strlen(to);
    if (length < sizeof both) {
      strcpy(both, from);
      strcat(both, "\n");
      strcat(both, to);
      record(RENAMED, -1, 0, both, length);
    }
  }
  pthread_mutex_unlock(&mutex);
  return result;
}

int unlink(const char *path) {
  pthread_once(&once, start);
  if (!is_below(path)) return real_unlink(path);
  pthread_mutex_lock(&mutex);
  int result = real_unlink(path);
  if (result == 0) record(REMOVED, -1, 0, path, strlen(path));
  pthread_mutex_unlock(&mutex);
  return result;
}
