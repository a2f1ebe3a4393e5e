/* SPDX-License-Identifier: Apache-2.0
 * Sources laid over each other, and what only the whole can tell. */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/load.h"
#include "config/schema.h"

static const char by_default[] = "default";

static void *field_of(struct agi_config *c, const struct agi_key_spec *s) { return (char *)c + s->offset; }

static struct agi_config_source *source_of(struct agi_config *c, const struct agi_key_spec *s)
{
	return &c->sources[s - agi_config_spec];
}

static bool is_given(struct agi_config *c, const char *path)
{
	return source_of(c, agi_spec_find(agi_config_spec, path))->name != by_default;
}

static enum agi_err no_memory(struct agi_why *why)
{
	return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
}

/* --- life ------------------------------------------------------------------------------------- */
/* Comma-separated for lists; "" is the empty list. */
static enum agi_err set_text(const struct agi_key_spec *s, void *field, const char *text,
                             struct agi_why *why)
{
	char *copy, *item, *rest;
	enum agi_err e = AGI_OK;

	if (!agi_value_is_list(s))
		return agi_value_parse(s, field, text, why);
	copy = rest = strdup(text);
	if (!copy)
		return no_memory(why);
	agi_value_clear(s, field);
	while (e == AGI_OK && *text && (item = strsep(&rest, ",")) != NULL) {
		char *end;

		item += strspn(item, " ");
		end = item + strlen(item);
		while (end > item && end[-1] == ' ')
			*--end = '\0';
		e = agi_value_parse(s, field, item, why);
	}
	free(copy);
	return e;
}

enum agi_err agi_config_defaults(struct agi_config *c, struct agi_why *why)
{
	*c = (struct agi_config){.dht = {.replication_factor = 0}};
	for (const struct agi_key_spec *s = agi_config_spec; s->path; s++) {
		enum agi_err e = agi_value_fill(s, field_of(c, s));

		*source_of(c, s) = (struct agi_config_source){by_default, 0};
		if (e == AGI_OK && *s->preset)
			e = set_text(s, field_of(c, s), s->preset, why);
		if (e) {
			agi_config_free(c);
			return no_memory(why); /* defaults are valid: a test reads each */
		}
	}
	return AGI_OK;
}

void agi_config_free(struct agi_config *c)
{
	for (const struct agi_key_spec *s = agi_config_spec; s->path; s++)
		agi_value_clear(s, field_of(c, s));
	for (size_t i = 0; i < c->names.n; i++)
		free(c->names.v[i]);
	free(c->names.v);
	*c = (struct agi_config){.dht = {.replication_factor = 0}};
}

/* --- sources ---------------------------------------------------------------------------------- */
/* Keeps the name for as long as the config lives. */
static enum agi_err keep_name(struct agi_config *c, const char *name, const char **out,
                              struct agi_why *why)
{
	char **v, *copy;

	for (size_t i = 0; i < c->names.n; i++) {
		if (strcmp(c->names.v[i], name) == 0) {
			*out = c->names.v[i];
			return AGI_OK;
		}
	}
	if (c->names.n >= AGI_CONFIG_FILES_MAX + 8) /* the environment's four and the command line */
		return agi_fail(why, AGI_E_FULL, "%s: more than %d files", name, AGI_CONFIG_FILES_MAX);
	copy = strdup(name);
	v = reallocarray(c->names.v, c->names.n + 1, sizeof *v);
	if (v)
		c->names.v = v;
	if (!copy || !v) {
		free(copy);
		return no_memory(why);
	}
	c->names.v[c->names.n++] = copy;
	*out = copy;
	return AGI_OK;
}

enum agi_err agi_config_load_text(struct agi_config *c, const char *name, struct agi_str text,
                                  struct agi_why *why)
{
	struct agi_yaml_node *root = NULL;
	const char *kept;
	enum agi_err e = keep_name(c, name, &kept, why);

	if (e)
		return e;
	e = agi_yaml_parse(kept, text, &root, why);
	if (e == AGI_OK && root)
		e = agi_config_load_tree(c, kept, root, why);
	agi_yaml_free(root);
	return e;
}

static enum agi_err read_all(int fd, const char *path, struct agi_buf *out, struct agi_why *why)
{
	ssize_t n;

