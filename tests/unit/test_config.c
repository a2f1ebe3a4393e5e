/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/prng.h"
#include "config/config.h"

static int setup(void **state)
{
	struct agi_config *c = calloc(1, sizeof *c);

	assert_non_null(c);
	assert_int_equal(agi_config_defaults(c, NULL), AGI_OK);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	agi_config_free(*state);
	free(*state);
	return 0;
}

static enum agi_err load(struct agi_config *c, const char *text, struct agi_why *why)
{
	return agi_config_load_text(c, "f.yaml", agi_str_of(text), why);
}

static void expect_loads(struct agi_config *c, const char *text)
{
	struct agi_why why = {{0}};
	enum agi_err e = load(c, text, &why);

	if (e)
		fail_msg("%s: %s", agi_err_name(e), why.text);
}

static void expect_checks(struct agi_config *c)
{
	struct agi_why why = {{0}};
	enum agi_err e = agi_config_check(c, &why);

	if (e)
		fail_msg("%s: %s", agi_err_name(e), why.text);
}

/* Loading text into a fresh configuration fails with exactly this. */
static void expect_refused(const char *text, const char *want)
{
	struct agi_config c;
	struct agi_why why = {{0}};

	assert_int_equal(agi_config_defaults(&c, NULL), AGI_OK);
	assert_int_equal(load(&c, text, &why), AGI_E_INVALID);
	assert_string_equal(why.text, want);
	agi_config_free(&c);
}

/* Loading or checking fails, and the reason contains this. */
static void expect_refused_with(const char *text, enum agi_err want, const char *part)
{
	struct agi_config c;
	struct agi_why why = {{0}};
	enum agi_err e;

	assert_int_equal(agi_config_defaults(&c, NULL), AGI_OK);
	e = load(&c, text, &why);
	if (e == AGI_OK)
		e = agi_config_check(&c, &why);
	if (e != want || !strstr(why.text, part))
		fail_msg("%s: \"%s\" lacks \"%s\"", agi_err_name(e), why.text, part);
	agi_config_free(&c);
}

/* --- values ----------------------------------------------------------------------------------- */
static void defaults_are_the_documented_ones(void **state)
{
	struct agi_config *c = *state;
	char addr[AGI_ADDR_TEXT];

	expect_checks(c);
	agi_addr_format(addr, &c->node.listen);
	assert_string_equal(addr, "0.0.0.0:5000");
	assert_int_equal(c->node.advertise.port, 0);
	assert_string_equal(c->node.data_dir, "/var/lib/agihpc");
	assert_string_equal(c->node.zone, "");
	assert_true(c->node.weight == 1.0);
	assert_int_equal(c->node.roles.n, 0);
	assert_int_equal(c->node.slot_bits, AGI_SLOT_BITS_DEFAULT);
	assert_int_equal(c->node.down_after_ms, AGI_DOWN_AFTER_MS);
	assert_int_equal(c->node.stable_after_ms, AGI_STABLE_MS);
	assert_int_equal(c->node.genesis_wait_ms, AGI_GENESIS_WAIT_MS);
	assert_int_equal(c->node.store.cache_bytes, 8 << 20);
	assert_int_equal(c->node.store.reserve_bytes, 256 << 20);
	assert_int_equal(c->node.store.scrub_interval_ms, 7 * 86400000);
	assert_int_equal(c->node.log_level, AGI_LOG_INFO);
	assert_int_equal(c->dht.replication_factor, AGI_REPLICAS_DEFAULT);
	assert_int_equal(c->dht.virtual_nodes, AGI_VIRTUAL_NODES_DEFAULT);
	assert_int_equal(c->dht.repair_interval_ms, AGI_REPAIR_INTERVAL_MS);
	assert_int_equal(c->dht.lookup_paths, AGI_LOOKUP_PATHS_DEFAULT);
	assert_int_equal(c->dht.repair_bytes_per_s, AGI_REPAIR_BYTES);
	assert_int_equal(c->dht.hint_ttl_ms, AGI_HINT_TTL_MS);
	assert_int_equal(c->dht.tombstone_grace_ms, AGI_TOMBSTONE_GRACE_MS);
	assert_int_equal(c->gateway.port, 50055);
	assert_string_equal(c->gateway.erisml_address.host, "");
	assert_true(c->thresholds.bond_index_block == 0.30);
	assert_true(c->safety.bond_index_threshold == 0.30);
	assert_true(c->failsafe.bond_index_fallback == 1.0);
	assert_int_equal(c->failsafe.safety_check_timeout_ms, AGI_SAFETY_TIMEOUT_MS);
	assert_int_equal(c->safety.quorum, AGI_PANEL_DEFAULT);
	assert_int_equal(c->safety.banned_tools.n, 5);
	assert_string_equal(c->safety.banned_tools.v[4], "kernel_exploit");
	assert_string_equal(c->safety.profile, "agi_hpc_safety_v1");
}

