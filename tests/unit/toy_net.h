/* SPDX-License-Identifier: Apache-2.0
 * One node of the real core among hosts that are only scripted: each answers after its round trip, as a function of
 * the test says, or not at all. Virtual time. */
#ifndef TESTS_UNIT_TOY_NET_H
#define TESTS_UNIT_TOY_NET_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "dht/dht.h"

struct toy_host {
	struct agi_contact c;
	uint8_t pubkey[AGI_PUBKEY_BYTES], seckey[AGI_SECKEY_BYTES];
	uint32_t rtt_us;
	bool is_silent;
	uint32_t pings; /* asked of it */
};
struct toy_event {
	uint64_t due_us, job; /* job: a storage job is done */
	struct agi_msg *m;    /* else a message; owned */
	struct agi_peer from;
	struct toy_event *next;
};
struct toy {
	struct agi_dht *d;
	struct agi_now now;
	struct toy_host *host;
	uint32_t n;
	struct agi_id cluster;
	struct toy_event *events; /* in order of time */
	/* Fills what a host answers to anything but a PING; false: nothing. */
	bool (*serve)(struct toy *t, uint32_t host, const struct agi_msg *m, struct agi_msg *out);
	void (*reply)(struct toy *t, const struct agi_result *res);
	bool has_replied;
	bool is_mute; /* PINGs are not answered: nobody new becomes known */
};

static inline void toy_queue(struct toy *t, struct toy_event e)
{
	struct toy_event *copy = malloc(sizeof *copy), **at = &t->events;

	assert(copy);
	*copy = e;
	while (*at && (*at)->due_us <= e.due_us)
		at = &(*at)->next;
	copy->next = *at;
	*at = copy;
}

static inline int toy_find(const struct toy *t, const struct agi_peer *p)
{
	for (uint32_t i = 0; i < t->n; i++)
		if (agi_id_eq(&t->host[i].c.id, &p->id))
			return (int)i;
	return -1;
}

static inline enum agi_err toy_send(void *ctx, const struct agi_peer *to, enum agi_traffic traffic,
                                    const struct agi_msg *m)
{
	struct toy *t = ctx;
	struct agi_msg out = {0};
	int i = toy_find(t, to);
	(void)traffic;

	if (i < 0)
		return AGI_E_UNREACHABLE;
	t->host[i].pings += m->kind == AGI_MSG_PING;
	if (t->host[i].is_silent || agi_msg_is_answer(m->kind))
		return AGI_OK;
	if (m->kind == AGI_MSG_PING && t->is_mute)
		return AGI_OK;
	if (m->kind == AGI_MSG_PING)
		out = (struct agi_msg){.kind = AGI_MSG_PONG, .contact = t->host[i].c, .cluster = t->cluster};
	else if (!t->serve || !t->serve(t, (uint32_t)i, m, &out))
		return AGI_OK;
	out.rpc_id = m->rpc_id;
	toy_queue(t, (struct toy_event){.due_us = t->now.mono_us + t->host[i].rtt_us, .m = agi_msg_clone(&out),
	                                .from = {t->host[i].c.id, t->host[i].c.addr}});
	return AGI_OK;
}

static inline void toy_store(void *ctx, uint64_t job, const struct agi_storage_req *req)
{
	struct toy *t = ctx;

	(void)req;
	toy_queue(t, (struct toy_event){.due_us = t->now.mono_us, .job = job});
}

static inline void toy_reply(void *ctx, uint64_t call_id, const struct agi_result *res)
{
	struct toy *t = ctx;

	(void)call_id;
	t->has_replied = true;
	if (t->reply)
		t->reply(t, res);
}

static inline void toy_note(void *ctx, const struct agi_note *n) { (void)ctx, (void)n; }
static inline bool toy_event(void *ctx, uint64_t id, const struct agi_event *e)
{
	(void)ctx, (void)id, (void)e;
	return true;
}

