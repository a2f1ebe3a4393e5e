/* SPDX-License-Identifier: Apache-2.0 */
#include "node/identity.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static struct agi_why why;

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "test_identity.XXXXXX");
	assert_non_null(mkdtemp(dir));
	why.text[0] = '\0';
	return agi_crypto_init();
}

static int teardown(void **state)
{
	static const char *const names[] = {"node.key", "incarnation", "node.key.tmp",
	                                    "incarnation.tmp", "cluster.key", "data"};
	(void)state;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		remove(in_dir(names[i]));
	return rmdir(dir);
}

static void put(const char *name, const char *text, size_t n, mode_t mode)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void the_key_is_made_once_and_private(void **state)
{
	struct agi_identity a, b;
	struct stat st;
	(void)state;

	assert_int_equal(agi_identity_load(&a, dir, &why), AGI_OK);
	assert_true(a.is_new);
	assert_int_equal(a.incarnation, 1);
	assert_int_equal(stat(in_dir("node.key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, AGI_SEED_BYTES);
	assert_int_equal(agi_identity_load(&b, dir, &why), AGI_OK);
	assert_false(b.is_new);
	assert_int_equal(b.incarnation, 2);
	assert_true(agi_id_eq(&a.id, &b.id));
	assert_memory_equal(a.seckey, b.seckey, AGI_SECKEY_BYTES);
	agi_identity_wipe(&a);
	agi_identity_wipe(&b);
	assert_null(a.seckey);
}

static void an_id_is_the_hash_of_its_key(void **state)
{
	struct agi_identity a;
	struct agi_id id;
	(void)state;

	assert_int_equal(agi_identity_load(&a, dir, &why), AGI_OK);
	agi_id_of_pubkey(&id, a.pubkey);
	assert_true(agi_id_eq(&id, &a.id));
	agi_identity_wipe(&a);
}

static void a_key_that_others_can_read_is_refused(void **state)
{
	struct agi_identity a;
	char seed[AGI_SEED_BYTES] = {1};
	(void)state;

	put("node.key", seed, sizeof seed, 0640);
	assert_int_equal(agi_identity_load(&a, dir, &why), AGI_E_DENIED);
	assert_non_null(strstr(why.text, "chmod 600"));
	assert_null(a.seckey);
	assert_int_equal(access(in_dir("incarnation"), F_OK), -1);
}

static void a_key_of_the_wrong_size_is_refused_and_kept(void **state)
{
	struct agi_identity a;
	char seed[AGI_SEED_BYTES + 1] = {1};
	static const size_t sizes[] = {0, AGI_SEED_BYTES - 1, AGI_SEED_BYTES + 1};
	struct stat st;
	(void)state;

	for (size_t i = 0; i < 3; i++) {
		put("node.key", seed, sizes[i], 0600);
		assert_int_equal(agi_identity_load(&a, dir, &why), AGI_E_CORRUPT);
		assert_non_null(strstr(why.text, "32 bytes"));
		assert_int_equal(stat(in_dir("node.key"), &st), 0);
		assert_int_equal(st.st_size, sizes[i]);
	}
}

static void a_half_written_file_of_a_crash_is_replaced(void **state)
{
	struct agi_identity a;
	(void)state;

	put("node.key.tmp", "half", 4, 0600);
	put("incarnation.tmp", "9", 1, 0600);
	assert_int_equal(agi_identity_load(&a, dir, &why), AGI_OK);
	assert_int_equal(a.incarnation, 1);
	agi_identity_wipe(&a);
}

static void a_lost_counter_goes_on_from_the_clock(void **state)
{
	struct agi_identity a;
	(void)state;

	assert_int_equal(agi_identity_load(&a, dir, &why), AGI_OK);
	agi_identity_wipe(&a);
	assert_int_equal(remove(in_dir("incarnation")), 0);
	assert_int_equal(agi_identity_load(&a, dir, &why), AGI_OK);
	assert_true(a.incarnation > 1000000000);
	agi_identity_wipe(&a);
}

static void a_counter_that_is_no_number_is_refused(void **state)
{
	static const char *const bad[] = {"", "x\n", "-1\n", "1 2\n", "9999999999999999999\n",
	                                  "11111111111111111111111111111111111111111\n"};
	struct agi_identity a;
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		put("incarnation", bad[i], strlen(bad[i]), 0600);
		assert_int_equal(agi_identity_load(&a, dir, &why), AGI_E_INVALID);
		assert_non_null(strstr(why.text, "incarnation"));
	}
}

static void a_cluster_key_is_64_hex_digits(void **state)
{
	static const char text[] = " 000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n";
	uint8_t key[AGI_CLUSTER_KEY_BYTES];
	(void)state;

	put("cluster.key", text, sizeof text - 1, 0600);
	assert_int_equal(agi_cluster_key_read(key, in_dir("cluster.key"), &why), AGI_OK);
	for (int i = 0; i < AGI_CLUSTER_KEY_BYTES; i++)
		assert_int_equal(key[i], i);
	put("cluster.key", text, sizeof text - 3, 0600);
	assert_int_equal(agi_cluster_key_read(key, in_dir("cluster.key"), &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "agihpc-ctl keygen"));
	put("cluster.key", text, sizeof text - 1, 0640);
	assert_int_equal(agi_cluster_key_read(key, in_dir("cluster.key"), &why), AGI_OK);
	put("cluster.key", text, sizeof text - 1, 0644);
	assert_int_equal(agi_cluster_key_read(key, in_dir("cluster.key"), &why), AGI_E_DENIED);
	assert_int_equal(agi_cluster_key_read(key, in_dir("none"), &why), AGI_E_NOT_FOUND);
	assert_non_null(strstr(why.text, "agihpc-ctl keygen"));
}

static void the_data_directory_is_made_private(void **state)
{
	char path[128];
	struct stat st;
	(void)state;

	strcpy(path, in_dir("data"));
	assert_int_equal(agi_data_dir_open(path, &why), AGI_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(agi_data_dir_open(path, &why), AGI_OK);
	assert_int_equal(rmdir(path), 0);
	put("data", "", 0, 0600);
	assert_int_equal(agi_data_dir_open(path, &why), AGI_E_INVALID);
	assert_int_equal(agi_data_dir_open(in_dir("no/such"), &why), AGI_E_IO);
	assert_non_null(strstr(why.text, "No such file"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_key_is_made_once_and_private),
	    TEST(an_id_is_the_hash_of_its_key),
	    TEST(a_key_that_others_can_read_is_refused),
	    TEST(a_key_of_the_wrong_size_is_refused_and_kept),
	    TEST(a_half_written_file_of_a_crash_is_replaced),
	    TEST(a_lost_counter_goes_on_from_the_clock),
	    TEST(a_counter_that_is_no_number_is_refused),
	    TEST(a_cluster_key_is_64_hex_digits),
	    TEST(the_data_directory_is_made_private),
	};

	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
