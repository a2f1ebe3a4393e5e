/* SPDX-License-Identifier: Apache-2.0
 * One table of options: parsed, explained and completed from it. */
#include "sim/options.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

enum value_kind { FLAG, COUNT, SEED, REAL, TEXT, PATH };
struct option {
	const char *name, *arg, *help;
	enum value_kind kind;
	double min, max;      /* COUNT, REAL */
	size_t at;            /* in struct agi_sim_opts; TEXT: of a const char * in struct texts */
};
/* Options whose values need a closer look. */
struct texts {
	const char *latency, *churn, *attack;
};
#define AT(field)      offsetof(struct agi_sim_opts, field)
#define AT_TEXT(field) offsetof(struct texts, field)

static const struct option options[] = {
    {"nodes", "N", "virtual nodes that take part (100)", COUNT, 2, AGI_SIM_NODES_MAX, AT(nodes)},
    {"virtual-nodes", "N", "places of a host on the ring (128)", COUNT, 1, AGI_VIRTUAL_NODES_MAX, AT(virtual_nodes)},
    {"paths", "N", "disjoint paths of a lookup (8)", COUNT, 1, AGI_LOOKUP_PATHS_MAX, AT(paths)},
    {"lookups", "N", "lookups to measure (1000)", COUNT, 0, 10000000, AT(lookups)},
    {"seed", "N", "of all that is random (1)", SEED, 0, 0, AT(seed)},
    {"join-rate", "N", "hosts that start in a second (20)", REAL, 0.01, 100000, AT(join_per_s)},
    {"settle", "SECONDS", "wait before anything is measured (60)", REAL, 0, 1e6, AT(settle_s)},
    {"idle", "SECONDS", "measure traffic without lookups for so long (60)", REAL, 1, 1e6, AT(idle_s)},
    {"duration", "SECONDS", "spread the lookups over so long (60)", REAL, 1, 1e6, AT(duration_s)},
    {"latency", "geo|uniform:MIN-MAX|FILE", "delays: on this earth, milliseconds one way, measured round trips (geo)",
     TEXT, 0, 0, AT_TEXT(latency)},
    {"jitter", "SHARE", "mean of what is added to a delay, as a share of it (0.03)", REAL, 0, 10, AT(jitter)},
    {"loss", "SHARE", "messages that are lost (0)", REAL, 0, 0.9, AT(loss)},
    {"churn", "exponential:MEDIAN|weibull:MEDIAN:SHAPE|FILE", "hosts leave after so many seconds, while lookups go on",
     TEXT, 0, 0, AT_TEXT(churn)},
    {"away", "SECONDS", "mean time until another host comes in the place of one that left (60)", REAL, 0, 1e6,
     AT(churn.away_s)},
    {"adversaries", "SHARE", "hosts that lie in lookups (0)", REAL, 0, 0.9, AT(attack.share)},
    {"attack", "collude|empty|drop|eclipse", "how they do: name each other, nobody, say nothing, invent hosts (collude)",
     TEXT, 0, 0, AT_TEXT(attack)},
    {"json", NULL, "print JSON instead of a table", FLAG, 0, 0, AT(is_json)},
    {"plot", "DIR", "draw plots there, with gnuplot", PATH, 0, 0, AT(plot_dir)},
    {"quiet", NULL, "no progress on standard error", FLAG, 0, 0, AT(is_quiet)},
    {"help", NULL, "this text", FLAG, 0, 0, 0},
    {"version", NULL, "the version", FLAG, 0, 0, 0},
    {"completion", NULL, "print the completion for bash", FLAG, 0, 0, 0},
};
enum { OPTIONS = sizeof options / sizeof *options };

static const struct option *find(const char *name, size_t n)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (strlen(options[i].name) == n && memcmp(options[i].name, name, n) == 0)
			return &options[i];
	return NULL;
}

static enum agi_err set_number(struct agi_sim_opts *o, const struct option *opt, const char *text, struct agi_why *why)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= opt->min && v <= opt->max) || (opt->kind == COUNT && v != floor(v)))
		return agi_fail(why, AGI_E_INVALID, "--%s: '%s' is not a %snumber from %.10g to %.10g", opt->name, text,
		                opt->kind == COUNT ? "whole " : "", opt->min, opt->max);
	if (opt->kind == COUNT)
		*(uint32_t *)((char *)o + opt->at) = (uint32_t)v;
	else
		*(double *)((char *)o + opt->at) = v;
	return AGI_OK;
}