static void every_type_is_read(void **state)
{
	struct agi_config *c = *state;

	expect_loads(c, "node:\n"
	                "  listen: '127.0.0.11'\n"
	                "  advertise: \"[fd00::5]:6000\"\n"
	                "  role_address: 127.0.0.12\n"
	                "  zone: 12\n"
	                "  weight: 0.125\n"
	                "  roles: [erisml, safety-gateway]\n"
	                "  log_level: debug\n"
	                "  down_after: 2.5s\n"
	                "  store: {cache_size: 1GiB, memtable_size: 1024KiB}\n"
	                "dht:\n"
	                "  bootstrap_nodes: [\"node1.cluster\", '10.0.0.5:6000', \"[fd00::7]\"]\n"
	                "gateway:\n"
	                "  erisml_address: erisml-service:1\n");
	expect_checks(c);
	assert_int_equal(c->node.listen.port, 5000);
	assert_int_equal(c->node.advertise.port, 6000);
	assert_int_equal(c->node.role_address.ip[15], 12);
	assert_int_equal(c->node.role_address.port, 0);
	assert_string_equal(c->node.zone, "12");
	assert_true(c->node.weight == 0.125);
	assert_int_equal(c->node.roles.n, 2);
	assert_int_equal(c->node.log_level, AGI_LOG_DEBUG);
	assert_int_equal(c->node.down_after_ms, 2500);
	assert_true(c->node.store.cache_bytes == 1u << 30);
	assert_true(c->node.store.memtable_bytes == 1u << 20);
	assert_int_equal(c->dht.bootstrap_nodes.n, 3);
	assert_string_equal(c->dht.bootstrap_nodes.v[0].host, "node1.cluster");
	assert_int_equal(c->dht.bootstrap_nodes.v[0].port, 5000);
	assert_string_equal(c->dht.bootstrap_nodes.v[1].host, "10.0.0.5");
	assert_int_equal(c->dht.bootstrap_nodes.v[1].port, 6000);
	assert_string_equal(c->dht.bootstrap_nodes.v[2].host, "fd00::7");
	assert_int_equal(c->gateway.erisml_address.port, 1);
}

static void services_take_their_defaults(void **state)
{
	struct agi_config *c = *state;
	const struct agi_config_service *v;

	expect_loads(c, "dht:\n"
	                "  services:\n"
	                "    - name: a\n"
	                "      port: 1\n"
	                "    - {name: b, port: 65535, address: h, health_check_interval: 500ms,\n"
	                "       health_check: {kind: http, path: /up, timeout: 100ms}}\n");
	assert_int_equal(c->dht.services.n, 2);
	v = c->dht.services.v;
	assert_string_equal(v[0].name, "a");
	assert_int_equal(v[0].check, AGI_CHECK_TCP);
	assert_int_equal(v[0].check_interval_ms, 5000);
	assert_int_equal(v[0].check_timeout_ms, 1000);
	assert_string_equal(v[0].address, "");
	assert_int_equal(v[0].line, 3);
	assert_int_equal(v[1].check, AGI_CHECK_HTTP);
	assert_int_equal(v[1].check_timeout_ms, 100);
	assert_string_equal(v[1].check_path, "/up");
	assert_int_equal(v[1].line, 5);
}

static void a_short_interval_shortens_the_default_timeout(void **state)
{
	struct agi_config *c = *state;

	expect_loads(c, "dht: {services: [{name: a, port: 1, health_check_interval: 200ms}]}");
	assert_int_equal(c->dht.services.v[0].check_timeout_ms, 200);
	expect_refused("dht: {services: [{name: a, port: 1, health_check: {timeout: 6s}}]}",
	               "f.yaml:1: dht.services[0].health_check.timeout: longer than health_check_interval");
}

static void later_files_win_and_lists_are_replaced(void **state)
{
	struct agi_config *c = *state;
	struct agi_why why;

	expect_loads(c, "node: {zone: a, log_level: warn}\nsafety: {banned_tools: [x, y]}\n");
	assert_int_equal(agi_config_load_text(c, "g.yaml",
	                                      AGI_STR("node: {zone: b}\nsafety: {banned_tools: [z]}\n"), &why),
	                 AGI_OK);
	assert_string_equal(c->node.zone, "b");
	assert_int_equal(c->node.log_level, AGI_LOG_WARN);
	assert_int_equal(c->safety.banned_tools.n, 1);
	assert_string_equal(c->safety.banned_tools.v[0], "z");
}

static void files_without_content_change_nothing(void **state)
{
	expect_loads(*state, "");
	expect_loads(*state, "# nothing\n");
	expect_loads(*state, "---\n...\n");
	expect_loads(*state, "node:\ndht: ~\n");
	expect_checks(*state);
}