	do {
		uint8_t *p = agi_buf_reserve(out, 4096);

		if (!p)
			return agi_fail(why, out->err, "%s: larger than %d bytes", path,
			                AGI_CONFIG_FILE_BYTES_MAX);
		n = read(fd, p, 4096);
		if (n > 0)
			out->n += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? agi_fail(why, AGI_E_IO, "%s: %s", path, strerror(errno)) : AGI_OK;
}

enum agi_err agi_config_read_file(const char *path, struct agi_buf *out, struct agi_why *why)
{
	struct stat st;
	enum agi_err e;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang the start */

	agi_buf_init(out, AGI_CONFIG_FILE_BYTES_MAX + 4096);
	if (fd < 0)
		return agi_fail(why, AGI_E_IO, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		e = agi_fail(why, AGI_E_IO, "%s: expected a regular file", path);
	else
		e = read_all(fd, path, out, why);
	close(fd);
	return e;
}

enum agi_err agi_config_load_file(struct agi_config *c, const char *path, struct agi_why *why)
{
	struct agi_buf text;
	enum agi_err e = agi_config_read_file(path, &text, why);

	if (e == AGI_OK)
		e = agi_config_load_text(c, path, agi_buf_str(&text), why);
	agi_buf_free(&text);
	return e;
}

static enum agi_err set_one(struct agi_config *c, const struct agi_key_spec *s, const char *source,
                            const char *value, struct agi_why *why)
{
	struct agi_why reason;
	const char *kept;
	enum agi_err e = keep_name(c, source, &kept, why);

	if (e)
		return e;
	if (!agi_utf8_is_valid(agi_str_of(value)))
		return agi_fail(why, AGI_E_INVALID, "%s: %s: not valid UTF-8", source, s->path);
	e = set_text(s, field_of(c, s), value, &reason);
	if (e)
		return agi_fail(why, e, "%s: %s: %s", source, s->path, reason.text);
	*source_of(c, s) = (struct agi_config_source){kept, 0};
	return AGI_OK;
}

enum agi_err agi_config_env(struct agi_config *c, char *(*get)(const char *name), struct agi_why *why)
{
	static const struct {
		const char *variable, *path;
	} map[] = {{"BOND_INDEX_THRESHOLD", "thresholds.bond_index_block"},
	           {"BOND_INDEX_THRESHOLD", "safety.bond_index_threshold"},
	           {"ERISML_ADDRESS", "gateway.erisml_address"},
	           {"SAFETY_GATEWAY_ADDRESS", "safety.gateway_address"},
	           {"PROFILE_NAME", "safety.profile"}};

	for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
		const char *value = get(map[i].variable);
		char source[64];
		enum agi_err e;

		if (!value || !*value)
			continue;
		snprintf(source, sizeof source, "environment %s", map[i].variable);
		e = set_one(c, agi_spec_find(agi_config_spec, map[i].path), source, value, why);
		if (e)
			return e;
	}
	return AGI_OK;
}

enum agi_err agi_config_set(struct agi_config *c, const char *path, const char *value,
                            struct agi_why *why)
{
	const struct agi_key_spec *s = agi_spec_find(agi_config_spec, path);

	if (!s)
		return agi_config_unknown(agi_config_spec, "command line", path, why);
	if (s->type == AGI_V_SERVICES)
		return agi_fail(why, AGI_E_INVALID, "command line: %s can only be given in a file", path);
	return set_one(c, s, "command line", value, why);
}

/* --- the whole -------------------------------------------------------------------------------- */
static enum agi_err fail_at(struct agi_config *c, enum agi_err e, const char *path, const char *reason,
                            struct agi_why *why)
{
	const struct agi_config_source *s = source_of(c, agi_spec_find(agi_config_spec, path));

	if (s->line)
		return agi_fail(why, e, "%s:%u: %s: %s", s->name, s->line, path, reason);
	return agi_fail(why, e, "%s: %s: %s", s->name, path, reason);
}

static enum agi_err check_thresholds(struct agi_config *c, struct agi_why *why)
{
	double *block = &c->thresholds.bond_index_block, *warn = &c->thresholds.bond_index_warn;
	char reason[160];

