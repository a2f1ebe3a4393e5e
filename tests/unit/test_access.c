/* SPDX-License-Identifier: Apache-2.0
 * Tokens, scopes, and who may call what. */
#include "node/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/token.h"
#include "descriptors.pb-c.h"
#include "net/descriptor_set.h"
#include "node/security.h"

/* --- tokens
 * ------------------------------------------------------------------------------------------------
 */
static char token[AGI_TOKEN_BYTES + 1], other[AGI_TOKEN_BYTES + 1];

static void line_of(char out[200], const char *name, const char *scopes, const char *of)
{
	uint8_t hash[AGI_TOKEN_HASH_BYTES];
	char hex[2 * AGI_TOKEN_HASH_BYTES + 1];

	assert_true(agi_token_hash(hash, agi_str_of(of)));
	agi_hex(hex, hash, sizeof hash);
	snprintf(out, 200, "%s %s blake2b:%s\n", name, scopes, hex);
}

static struct agi_tokens *table_of(const char *scopes)
{
	struct agi_tokens *t;
	struct agi_why why;
	char line[200];

	line_of(line, "planner", scopes, token);
	assert_int_equal(agi_tokens_parse("f", agi_str_of(line), &t, &why), AGI_OK);
	return t;
}

static int make_tokens(void **state)
{
	(void)state;
	if (agi_crypto_init())
		return -1;
	agi_token_make(token);
	agi_token_make(other);
	return 0;
}

static void tokens_differ_and_fit_a_header(void **state)
{
	(void)state;
	assert_int_equal(strlen(token), AGI_TOKEN_BYTES);
	assert_string_not_equal(token, other);
	assert_int_equal(
	    strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
	    AGI_TOKEN_BYTES);
}

static void a_token_is_found_by_all_of_its_bytes_only(void **state)
{
	struct agi_tokens *t = table_of("read,safety");
	char bad[AGI_TOKEN_BYTES + 1];
	const char *name;
	unsigned scopes;

	(void)state;
	assert_int_equal(agi_tokens_count(t), 1);
	assert_true(agi_tokens_find(t, agi_str_of(token), &scopes, &name));
	assert_int_equal(scopes, AGI_SCOPE_READ | AGI_SCOPE_SAFETY);
	assert_string_equal(name, "planner");
	assert_false(agi_tokens_find(t, agi_str_of(other), &scopes, &name));
	for (size_t i = 0; i < AGI_TOKEN_BYTES; i++) {
		memcpy(bad, token, sizeof bad);
		bad[i] ^= 1;
		assert_false(agi_tokens_find(t, agi_str_of(bad), &scopes, &name));
		assert_false(agi_tokens_find(t, (struct agi_str){token, i}, &scopes, &name));
	}
	agi_tokens_free(t);
}