static enum agi_err set(struct agi_sim_opts *o, struct texts *t, const struct option *opt, const char *text,
                        struct agi_why *why)
{
	char *end;

	if (opt->kind == COUNT || opt->kind == REAL)
		return set_number(o, opt, text, why);
	if (opt->kind == TEXT || opt->kind == PATH) {
		*(const char **)((opt->kind == TEXT ? (char *)t : (char *)o) + opt->at) = text;
		return AGI_OK;
	}
	*(uint64_t *)((char *)o + opt->at) = strtoull(text, &end, 0);
	if (end == text || *end || *text == '-')
		return agi_fail(why, AGI_E_INVALID, "--%s: '%s' is not a whole number", opt->name, text);
	return AGI_OK;
}

static enum agi_err set_flag(struct agi_sim_opts *o, enum agi_sim_task *task, const struct option *opt)
{
	if (strcmp(opt->name, "help") == 0)
		*task = AGI_SIM_HELP;
	else if (strcmp(opt->name, "version") == 0)
		*task = AGI_SIM_VERSION;
	else if (strcmp(opt->name, "completion") == 0)
		*task = AGI_SIM_COMPLETION;
	else
		*(bool *)((char *)o + opt->at) = true;
	return AGI_OK;
}

static enum agi_err set_latency(struct agi_sim_latency_cfg *l, const char *text, struct agi_why *why)
{
	double min, max;
	char rest;

	if (!text || strcmp(text, "geo") == 0)
		return AGI_OK;
	if (strncmp(text, "uniform:", 8) != 0) {
		*l = (struct agi_sim_latency_cfg){.kind = AGI_SIM_MATRIX, .file = text};
		return AGI_OK;
	}
	if (sscanf(text + 8, "%lf-%lf%c", &min, &max, &rest) != 2 || !(min >= 0 && max >= min && max <= 60000))
		return agi_fail(why, AGI_E_INVALID,
		                "--latency: '%s' is not uniform:MIN-MAX in milliseconds, like uniform:0.1-2", text);
	*l = (struct agi_sim_latency_cfg){AGI_SIM_UNIFORM, (uint32_t)(min * 1000), (uint32_t)(max * 1000), NULL};
	return AGI_OK;
}

static enum agi_err set_churn(struct agi_sim_churn_cfg *c, const char *text, struct agi_why *why)
{
	bool is_exponential = text && strncmp(text, "exponential:", 12) == 0;
	bool is_weibull = text && strncmp(text, "weibull:", 8) == 0, is_right = false;
	char rest;

	if (!text)
		return AGI_OK;
	c->shape = 1;
	if (is_exponential)
		is_right = sscanf(text + 12, "%lf%c", &c->median_s, &rest) == 1;
	else if (is_weibull)
		is_right = sscanf(text + 8, "%lf:%lf%c", &c->median_s, &c->shape, &rest) == 2;
	else
		c->file = text;
	c->kind = is_exponential ? AGI_SIM_EXPONENTIAL : is_weibull ? AGI_SIM_WEIBULL : AGI_SIM_SESSIONS;
	if (c->file || (is_right && c->median_s >= 1 && c->median_s <= 1e9 && c->shape >= 0.1 && c->shape <= 10))
		return AGI_OK;
	return agi_fail(why, AGI_E_INVALID,
	                "--churn: '%s' is not exponential:MEDIAN or weibull:MEDIAN:SHAPE, like weibull:3600:0.6; MEDIAN in "
	                "seconds from 1 on, SHAPE from 0.1 to 10",
	                text);
}

static enum agi_err set_attack(struct agi_sim_attack_cfg *a, const char *text, struct agi_why *why)
{
	static const char *const names[] = {"collude", "empty", "drop", "eclipse"};

