/* SPDX-License-Identifier: Apache-2.0
 * keygen, version: what needs no node. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "ctl/out.h"

enum { CLUSTER_KEY_BYTES = 32, KEY_LINE_BYTES = 2 * CLUSTER_KEY_BYTES + 1 };

const struct ctl_opt ctl_opts_keygen[] = {
    {"out", 0, "FILE", NULL, "write to a new FILE of mode 0600 (default: standard output)"},
    {NULL, 0, NULL, NULL, NULL}};

/* --- keygen ----------------------------------------------------------------------------------- */
static bool write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		p += done;
		n -= (size_t)done;
	}
	return true;
}

/* A key file is there whole, private and on disk, or not at all; an existing one is never touched.
 */
static enum ctl_exit write_key_file(struct ctl *c, const char *path,
				    const char line[KEY_LINE_BYTES])
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool is_written;
	int error;

	if (fd < 0 && errno == EEXIST)
		return ctl_error(
		    c, CTL_FAILED,
		    "%s exists and is left as it is (a lost cluster key locks out the cluster:"
		    " move it away first)",
		    path);
	if (fd < 0)
		return ctl_error(c, CTL_FAILED, "cannot create %s: %s", path, strerror(errno));
	is_written = write_all(fd, line, KEY_LINE_BYTES) && fsync(fd) == 0;
	error = errno;
	if (close(fd) != 0 && is_written) {
		error = errno;
		is_written = false;
	}
	if (is_written)
		return CTL_OK;
	unlink(path);
	return ctl_error(c, CTL_FAILED, "cannot write %s: %s", path, strerror(error));
}

enum ctl_exit ctl_keygen(struct ctl *c, const struct ctl_input *in)
{
	const char *path = ctl_opt_value(&in->opts, "out");
	uint8_t key[CLUSTER_KEY_BYTES];
	char line[KEY_LINE_BYTES + 1];
	enum ctl_exit code;
	json_t *o;

	if (c->is_json && !path)
		return ctl_usage(c, "-o json needs --out FILE: a key is no document");
	randombytes_buf(key, sizeof key);
	agi_hex(line, key, sizeof key);
	line[KEY_LINE_BYTES - 1] = '\n';
	code = path ? write_key_file(c, path, line)
		    : ctl_write(c, (struct agi_str){line, KEY_LINE_BYTES});
	sodium_memzero(key, sizeof key);
	sodium_memzero(line, sizeof line);
	if (code != CTL_OK || !c->is_json)
		return code;
	o = json_object();
	ctl_set_bytes(o, "file", agi_str_of(path));
	return ctl_print_json_take(c, o);
}

/* --- version ---------------------------------------------------------------------------------- */
enum ctl_exit ctl_version(struct ctl *c, const struct ctl_input *in)
{
	json_t *o;

	(void)in;
	if (!c->is_json)
		return ctl_write(c, AGI_STR("agihpc-ctl " AGI_VERSION "\n"));
	o = json_object();
	ctl_set(o, "version", json_string(AGI_VERSION));
	return ctl_print_json_take(c, o);
}
