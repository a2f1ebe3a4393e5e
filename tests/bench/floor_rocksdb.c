/* SPDX-License-Identifier: Apache-2.0
 * The floor under every durable put on this machine: RocksDB alone, WRITERS threads that each put
 * and wait for the sync, joined by RocksDB's own group commit. Keys of 16 bytes, values of 256 that
 * do not compress.
 *
 *   floor_rocksdb DIR WRITERS SECONDS        DIR is made, and must not exist
 *
 * Prints one line of JSON: operations, seconds, per_s, cpu_us (CPU time per operation). */
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY_BYTES = 16, VALUE_BYTES = 256, WRITERS_MAX = 256, KEYS = 100000 };

struct writer {
	pthread_t thread;
	rocksdb_t *db;
	rocksdb_writeoptions_t *options;
	double until_s;
	uint64_t random, done;
};

static double now_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t next_random(struct writer *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static void *write_until(void *arg)
{
	struct writer *w = arg;
	char key[KEY_BYTES + 1], *err = NULL;
	uint64_t value[VALUE_BYTES / 8];

	while (now_s(CLOCK_MONOTONIC) < w->until_s) {
		snprintf(key, sizeof key, "key-%012u", (unsigned)(next_random(w) % KEYS));
		for (size_t i = 0; i < VALUE_BYTES / 8; i++)
			value[i] = next_random(w);
		rocksdb_put(w->db, w->options, key, KEY_BYTES, (char *)value, VALUE_BYTES, &err);
		if (err) {
			fprintf(stderr, "floor_rocksdb: %s\n", err);
			exit(1);
		}
		w->done++;
	}
	return NULL;
}

static rocksdb_t *open_db(const char *dir)
{
	rocksdb_options_t *o = rocksdb_options_create();
	char *err = NULL;
	rocksdb_t *db;

	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_error_if_exists(o, 1);
	db = rocksdb_open(o, dir, &err);
	if (err) {
		fprintf(stderr, "floor_rocksdb: %s\n", err);
		exit(1);
	}
	rocksdb_options_destroy(o);
	return db;
}

int main(int argc, char **argv)
{
	static struct writer writers[WRITERS_MAX];
	rocksdb_writeoptions_t *sync = rocksdb_writeoptions_create();
	double began, cpu;
	uint64_t done = 0;
	rocksdb_t *db;
	int n;

	if (argc != 4 || (n = atoi(argv[2])) < 1 || n > WRITERS_MAX) {
		fprintf(stderr, "usage: floor_rocksdb DIR WRITERS SECONDS\n");
		return 2;
	}
	db = open_db(argv[1]);
	rocksdb_writeoptions_set_sync(sync, 1);
	began = now_s(CLOCK_MONOTONIC);
	cpu = now_s(CLOCK_PROCESS_CPUTIME_ID);
	for (int i = 0; i < n; i++) {
		writers[i] = (struct writer){.db = db,
					     .options = sync,
					     .until_s = began + atof(argv[3]),
					     .random = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1)};
		if (pthread_create(&writers[i].thread, NULL, write_until, &writers[i]))
			return 1;
	}
	for (int i = 0; i < n; i++) {
		pthread_join(writers[i].thread, NULL);
		done += writers[i].done;
	}
	began = now_s(CLOCK_MONOTONIC) - began;
	cpu = now_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	printf("{\"operations\":%llu,\"seconds\":%.3f,\"per_s\":%.1f,\"cpu_us\":%.2f}\n",
	       (unsigned long long)done, began, (double)done / began, cpu * 1e6 / (double)done);
	rocksdb_close(db);
	rocksdb_writeoptions_destroy(sync);
	return 0;
}