/* HASH becomes 64 hex digits, OTHER 64 different ones. */
static void spell_out(char *to, const char *from)
{
	while (*from) {
		size_t n = strncmp(from, "HASH", 4) == 0    ? 4
			   : strncmp(from, "OTHER", 5) == 0 ? 5
							    : 0;

		if (n) {
			memset(to, n == 4 ? 'a' : 'b', 64);
			to += 64;
			from += n;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

static void a_wrong_line_is_named_with_what_would_be_right(void **state)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
	    {"planner read", "f:2: expected NAME SCOPES blake2b:HASH"},
	    {"planner read blake2b:00 more", "f:2: expected NAME SCOPES"},
	    {"planner read blake2b:00", "64 hex digits"},
	    {"planner read agi_secret", "never the token itself"},
	    {"pl\"anner read blake2b:HASH", "printable"},
	    {"planner reed blake2b:HASH", "scope \"reed\": expected read, write, safety or admin"},
	    {"planner read, blake2b:HASH", "scope \"\": expected"},
	    {"a read blake2b:HASH\na write blake2b:OTHER",
	     "f:3: \"a\" or its token is given twice"},
	    {"a read blake2b:HASH\nb write blake2b:HASH",
	     "f:3: \"b\" or its token is given twice"}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char text[600] = "# tokens\n";
		struct agi_tokens *t = NULL;
		struct agi_why why;

		spell_out(text + strlen(text), cases[i].line);
		assert_int_not_equal(agi_tokens_parse("f", agi_str_of(text), &t, &why), AGI_OK);
		if (!strstr(why.text, cases[i].text))
			fail_msg("\"%s\" does not say \"%s\"", why.text, cases[i].text);
	}
}

static void comments_blank_lines_and_crlf_are_skipped(void **state)
{
	char text[400] = "\n  # a comment\r\n\t\r\n", line[200];
	struct agi_tokens *t;
	struct agi_why why;

	(void)state;
	line_of(line, "x", "admin", token);
	line[strlen(line) - 1] = '\r';
	strcat(text, line);
	strcat(text, "\n");
	if (agi_tokens_parse("f", agi_str_of(text), &t, &why))
		fail_msg("%s", why.text);
	assert_int_equal(agi_tokens_count(t), 1);
	agi_tokens_free(t);
}

static void a_file_others_can_write_to_is_refused(void **state)
{
	char path[] = "/tmp/agi-tokens-XXXXXX";
	struct agi_tokens *t = NULL;
	int fd = mkstemp(path);
	struct agi_why why;

	(void)state;
	assert_int_equal(agi_tokens_read(path, &t, &why), AGI_OK);
	assert_int_equal(agi_tokens_count(t), 0);
	agi_tokens_free(t);
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_int_equal(agi_tokens_read(path, &t, &why), AGI_E_DENIED);
	assert_non_null(strstr(why.text, path));
	close(fd);
	unlink(path);
	assert_int_equal(agi_tokens_read(path, &t, &why), AGI_E_IO);
	assert_int_equal(agi_tokens_read("/", &t, &why), AGI_E_IO);
}

static void write_text(int fd, const char *text)
{
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
}

static void a_token_to_show_is_one_line_that_others_cannot_read(void **state)
{
	static const char *const wrong[] = {"", " \n", "two words\n", "two\nlines\n", "bell\a", "\xc3\xbc"};
	char path[] = "/tmp/agi-bearer-XXXXXX", out[AGI_BEARER_MAX + 1], long_text[AGI_BEARER_MAX + 2];
	int fd = mkstemp(path);
	struct agi_why why;

	(void)state;
	write_text(fd, "  agi_secret \r\n");
	assert_int_equal(agi_bearer_read(path, out, &why), AGI_OK);
	assert_string_equal(out, "agi_secret");
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		write_text(fd, wrong[i]);
		assert_int_equal(agi_bearer_read(path, out, &why), AGI_E_INVALID);
		assert_non_null(strstr(why.text, path));
		assert_null(strstr(why.text, "words"));
	}
	memset(long_text, 'x', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	write_text(fd, long_text);
	assert_int_equal(agi_bearer_read(path, out, &why), AGI_E_TOO_LARGE);
	write_text(fd, long_text + 1);
	assert_int_equal(agi_bearer_read(path, out, &why), AGI_OK);
	assert_int_equal(fchmod(fd, 0644), 0);
	assert_int_equal(agi_bearer_read(path, out, &why), AGI_E_DENIED);
	assert_non_null(strstr(why.text, "expected 640 or less"));
	close(fd);
	unlink(path);
	assert_int_equal(agi_bearer_read(path, out, &why), AGI_E_IO);
}

/* --- the table of methods
 * -------------------------------------------------------------------------------------- */
static struct agi_str descriptors(void)
{
	return (struct agi_str){(const char *)agi_descriptors, agi_descriptors_bytes};
}

static void every_method_of_every_service_has_one_row(void **state)
{
	struct agi_descriptor_method m;
	const char *service, *method;
	char name[200];
	size_t n = 0;

	(void)state;
	for (; agi_descriptor_method_at(descriptors(), n, &m); n++) {
		unsigned rows = 0;

		snprintf(name, sizeof name, "%.*s.%.*s", AGI_STR_ARG(m.package),
			 AGI_STR_ARG(m.service));
		for (size_t i = 0; (service = agi_access_row(i, &method)) != NULL; i++)
			rows += strcmp(service, name) == 0 &&
				agi_str_eq(m.method, agi_str_of(method));
		if (rows != 1)
			fail_msg("%s/%.*s has %u rows in the table of src/node/access.c", name,
				 AGI_STR_ARG(m.method), rows);
	}
	assert_in_range(n, 40, 1000);
}

static void every_row_is_of_a_method_there_is(void **state)
{
	const char *service, *method;
	char name[200];

	(void)state;
	for (size_t i = 0; (service = agi_access_row(i, &method)) != NULL; i++) {
		snprintf(name, sizeof name, "%s.%s", service, method);
		if (!agi_descriptor_file_of(descriptors(), agi_str_of(name)).p)
			fail_msg("no proto declares %s, which has a row in src/node/access.c", name);
	}
}

static void what_nobody_has_thought_of_needs_admin(void **state)
{
	(void)state;
	assert_int_equal(agi_access_needed("agihpc.v1.NodeService", "Drain"), AGI_SCOPE_ADMIN);
	assert_int_equal(agi_access_needed("agihpc.v1.KvService", "Unheard"), AGI_SCOPE_ADMIN);
	assert_int_equal(agi_access_needed("no.Service", "Get"), AGI_SCOPE_ADMIN);
	assert_int_equal(agi_access_needed("", ""), AGI_SCOPE_ADMIN);
}

/* --- who may
 * ---------------------------------------------------------------------------------------------------
 */
static const char *const calls[][2] = {{"agihpc.v1.KvService", "Get"},
				       {"agihpc.v1.KvService", "Put"},
				       {"agi.safety.v1.PreActionSafetyService", "CheckPlan"},
				       {"agihpc.v1.NodeService", "Drain"},
				       {"grpc.health.v1.Health", "Check"}};
enum { CALLS = sizeof calls / sizeof *calls };

static char admin[] = "operator.test", nobody[] = "x";
static char *admins[] = {admin};
static const struct agi_config_list admin_names = {admins, 1};

/* One letter for each of calls: '+' OK, 'a' UNAUTHENTICATED, 'd' PERMISSION_DENIED. */
static void expect_of(const struct agi_tokens *t, const struct agi_transport_peer *peer,
		      bool is_forwarded, const char *authorization, const char *want)
{
	struct agi_access a = {t, &admin_names, is_forwarded};
	char got[CALLS + 1] = "";
	struct agi_why why;

	for (int i = 0; i < CALLS; i++) {
		enum agi_grpc_status s = agi_access_check(
		    &a, peer, agi_str_of(authorization),
		    agi_access_needed(calls[i][0], calls[i][1]), calls[i][1], &why);

		got[i] = s == AGI_GRPC_OK ? '+' : s == AGI_GRPC_UNAUTHENTICATED ? 'a' : 'd';
	}
	assert_string_equal(got, want);
}

static void expect(const struct agi_tokens *t, const struct agi_transport_peer *peer,
		   const char *authorization, const char *want)
{
	expect_of(t, peer, false, authorization, want);
}

static void without_tokens_only_operators_calls_are_restricted(void **state)
{
	struct agi_transport_peer peer = {.is_tls = true};

	(void)state;
	expect(NULL, &peer, NULL, "+++d+");
	expect(NULL, &peer, "Bearer something", "+++d+");
}

static void with_tokens_each_scope_permits_its_own_calls(void **state)
{
	static const struct {
		const char *scopes, *want;
	} cases[] = {{"read", "+ddd+"},       {"write", "d+dd+"}, {"safety", "dd+d+"},
		     {"read,write", "++dd+"}, {"admin", "+++++"}, {"read,write,safety", "+++d+"}};
	struct agi_transport_peer peer = {.is_tls = false};
	char header[80];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct agi_tokens *t = table_of(cases[i].scopes);

		snprintf(header, sizeof header, "Bearer %s", token);
		expect(t, &peer, header, cases[i].want);
		snprintf(header, sizeof header, "bearer   %s", token);
		expect(t, &peer, header, cases[i].want);
		expect(t, &peer, NULL, "aaaa+");
		expect(t, &peer, "Basic eDp5", "aaaa+");
		expect(t, &peer, "Bearer ", "aaaa+");
		snprintf(header, sizeof header, "Bearer %s", other);
		expect(t, &peer, header, "aaaa+");
		agi_tokens_free(t);
	}
}

