/* SPDX-License-Identifier: Apache-2.0 */
#include "node/health_exec.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 160, DRAIN_READS = 16 /* of 4 KiB in one turn; a program that writes without end is killed */ };

struct agi_child {
	struct agi_exec *of;
	pid_t pid;
	int pidfd, out;
	struct event *ended, *readable;
	agi_exec_done_fn *done; /* NULL: nobody waits for the verdict */
	void *arg;
	char line[LINE_MAX_BYTES + 1];
	size_t n;
	bool has_line;
	LIST_ENTRY(agi_child) link;
};

struct agi_exec {
	struct event_base *base;
	const struct agi_config_list *permitted;
	uint32_t n;
	LIST_HEAD(, agi_child) children;
};

/* --- what may run -------------------------------------------------------------------------------------- */
static bool is_within(const char *path, const char *permitted)
{
	size_t n = strlen(permitted);

	while (n > 1 && permitted[n - 1] == '/')
		n--;
	return strncmp(path, permitted, n) == 0 && (path[n] == '/' || path[n] == '\0' || n == 1);
}

enum agi_err agi_exec_check(const struct agi_exec *x, const char *path, struct agi_why *why)
{
	char *real = realpath(path, NULL);
	bool is_permitted = false;

	if (!real)
		return agi_fail(why, AGI_E_DENIED, "health_check.path %.200s: %s", path, strerror(errno));
	for (size_t i = 0; x->permitted && i < x->permitted->n && !is_permitted; i++)
		is_permitted = is_within(real, x->permitted->v[i]);
	free(real);
	return is_permitted ? AGI_OK
			    : agi_fail(why, AGI_E_DENIED,
				       "health_check.path %.200s: not permitted by node.exec_checks of this node", path);
}

/* --- its end ------------------------------------------------------------------------------------------- */
static void free_child(struct agi_child *c)
{
	if (c->ended)
		event_free(c->ended);
	if (c->readable)
		event_free(c->readable);
	if (c->pidfd >= 0)
		close(c->pidfd);
	if (c->out >= 0)
		close(c->out);
	LIST_REMOVE(c, link);
	c->of->n--;
	free(c);
}

static void take_output(struct agi_child *c)
{
	char buf[4096];
	ssize_t n = 1;

	for (int i = 0; i < DRAIN_READS && n > 0; i++) {
		n = read(c->out, buf, sizeof buf);
		for (ssize_t k = 0; k < n && !c->has_line; k++) {
			c->has_line = buf[k] == '\n' || c->n == LINE_MAX_BYTES;
			if (!c->has_line)
				c->line[c->n++] = (unsigned char)buf[k] < 0x20 || buf[k] == 0x7f ? ' ' : buf[k];
		}
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		event_del(c->readable);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	take_output(arg);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct agi_child *c = arg;
	agi_exec_done_fn *done = c->done;
	void *done_arg = c->arg;
	char detail[LINE_MAX_BYTES + 64];
	siginfo_t how = {0};
	bool is_ok;

	(void)fd, (void)what;
	if (waitid(P_PIDFD, (id_t)c->pidfd, &how, WEXITED | WNOHANG | WNOWAIT) != 0 || how.si_pid == 0)
		return;
	kill(-c->pid, SIGKILL); /* what it left behind; the number is its own until it is waited for */
	(void)waitid(P_PIDFD, (id_t)c->pidfd, &how, WEXITED | WNOHANG);
	take_output(c);
	is_ok = how.si_code == CLD_EXITED && how.si_status == 0;
	snprintf(detail, sizeof detail, "%s %d%s%s", how.si_code == CLD_EXITED ? "exit status" : "ended by signal",
		 how.si_status, c->n ? ": " : "", c->line);
	free_child(c);
	if (done)
		done(done_arg, is_ok, is_ok ? "" : detail);
}

void agi_exec_stop(struct agi_child *c)
{
	if (!c)
		return;
	c->done = NULL;
	kill(-c->pid, SIGKILL);
}

/* --- its beginning --------------------------------------------------------------------------------------- */
struct words {
	char *argv[AGI_HEALTH_ARGS_MAX + 2];
	char *envp[4];
	char service[AGI_SERVICE_NAME_MAX + 32], address[AGI_ADDRESS_MAX + 32];
};

/* posix_spawn takes what it does not write to without const. */
static void fill_words(struct words *w, const struct agi_health_config *config, const char *service, const char *address)
{
	const char *at = config->args;

	w->argv[0] = (char *)(uintptr_t)config->path;
	for (uint32_t i = 0; i < config->n_args; i++, at += strlen(at) + 1)
		w->argv[i + 1] = (char *)(uintptr_t)at;
	w->argv[config->n_args + 1] = NULL;
	snprintf(w->service, sizeof w->service, "AGIHPC_SERVICE=%s", service);
	snprintf(w->address, sizeof w->address, "AGIHPC_ADDRESS=%s", address);
	w->envp[0] = (char *)(uintptr_t)"PATH=/usr/local/bin:/usr/bin:/bin";
	w->envp[1] = w->service;
	w->envp[2] = w->address;
	w->envp[3] = NULL;
}

static int set_up(posix_spawn_file_actions_t *files, posix_spawnattr_t *attr, int out)
{
	sigset_t none, all;
	int e;

	sigemptyset(&none);
	sigfillset(&all);
	e = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
	e = e ? e : posix_spawn_file_actions_adddup2(files, out, 1);
	e = e ? e : posix_spawn_file_actions_adddup2(files, out, 2);
	e = e ? e : posix_spawn_file_actions_addclosefrom_np(files, 3);
	e = e ? e : posix_spawn_file_actions_addchdir_np(files, "/");
	e = e ? e : posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	e = e ? e : posix_spawnattr_setsigmask(attr, &none);
	return e ? e : posix_spawnattr_setsigdefault(attr, &all);
}

/* An errno. */
static int spawn(pid_t *pid, const struct words *w, int out)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int e = posix_spawn_file_actions_init(&files);

	if (e)
		return e;
	e = posix_spawnattr_init(&attr);
	if (!e) {
		e = set_up(&files, &attr, out);
		e = e ? e : posix_spawn(pid, w->argv[0], &files, &attr, w->argv, w->envp);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&files);
	return e;
}

