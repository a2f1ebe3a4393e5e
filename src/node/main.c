/* SPDX-License-Identifier: Apache-2.0
 * agihpc-node: options, signals, exit codes. Everything else is a node (node.h). */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/thread.h>

#include "config/config.h"
#include "node/log.h"
#include "node/node.h"
#include "rulefile/profile_file.h"
#include "rulefile/rule_file.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_IN_USE = 3, EXIT_DAMAGED = 4, RUN_AGAIN = -1 };

struct options {
	const char *files[AGI_CONFIG_FILES_MAX];
	size_t n_files;
	struct {
		const char *key, *value;
	} set[16];
	size_t n_set;
	bool init, rejoin, check_only;
};

struct program {
	struct options opt;
	struct agi_config config;
	struct event_base *base;
	struct agi_log *log;
	struct agi_node *node;
	struct event *signals[3];
	bool is_ending; /* a signal said so */
};

/* --- options ----------------------------------------------------------------------------------------- */
static const char usage[] =
    "usage: agihpc-node [--config FILE]... [--bootstrap HOST:PORT,...] [--listen IP:PORT]\n"
    "                   [--advertise IP:PORT] [--data-dir DIR] [--roles ROLE,...] [--zone NAME]\n"
    "                   [--cluster-key FILE] [--init] [--rejoin] [--check-config] [--version]\n"
    "                   [--help]\n";

static const char help[] =
    "\n"
    "The node of an AGI-HPC overlay: joins it, keeps its share of the replicated memory, advertises\n"
    "services and runs roles. Runs in the foreground until SIGTERM or SIGINT.\n"
    "\n"
    "  --config FILE        YAML configuration, agihpc.yaml(5); may be given again, later files win\n"
    "  --bootstrap LIST     nodes to join by, comma-separated; the first creates a new cluster\n"
    "  --listen IP:PORT     the overlay port (0.0.0.0:5000)\n"
    "  --advertise IP:PORT  where other nodes reach this one, when that is not --listen\n"
    "  --data-dir DIR       identity and store (/var/lib/agihpc)\n"
    "  --roles LIST         roles to run here: erisml, safety-gateway\n"
    "  --zone NAME          fault domain; replicas are spread over zones\n"
    "  --cluster-key FILE   the overlay's key, made by agihpc-ctl keygen\n"
    "  --init               create a new cluster with this node as its first\n"
    "  --rejoin             set a damaged store aside and come back as a new node; a sound one is kept\n"
    "  --check-config       read the configuration, say whether it is good, and exit\n"
    "\n"
    "Exit status: 0 stopped in order, 1 cannot start, 2 wrong usage, 3 an address is in use, 4 the store is\n"
    "damaged.\n";

static const struct option longs[] = {
    {"config", required_argument, NULL, 'c'},    {"bootstrap", required_argument, NULL, 'b'},
    {"listen", required_argument, NULL, 'l'},    {"advertise", required_argument, NULL, 'a'},
    {"data-dir", required_argument, NULL, 'd'},  {"roles", required_argument, NULL, 'r'},
    {"zone", required_argument, NULL, 'z'},      {"cluster-key", required_argument, NULL, 'k'},
    {"init", no_argument, NULL, 'i'},            {"rejoin", no_argument, NULL, 'R'},
    {"check-config", no_argument, NULL, 'C'},
    {"version", no_argument, NULL, 'v'},         {"help", no_argument, NULL, 'h'},
    {0}};

/* Options that are configuration keys by another name. */
static const char *key_of(int option)
{
	switch (option) {
	case 'b':
		return "dht.bootstrap_nodes";
	case 'l':
		return "node.listen";
	case 'a':
		return "node.advertise";
	case 'd':
		return "node.data_dir";
	case 'r':
		return "node.roles";
	case 'z':
		return "node.zone";
	case 'k':
		return "node.cluster_key_file";
	default:
		return NULL;
	}
}

static int usage_error(const char *what, const char *which)
{
	fprintf(stderr, "agihpc-node: %s%s\n%s", what, which, usage);
	return EXIT_USAGE;
}

static int take_option(struct options *o, int c)
{
	if (c == 'c') {
		if (o->n_files == AGI_CONFIG_FILES_MAX)
			return usage_error("--config: given too often, before ", optarg);
		o->files[o->n_files++] = optarg;
	} else if (c == 'i') {
		o->init = true;
	} else if (c == 'R') {
		o->rejoin = true;
	} else if (c == 'C') {
		o->check_only = true;
	} else if (o->n_set < sizeof o->set / sizeof *o->set) {
		o->set[o->n_set].key = key_of(c);
		o->set[o->n_set++].value = optarg;
	} else {
		return usage_error("too many options, at ", longs[0].name);
	}
	return 0;
}

/* -1 = go on, else the exit status. */
static int parse(struct options *o, int argc, char **argv)
{
	int c, e;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:", longs, NULL)) != -1) {
		if (c == 'h') {
			printf("%s%s", usage, help);
			return 0;
		}
		if (c == 'v') {
			printf("agihpc-node %s\n", AGI_VERSION);
			return 0;
		}
		if (c == ':')
			return usage_error("a value is missing after ", argv[optind - 1]);
		if (c == '?')
			return usage_error("unknown or wrongly used option ", argv[optind - 1]);
		e = take_option(o, c);
		if (e)
			return e;
	}
	if (optind < argc)
		return usage_error("unexpected argument ", argv[optind]);
	return -1;
}