/* Hosts 0 to n-1 with keys of their own, at 10.0.x.y:5000, one millisecond away. */
static inline void toy_hosts(struct toy *t, struct toy_host *hosts, uint32_t n, uint64_t seed)
{
	*t = (struct toy){.host = hosts, .n = n, .now = {1000000, 1700000000000}, .cluster = {{9, 9}}};
	for (uint32_t i = 0; i < n; i++) {
		uint8_t key_seed[32] = {0};
		struct toy_host *h = &hosts[i];

		memcpy(key_seed, &seed, sizeof seed);
		memcpy(key_seed + 8, &i, sizeof i);
		*h = (struct toy_host){.rtt_us = 1000, .c = {.incarnation = 1, .weight_milli = 1000}};
		agi_keypair_of_seed(key_seed, h->pubkey, h->seckey);
		agi_id_of_pubkey(&h->c.id, h->pubkey);
		h->c.addr = (struct agi_addr){.ip = {[10] = 0xff, [11] = 0xff, [12] = 10, [14] = (uint8_t)(i >> 8),
		                                     [15] = (uint8_t)i},
		                              .port = 5000};
	}
}

/* The node under test: of the cluster, knowing nobody. */
static inline void toy_start(struct toy *t, const struct agi_dht_cfg *how)
{
	static const struct agi_dht_effects fx = {toy_send, toy_store, toy_reply, toy_note, toy_event};
	struct agi_dht_cfg cfg = *how;
	uint8_t key_seed[32] = {77}, pub[AGI_PUBKEY_BYTES];
	struct agi_why why;

	memcpy(key_seed + 8, &cfg.seed, sizeof cfg.seed);
	agi_keypair_of_seed(key_seed, pub, cfg.seckey);
	cfg.self.addr = (struct agi_addr){.ip = {[10] = 0xff, [11] = 0xff, [12] = 10, [13] = 9}, .port = 5000};
	if (agi_dht_new(&cfg, &fx, t, &t->d) != AGI_OK ||
	    agi_dht_load(t->d, AGI_CF_META, AGI_STR("cluster"),
	                 (struct agi_str){(char *)t->cluster.b, AGI_ID_BYTES}, &why) != AGI_OK)
		abort();
	agi_dht_start(t->d, t->now);
}

/* Takes the next event or deadline; false when there is none until then. */
static inline bool toy_step(struct toy *t, uint64_t until_us)
{
	uint64_t next = agi_dht_next_deadline(t->d);
	struct toy_event *e = t->events;

	if (e && e->due_us <= next)
		next = e->due_us;
	if (next > until_us)
		return false;
	if (next > t->now.mono_us) {
		t->now.wall_ms += (next - t->now.mono_us) / 1000;
		t->now.mono_us = next;
	}
	if (!e || e->due_us != next) {
		agi_dht_tick(t->d, t->now);
		return true;
	}
	t->events = e->next;
	if (e->m)
		agi_dht_on_message(t->d, t->now, &e->from, e->m);
	else
		agi_dht_on_stored(t->d, t->now, e->job, &(struct agi_storage_done){.err = AGI_OK});
	free(e->m);
	free(e);
	return true;
}

static inline void toy_run(struct toy *t, uint64_t ms)
{
	uint64_t until = t->now.mono_us + ms * 1000;

	while (toy_step(t, until))
		;
	t->now.wall_ms += (until - t->now.mono_us) / 1000;
	t->now.mono_us = until;
}

/* Runs a call to its end; how long it took, in microseconds. */
static inline uint64_t toy_call(struct toy *t, const struct agi_call *call)
{
	static uint64_t last_id;
	uint64_t from = t->now.mono_us;

	t->has_replied = false;
	agi_dht_call(t->d, t->now, ++last_id, call);
	while (!t->has_replied && toy_step(t, from + 60000000))
		;
	assert(t->has_replied);
	return t->now.mono_us - from;
}

static inline void toy_end(struct toy *t)
{
	agi_dht_free(t->d);
	while (t->events) {
		struct toy_event *e = t->events;

		t->events = e->next;
		free(e->m);
		free(e);
	}
}

#endif