/* --- refusals --------------------------------------------------------------------------------- */
static void unknown_keys_are_told_what_is_valid(void **state)
{
	(void)state;
	expect_refused("thresholds:\n  bond_index_wran: 0.1\n",
	               "f.yaml:2: thresholds.bond_index_wran: unknown key; did you mean \"bond_index_warn\"? "
	               "valid here: bond_index_warn, bond_index_block, physical_harm_threshold");
	expect_refused("nodes: {}\n", "f.yaml:1: nodes: unknown key; did you mean \"node\"? valid here: node, "
	                              "tls, auth, dns, dht, gateway, thresholds, failsafe, service, safety, roles, llm");
	expect_refused("quorum: 3\n", "f.yaml:1: quorum: unknown key; did you mean \"safety.quorum\"? valid "
	                              "here: node, tls, auth, dns, dht, gateway, thresholds, failsafe, service, safety, roles, llm");
	expect_refused_with("node:\n  listn: x\n", AGI_E_INVALID,
	                    "f.yaml:2: node.listn: unknown key; did you mean \"listen\"? valid here: listen, ");
	expect_refused("dht:\n  services:\n    - name: a\n      prot: 1\n",
	               "f.yaml:4: dht.services[0]: prot: unknown key; did you mean \"port\"? valid here: name, "
	               "port, address, tls, health_check_interval, health_check");
	expect_refused("llm: {1.5: x}\n", "f.yaml:1: (a key that is too long or holds a dot): unknown key; "
	                                  "valid here: node, tls, auth, dns, dht, gateway, thresholds, failsafe, service, "
	                                  "safety, roles, llm");
}

static void values_out_of_range_are_told_the_range(void **state)
{
	(void)state;
	expect_refused("dht:\n  replication_factor: 9\n",
	               "f.yaml:2: dht.replication_factor: 9 is out of range, expected a whole number, 1..7");
	expect_refused_with("dht: {replication_factor: 0}", AGI_E_INVALID, "0 is out of range");
	expect_refused_with("dht: {replication_factor: -1}", AGI_E_INVALID, "-1 is out of range");
	expect_refused_with("dht: {virtual_nodes: 99999999999999999999}", AGI_E_INVALID, "out of range");
	expect_refused_with("node: {weight: 8.01}", AGI_E_INVALID, "a number, 0.125..8");
	expect_refused_with("node: {slot_bits: 17}", AGI_E_INVALID, "4..16");
	expect_refused_with("gateway: {port: 65536}", AGI_E_INVALID, "a port, 1..65535");
	expect_refused_with("thresholds: {bond_index_block: 1.01}", AGI_E_INVALID, "0..1");
	expect_refused_with("thresholds: {bond_index_block: -0.1}", AGI_E_INVALID, "0..1");
	expect_refused_with("failsafe: {safety_check_timeout_ms: 0}", AGI_E_INVALID, "1..10000");
	expect_refused_with("node: {down_after: 25h}", AGI_E_INVALID, "100ms..24h");
	expect_refused_with("node: {store: {cache_size: 1KiB}}", AGI_E_INVALID, "1MiB..64GiB");
	expect_refused_with("node: {zone: a23456789012345678901234567890123}", AGI_E_INVALID, "at most 31");
}

static void hints_end_before_tombstones_are_collected(void **state)
{
	struct agi_config *c = *state;

	expect_refused_with("dht: {hint_ttl: 24h}", AGI_E_INVALID,
	                    "dht.hint_ttl: expected a hint_ttl (3h by default) shorter than tombstone_grace");
	expect_refused_with("dht: {tombstone_grace: 3h}", AGI_E_INVALID, "dht.tombstone_grace: expected a hint_ttl");
	expect_refused_with("dht: {repair_bytes_per_s: 1KiB}", AGI_E_INVALID, "1MiB..1GiB");
	expect_loads(c, "dht: {hint_ttl: 1s, tombstone_grace: 1m, repair_interval: 1s, repair_bytes_per_s: 1MiB}");
	assert_int_equal(c->dht.tombstone_grace_ms, 60000);
}

