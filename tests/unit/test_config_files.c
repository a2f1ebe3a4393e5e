/* SPDX-License-Identifier: Apache-2.0
 * The files that are shipped or promised: the deployment guide's own, the example, the manual page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "config/config.h"

enum { TEXT_MAX = 64 << 10 };

static void path_of(char out[512], const char *file)
{
	const char *dir = getenv("AGI_SRCDIR");

	snprintf(out, 512, "%s/%s", dir ? dir : ".", file);
}

static char *read_text(const char *file)
{
	char path[512], *text = calloc(1, TEXT_MAX);
	FILE *f;

	path_of(path, file);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s is missing", path);
	assert_non_null(text);
	assert_true(fread(text, 1, TEXT_MAX - 1, f) < TEXT_MAX - 1);
	fclose(f);
	return text;
}

static void load(struct agi_config *c, const char *file)
{
	char path[512];
	struct agi_why why = {{0}};

	path_of(path, file);
	if (agi_config_load_file(c, path, &why) != AGI_OK)
		fail_msg("%s", why.text);
}

static void load_alone(struct agi_config *c, const char *file)
{
	struct agi_why why = {{0}};

	assert_int_equal(agi_config_defaults(c, NULL), AGI_OK);
	load(c, file);
	if (agi_config_check(c, &why) != AGI_OK)
		fail_msg("%s", why.text);
}

static void the_guides_dht_config_loads(void **state)
{
	struct agi_config c;

	(void)state;
	load_alone(&c, "tests/data/guide/dht_config.yaml");
	assert_int_equal(c.dht.bootstrap_nodes.n, 3);
	assert_string_equal(c.dht.bootstrap_nodes.v[2].host, "node3.cluster");
	assert_int_equal(c.dht.bootstrap_nodes.v[2].port, 5000);
	assert_int_equal(c.dht.replication_factor, 3);
	assert_int_equal(c.dht.virtual_nodes, 128);
	assert_int_equal(c.dht.consistency, AGI_CONSISTENCY_EVENTUAL);
	assert_int_equal(c.dht.services.n, 2);
	assert_string_equal(c.dht.services.v[0].name, "lh-planner");
	assert_int_equal(c.dht.services.v[0].check_interval_ms, 5000);
	assert_string_equal(c.dht.services.v[1].name, "safety-gateway");
	assert_int_equal(c.dht.services.v[1].port, 50055);
	assert_int_equal(c.dht.services.v[1].check_interval_ms, 1000);
	agi_config_free(&c);
}

static void the_guides_failsafe_config_loads(void **state)
{
	struct agi_config c;

	(void)state;
	load_alone(&c, "tests/data/guide/safety_config.yaml");
	assert_int_equal(c.failsafe.erisml_unavailable_action, AGI_FAIL_BLOCK);
	assert_true(c.failsafe.bond_index_fallback == 1.0);
	assert_int_equal(c.failsafe.safety_check_timeout_ms, 100);
	assert_int_equal(c.failsafe.timeout_action, AGI_FAIL_BLOCK);
	agi_config_free(&c);
}

static void the_guides_config_map_loads(void **state)
{
	struct agi_config c;

	(void)state;
	load_alone(&c, "tests/data/guide/configmap/lh_config.yaml");
	assert_string_equal(c.service.host, "0.0.0.0");
	assert_int_equal(c.service.port, 50051);
	assert_string_equal(c.safety.gateway_address.host, "safety-gateway");
	assert_int_equal(c.safety.gateway_address.port, 50055);
	assert_true(c.safety.bond_index_threshold == 0.30);
	assert_string_equal(c.llm.model, "claude-3-opus");
	agi_config_free(&c);
	load_alone(&c, "tests/data/guide/configmap/safety_config.yaml");
	assert_int_equal(c.gateway.port, 50055);
	assert_string_equal(c.gateway.erisml_address.host, "erisml-service");
	assert_int_equal(c.gateway.erisml_address.port, 50060);
	assert_true(c.thresholds.bond_index_warn == 0.25);
	assert_true(c.thresholds.bond_index_block == 0.30);
	assert_true(c.thresholds.physical_harm_threshold == 0.9);
	agi_config_free(&c);
}

static void the_guides_files_load_together(void **state)
{
	struct agi_config c;
	struct agi_why why = {{0}};

	(void)state;
	assert_int_equal(agi_config_defaults(&c, NULL), AGI_OK);
	load(&c, "tests/data/guide/dht_config.yaml");
	load(&c, "tests/data/guide/safety_config.yaml");
	load(&c, "tests/data/guide/configmap/lh_config.yaml");
	load(&c, "tests/data/guide/configmap/safety_config.yaml");
	assert_int_equal(agi_config_check(&c, &why), AGI_OK);
	agi_config_free(&c);
}

/* A line "#  key: value" of the example holds a default; "# Prose" does not. */
static void uncomment(char *text)
{
	for (char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncmp(line, "#  ", 3) == 0)
			memmove(line, line + 1, strlen(line));
}

