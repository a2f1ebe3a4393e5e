/* SPDX-License-Identifier: Apache-2.0 */
#include "store/mend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/mark.h"
#include "store/wal.h"

static bool is_there(const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && stat(path, &st) == 0;
}

static enum agi_err check_current(const char *dir, struct agi_why *why)
{
	struct dirent *e;
	DIR *d;
	bool has_data = false;

	if (is_there(dir, "CURRENT"))
		return AGI_OK;
	d = opendir(dir);
	if (!d)
		return agi_fail(why, AGI_E_IO, "cannot list %s: %s", dir, strerror(errno));
	while ((e = readdir(d)) != NULL)
		has_data = has_data || strncmp(e->d_name, "MANIFEST-", 9) == 0 ||
		           strcmp(e->d_name, AGI_SYNCED_FILE) == 0 || strstr(e->d_name, ".sst") != NULL;
	closedir(d);
	return has_data ? agi_fail(why, AGI_E_CORRUPT, "%s holds data, but its file CURRENT is missing", dir)
	                : AGI_OK;
}

/* RocksDB's own lock, for the time that its files are looked at without it. -1: somebody has it. */
static int take_lock(const char *dir)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX + 8];
	int fd;

	snprintf(path, sizeof path, "%s/LOCK", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && fcntl(fd, F_SETLK, &fl) != 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* The process that has this store open; 0 = none. Not for the process that has it open itself: its lock would
 * be released. */
static int holder_of(const char *dir)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX];
	int fd, pid = 0;

	if (snprintf(path, sizeof path, "%s/LOCK", dir) >= (int)sizeof path)
		return 0;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK)
		pid = (int)fl.l_pid;
	close(fd);
	return pid;
}

enum agi_err agi_mend_check(const char *dir, struct agi_why *why)
{
	enum agi_err e = agi_damaged_read(dir, why);
	int pid = e ? holder_of(dir) : 0;

	if (pid)
		return agi_fail(why, AGI_E_EXISTS, "%s: in use by process %d", dir, pid);
	return e ? e : check_current(dir, why);
}

enum agi_err agi_mend_set_aside(const char *dir, const char *to, struct agi_why *why)
{
	int pid = holder_of(dir);

	if (pid)
		return agi_fail(why, AGI_E_EXISTS, "%s: in use by process %d", dir, pid);
	if (rename(dir, to) == 0 || errno == ENOENT)
		return AGI_OK;
	return agi_fail(why, AGI_E_IO, "cannot move %s to %s: %s", dir, to, strerror(errno));
}

enum agi_err agi_mend_log(const char *dir, struct agi_why *notice, struct agi_why *why)
{
	struct agi_wal_look at;
	struct agi_why other;
	enum agi_err e = AGI_E_CORRUPT;
	int lock = take_lock(dir);

	if (lock < 0)
		return e;
	if (agi_wal_look(dir, &at, &other))
		at.end = AGI_WAL_WHOLE;
	if (at.end == AGI_WAL_DAMAGED)
		(void)agi_fail(why, e, "%s/%s is damaged at byte %llu, and writes after it were acknowledged",
		               dir, at.file, (unsigned long long)at.offset);
	else if (at.end == AGI_WAL_TORN && agi_wal_cut(dir, &at, &other) == AGI_OK)
		e = agi_fail(notice, AGI_OK,
		             "%s: a write that was not finished when the node ended was cut off at byte "
		             "%llu (kept as %s.cut)",
		             at.file, (unsigned long long)at.offset, at.file);
	close(lock);
	return e;
}
