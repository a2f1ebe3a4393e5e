/* SPDX-License-Identifier: Apache-2.0
 * The allocator under nghttp2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "net/h2_mem.h"

static struct agi_h2_mem m;

static int set_up(void **state)
{
	(void)state;
	agi_h2_mem_init(&m);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	agi_h2_mem_free(&m);
	return 0;
}

static void blocks_of_every_size_hold_what_was_asked_for(void **state)
{
	unsigned char *p[700];

	(void)state;
	for (int round = 0; round < 3; round++) { /* fresh, then kept ones */
		for (size_t n = 0; n < 700; n++) {
			p[n] = m.fns.malloc(n, &m);
			assert_non_null(p[n]);
			assert_int_equal((uintptr_t)p[n] % _Alignof(max_align_t), 0);
			memset(p[n], (int)n, n);
		}
		for (size_t n = 0; n < 700; n++) {
			for (size_t i = 0; i < n; i++)
				assert_int_equal(p[n][i], (unsigned char)n);
			m.fns.free(p[n], &m);
		}
	}
}

static void calloc_zeroes_kept_blocks_and_refuses_overflow(void **state)
{
	unsigned char *p = m.fns.malloc(100, &m), zero[100] = {0};

	(void)state;
	memset(p, 0xff, 100);
	m.fns.free(p, &m);
	p = m.fns.calloc(10, 10, &m);
	assert_memory_equal(p, zero, 100);
	m.fns.free(p, &m);
	assert_null(m.fns.calloc(SIZE_MAX / 4, 16, &m));
	assert_null(m.fns.malloc(SIZE_MAX - 3, &m));
}

static void realloc_keeps_the_content_across_sizes(void **state)
{
	unsigned char *p = NULL;

	(void)state;
	for (size_t n = 1; n < 5000; n += 37) {
		p = m.fns.realloc(p, n, &m);
		assert_non_null(p);
		p[n - 1] = (unsigned char)(n / 37);
		for (size_t k = 1; k <= n; k += 37)
			assert_int_equal(p[k - 1], (unsigned char)(k / 37));
	}
	m.fns.free(p, &m);
	m.fns.free(NULL, &m);
}

static void what_is_kept_is_bounded(void **state)
{
	static void *p[AGI_H2_MEM_KEPT_MAX + 100];

	(void)state;
	for (size_t i = 0; i < AGI_H2_MEM_KEPT_MAX + 100; i++)
		p[i] = m.fns.malloc(64, &m);
	for (size_t i = 0; i < AGI_H2_MEM_KEPT_MAX + 100; i++)
		m.fns.free(p[i], &m);
	assert_int_equal(m.n_kept[0], AGI_H2_MEM_KEPT_MAX);
}

int main(void)
{
#define PROMISE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    PROMISE(blocks_of_every_size_hold_what_was_asked_for),
	    PROMISE(calloc_zeroes_kept_blocks_and_refuses_overflow),
	    PROMISE(realloc_keeps_the_content_across_sizes),
	    PROMISE(what_is_kept_is_bounded),
	};

	return cmocka_run_group_tests_name("h2_mem", tests, NULL, NULL);
}
