/* SPDX-License-Identifier: Apache-2.0 */
#include "node/backup_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/backup.h"

enum { TREE_DEPTH = 2 /* store/ and what RocksDB leaves in it when it is interrupted */ };

enum agi_err agi_backup_fail_io(struct agi_why *why, const char *what, const char *path)
{
	return agi_fail(why, AGI_E_IO, "cannot %s %s: %s", what, path, strerror(errno));
}

static enum agi_err remove_tree(const char *path, unsigned depth, struct agi_why *why)
{
	DIR *d = opendir(path);
	enum agi_err e = AGI_OK;
	struct dirent *entry;

	if (!d)
		return errno == ENOENT ? AGI_OK : agi_backup_fail_io(why, "list", path);
	while (!e && (entry = readdir(d)) != NULL) {
		char below[PATH_MAX];
		struct stat st;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= (int)sizeof below ||
		    lstat(below, &st))
			e = agi_backup_fail_io(why, "look at", path);
		else if (S_ISDIR(st.st_mode) && depth)
			e = remove_tree(below, depth - 1, why);
		else if (unlink(below))
			e = agi_backup_fail_io(why, "remove", below);
	}
	closedir(d);
	if (!e && rmdir(path))
		e = agi_backup_fail_io(why, "remove", path);
	return e;
}

enum agi_err agi_backup_remove(const char *path, struct agi_why *why) { return remove_tree(path, TREE_DEPTH, why); }

enum agi_err agi_backup_sync_dir(const char *path, struct agi_why *why)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum agi_err e = fd >= 0 && fsync(fd) == 0 ? AGI_OK : agi_backup_fail_io(why, "sync", path);

	if (fd >= 0)
		close(fd);
	return e;
}

enum agi_err agi_backup_put_file(const char *path, struct agi_str text, struct agi_why *why)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	enum agi_err e = AGI_OK;

	while (fd >= 0 && text.n) {
		ssize_t n = write(fd, text.p, text.n);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0) {
			text.p += n;
			text.n -= (size_t)n;
		}
	}
	if (fd < 0 || text.n || fsync(fd))
		e = agi_backup_fail_io(why, "write", path);
	if (fd >= 0)
		close(fd);
	return e;
}

static int is_file(const struct dirent *d) { return d->d_name[0] != '.'; }

uint64_t agi_backup_bytes(const char *store)
{
	struct dirent **list = NULL;
	int n = scandir(store, &list, is_file, NULL);
	uint64_t sum = 0;

	for (int i = 0; i < n; i++) {
		char path[PATH_MAX + 256];
		struct stat st;

		snprintf(path, sizeof path, "%s/%s", store, list[i]->d_name);
		sum += stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
		free(list[i]);
	}
	free(list);
	return sum;
}

static enum agi_err make_dir(const char *path, bool may_be_there, struct agi_why *why)
{
	if (mkdir(path, 0700) == 0 || (may_be_there && errno == EEXIST))
		return AGI_OK;
	return agi_backup_fail_io(why, "make", path);
}

enum agi_err agi_backup_make_dirs(const char *path, struct agi_why *why)
{
	char above[PATH_MAX], *slash;
	enum agi_err e = agi_backup_remove(path, why);

	snprintf(above, sizeof above, "%s", path);
	slash = strrchr(above, '/');
	*slash = '\0';
	if (!e)
		e = make_dir(above, true, why);
	if (!e)
		e = make_dir(path, false, why);
	if (!e)
		e = agi_backup_sync_dir(above, why);
	*strrchr(above, '/') = '\0';
	return e ? e : agi_backup_sync_dir(above[0] ? above : "/", why);
}

static int is_name(const struct dirent *d) { return agi_backup_name_is_valid(agi_str_of(d->d_name)); }

int64_t agi_backup_newest(const char *dir, const struct agi_id *node)
{
	struct dirent **list = NULL;
	int n = scandir(dir, &list, is_name, NULL);
	char hex[AGI_ID_HEX];
	int64_t newest = 0;

	agi_id_hex(hex, node);
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX + 512];
		struct stat st;

		snprintf(path, sizeof path, "%s/%s/%.*s/" AGI_BACKUP_MANIFEST, dir, list[i]->d_name,
		         AGI_BACKUP_DIR_HEX, hex);
		if (stat(path, &st) == 0 && st.st_mtime > newest)
			newest = st.st_mtime;
		free(list[i]);
	}
	free(list);
	return newest;
}
