/* SPDX-License-Identifier: Apache-2.0
 * The keys of a watch that changed: each is read until the read knows what was told of it, then goes to the client. */
#include <stdlib.h>

#include "dht/watch_impl.h"

enum {
	RETRY_MIN_MS = 10,
	RETRY_MAX_MS = 1000,
	PATIENCE_MS = 30000, /* a version that no majority knows after so long was never acknowledged */
	READ_MS = 3000
};

/* --- what the client has -------------------------------------------------------------------------------- */
static struct agi_told *told_of(const struct agi_watch *w, struct agi_str key, uint8_t hash[16])
{
	struct agi_id id;

	agi_id_of_key(&id, w->ns, key);
	memcpy(hash, id.b + 8, 16); /* the first bytes are the slot's */
	return &w->told[(hash[0] | (uint32_t)hash[1] << 8) % w->n_told];
}

const struct agi_version *agi_watch_told(const struct agi_watch *w, struct agi_str key)
{
	uint8_t hash[16];
	struct agi_told *t = told_of(w, key, hash);

	return memcmp(t->hash, hash, 16) == 0 ? &t->version : NULL;
}

void agi_watch_set_told(struct agi_watch *w, struct agi_str key, const struct agi_version *version)
{
	uint8_t hash[16];
	struct agi_told *t = told_of(w, key, hash);

	if (memcmp(t->hash, hash, 16) == 0 && agi_version_cmp(version, &t->version) <= 0)
		return;
	memcpy(t->hash, hash, 16);
	t->version = *version;
}

static bool is_told(const struct agi_watch *w, struct agi_str key, const struct agi_version *version)
{
	const struct agi_version *has = agi_watch_told(w, key);

	return has && agi_version_cmp(version, has) <= 0;
}

/* --- keys --------------------------------------------------------------------------------------------------- */
static struct agi_str key_of(const struct agi_watched_key *k) { return (struct agi_str){k->key, k->n}; }

static void forget(struct agi_watched_key *k)
{
	struct agi_watch *w = k->w;

	if (k->call)
		w->n_reads--;
	agi_inner_cancel(w->d, k->call);
	agi_timer_clear(&w->d->timers, &k->retry);
	TAILQ_REMOVE(&w->order, k, entry);
	HASH_DEL(w->keys, k);
	free(k);
}

void agi_watch_keys_free(struct agi_watch *w)
{
	while (!TAILQ_EMPTY(&w->order))
		forget(TAILQ_FIRST(&w->order));
}

bool agi_watch_has_room(const struct agi_watch *w) { return HASH_COUNT(w->keys) < AGI_WATCH_KEYS / 2; }

static void on_retry(struct agi_dht *d, void *arg)
{
	struct agi_watched_key *k = arg;

	(void)d;
	agi_watch_read_keys(k->w);
}

bool agi_watch_key(struct agi_watch *w, uint32_t slot, struct agi_str key, const struct agi_version *version)
{
	struct agi_watched_key *k;

	if (is_told(w, key, version))
		return true;
	HASH_FIND(hh, w->keys, key.p, key.n, k);
	if (k) {
		if (agi_version_cmp(version, &k->wanted) > 0)
			k->wanted = *version;
		return true;
	}
	k = HASH_COUNT(w->keys) < AGI_WATCH_KEYS ? calloc(1, sizeof *k + key.n) : NULL;
	if (!k)
		return false;
	*k = (struct agi_watched_key){.w = w, .slot = slot, .wanted = *version, .since_us = w->d->now.mono_us,
	                              .since_ms = w->d->now.wall_ms, .n = key.n};
	memcpy(k->key, key.p, key.n);
	k->retry = (struct agi_timer){.fn = on_retry, .arg = k};
	HASH_ADD_KEYPTR(hh, w->keys, k->key, k->n, k);
	if (!k->hh.tbl) {
		free(k);
		return false;
	}
	TAILQ_INSERT_TAIL(&w->order, k, entry);
	return true;
}

static void again(struct agi_watched_key *k)
{
	uint64_t pause = RETRY_MIN_MS << (k->tries < 7 ? k->tries : 7);

	k->tries++;
	agi_timer_set(&k->w->d->timers, &k->retry, agi_after_ms(k->w->d, pause > RETRY_MAX_MS ? RETRY_MAX_MS : pause));
}

/* To the client, unless it has it. False when the client takes nothing now. */
static bool hand_over(struct agi_watched_key *k, const struct agi_result *res)
{
	struct agi_watch *w = k->w;
	struct agi_event ev = {.has_item = true, .item = {.ns = w->ns, .key = key_of(k), .version = res->version}};

	/* deleted, and even the record of that is collected: at least what was told of it happened */
	if (res->err == AGI_E_NOT_FOUND && res->version.hlc == 0)
		ev.item.version = k->wanted;
	ev.item.is_tombstone = res->err == AGI_E_NOT_FOUND;
	ev.item.value = ev.item.is_tombstone ? (struct agi_str){NULL, 0} : res->value;
	ev.item.lease = res->lease;
	if (is_told(w, ev.item.key, &ev.item.version))
		return true;
	if (!agi_watch_send(w, &ev))
		return false;
	agi_watch_set_told(w, ev.item.key, &ev.item.version);
	return true;
}

static void on_read(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	struct agi_watched_key *k = arg;
	struct agi_watch *w = k->w;
	bool is_patient = d->now.mono_us < k->since_us + (uint64_t)PATIENCE_MS * 1000;

	k->call = 0;
	w->n_reads--;
	if (res->err != AGI_OK && res->err != AGI_E_NOT_FOUND)
		again(k);
	else if (agi_version_cmp(&res->version, &k->wanted) < 0 && is_patient)
		again(k); /* told by one member, and not yet known to those that were asked */
	else if (hand_over(k, res))
		forget(k);
	agi_watch_read_keys(w);
	agi_watch_read_pages(w);
}

static bool start_read(struct agi_watched_key *k)
{
	struct agi_watch *w = k->w;
	struct agi_call get = {.kind = AGI_CALL_GET, .ns = w->ns, .key = key_of(k), .timeout_ms = READ_MS,
	                       .level = w->is_strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM};

	k->call = agi_inner_start(w->d, &get, on_read, k);
	w->n_reads += k->call != 0;
	return k->call != 0;
}

void agi_watch_read_keys(struct agi_watch *w)
{
	struct agi_watched_key *k;

	TAILQ_FOREACH(k, &w->order, entry) {
		if (w->is_paused || w->n_reads >= AGI_WATCH_READS)
			return;
		if (!k->call && !k->retry.is_set && !start_read(k))
			again(k);
	}
}