static void operators_are_known_by_certificate_and_by_socket(void **state)
{
	struct agi_transport_peer by_cert = {
	    .is_tls = true, .has_cert = true, .names = {nobody, admin}, .n_names = 2};
	struct agi_transport_peer by_socket = {.is_unix = true, .uid = geteuid()};
	struct agi_tokens *t = table_of("read");

	(void)state;
	expect(t, &by_cert, NULL, "+++++");
	expect(NULL, &by_cert, NULL, "+++++");
	by_cert.n_names = 1;
	expect(t, &by_cert, NULL, "aaaa+");
	by_cert.n_names = 2;
	by_cert.has_cert = false; /* not verified */
	expect(t, &by_cert, NULL, "aaaa+");

	expect(t, &by_socket, NULL, "+++++");
	by_socket.uid = 0;
	expect(t, &by_socket, NULL, "+++++");
	by_socket.uid = geteuid() + 1;
	expect(t, &by_socket, NULL, "aaaa+");
	agi_tokens_free(t);
}

static void a_call_that_was_handed_on_is_worth_its_token_only(void **state)
{
	struct agi_transport_peer node = {
	    .is_tls = true, .has_cert = true, .names = {nobody, admin}, .n_names = 2};
	struct agi_transport_peer socket = {.is_unix = true, .uid = geteuid()};
	struct agi_tokens *t = table_of("safety");
	char header[80];

	(void)state;
	expect_of(NULL, &node, true, NULL, "+++d+");
	expect_of(t, &node, true, NULL, "aaaa+");
	expect_of(t, &socket, true, NULL, "aaaa+");
	snprintf(header, sizeof header, "Bearer %s", token);
	expect_of(t, &node, true, header, "dd+d+");
	expect(t, &node, header, "+++++");
	agi_tokens_free(t);
}

