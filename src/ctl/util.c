/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "ctl/ctl.h"

static void complain(const struct ctl *c, const char *fmt, va_list ap) AGI_PRINTF(2, 0);
static void complain(const struct ctl *c, const char *fmt, va_list ap)
{
	char text[2048];

	vsnprintf(text, sizeof text, fmt, ap);
	fprintf(stderr, "agihpc-ctl: %s%s%s", c->command ? c->command->name : "",
		c->command ? ": " : "", text);
}

enum ctl_exit ctl_error(const struct ctl *c, enum ctl_exit code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(c, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

enum ctl_exit ctl_usage(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(c, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (agihpc-ctl help%s%s shows how)\n", c->command ? " " : "",
		c->command ? c->command->name : "");
	return CTL_USAGE;
}

void ctl_warn(const struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(c, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void *ctl_alloc(size_t bytes)
{
	void *p = malloc(bytes ? bytes : 1);

	if (!p) {
		fputs("agihpc-ctl: out of memory\n", stderr);
		exit(CTL_FAILED);
	}
	return p;
}

char *ctl_copy(struct agi_str s)
{
	char *p = ctl_alloc(s.n + 1);

	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

uint64_t ctl_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t); /* a lease ends while this host is suspended, too */
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static enum ctl_exit read_all(const struct ctl *c, int fd, const char *path, struct agi_buf *b,
			      size_t max)
{
	for (;;) {
		uint8_t *room = agi_buf_reserve(b, 65536);
		ssize_t n;

		if (!room)
			return ctl_error(c, CTL_FAILED, "%s: %s", path, agi_err_text(b->err));
		n = read(fd, room, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ctl_error(c, CTL_FAILED, "cannot read %s: %s", path,
					 strerror(errno));
		b->n += (size_t)n;
		if (b->n > max)
			return ctl_error(c, CTL_FAILED, "%s is larger than the limit of %zu bytes",
					 path, max);
		if (n == 0)
			return CTL_OK;
	}
}

enum ctl_exit ctl_read_file(const struct ctl *c, const char *path, size_t max, struct agi_str *out)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	struct agi_buf b;
	enum ctl_exit code;

	if (fd < 0)
		return ctl_error(c, CTL_FAILED, "cannot open %s: %s", path, strerror(errno));
	agi_buf_init(&b, max + 2 * 65536);
	code = read_all(c, fd, is_stdin ? "standard input" : path, &b, max);
	if (code == CTL_OK)
		*out = (struct agi_str){ctl_copy(agi_buf_str(&b)), b.n};
	agi_buf_free(&b);
	if (!is_stdin)
		close(fd);
	return code;
}

ProtobufCBinaryData ctl_source(char text[CTL_SOURCE_BYTES])
{
	char host[64] = "?";

	if (gethostname(host, sizeof host - 1))
		memcpy(host, "?", 2);
	snprintf(text, CTL_SOURCE_BYTES, "agihpc-ctl uid %u@%s", (unsigned)getuid(), host);
	return ctl_bin_of(text);
}

void ctl_format_time(char out[CTL_TIME_TEXT], uint64_t ms)
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	if (!ms || !gmtime_r(&t, &tm) || !strftime(out, CTL_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm))
		memcpy(out, "-", 2);
}