	for (int i = 0; text && i < 4; i++) {
		a->kind = (enum agi_sim_attack_kind)i;
		if (strcmp(text, names[i]) == 0)
			return AGI_OK;
	}
	return text ? agi_fail(why, AGI_E_INVALID, "--attack: '%s' is not collude, empty, drop or eclipse", text) : AGI_OK;
}

/* One option; *i is moved on when its value is the next word. */
static enum agi_err parse_one(struct agi_sim_opts *o, struct texts *t, enum agi_sim_task *task, int argc, char **argv,
                              int *i, struct agi_why *why)
{
	const char *word = argv[*i], *name = word + 2, *equals = strchr(word, '=');
	const struct option *opt = NULL;

	if (strncmp(word, "--", 2) == 0)
		opt = find(name, equals ? (size_t)(equals - name) : strlen(name));
	if (!opt)
		return agi_fail(why, AGI_E_INVALID, "'%s' is no option; agihpc-sim --help lists them", word);
	if (opt->kind == FLAG && equals)
		return agi_fail(why, AGI_E_INVALID, "--%s takes no value", opt->name);
	if (opt->kind == FLAG)
		return set_flag(o, task, opt);
	if (!equals && *i + 1 >= argc)
		return agi_fail(why, AGI_E_INVALID, "--%s needs a value: --%s %s", opt->name, opt->name, opt->arg);
	return set(o, t, opt, equals ? equals + 1 : argv[++*i], why);
}

enum agi_err agi_sim_opts_parse(struct agi_sim_opts *o, enum agi_sim_task *task, int argc, char **argv,
                                struct agi_why *why)
{
	struct texts t = {0};
	enum agi_err err = AGI_OK;

	*task = AGI_SIM_RUN;
	*o = (struct agi_sim_opts){.nodes = 100, .lookups = 1000, .virtual_nodes = AGI_VIRTUAL_NODES_DEFAULT, .seed = 1,
	                           .paths = AGI_LOOKUP_PATHS_DEFAULT,
	                           .join_per_s = 20, .settle_s = 60, .idle_s = 60, .duration_s = 60, .jitter = 0.03, .churn.away_s = 60};
	for (int i = 1; i < argc && err == AGI_OK; i++)
		err = parse_one(o, &t, task, argc, argv, &i, why);
	if (err == AGI_OK)
		err = set_latency(&o->latency, t.latency, why);
	if (err == AGI_OK)
		err = set_churn(&o->churn, t.churn, why);
	if (err == AGI_OK)
		err = set_attack(&o->attack, t.attack, why);
	return err;
}

void agi_sim_opts_help(FILE *out)
{
	fprintf(out, "usage: agihpc-sim [OPTION]...\n"
	             "Simulates a cluster of many hosts that run this project's overlay, and measures it.\n\n");
	for (size_t i = 0; i < OPTIONS; i++) {
		int n = fprintf(out, "  --%s %s", options[i].name, options[i].arg ? options[i].arg : "");

		if (n >= 28)
			n = fprintf(out, "\n") - 1;
		fprintf(out, "%*s%s\n", 28 - n, "", options[i].help);
	}
}

void agi_sim_opts_completion(FILE *out)
{
	fprintf(out, "# completion of agihpc-sim for bash\n"
	             "_agihpc_sim() {\n"
	             "  local word=${COMP_WORDS[COMP_CWORD]}\n"
	             "  case ${COMP_WORDS[COMP_CWORD-1]} in\n"
	             "    --latency) COMPREPLY=($(compgen -f -W 'geo uniform:' -- \"$word\")); return ;;\n"
	             "    --churn) COMPREPLY=($(compgen -f -W 'exponential: weibull:' -- \"$word\")); return ;;\n"
	             "    --attack) COMPREPLY=($(compgen -W 'collude empty drop eclipse' -- \"$word\")); return ;;\n"
	             "    --plot) COMPREPLY=($(compgen -d -- \"$word\")); return ;;\n"
	             "  esac\n"
	             "  COMPREPLY=($(compgen -W '");
	for (size_t i = 0; i < OPTIONS; i++)
		fprintf(out, "%s--%s", i ? " " : "", options[i].name);
	fprintf(out, "' -- \"$word\"))\n}\ncomplete -F _agihpc_sim agihpc-sim\n");
}