static enum agi_err load_config(struct agi_config *c, const struct options *o, struct agi_why *why)
{
	enum agi_err e = agi_config_defaults(c, why);

	for (size_t i = 0; i < o->n_files && !e; i++)
		e = agi_config_load_file(c, o->files[i], why);
	if (!e)
		e = agi_config_env(c, getenv, why);
	for (size_t i = 0; i < o->n_set && !e; i++)
		e = agi_config_set(c, o->set[i].key, o->set[i].value, why);
	if (!e)
		e = agi_config_check(c, why);
	if (!e)
		e = agi_rule_file_check(c, why);
	return e ? e : agi_profile_dir_check(c, why);
}

static int fail(const struct agi_why *why, int status)
{
	fprintf(stderr, "agihpc-node: %s\n", why->text);
	return status;
}

/* --- signals ------------------------------------------------------------------------------------------- */
/* The second one ends at once: whoever sends it has seen that the first took too long. */
static void on_stop(evutil_socket_t sig, short what, void *arg)
{
	struct program *p = arg;
	static const struct sigaction now = {.sa_handler = SIG_DFL};
	(void)what;

	AGI_LOG(p->log, AGI_LOG_INFO, "signal", agi_kv_u("number", (uint64_t)sig));
	p->is_ending = true;
	for (int i = 0; i < 2; i++)
		event_del(p->signals[i]);
	sigaction(SIGTERM, &now, NULL);
	sigaction(SIGINT, &now, NULL);
	agi_node_stop(p->node);
}

static void on_reload(evutil_socket_t sig, short what, void *arg)
{
	struct program *p = arg;
	struct agi_config c;
	struct agi_why why;
	enum agi_err e = load_config(&c, &p->opt, &why);
	(void)sig;
	(void)what;

	if (e) {
		AGI_LOG(p->log, AGI_LOG_ERROR, "reload_refused", agi_kv_z("why", why.text));
	} else {
		agi_log_set_level(p->log, c.node.log_level);
		AGI_LOG(p->log, AGI_LOG_INFO, "reloaded",
		        agi_kv_z("log_level", agi_log_level_name(c.node.log_level)));
		if (p->node) /* not before it is built */
			agi_node_reload(p->node, &c);
	}
	agi_config_free(&c);
}

static bool watch_signals(struct program *p)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 3; i++) {
		p->signals[i] = evsignal_new(p->base, numbers[i], i < 2 ? on_stop : on_reload, p);
		if (!p->signals[i] || event_add(p->signals[i], NULL))
			return false;
	}
	return true;
}

/* --- run ------------------------------------------------------------------------------------------------- */
static void tell_unused(struct program *p)
{
	const char *path;
	struct agi_config_source source;

	for (size_t i = 0; agi_config_unused(&p->config, i, &path, &source); i++)
		AGI_LOG(p->log, AGI_LOG_INFO, "config_not_used", agi_kv_z("key", path),
		        agi_kv_z("source", source.name), agi_kv_u("line", source.line));
}

/* An exit status, or RUN_AGAIN. */
static int run_node(struct program *p, const struct agi_node_cfg *cfg)
{
	struct agi_why why = {""};
	enum agi_err e = agi_node_new(cfg, &p->node, &why);
	bool again;

	if (e)
		return fail(&why, e == AGI_E_EXISTS ? EXIT_IN_USE : e == AGI_E_CORRUPT ? EXIT_DAMAGED : EXIT_FAILED);
	agi_node_start(p->node);
	event_base_dispatch(p->base);
	again = agi_node_wants_restart(p->node) && !p->is_ending;
	agi_node_free(p->node);
	p->node = NULL;
	AGI_LOG(p->log, AGI_LOG_INFO, "stopped");
	return again ? RUN_AGAIN : 0;
}

static int run(struct program *p)
{
	struct agi_node_cfg cfg = {.config = &p->config, .force_init = p->opt.init, .is_rejoin = p->opt.rejoin};
	int status;

	/* libevent's own globals (random numbers for DNS) are used from two threads; first of all, as it asks. */
	if (evthread_use_pthreads() == 0)
		p->base = event_base_new();
	if (!p->base || agi_crypto_init() ||
	    agi_log_new(STDERR_FILENO, p->config.node.log_level, p->config.node.log_format, &p->log) ||
	    !watch_signals(p)) {
		fprintf(stderr, "agihpc-node: out of memory\n");
		return EXIT_FAILED;
	}
	tell_unused(p);
	cfg.base = p->base;
	cfg.log = p->log;
	do {
		status = run_node(p, &cfg);
		cfg.force_init = cfg.is_rejoin = false;
	} while (status == RUN_AGAIN);
	return status;
}

static void clean(struct program *p)
{
	for (int i = 0; i < 3; i++)
		if (p->signals[i])
			event_free(p->signals[i]);
	agi_log_free(p->log);
	if (p->base)
		event_base_free(p->base);
	agi_config_free(&p->config);
}

int main(int argc, char **argv)
{
	struct program p = {.base = NULL};
	struct agi_why why = {""};
	int status = parse(&p.opt, argc, argv);
	enum agi_err e;

	if (status >= 0)
		return status;
	e = load_config(&p.config, &p.opt, &why);
	if (e)
		status = fail(&why, EXIT_FAILED);
	else if (p.opt.check_only)
		status = printf("the configuration is good\n") < 0;
	else
		status = run(&p);
	clean(&p);
	return status;
}