static void values_of_another_type_are_told_the_type(void **state)
{
	(void)state;
	expect_refused("node: {slot_bits: many}",
	               "f.yaml:1: node.slot_bits: \"many\" is none, expected a whole number, 4..16");
	expect_refused("node: {slot_bits: \"12\"}",
	               "f.yaml:1: node.slot_bits: \"12\" is a text: write the number without quotes");
	expect_refused("node: {slot_bits: 1.5}",
	               "f.yaml:1: node.slot_bits: \"1.5\" is none, expected a whole number, 4..16");
	expect_refused("node: {slot_bits: [12]}",
	               "f.yaml:1: node.slot_bits: found a list, expected a whole number, 4..16");
	expect_refused("node: {slot_bits: }",
	               "f.yaml:1: node.slot_bits: found nothing, expected a whole number, 4..16");
	expect_refused_with("node: {roles: erisml}", AGI_E_INVALID, "found a single value, expected a list");
	expect_refused_with("node: {roles: [[erisml]]}", AGI_E_INVALID, "found a list, expected a list of texts");
	expect_refused_with("node: 5", AGI_E_INVALID, "f.yaml:1: node: expected a section");
	expect_refused_with("- a", AGI_E_INVALID, "found a list, expected sections");
	expect_refused_with("node: {down_after: 5}", AGI_E_INVALID, "a duration such as 500ms, 5s, 1m or 2h");
	expect_refused_with("node: {weight: nan}", AGI_E_INVALID, "\"nan\" is none, expected a number");
	expect_refused_with("node: {weight: 0x1}", AGI_E_INVALID, "expected a number");
	expect_refused_with("node: {weight: 1e0}", AGI_E_INVALID, "expected a number");
	expect_refused_with("node: {weight: 1.0.0}", AGI_E_INVALID, "expected a number");
	expect_refused_with("node: {listen: node1:5000}", AGI_E_INVALID, "expected ip:port");
	expect_refused_with("node: {listen: \"127.0.0.1:0\"}", AGI_E_INVALID, "expected ip:port");
	expect_refused_with("node: {role_address: \"127.0.0.1:50055\"}", AGI_E_INVALID, "an ip address");
	expect_refused_with("dht: {bootstrap_nodes: [\"a:b\"]}", AGI_E_INVALID, "host:port such as node1");
	expect_refused_with("dht: {bootstrap_nodes: [\"a:99999\"]}", AGI_E_INVALID, "host:port");
	expect_refused_with("dht: {bootstrap_nodes: [\"a b\"]}", AGI_E_INVALID, "host:port");
	expect_refused_with("dht: {bootstrap_nodes: [\"300.1.1.1\"]}", AGI_E_INVALID, "host:port");
	expect_refused_with("dht: {bootstrap_nodes: [\"\"]}", AGI_E_INVALID, "host:port");
	expect_refused_with("node: {log_level: loud}", AGI_E_INVALID, "expected error, warn, info or debug");
	expect_refused_with("node: {data_dir: \"\"}", AGI_E_INVALID, "empty");
	expect_refused_with("node: {data_dir: \"a\\nb\"}", AGI_E_INVALID, "control character");
}

static void keys_given_twice_are_refused(void **state)
{
	(void)state;
	expect_refused("node:\n  zone: a\n  zone: b\n", "f.yaml:3: node.zone: given twice in this file");
	expect_refused("node: {zone: a}\ndht: {}\nnode: {weight: 2}\n",
	               "f.yaml:3: node: given twice in this file");
	expect_refused_with("safety: {banned_tools: [a, b, a]}", AGI_E_INVALID, "\"a\" is listed twice");
	expect_refused_with("dht: {services: [{name: a, port: 1}, {name: a, port: 1}]}", AGI_E_INVALID,
	                    "the same name, port and address twice");
}

static void roles_of_later_versions_are_known_and_refused(void **state)
{
	(void)state;
	expect_refused("node: {roles: [erisml, lh-planner]}",
	               "f.yaml:1: node.roles: \"lh-planner\": this role is not in this version, expected "
	               "erisml, safety-gateway, in-action or post-action");
	expect_refused("node: {roles: [gateway]}",
	               "f.yaml:1: node.roles: \"gateway\": no such role, expected erisml, safety-gateway, in-action or post-action");
}

static void a_service_needs_a_name_and_a_port(void **state)
{
	(void)state;
	expect_refused("dht:\n  services:\n    - port: 1\n",
	               "f.yaml:3: dht.services[0].name: missing: a service has a name and a port");
	expect_refused("dht: {services: [{name: a}]}",
	               "f.yaml:1: dht.services[0].port: missing: a service has a name and a port");
	expect_refused_with("dht: {services: [{name: A_b, port: 1}]}", AGI_E_INVALID, "a-z, 0-9");
	expect_refused_with("dht: {services: [a]}", AGI_E_INVALID, "expected a section with name and port");
}

static void levels_are_given_for_all_and_for_single_namespaces(void **state)
{
	struct agi_config *c = *state;
	const struct agi_config_choices *l = &c->dht.namespaces;
	struct agi_why why;

	expect_loads(c, "dht:\n  consistency: strong\n  namespaces:\n    policy: strong\n    a.b=c: one\n");
	expect_checks(c);
	assert_int_equal(c->dht.consistency, AGI_CONSISTENCY_STRONG);
	assert_int_equal(l->n, 2);
	assert_string_equal(l->v[0].name, "policy");
	assert_int_equal(l->v[0].choice, AGI_CONFIG_STRONG);
	assert_string_equal(l->v[1].name, "a.b=c");
	assert_int_equal(l->v[1].choice, AGI_CONFIG_ONE);
	assert_int_equal(agi_config_set(c, "dht.namespaces", "x=all,y=quorum", &why), AGI_OK);
	assert_int_equal(l->n, 2);
	assert_int_equal(l->v[0].choice, AGI_CONFIG_ALL);
	expect_refused("dht:\n  namespaces:\n    a: strnog\n",
	               "f.yaml:3: dht.namespaces: \"strnog\" is none, expected a section of NAME: one, quorum, all or "
	               "strong lines");
	expect_refused_with("dht: {namespaces: [a]}", AGI_E_INVALID, "found a list, expected a section of NAME");
	expect_refused_with("dht: {namespaces: {a: {b: one}}}", AGI_E_INVALID, "found a section");
	expect_refused_with("dht: {namespaces: {a: one, a: all}}", AGI_E_INVALID, "\"a\" is listed twice");
	expect_refused_with("dht: {namespaces: {\"\": one}}", AGI_E_INVALID, "empty, expected a text of 1..63 bytes");
}

