/* SPDX-License-Identifier: Apache-2.0
 * The head of an HTTP/1 request, as anybody may write it. What is read of it must not depend on how much
 * of what follows is here already. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const int refusals[] = {400, 405, 413, 414, 431, 501, 505};

static void check_target(const struct agi_http_request *r)
{
	assert(r->path[0] == '/' && strlen(r->path) < sizeof r->path && strlen(r->query) < sizeof r->query);
}

static void check(int status, const struct agi_http_request *r, size_t used, size_t n)
{
	bool is_known = status == 0 || status == 200;

	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
		is_known |= status == refusals[i];
	assert(is_known && (status == 0 || agi_http_reason(status)[0]));
	assert(status == 200 ? used > 0 && used <= n : used == 0);
	if (status == 200)
		check_target(r);
	assert(status != 200 || strlen(r->authorization) <= AGI_HTTP_AUTHORIZATION_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct agi_http_request whole, part;
	const char *text = (const char *)data;
	size_t used = 0, used_part;
	int status = agi_http_request_read((struct agi_str){text, n}, &whole, &used);

	check(status, &whole, used, n);
	for (size_t cut = 0; cut <= n; cut += cut < 64 ? 1 : n / 16 + 1) {
		int early;

		used_part = 0;
		early = agi_http_request_read((struct agi_str){text, cut}, &part, &used_part);
		check(early, &part, used_part, cut);
		/* refused or read early: then so it is with more; nothing is taken back */
		assert(early == 0 || early == status);
		assert(early != 200 || (used_part == used && strcmp(part.path, whole.path) == 0 &&
		                        strcmp(part.query, whole.query) == 0 && part.is_head == whole.is_head &&
		                        part.is_keep_alive == whole.is_keep_alive));
	}
	if (agi_http_target_read((struct agi_str){text, n}, &part))
		check_target(&part);
	return 0;
}