	if (!is_given(c, "safety.bond_index_threshold"))
		c->safety.bond_index_threshold = *block;
	if (c->safety.bond_index_threshold < *block)
		*block = c->safety.bond_index_threshold;
	if (*warn > *block && !is_given(c, "thresholds.bond_index_warn"))
		*warn = *block;
	if (*warn > *block) {
		snprintf(reason, sizeof reason, "%g is above the block threshold in force, %g: expected a lower "
		                                "or equal value", *warn, *block);
		return fail_at(c, AGI_E_INVALID, "thresholds.bond_index_warn", reason, why);
	}
	if (c->failsafe.bond_index_fallback < *block) {
		snprintf(reason, sizeof reason,
		         "%g is below the block threshold in force, %g: a Bond Index that cannot be computed "
		         "must never pass", c->failsafe.bond_index_fallback, *block);
		return fail_at(c, AGI_E_INVALID, "failsafe.bond_index_fallback", reason, why);
	}
	return AGI_OK;
}

static enum agi_err check_quorum(struct agi_config *c, struct agi_why *why)
{
	char reason[160];

	if (c->safety.quorum_rule != AGI_CONFIG_BYZANTINE || c->safety.quorum > 3 * c->safety.byzantine_faults)
		return AGI_OK;
	snprintf(reason, sizeof reason, "byzantine with %u faults needs a safety.quorum of at least %u, not %u",
	         c->safety.byzantine_faults, 3 * c->safety.byzantine_faults + 1, c->safety.quorum);
	return fail_at(c, AGI_E_INVALID, "safety.quorum_rule", reason, why);
}

static bool is_any_ip(const struct agi_addr *a)
{
	static const uint8_t zero[16];

	return agi_addr_is_v4(a) ? memcmp(a->ip + 12, zero, 4) == 0 : memcmp(a->ip, zero, 16) == 0;
}

static bool has_role(const struct agi_config *c, const char *role)
{
	for (size_t i = 0; i < c->node.roles.n; i++)
		if (strcmp(c->node.roles.v[i], role) == 0)
			return true;
	return false;
}

static enum agi_err check_addresses(struct agi_config *c, struct agi_why *why)
{
	const struct agi_addr *listen = &c->node.listen;

	if (c->node.advertise.port && is_any_ip(&c->node.advertise))
		return fail_at(c, AGI_E_INVALID, "node.advertise",
		               "expected an address that other hosts can reach, not \"any\"", why);
	if (!is_given(c, "node.role_address"))
		memcpy(c->node.role_address.ip, listen->ip, sizeof listen->ip);
	if (c->gateway.port == listen->port && has_role(c, "safety-gateway") &&
	    (memcmp(c->node.role_address.ip, listen->ip, 16) == 0 || is_any_ip(listen) ||
	     is_any_ip(&c->node.role_address)))
		return fail_at(c, AGI_E_INVALID, "gateway.port", "the same port as node.listen's", why);
	return AGI_OK;
}

static enum agi_err check_tls(struct agi_config *c, struct agi_why *why)
{
	const char *cert = c->tls.cert_file, *key = c->tls.key_file;

	if (!*cert != !*key)
		return fail_at(c, AGI_E_INVALID, *cert ? "tls.cert_file" : "tls.key_file",
		               *cert ? "given without tls.key_file" : "given without tls.cert_file", why);
	if (!*cert && *c->tls.client_ca_file)
		return fail_at(c, AGI_E_INVALID, "tls.client_ca_file", "given without tls.cert_file: there is no TLS", why);
	if (!*c->tls.client_ca_file && c->tls.require_client_cert)
		return fail_at(c, AGI_E_INVALID, "tls.require_client_cert", "expected tls.client_ca_file with it", why);
	if (!*c->tls.client_ca_file && c->tls.admin_names.n)
		return fail_at(c, AGI_E_INVALID, "tls.admin_names", "expected tls.client_ca_file with it", why);
	return AGI_OK;
}

static enum agi_err check_erisml(struct agi_config *c, struct agi_why *why)
{
	static const char without[] = "expected gateway.erisml_address with it";

	if (c->gateway.erisml_address.host[0])
		return AGI_OK;
	if (c->gateway.erisml_tls)
		return fail_at(c, AGI_E_INVALID, "gateway.erisml_tls", without, why);
	if (*c->gateway.erisml_token_file)
		return fail_at(c, AGI_E_INVALID, "gateway.erisml_token_file", without, why);
	return AGI_OK;
}

static enum agi_err check_rule_file(struct agi_config *c, struct agi_why *why)
{
	if (c->safety.rule_file[0] && c->safety.evaluation != AGI_EVALUATION_STRICT)
		return fail_at(c, AGI_E_INVALID, "safety.rule_file", "rules act in safety.evaluation strict only", why);
	return AGI_OK;
}

const struct agi_config_role *agi_config_role(const struct agi_config *c, const char *role)
{
	const struct {
		const char *name;
		const struct agi_config_role *role;
	} all[] = {{"erisml", &c->roles.erisml},
	           {"safety-gateway", &c->roles.safety_gateway},
	           {"in-action", &c->roles.in_action},
	           {"post-action", &c->roles.post_action}};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (strcmp(all[i].name, role) == 0)
			return all[i].role;
	return NULL;
}

/* A panel of safety.quorum hosts needs so many of them. */
static enum agi_err check_role(struct agi_config *c, const char *name, bool is_panel, struct agi_why *why)
{
	const struct agi_config_role *r = agi_config_role(c, name);
	uint32_t least = r->min_active ? r->min_active : r->max_active;
	char path[80], reason[160];