/* --- safety ----------------------------------------------------------------------------------- */
static void a_failure_never_becomes_a_permission(void **state)
{
	static const char *const actions[] = {"ALLOW", "REVISE", "DEFER", "block", "WARN", ""};

	(void)state;
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
		char text[96];

		snprintf(text, sizeof text, "failsafe: {timeout_action: \"%s\"}", actions[i]);
		expect_refused_with(text, AGI_E_INVALID, "expected BLOCK: a failure never becomes a permission");
		snprintf(text, sizeof text, "failsafe: {erisml_unavailable_action: \"%s\"}", actions[i]);
		expect_refused_with(text, AGI_E_INVALID, "expected BLOCK: a failure never becomes a permission");
	}
	expect_refused_with("safety: {bond_index_action: ALLOW}", AGI_E_INVALID, "expected BLOCK or REVISE");
	expect_refused_with("failsafe: {bond_index_fallback: 0.29}", AGI_E_INVALID,
	                    "f.yaml:1: failsafe.bond_index_fallback: 0.29 is below the block threshold");
}

static void a_panel_too_small_for_so_many_liars_is_refused(void **state)
{
	(void)state;
	expect_refused_with("safety: {quorum: 3, quorum_rule: byzantine}", AGI_E_INVALID,
	                    "f.yaml:1: safety.quorum_rule: byzantine with 1 faults needs a safety.quorum of at "
	                    "least 4, not 3");
	expect_refused_with("safety: {quorum: 6, quorum_rule: byzantine, byzantine_faults: 2}", AGI_E_INVALID,
	                    "at least 7, not 6");
	expect_refused_with("roles: {safety-gateway: {min_active: 2}}", AGI_E_INVALID,
	                    "f.yaml:1: roles.safety-gateway.min_active: 2 is below safety.quorum, 3: each check asks so "
	                    "many of them");
	expect_refused_with("roles: {in-action: {max_active: 1}}", AGI_E_INVALID,
	                    "f.yaml:1: roles.in-action.max_active: 1 is below safety.quorum, 3");
	expect_refused_with("roles: {erisml: {min_active: 3, max_active: 2}}", AGI_E_INVALID,
	                    "f.yaml:1: roles.erisml.max_active: 2 is below min_active, 3");
	expect_refused_with("safety: {quorum_rule: most}", AGI_E_INVALID, "majority, unanimous or byzantine");
}

static void the_stricter_bond_threshold_counts(void **state)
{
	struct agi_config *c = *state;

	expect_loads(c, "safety: {bond_index_threshold: 0.2}\n");
	expect_checks(c);
	assert_true(c->thresholds.bond_index_block == 0.2);
	assert_true(c->thresholds.bond_index_warn == 0.2); /* a default warning follows */
	expect_refused_with("thresholds: {bond_index_warn: 0.31}", AGI_E_INVALID, "f.yaml:1: thresholds."
	                                                                          "bond_index_warn: 0.31 is above");
	expect_refused_with("thresholds: {bond_index_warn: 0.25}\nsafety: {bond_index_threshold: 0.2}",
	                    AGI_E_INVALID, "f.yaml:1: thresholds.bond_index_warn");
}

static void a_looser_second_threshold_changes_nothing(void **state)
{
	struct agi_config *c = *state;

	expect_loads(c, "safety: {bond_index_threshold: 0.9}\n");
	expect_checks(c);
	assert_true(c->thresholds.bond_index_block == 0.30);
}

static void cross_checks_name_the_key(void **state)
{
	(void)state;
	expect_refused_with("node: {advertise: \"0.0.0.0:5000\"}", AGI_E_INVALID, "node.advertise");
	expect_refused_with("node: {weight: 8}\ndht: {virtual_nodes: 129}", AGI_E_INVALID, "f.yaml:1: node.weight");
	expect_refused_with("node: {roles: [safety-gateway]}\ngateway: {port: 5000}", AGI_E_INVALID,
	                    "f.yaml:2: gateway.port: the same port as node.listen's");
}

static void half_a_tls_section_is_refused(void **state)
{
	(void)state;
	expect_refused_with("tls: {cert_file: /a}", AGI_E_INVALID, "f.yaml:1: tls.cert_file: given without tls.key_file");
	expect_refused_with("tls: {key_file: /a}", AGI_E_INVALID, "f.yaml:1: tls.key_file: given without tls.cert_file");
	expect_refused_with("gateway: {erisml_tls: true}", AGI_E_INVALID,
	                    "f.yaml:1: gateway.erisml_tls: expected gateway.erisml_address with it");
	expect_refused_with("gateway: {erisml_token_file: /a}", AGI_E_INVALID, "gateway.erisml_token_file: expected");
	expect_refused_with("tls: {client_ca_file: /a}", AGI_E_INVALID, "tls.client_ca_file: given without");
	expect_refused_with("tls: {cert_file: /a, key_file: /b, require_client_cert: true}", AGI_E_INVALID,
	                    "tls.require_client_cert: expected tls.client_ca_file");
	expect_refused_with("tls: {cert_file: /a, key_file: /b, admin_names: [x]}", AGI_E_INVALID, "tls.admin_names");
	expect_refused_with("dns: {domain: Agi.hpc}", AGI_E_INVALID, "dns.domain: ");
	expect_refused_with("dns: {domain: agi..hpc}", AGI_E_INVALID, "dns.domain: ");
	expect_refused_with("dns: {domain: agi.}", AGI_E_INVALID, "dns.domain: ");
	expect_refused_with("node: {unix_socket: a/b}", AGI_E_INVALID, "expected an absolute path");
}

