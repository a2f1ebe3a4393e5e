/* SPDX-License-Identifier: Apache-2.0
 * A disk that fails, and one that loses power, for one process: loaded before its libc (LD_PRELOAD).
 *
 *   FAULTDISK_ROOT    only files below this directory are touched
 *   FAULTDISK_RULES   a file with lines "sync EIO", "write ENOSPC", "sync 20ms"; looked at before every operation, so that
 *                     faults can be switched while the process runs; none while it does not exist
 *   FAULTDISK_SHADOW  a directory that is kept as a strict disk would be after a power cut: contents as of
 *                     each file's last sync, names as of each directory's last sync. To cut the power, kill the
 *                     process and let this directory take the place of the other.
 *
 * Files are expected to grow at their ends (logs, tables) or to be small; nothing may be written by mmap. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SMALL = 64 << 10, CHUNK = 64 << 10 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* --- which files, which faults ------------------------------------------------------------------ */
/* The path of fd below the root, with a leading slash; false when it is elsewhere. */
static bool below_root(int fd, char out[PATH_MAX])
{
	const char *root = getenv("FAULTDISK_ROOT");
	char link[64], path[PATH_MAX];
	size_t n = root ? strlen(root) : 0;
	ssize_t got;

	if (!n)
		return false;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	got = readlink(link, path, sizeof path - 1);
	if (got <= 0)
		return false;
	path[got] = '\0';
	if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0'))
		return false;
	snprintf(out, PATH_MAX, "%s", path + n);
	return true;
}

static int errno_of(const char *name)
{
	return strcmp(name, "EIO") == 0 ? EIO : strcmp(name, "ENOSPC") == 0 ? ENOSPC : strcmp(name, "EROFS") == 0 ? EROFS : 0;
}

/* The error that the rules have for this operation; 0 = none, after the delay they have. */
static int fault(const char *op)
{
	const char *rules = getenv("FAULTDISK_RULES");
	FILE *f = rules ? fopen(rules, "re") : NULL;
	char what[16], name[16];
	int err = 0;
	long ms = 0;

	if (!f)
		return 0;
	while (!err && fscanf(f, "%15s %15s", what, name) == 2)
		if (strcmp(what, op) == 0) {
			err = errno_of(name);
			ms += strtol(name, NULL, 10);
		}
	fclose(f);
	if (ms > 0)
		nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
	return err;
}

/* --- what a power cut would leave ------------------------------------------------------------------ */
/* A file's durable content lies in SHADOW/.files/ID and is linked to by its durable names. Inode numbers are used
 * again, so the time of birth belongs to the id. */
static bool content_path(int fd, char out[PATH_MAX])
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st))
		return false;
	snprintf(out, PATH_MAX, "%s/.files/%llu.%lld.%u", getenv("FAULTDISK_SHADOW"), (unsigned long long)st.stx_ino,
	         (long long)st.stx_btime.tv_sec, st.stx_btime.tv_nsec);
	return true;
}

static void make_shadow_dir(const char *rel)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/.files", getenv("FAULTDISK_SHADOW"));
	mkdir(getenv("FAULTDISK_SHADOW"), 0700);
	mkdir(path, 0700);
	if (rel && snprintf(path, sizeof path, "%s%s", getenv("FAULTDISK_SHADOW"), rel) < PATH_MAX)
		mkdir(path, 0700);
}

/* Brings the durable copy up to the file's present content: all of a small file, the new end of a long one. */
static void copy_content(int fd, const char *to)
{
	int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char buf[CHUNK], self[64];
	struct stat src, dst;
	off_t at = 0;
	ssize_t n;
	int in;

	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	in = open(self, O_RDONLY | O_CLOEXEC); /* fd itself may be for writing only */
	if (in >= 0 && out >= 0 && fstat(in, &src) == 0 && fstat(out, &dst) == 0) {
		if (dst.st_size > SMALL && dst.st_size <= src.st_size)
			at = dst.st_size;
		while ((n = pread(in, buf, sizeof buf, at)) > 0) {
			if (syscall(SYS_pwrite64, out, buf, (size_t)n, at) != n)
				break;
			at += n;
		}
		if (ftruncate(out, src.st_size))
			abort();
	}
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
}

/* What was durable when this process began lies under its name only: content for each file of the directory. */
static void adopt_contents(int fd, const char *dir)
{
	char content[PATH_MAX], name[PATH_MAX + 300];
	DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		int file = e->d_type == DT_REG ? openat(dirfd(d), e->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;

		snprintf(name, sizeof name, "%s/%s", dir, e->d_name);
		if (file >= 0 && content_path(file, content))
			(void)!link(name, content); /* fails where there is one */
		if (file >= 0)
			close(file);
	}
	if (d)
		closedir(d);
}

static void forget_names(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL)
		if (e->d_type == DT_REG)
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

static void copy_names(int fd, const char *rel)
{
	char dir[PATH_MAX], content[PATH_MAX], name[PATH_MAX + 300];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof dir, "%s%s", getenv("FAULTDISK_SHADOW"), rel);
	make_shadow_dir(rel);
	adopt_contents(fd, dir);
	forget_names(dir);
	d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	while (d && (e = readdir(d)) != NULL) {
		int file = openat(dirfd(d), e->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

		snprintf(name, sizeof name, "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			mkdir(name, 0700);
		if (e->d_type == DT_REG && file >= 0 && content_path(file, content)) {
			int empty = open(content, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); /* a name may be durable first */

			if (empty >= 0)
				close(empty);
			(void)!link(content, name);
		}
		if (file >= 0)
			close(file);
	}
	if (d)
		closedir(d);
}

static void note_synced(int fd, const char *rel)
{
	char content[PATH_MAX];
	struct stat st;
	int err = errno;

	if (!getenv("FAULTDISK_SHADOW") || fstat(fd, &st))
		return;
	pthread_mutex_lock(&lock);
	if (S_ISDIR(st.st_mode)) {
		copy_names(fd, rel);
	} else if (S_ISREG(st.st_mode) && content_path(fd, content)) {
		make_shadow_dir(NULL);
		copy_content(fd, content);
	}
	pthread_mutex_unlock(&lock);
	errno = err;
}

/* --- in libc's place ------------------------------------------------------------------------------------ */
static int sync_with(int fd, long number)
{
	char rel[PATH_MAX];
	bool is_ours = below_root(fd, rel);
	int err = is_ours ? fault("sync") : 0;

	if (err) {
		errno = err;
		return -1;
	}
	if (syscall(number, fd))
		return -1;
	if (is_ours)
		note_synced(fd, rel);
	return 0;
}

int fsync(int fd) { return sync_with(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_with(fd, SYS_fdatasync); }

static bool refuses_write(int fd)
{
	char rel[PATH_MAX];
	int err = below_root(fd, rel) ? fault("write") : 0;

	errno = err ? err : errno;
	return err != 0;
}

ssize_t write(int fd, const void *p, size_t n) { return refuses_write(fd) ? -1 : syscall(SYS_write, fd, p, n); }

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	return refuses_write(fd) ? -1 : syscall(SYS_pwrite64, fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	return refuses_write(fd) ? -1 : syscall(SYS_pwrite64, fd, p, n, at);
}