	snprintf(path, sizeof path, "roles.%s.%s", name, r->max_active && r->max_active < r->min_active ? "max_active"
	                                                 : r->min_active                                ? "min_active"
	                                                                                                : "max_active");
	if (r->max_active && r->max_active < r->min_active)
		snprintf(reason, sizeof reason, "%u is below min_active, %u", r->max_active, r->min_active);
	else if (is_panel && least && least < c->safety.quorum)
		snprintf(reason, sizeof reason, "%u is below safety.quorum, %u: each check asks so many of them", least,
		         c->safety.quorum);
	else
		return AGI_OK;
	return fail_at(c, AGI_E_INVALID, path, reason, why);
}

static enum agi_err check_roles(struct agi_config *c, struct agi_why *why)
{
	enum agi_err e = check_role(c, "safety-gateway", true, why);

	if (!e)
		e = check_role(c, "in-action", true, why);
	if (!e)
		e = check_role(c, "erisml", false, why);
	return e ? e : check_role(c, "post-action", false, why);
}

enum agi_err agi_config_check(struct agi_config *c, struct agi_why *why)
{
	enum agi_err e;

	if (c->node.weight * c->dht.virtual_nodes > AGI_VIRTUAL_NODES_MAX)
		return fail_at(c, AGI_E_INVALID, is_given(c, "node.weight") ? "node.weight" : "dht.virtual_nodes",
		               "weight times virtual_nodes is above 1024", why);
	if (c->dht.rebalance_bytes_per_s && c->dht.rebalance_bytes_per_s < AGI_REBALANCE_BYTES_MIN)
		return fail_at(c, AGI_E_INVALID, "dht.rebalance_bytes_per_s",
		               "expected at least 64KiB, or 0B for no limit", why);
	if (c->dht.hint_ttl_ms >= c->dht.tombstone_grace_ms)
		return fail_at(c, AGI_E_INVALID, is_given(c, "dht.hint_ttl") ? "dht.hint_ttl" : "dht.tombstone_grace",
		               "expected a hint_ttl (3h by default) shorter than tombstone_grace (24h by default)", why);
	e = check_tls(c, why);
	if (!e)
		e = check_erisml(c, why);
	if (!e)
		e = check_thresholds(c, why);
	if (!e)
		e = check_quorum(c, why);
	if (!e)
		e = check_rule_file(c, why);
	if (!e)
		e = check_roles(c, why);
	return e ? e : check_addresses(c, why);
}

/* --- queries ---------------------------------------------------------------------------------- */
bool agi_config_key_at(size_t i, struct agi_config_key *out)
{
	const struct agi_key_spec *s = agi_config_spec;
	bool is_service = false;

	for (; s->path && i; i--) {
		/* The keys of a service follow dht.services. */
		if (!is_service && s->type == AGI_V_SERVICES) {
			is_service = true;
			s = agi_service_spec;
			continue;
		}
		s++;
		if (is_service && !s->path) {
			is_service = false;
			s = agi_spec_find(agi_config_spec, "dht.services") + 1;
		}
	}
	if (!s->path)
		return false;
	*out = (struct agi_config_key){.preset = s->preset, .help = s->help, .is_for_later = s->is_for_later};
	snprintf(out->path, sizeof out->path, "%s%s", is_service ? "dht.services[]." : "", s->path);
	agi_spec_expected(s, out->type, sizeof out->type);
	return true;
}

bool agi_config_unused(const struct agi_config *c, size_t i, const char **path,
                       struct agi_config_source *source)
{
	for (const struct agi_key_spec *s = agi_config_spec; s->path; s++) {
		const struct agi_config_source *from = &c->sources[s - agi_config_spec];

		if (s->is_for_later && from->name != by_default && i-- == 0) {
			*path = s->path;
			*source = *from;
			return true;
		}
	}
	return false;
}