/* --- other sources ---------------------------------------------------------------------------- */
static const char *env_name, *env_value;

static char *fake_env(const char *name)
{
	return env_name && strcmp(name, env_name) == 0 ? (char *)env_value : NULL;
}

static void the_environment_wins_over_files(void **state)
{
	struct agi_config *c = *state;
	struct agi_why why;

	expect_loads(c, "thresholds: {bond_index_block: 0.3}\nsafety: {bond_index_threshold: 0.3}\n");
	env_name = "BOND_INDEX_THRESHOLD", env_value = "0.35";
	assert_int_equal(agi_config_env(c, fake_env, &why), AGI_OK);
	env_name = "ERISML_ADDRESS", env_value = "erisml:50061";
	assert_int_equal(agi_config_env(c, fake_env, &why), AGI_OK);
	env_name = "SAFETY_GATEWAY_ADDRESS", env_value = "safety-gateway";
	assert_int_equal(agi_config_env(c, fake_env, &why), AGI_OK);
	env_name = "PROFILE_NAME", env_value = "p";
	assert_int_equal(agi_config_env(c, fake_env, &why), AGI_OK);
	env_name = "PROFILE_NAME", env_value = "";
	assert_int_equal(agi_config_env(c, fake_env, &why), AGI_OK);
	expect_checks(c);
	assert_true(c->thresholds.bond_index_block == 0.35);
	assert_string_equal(c->gateway.erisml_address.host, "erisml");
	assert_int_equal(c->safety.gateway_address.port, 50055);
	assert_string_equal(c->safety.profile, "p");
}

static void a_bad_variable_is_named(void **state)
{
	struct agi_why why;

	env_name = "BOND_INDEX_THRESHOLD", env_value = "1.5";
	assert_int_equal(agi_config_env(*state, fake_env, &why), AGI_E_INVALID);
	assert_string_equal(why.text, "environment BOND_INDEX_THRESHOLD: thresholds.bond_index_block: 1.5 is out "
	                              "of range, expected a number, 0..1");
	env_name = "PROFILE_NAME", env_value = "\xff";
	assert_int_equal(agi_config_env(*state, fake_env, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "not valid UTF-8"));
}

static void the_command_line_sets_single_keys(void **state)
{
	struct agi_config *c = *state;
	struct agi_why why;

	assert_int_equal(agi_config_set(c, "node.listen", "127.0.0.11:5000", &why), AGI_OK);
	assert_int_equal(agi_config_set(c, "dht.bootstrap_nodes", "node1, node2:6000", &why), AGI_OK);
	assert_int_equal(agi_config_set(c, "node.roles", "erisml,safety-gateway", &why), AGI_OK);
	assert_int_equal(c->node.listen.ip[15], 11);
	assert_int_equal(c->dht.bootstrap_nodes.n, 2);
	assert_string_equal(c->dht.bootstrap_nodes.v[1].host, "node2");
	assert_int_equal(c->node.roles.n, 2);
	assert_int_equal(agi_config_set(c, "node.roles", "", &why), AGI_OK);
	assert_int_equal(c->node.roles.n, 0);
	assert_int_equal(agi_config_set(c, "node.listn", "x", &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "command line: node.listn: unknown key; did you mean \"listen\"?"));
	assert_int_equal(agi_config_set(c, "dht.replication_factor", "9", &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "command line: dht.replication_factor: 9 is out of range"));
	assert_int_equal(agi_config_set(c, "dht.services", "a", &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "only be given in a file"));
}

static void keys_for_later_are_accepted_and_named(void **state)
{
	struct agi_config *c = *state;
	struct agi_config_source from;
	const char *path;

	assert_false(agi_config_unused(c, 0, &path, &from));
	expect_loads(c, "service: {port: 50051}\nllm:\n  model: m\n");
	assert_true(agi_config_unused(c, 0, &path, &from));
	assert_string_equal(path, "service.port");
	assert_true(agi_config_unused(c, 1, &path, &from));
	assert_string_equal(path, "llm.model");
	assert_string_equal(from.name, "f.yaml");
	assert_int_equal(from.line, 3);
	assert_false(agi_config_unused(c, 2, &path, &from));
}