static void refusals_name_the_scope_that_is_missing(void **state)
{
	struct agi_tokens *t = table_of("read,safety");
	struct agi_access a = {t, &admin_names, false};
	struct agi_transport_peer peer = {.is_tls = false};
	char header[80];
	struct agi_why why;

	(void)state;
	snprintf(header, sizeof header, "Bearer %s", token);
	(void)agi_access_check(&a, &peer, agi_str_of(header),
			       agi_access_needed(calls[1][0], calls[1][1]), calls[1][1], &why);
	assert_string_equal(why.text,
			    "Put needs the scope \"write\"; the token of planner has read,safety");
	(void)agi_access_check(&a, &peer, agi_str_of(NULL),
			       agi_access_needed(calls[1][0], calls[1][1]), calls[1][1], &why);
	assert_string_equal(why.text,
			    "Put needs the scope \"write\": send \"authorization: Bearer TOKEN\"");
	(void)agi_access_check(&a, &peer, agi_str_of(NULL),
			       agi_access_needed(calls[3][0], calls[3][1]), calls[3][1], &why);
	assert_non_null(strstr(why.text, "Drain needs the scope \"admin\": a token"));
	assert_non_null(strstr(why.text, "node.unix_socket"));
	a.is_forwarded = true;
	(void)agi_access_check(&a, &peer, agi_str_of(NULL),
			       agi_access_needed(calls[1][0], calls[1][1]), calls[1][1], &why);
	assert_non_null(strstr(why.text, "a node handed the call on"));
	agi_tokens_free(t);
}

/* --- what is told
 * --------------------------------------------------------------------------------------------- */
