/* SPDX-License-Identifier: Apache-2.0
 * Synced puts per second through the store's queue, with N requests in flight (closed loop: a completion
 * submits the next; latencies therefore hide queueing outside the N).
 *
 *   bench_store [-n REQUESTS] [-b VALUE_BYTES] [-d DIR]      DIR: default a new one under $TMPDIR, removed
 *
 * Last line, JSON: {"bench":"store","value_bytes":…,"rss_kib":… (resident at the end),"runs":[
 *  {"in_flight":N,"puts":…,"seconds":…,"puts_per_s":…,"group_size":writes per sync,"p50_us":…,"p99_us":…}]} */
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "store/store.h"

struct run {
	struct agi_store *store;
	unsigned total, submitted, completed, failed;
	struct agi_str value;
	uint64_t *started_us, *took_us;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void submit_next(struct run *r)
{
	uint8_t key[32];
	struct agi_str parts[] = {{(const char *)&r->submitted, sizeof r->submitted}};
	struct agi_storage_op op = {AGI_PUT, AGI_CF_ITEMS, {(const char *)key, sizeof key}, r->value};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};

	agi_blake2b_256(key, parts, 1);
	r->started_us[r->submitted] = now_us();
	if (agi_store_submit(r->store, r->submitted, &req) != AGI_OK)
		r->failed++;
	r->submitted++;
}

static void on_done(void *arg, uint64_t id, const struct agi_storage_done *d)
{
	struct run *r = arg;

	r->failed += d->err != AGI_OK;
	r->took_us[id] = now_us() - r->started_us[id];
	r->completed++;
	if (r->submitted < r->total)
		submit_next(r);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static bool run_one(struct agi_store *s, unsigned in_flight, unsigned total, struct agi_str value,
                    char *json, size_t json_n)
{
	struct run r = {.store = s, .total = total, .value = value};
	struct pollfd p = {.fd = agi_store_fd(s), .events = POLLIN};
	struct agi_store_stats before, after;
	uint64_t begin;
	double sec, group;

	r.started_us = calloc(total, sizeof *r.started_us);
	r.took_us = calloc(total, sizeof *r.took_us);
	if (!r.started_us || !r.took_us)
		return false;
	agi_store_stats(s, &before);
	begin = now_us();
	while (r.submitted < in_flight && r.submitted < total)
		submit_next(&r);
	while (r.completed + r.failed < total && r.failed == 0) {
		if (poll(&p, 1, 10000) != 1)
			break;
		agi_store_poll(s, on_done, &r);
	}
	sec = (double)(now_us() - begin) / 1e6;
	agi_store_stats(s, &after);
	group = (double)total / (double)(after.commits - before.commits);
	qsort(r.took_us, total, sizeof *r.took_us, by_value);
	printf("%9u %9u %9.2f %10.0f %9.1f %9lu %9lu\n", in_flight, total, sec, total / sec, group,
	       (unsigned long)r.took_us[total / 2], (unsigned long)r.took_us[total - 1 - total / 100]);
	snprintf(json, json_n,
	         "{\"in_flight\":%u,\"puts\":%u,\"seconds\":%.3f,\"puts_per_s\":%.0f,"
	         "\"group_size\":%.2f,\"p50_us\":%lu,\"p99_us\":%lu}",
	         in_flight, total, sec, total / sec, group, (unsigned long)r.took_us[total / 2],
	         (unsigned long)r.took_us[total - 1 - total / 100]);
	free(r.started_us);
	free(r.took_us);
	return r.failed == 0 && r.completed == total;
}

static long rss_kib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f) {
		if (fscanf(f, "%*s %ld", &pages) != 1)
			pages = 0;
		fclose(f);
	}
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *w)
{
	(void)st, (void)type, (void)w;
	return remove(path);
}

static int bench(const char *dir, unsigned requests, size_t value_bytes)
{
	static const unsigned in_flight[] = {1, 8, 64, 512};
	struct agi_store_cfg cfg = {.path = dir};
	struct agi_store *s;
	struct agi_why why = {{0}};
	char json[4][256];
	char *value = calloc(1, value_bytes + 1);
	bool ok = value != NULL;

	if (!ok || agi_store_open(&cfg, &s, &why) != AGI_OK) {
		fprintf(stderr, "bench_store: %s\n", why.text);
		free(value);
		return 1;
	}
	printf("synced puts of %zu bytes; RSS after open %ld KiB\n", value_bytes, rss_kib());
	printf("%9s %9s %9s %10s %9s %9s %9s\n", "in flight", "puts", "seconds", "puts/s", "per sync",
	       "p50 us", "p99 us");
	for (int i = 0; i < 4 && ok; i++)
		ok = run_one(s, in_flight[i], i == 0 ? requests / 4 + 1 : requests,
		             (struct agi_str){value, value_bytes}, json[i], sizeof json[i]);
	if (ok)
		printf("{\"bench\":\"store\",\"value_bytes\":%zu,\"rss_kib\":%ld,\"runs\":[%s,%s,%s,%s]}\n",
		       value_bytes, rss_kib(), json[0], json[1], json[2], json[3]);
	agi_store_close(s);
	free(value);
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR"), *given = NULL;
	unsigned requests = 20000;
	size_t value_bytes = 200;
	char dir[256];
	int c, rc;

	while ((c = getopt(argc, argv, "n:b:d:")) != -1) {
		if (c == 'n')
			requests = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'b')
			value_bytes = strtoul(optarg, NULL, 10);
		else if (c == 'd')
			given = optarg;
		else
			return 2;
	}
	if (requests < 100 || requests > 10000000 || value_bytes > 1 << 20) {
		fprintf(stderr, "bench_store: expected -n 100..10000000 and -b 0..1048576\n");
		return 2;
	}
	snprintf(dir, sizeof dir, "%s/bench-store-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (agi_crypto_init() != AGI_OK || (!given && !mkdtemp(dir)))
		return 1;
	rc = bench(given ? given : dir, requests, value_bytes);
	if (!given)
		nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	return rc;
}