/* --- dump ------------------------------------------------------------------------------------- */
/* Cuts the comments off and terminates. */
static void drop_sources(struct agi_buf *b)
{
	size_t n = 0;
	bool is_comment = false;

	for (size_t i = 0; i < b->n; i++) {
		if (i + 4 <= b->n && memcmp(b->p + i, "  # ", 4) == 0)
			is_comment = true;
		if (b->p[i] == '\n')
			is_comment = false;
		if (!is_comment)
			b->p[n++] = b->p[i];
	}
	b->n = n;
	agi_buf_u8(b, 0);
}

static void what_is_dumped_loads_to_the_same(void **state)
{
	struct agi_config *c = *state, again;
	struct agi_buf one, two;
	struct agi_why why = {{0}};

	expect_loads(c, "node:\n  advertise: 10.0.0.5\n  zone: a-b\n  roles: [erisml]\n  data_dir: 'a \"b\" \\c'\n"
	                "  down_after: 90s\n  stable_after: 1500ms\n"
	                "dht:\n  bootstrap_nodes: [a, \"[::1]:9\"]\n  namespaces: {a: one, \"b: \\\"c\": strong}\n  services:\n"
	                "    - {name: x, port: 5, health_check: {kind: grpc, path: p}}\n    - {name: y, port: 6}\n"
	                "thresholds: {bond_index_block: 0.123456789, bond_index_warn: 0.1}\n"
	                "llm: {model: \"\\u00e9: #\"}\n");
	expect_checks(c);
	agi_buf_init(&one, 0);
	agi_buf_init(&two, 0);
	agi_config_dump(c, &one);
	assert_int_equal(agi_config_defaults(&again, NULL), AGI_OK);
	if (agi_config_load_text(&again, "dump", agi_buf_str(&one), &why))
		fail_msg("%s\n%.*s", why.text, AGI_STR_ARG(agi_buf_str(&one)));
	expect_checks(&again);
	agi_config_dump(&again, &two);
	drop_sources(&one);
	drop_sources(&two);
	assert_string_equal(one.p, two.p);
	assert_true(again.thresholds.bond_index_block == 0.123456789);
	assert_string_equal(again.node.data_dir, "a \"b\" \\c");
	assert_string_equal(again.llm.model, "\xc3\xa9: #");
	assert_int_equal(again.node.down_after_ms, 90000);
	assert_int_equal(again.node.stable_after_ms, 1500);
	assert_int_equal(again.dht.services.n, 2);
	assert_string_equal(again.dht.services.v[0].check_path, "p");
	assert_int_equal(again.dht.services.v[0].check, AGI_CHECK_GRPC);
	assert_string_equal(again.dht.bootstrap_nodes.v[1].host, "::1");
	assert_int_equal(again.dht.bootstrap_nodes.v[1].port, 9);
	assert_true(agi_addr_eq(&again.node.advertise, &c->node.advertise));
	assert_true(agi_addr_eq(&again.node.role_address, &c->node.role_address));
	agi_buf_free(&one);
	agi_buf_free(&two);
	agi_config_free(&again);
}

static void the_dump_tells_where_each_value_comes_from(void **state)
{
	struct agi_config *c = *state;
	struct agi_why why;
	struct agi_buf out;

	expect_loads(c, "node:\n  zone: a\n");
	env_name = "PROFILE_NAME", env_value = "p";
	assert_int_equal(agi_config_env(c, fake_env, &why), AGI_OK);
	assert_int_equal(agi_config_set(c, "node.log_level", "warn", &why), AGI_OK);
	agi_buf_init(&out, 0);
	agi_config_dump(c, &out);
	agi_buf_u8(&out, 0);
	assert_non_null(strstr((char *)out.p, "node:\n  listen: \"0.0.0.0:5000\"  # default\n"));
	assert_non_null(strstr((char *)out.p, "  # advertise:   # default\n"));
	assert_non_null(strstr((char *)out.p, "  zone: \"a\"  # f.yaml:2\n"));
	assert_non_null(strstr((char *)out.p, "  log_level: warn  # command line\n"));
	assert_non_null(strstr((char *)out.p, "  profile: \"p\"  # environment PROFILE_NAME\n"));
	assert_non_null(strstr((char *)out.p, "  store:\n    cache_size: 8MiB  # default\n"));
	agi_buf_free(&out);
}

/* --- hostile files ---------------------------------------------------------------------------- */
static void hostile_yaml_is_refused(void **state)
{
	(void)state;
	expect_refused_with("node: &a {zone: x}\ndht: *a\n", AGI_E_INVALID, "f.yaml:1: anchors (&) and aliases");
	expect_refused_with("node: *a\n", AGI_E_INVALID, "f.yaml:1:");
	expect_refused_with("node: !!map {}\n", AGI_E_INVALID, "tags (!)");
	expect_refused_with("a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}", AGI_E_INVALID, "nested deeper");
	expect_refused_with("? [a]\n: 1\n", AGI_E_INVALID, "a key must be a plain word");
	expect_refused_with("node: {}\n---\nnode: {}\n", AGI_E_INVALID, "second document");
	expect_refused_with("node:\n\tzone: a\n", AGI_E_INVALID, "f.yaml:2: not YAML: ");
	expect_refused_with("node: {zone: a\n", AGI_E_INVALID, "not YAML: ");
	expect_refused_with("node:\n  zone: \"\xff\"\n", AGI_E_INVALID, "f.yaml:2: not valid UTF-8");
	expect_refused_with("node:\n  zone: \"\\0\"\n", AGI_E_INVALID, "f.yaml:2: a NUL byte");
	expect_refused_with("node:\n  zone: \"\x01\"\n", AGI_E_INVALID, "f.yaml:2: not YAML: control");
}

