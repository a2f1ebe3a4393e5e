/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listen_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static enum agi_err fail_errno(struct agi_why *why, const char *what, const char *path)
{
	enum agi_err e = errno == EACCES || errno == EPERM || errno == EROFS ? AGI_E_DENIED
			 : errno == ENOENT || errno == ENOTDIR               ? AGI_E_INVALID
									     : AGI_E_IO;

	return agi_fail(why, e, "Unix socket %s: %s: %s", path, what, strerror(errno));
}

static bool fill(struct sockaddr_un *sa, const char *path)
{
	size_t n = strlen(path);

	memset(sa, 0, sizeof *sa);
	sa->sun_family = AF_UNIX;
	if (n == 0 || n > AGI_UNIX_PATH_MAX)
		return false;
	memcpy(sa->sun_path, path, n);
	return true;
}

/* --- where it goes
 * ---------------------------------------------------------------------------------------- */
static enum agi_err check_directory(const char *path, struct agi_why *why)
{
	char copy[AGI_UNIX_PATH_MAX + 1], *dir;
	struct stat st;

	snprintf(copy, sizeof copy, "%s", path);
	dir = dirname(copy);
	if (stat(dir, &st) != 0)
		return fail_errno(why, dir, path);
	if (!S_ISDIR(st.st_mode))
		return agi_fail(why, AGI_E_INVALID, "Unix socket %s: %s is not a directory", path,
				dir);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return agi_fail(why, AGI_E_DENIED,
				"Unix socket %s: directory %s belongs to another user", path, dir);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX))
		return agi_fail(why, AGI_E_DENIED,
				"Unix socket %s: others can write to directory %s (mode %03o): "
				"expected 755 or less",
				path, dir, (unsigned)(st.st_mode & 07777));
	return AGI_OK;
}

static enum agi_err take_lock(struct agi_unix_socket *s, struct agi_why *why)
{
	char path[AGI_UNIX_PATH_MAX + 8];

	snprintf(path, sizeof path, "%s.lock", s->path);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return fail_errno(why, "its lock file", s->path);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return AGI_OK;
	if (errno != EWOULDBLOCK)
		return fail_errno(why, "its lock file", s->path);
	return agi_fail(
	    why, AGI_E_EXISTS,
	    "Unix socket %s is in use: stop the process that listens there or set another path",
	    s->path);
}

/* Removes what a process that has gone left behind; nothing else. */
static enum agi_err clear_path(const char *path, struct agi_why *why)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? AGI_OK : fail_errno(why, "cannot look at it", path);
	if (!S_ISSOCK(st.st_mode))
		return agi_fail(why, AGI_E_INVALID,
				"Unix socket %s: something that is no socket is there", path);
	fd = agi_unix_connect(path);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 || errno != ECONNREFUSED)
		return agi_fail(why, AGI_E_EXISTS,
				"Unix socket %s is in use: stop the process that listens there or "
				"set another path",
				path);
	return unlink(path) == 0 ? AGI_OK
				 : fail_errno(why, "cannot remove the one left behind", path);
}

/* --- life
 * ---------------------------------------------------------------------------------------------------
 */
static enum agi_err bind_path(struct agi_unix_socket *s, int backlog, struct agi_why *why)
{
	struct sockaddr_un sa;

	(void)fill(&sa, s->path);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* the mode before bind, so that it is never wider; of the socket, so that no umask is
	 * touched */
	if (s->fd < 0 || fchmod(s->fd, 0600) != 0 ||
	    bind(s->fd, (struct sockaddr *)&sa, sizeof sa) != 0)
		return fail_errno(why, "cannot be made", s->path);
	if (listen(s->fd, backlog) == 0)
		return AGI_OK;
	(void)unlink(s->path);
	return fail_errno(why, "cannot listen", s->path);
}

enum agi_err agi_unix_listen(struct agi_unix_socket *out, const char *path, int backlog,
			     struct agi_why *why)
{
	struct agi_unix_socket s = {.fd = -1, .lock_fd = -1};
	struct sockaddr_un sa;
	enum agi_err e;

	if (!fill(&sa, path) || path[0] != '/')
		return agi_fail(
		    why, AGI_E_INVALID,
		    "Unix socket \"%.120s\": expected an absolute path of at most %d bytes", path,
		    AGI_UNIX_PATH_MAX);
	memcpy(s.path, path, strlen(path) + 1);
	e = check_directory(path, why);
	if (!e)
		e = take_lock(&s, why);
	if (!e)
		e = clear_path(path, why);
	if (!e)
		e = bind_path(&s, backlog, why);
	if (!e) {
		*out = s;
		return AGI_OK;
	}
	if (s.fd >= 0)
		close(s.fd);
	if (s.lock_fd >= 0)
		close(s.lock_fd);
	return e;
}

void agi_unix_close(struct agi_unix_socket *s)
{
	if (s->fd < 0)
		return;
	(void)unlink(s->path);
	close(s->fd);
	close(s->lock_fd); /* the lock file stays: to remove it would let two hold it */
	s->fd = s->lock_fd = -1;
}

int agi_unix_connect(const char *path)
{
	struct sockaddr_un sa;
	int fd, saved;

	if (!fill(&sa, path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}