static bool listen_to(struct agi_child *c, struct event_base *base)
{
	c->ended = event_new(base, c->pidfd, EV_READ | EV_PERSIST, on_ended, c);
	c->readable = event_new(base, c->out, EV_READ | EV_PERSIST, on_readable, c);
	return c->ended && c->readable && event_add(c->ended, NULL) == 0 && event_add(c->readable, NULL) == 0;
}

/* Waits: it was killed, or cannot be watched. */
static void end_child(struct agi_child *c)
{
	kill(-c->pid, SIGKILL);
	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free_child(c);
}

static struct agi_child *add_child(struct agi_exec *x, int out)
{
	struct agi_child *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->of = x;
	c->out = out;
	c->pidfd = -1;
	LIST_INSERT_HEAD(&x->children, c, link);
	x->n++;
	return c;
}

enum agi_err agi_exec_start(struct agi_exec *x, const struct agi_health_config *config, const char *service,
			    const char *address, agi_exec_done_fn *done, void *arg, struct agi_child **out,
			    struct agi_why *why)
{
	enum agi_err e = agi_exec_check(x, config->path, why);
	struct agi_child *c;
	struct words w;
	int pipes[2], err;

	if (!e && x->n >= AGI_EXEC_MAX)
		e = agi_fail(why, AGI_E_FULL, "%d programs of health checks run already", AGI_EXEC_MAX);
	if (e)
		return e;
	if (pipe2(pipes, O_CLOEXEC) != 0)
		return agi_fail(why, AGI_E_IO, "pipe: %s", strerror(errno));
	c = add_child(x, pipes[0]);
	if (!c) {
		close(pipes[0]);
		close(pipes[1]);
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	}
	(void)fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	fill_words(&w, config, service, address);
	err = spawn(&c->pid, &w, pipes[1]);
	close(pipes[1]);
	if (err) {
		free_child(c);
		return agi_fail(why, AGI_E_IO, "%.200s: %s", config->path, strerror(err));
	}
	c->done = done;
	c->arg = arg;
	c->pidfd = pidfd_open(c->pid, 0);
	if (c->pidfd < 0 || !listen_to(c, x->base)) {
		end_child(c);
		return agi_fail(why, AGI_E_IO, "%.200s: cannot be watched", config->path);
	}
	*out = c;
	return AGI_OK;
}

enum agi_err agi_exec_new(struct event_base *base, const struct agi_config_list *permitted, struct agi_exec **out)
{
	struct agi_exec *x = calloc(1, sizeof *x);

	if (!x)
		return AGI_E_NOMEM;
	x->base = base;
	x->permitted = permitted;
	*out = x;
	return AGI_OK;
}

void agi_exec_free(struct agi_exec *x)
{
	struct agi_child *c;

	if (!x)
		return;
	while ((c = LIST_FIRST(&x->children)))
		end_child(c);
	free(x);
}