static void large_files_are_refused_soon(void **state)
{
	struct agi_config *c = *state;
	size_t n = AGI_CONFIG_FILE_BYTES_MAX + 1;
	char *text = malloc(n);
	static const char *const fill[] = {"[", "{", "- ", "? ", "a: ", "\n", "a,", "*", "\"", "#", "'\n", "|\n ", "%"};
	struct agi_why why;

	assert_non_null(text);
	memset(text, 'a', n);
	assert_int_equal(agi_config_load_text(c, "f", (struct agi_str){text, n}, &why), AGI_E_TOO_LARGE);
	for (size_t k = 0; k < sizeof fill / sizeof *fill; k++) {
		size_t len = strlen(fill[k]);

		for (size_t i = 0; i + len <= n - 1; i += len)
			memcpy(text + i, fill[k], len);
		if (agi_config_load_text(c, "f", (struct agi_str){text, (n - 1) / len * len}, &why) == AGI_OK)
			assert_true(fill[k][0] == '\n' || fill[k][0] == '#'); /* nothing in it */
	}
	free(text);
}

static void random_damage_never_crashes(void **state)
{
	static const char seed_text[] =
	    "node:\n  listen: \"0.0.0.0:5000\"\n  roles: [erisml]\n  store: {cache_size: 8MiB}\n"
	    "dht:\n  bootstrap_nodes:\n    - \"node1.cluster:5000\"\n  services:\n    - name: \"a\"\n"
	    "      port: 50051\n      health_check: {kind: grpc, timeout: 1s}\nsafety: {quorum: 3}\n";
	struct agi_prng r;
	unsigned n_ok = 0;

	(void)state;
	agi_prng_seed(&r, 11);
	for (int round = 0; round < 20000; round++) {
		char text[sizeof seed_text];
		size_t n = sizeof seed_text - 1;
		struct agi_config c;
		struct agi_why why = {{0}};

		memcpy(text, seed_text, sizeof text);
		for (uint64_t k = 1 + agi_prng_below(&r, 4); k; k--)
			text[agi_prng_below(&r, n)] = (char)(agi_prng_below(&r, 3) ? " \n:-[]{}\"'#&*!|>%?,9az\t"
			                                         [agi_prng_below(&r, 23)]
			                                     : (char)agi_prng_below(&r, 256));
		if (agi_prng_below(&r, 4) == 0)
			n = agi_prng_below(&r, n);
		assert_int_equal(agi_config_defaults(&c, NULL), AGI_OK);
		if (agi_config_load_text(&c, "f", (struct agi_str){text, n}, &why) == AGI_OK &&
		    agi_config_check(&c, &why) == AGI_OK)
			n_ok++;
		else
			assert_true(strncmp(why.text, "f:", 2) == 0 || strstr(why.text, "default:"));
		agi_config_free(&c);
	}
	assert_true(n_ok > 100); /* some damage is harmless: the rest was really looked at */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(defaults_are_the_documented_ones),
	    TEST(every_type_is_read),
	    TEST(services_take_their_defaults),
	    TEST(a_short_interval_shortens_the_default_timeout),
	    TEST(later_files_win_and_lists_are_replaced),
	    TEST(files_without_content_change_nothing),
	    TEST(unknown_keys_are_told_what_is_valid),
	    TEST(values_out_of_range_are_told_the_range),
	    TEST(hints_end_before_tombstones_are_collected),
	    TEST(values_of_another_type_are_told_the_type),
	    TEST(keys_given_twice_are_refused),
	    TEST(roles_of_later_versions_are_known_and_refused),
	    TEST(a_service_needs_a_name_and_a_port),
	    TEST(levels_are_given_for_all_and_for_single_namespaces),
	    TEST(a_failure_never_becomes_a_permission),
	    TEST(a_panel_too_small_for_so_many_liars_is_refused),
	    TEST(the_stricter_bond_threshold_counts),
	    TEST(a_looser_second_threshold_changes_nothing),
	    TEST(cross_checks_name_the_key),
	    TEST(half_a_tls_section_is_refused),
	    TEST(the_environment_wins_over_files),
	    TEST(a_bad_variable_is_named),
	    TEST(the_command_line_sets_single_keys),
	    TEST(keys_for_later_are_accepted_and_named),
	    TEST(what_is_dumped_loads_to_the_same),
	    TEST(the_dump_tells_where_each_value_comes_from),
	    TEST(hostile_yaml_is_refused),
	    TEST(large_files_are_refused_soon),
	    TEST(random_damage_never_crashes),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