static bool is_warned(const char *listen)
{
	struct agi_security *s;
	struct agi_config c;
	const char *text;
	struct agi_why why;
	bool is_told;

	assert_int_equal(agi_config_defaults(&c, &why), AGI_OK);
	assert_int_equal(agi_config_set(&c, "node.listen", listen, &why), AGI_OK);
	assert_int_equal(agi_config_check(&c, &why), AGI_OK);
	assert_int_equal(agi_security_new(&c, NULL, &s, &why), AGI_OK);
	text = agi_security_warning(s, 0);
	is_told = text && strstr(text, "without TLS") && strstr(text, "node.listen");
	assert_int_equal(text != NULL, is_told);
	assert_null(agi_security_warning(s, 1));
	agi_security_free(s);
	agi_config_free(&c);
	return is_told;
}

static void plain_text_that_the_network_reaches_is_told(void **state)
{
	(void)state;
	assert_true(is_warned("0.0.0.0:5000"));
	assert_true(is_warned("192.0.2.1:5000"));
	assert_true(is_warned("[::]:5000"));
	assert_false(is_warned("127.0.0.11:5000"));
	assert_false(is_warned("[::1]:5000"));
}

static void a_token_shown_in_clear_to_another_host_is_told(void **state)
{
	static const char *const hosts[] = {"erisml-service", "192.0.2.7", "127.0.0.1", "localhost"};
	char path[] = "/tmp/agi-bearer-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	write_text(fd, "secret\n");
	for (size_t i = 0; i < 8; i++) {
		struct agi_security *s;
		struct agi_config c;
		struct agi_why why;
		bool is_tls = i >= 4;

		assert_int_equal(agi_config_defaults(&c, &why), AGI_OK);
		assert_int_equal(agi_config_set(&c, "node.listen", "127.0.0.1:5000", &why), AGI_OK);
		assert_int_equal(agi_config_set(&c, "gateway.erisml_address", hosts[i % 4], &why), AGI_OK);
		assert_int_equal(agi_config_set(&c, "gateway.erisml_token_file", path, &why), AGI_OK);
		assert_int_equal(
		    agi_config_set(&c, "gateway.erisml_tls", is_tls ? "true" : "false", &why), AGI_OK);
		assert_int_equal(agi_config_check(&c, &why), AGI_OK);
		assert_int_equal(agi_security_new(&c, NULL, &s, &why), AGI_OK);
		assert_string_equal(agi_security_erisml_token(s), "secret");
		assert_int_equal(agi_security_warning(s, 0) != NULL, i < 2);
		agi_security_free(s);
		agi_config_free(&c);
	}
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tokens_differ_and_fit_a_header),
	    cmocka_unit_test(a_token_is_found_by_all_of_its_bytes_only),
	    cmocka_unit_test(a_wrong_line_is_named_with_what_would_be_right),
	    cmocka_unit_test(comments_blank_lines_and_crlf_are_skipped),
	    cmocka_unit_test(a_file_others_can_write_to_is_refused),
	    cmocka_unit_test(a_token_to_show_is_one_line_that_others_cannot_read),
	    cmocka_unit_test(every_method_of_every_service_has_one_row),
	    cmocka_unit_test(every_row_is_of_a_method_there_is),
	    cmocka_unit_test(what_nobody_has_thought_of_needs_admin),
	    cmocka_unit_test(without_tokens_only_operators_calls_are_restricted),
	    cmocka_unit_test(with_tokens_each_scope_permits_its_own_calls),
	    cmocka_unit_test(operators_are_known_by_certificate_and_by_socket),
	    cmocka_unit_test(a_call_that_was_handed_on_is_worth_its_token_only),
	    cmocka_unit_test(refusals_name_the_scope_that_is_missing),
	    cmocka_unit_test(plain_text_that_the_network_reaches_is_told),
	    cmocka_unit_test(a_token_shown_in_clear_to_another_host_is_told),
	};

	return cmocka_run_group_tests_name("access", tests, make_tokens, NULL);
}