static void the_example_loads_also_with_everything_uncommented(void **state)
{
	char *text = read_text("conf/agihpc.yaml");
	struct agi_config c, d;
	struct agi_config_key key;
	struct agi_why why = {{0}};

	(void)state;
	load_alone(&c, "conf/agihpc.yaml");
	assert_int_equal(c.node.roles.n, 2);
	agi_config_free(&c);
	uncomment(text);
	assert_int_equal(agi_config_defaults(&d, NULL), AGI_OK);
	if (agi_config_load_text(&d, "uncommented", agi_str_of(text), &why) != AGI_OK ||
	    agi_config_check(&d, &why) != AGI_OK)
		fail_msg("%s", why.text);
	for (size_t i = 0; agi_config_key_at(i, &key); i++) { /* and it shows every key of this version */
		char name[80];
		const char *dot = strrchr(key.path, '.');

		snprintf(name, sizeof name, " %s:", dot ? dot + 1 : key.path);
		if (!key.is_for_later && !strstr(text, name))
			fail_msg("conf/agihpc.yaml lacks %s", key.path);
	}
	agi_config_free(&d);
	free(text);
}

static void the_manual_page_has_every_key_and_default(void **state)
{
	char *text = read_text("man/agihpc.yaml.5");
	struct agi_config_key key;
	size_t n = 0;

	(void)state;
	for (; agi_config_key_at(n, &key); n++) {
		char heading[100], *at, *end;

		snprintf(heading, sizeof heading, ".It Ic %s\n", key.path);
		at = strstr(text, heading);
		if (!at)
			fail_msg("agihpc.yaml(5) lacks %s", key.path);
		end = strstr(at + 1, "\n.It ");
		if (end)
			*end = '\0';
		/* A list's default is written with blanks. */
		if (*key.preset && !strchr(key.preset, ',') && !strstr(at + strlen(heading), key.preset))
			fail_msg("agihpc.yaml(5): %s lacks its default %s", key.path, key.preset);
		if (end)
			*end = '\n';
		assert_true(*key.help && *key.type);
	}
	assert_true(n > 40);
	free(text);
}

static void files_that_cannot_be_read_are_named(void **state)
{
	struct agi_config c;
	struct agi_why why = {{0}};
	char dir[] = "/tmp/agi-config-XXXXXX", fifo[64];

	(void)state;
	assert_int_equal(agi_config_defaults(&c, NULL), AGI_OK);
	assert_int_equal(agi_config_load_file(&c, "/nonexistent/x.yaml", &why), AGI_E_IO);
	assert_string_equal(why.text, "/nonexistent/x.yaml: No such file or directory");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(agi_config_load_file(&c, dir, &why), AGI_E_IO);
	assert_non_null(strstr(why.text, "expected a regular file"));
	snprintf(fifo, sizeof fifo, "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(agi_config_load_file(&c, fifo, &why), AGI_E_IO); /* and does not wait for a writer */
	remove(fifo);
	remove(dir);
	agi_config_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_guides_dht_config_loads),
	    cmocka_unit_test(the_guides_failsafe_config_loads),
	    cmocka_unit_test(the_guides_config_map_loads),
	    cmocka_unit_test(the_guides_files_load_together),
	    cmocka_unit_test(the_example_loads_also_with_everything_uncommented),
	    cmocka_unit_test(the_manual_page_has_every_key_and_default),
	    cmocka_unit_test(files_that_cannot_be_read_are_named),
	};

	return cmocka_run_group_tests_name("config files", tests, NULL, NULL);
}
