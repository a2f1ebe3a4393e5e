/* SPDX-License-Identifier: Apache-2.0 */
#include "node/msg_codec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "overlay.pb-c.h"

enum { ROUNDS = 3000 };

/* A random message and the memory its lists and strings lie in. */
struct world {
	struct agi_prng r;
	char bytes[4096];
	struct agi_contact contacts[AGI_K];
	struct agi_item items[AGI_PAGE_ITEMS];
	struct agi_provider providers[AGI_PROVIDERS_MSG_MAX];
};

static struct world w;
static struct agi_msg_scratch scratch, scratch2;

static uint64_t below(uint64_t n) { return agi_prng_below(&w.r, n); }
static bool coin(void) { return below(2); }

/* Numbers of every length, the extremes included. */
static uint64_t number(uint64_t max)
{
	uint64_t v = agi_prng_u64(&w.r) >> below(64);

	if (below(16) == 0)
		return max;
	return max == UINT64_MAX ? v : v % (max + 1);
}

static struct agi_str bytes(size_t max)
{
	size_t n = below(4) ? below(max < 40 ? max + 1 : 40) : below(max + 1);
	size_t at;

	if (n > sizeof w.bytes)
		n = sizeof w.bytes;
	at = below(sizeof w.bytes - n + 1);
	return (struct agi_str){w.bytes + at, n};
}

static struct agi_str text(size_t max)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz-"
	                               "abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz-"
	                               "abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz-"
	                               "abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz-"
	                               "0123456789";
	size_t n = below(max + 1);

	if (n > sizeof alphabet - 1)
		n = sizeof alphabet - 1;
	return (struct agi_str){alphabet, n};
}

static void fill(void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)p)[i] = (uint8_t)below(256);
}

static void zone(char out[AGI_ZONE_MAX + 1])
{
	struct agi_str s = text(AGI_ZONE_MAX);

	memcpy(out, s.p, s.n);
	out[s.n] = '\0';
}

static struct agi_id id(void)
{
	struct agi_id v;

	fill(v.b, sizeof v.b);
	return v;
}

static struct agi_contact contact(void)
{
	struct agi_contact c = {.id = id(), .incarnation = number(UINT64_MAX)};

	fill(c.addr.ip, sizeof c.addr.ip);
	c.addr.port = (uint16_t)number(UINT16_MAX);
	c.weight_milli = (uint32_t)number(AGI_VIRTUAL_NODES_MAX * 1000);
	zone(c.zone);
	c.may_shrink = coin();
	return c;
}

static struct agi_coord coord(void)
{
	struct agi_coord c = {.height = AGI_COORD_HEIGHT_MIN + (float)below(1000) / 7,
	                      .adjustment = (float)below(1000) / 7 - 70,
	                      .error = (float)below(1500) / 1000};

	for (int i = 0; i < AGI_COORD_DIMENSIONS; i++)
		c.vec[i] = (float)below(20000) - AGI_COORD_FAR_MS;
	return c;
}

static struct agi_item item(void)
{
	return (struct agi_item){.ns = text(AGI_NAMESPACE_MAX),
	                         .key = bytes(AGI_KEY_MAX),
	                         .value = bytes(4096),
	                         .version = {number(UINT64_MAX), id()},
	                         .expires_ms = number(UINT64_MAX),
	                         .is_tombstone = coin(), .lease = number(UINT64_MAX)};
}

static struct agi_provider provider(void)
{
	struct agi_provider p = {.service = text(AGI_SERVICE_NAME_MAX),
	                         .address = text(AGI_ADDRESS_MAX),
	                         .incarnation = number(UINT64_MAX),
	                         .seq = number(UINT64_MAX),
	                         .ttl_ms = (uint32_t)number(UINT32_MAX),
	                         .load_milli = (uint32_t)number(1000),
	                         .traits = (uint32_t)number(UINT32_MAX),
	                         .is_healthy = coin(),
	                         .is_withdrawn = coin()};

	fill(p.pubkey, sizeof p.pubkey);
	fill(p.node_addr.ip, sizeof p.node_addr.ip);
	p.node_addr.port = (uint16_t)number(UINT16_MAX);
	zone(p.zone);
	fill(p.sig, sizeof p.sig);
	p.has_coord = coin();
	if (p.has_coord)
		p.coord = coord();
	return p;
}

static size_t count(size_t max) { return below(4) ? below(4) : below(max + 1); }

static struct agi_msg message(enum agi_msg_kind kind)
{
	struct agi_msg m = {.kind = kind,
	                    .rpc_id = number(UINT64_MAX),
	                    .status = (enum agi_err)below(AGI_E_COUNT),
	                    .why = text(200),
	                    .slot = (uint32_t)number((1u << AGI_SLOT_BITS_MAX) - 1),
	                    .epoch = number(UINT64_MAX),
	                    .phase = (enum agi_view_phase)below(AGI_VIEW_FORWARD + 1),
	                    .ns = text(AGI_NAMESPACE_MAX),
	                    .key = bytes(AGI_KEY_MAX),
	                    .service = text(AGI_SERVICE_NAME_MAX),
	                    .cursor = bytes(AGI_CURSOR_MAX),
	                    .end = bytes(AGI_CURSOR_MAX),
	                    .hashes = bytes(AGI_HASHES_MAX),
	                    .blob = bytes(5000),
	                    .mask = number(UINT64_MAX),
	                    .floor = number(UINT64_MAX),
	                    .is_final = coin(),
	                    .is_copy = coin(), .is_background = coin(),
	                    .wait_ms = (uint32_t)number(60000),
	                    .has_more = coin(),
	                    .has_item = coin(),
	                    .is_transfer = coin(),
	                    .is_strong = coin(),
	                    .seq = number(UINT64_MAX),
	                    .op = (enum agi_strong_op)below(AGI_STRONG_REPAIR + 1),
	                    .expected = number(UINT64_MAX),
	                    .delta = (int64_t)number(UINT64_MAX), .wall_ms = number(UINT64_MAX),
	                    .contacts = w.contacts,
	                    .items = w.items,
	                    .providers = w.providers};

	if (coin())
		m.cluster = id();
	if (coin())
		m.target = id();
	if (coin())
		m.contact = contact();
	if (coin())
		m.ballot = (struct agi_ballot){number(UINT64_MAX), id()};
	if (coin())
		m.accepted_ballot = (struct agi_ballot){number(UINT64_MAX), id()};
	m.has_coord = coin();
	if (m.has_coord)
		m.coord = coord();
	m.view = (struct agi_view){.slot = (uint32_t)number(65535), .epoch = number(UINT64_MAX)};
	for (m.view.n_members = 0; m.view.n_members < below(AGI_REPLICAS_MAX + 1);)
		m.view.members[m.view.n_members++] = id();
	while (m.n_sources < below(AGI_REPLICAS_MAX + 1))
		m.sources[m.n_sources++] = id();
	m.n_contacts = count(AGI_K);
	m.n_items = below(20) ? count(8) : AGI_PAGE_ITEMS;
	m.n_providers = below(20) ? count(8) : AGI_PROVIDERS_MSG_MAX;
	for (size_t i = 0; i < m.n_contacts; i++)
		w.contacts[i] = contact();
	for (size_t i = 0; i < m.n_items; i++)
		w.items[i] = item();
	for (size_t i = 0; i < m.n_providers; i++)
		w.providers[i] = provider();
	return m;
}

/* --- equality, field by field ----------------------------------------------------------------------- */
static void same_str(struct agi_str a, struct agi_str b) { assert_true(agi_str_eq(a, b)); }

static void same_id(const struct agi_id *a, const struct agi_id *b)
{
	assert_memory_equal(a->b, b->b, AGI_ID_BYTES);
}

static void same_contact(const struct agi_contact *a, const struct agi_contact *b)
{
	same_id(&a->id, &b->id);
	assert_true(agi_addr_eq(&a->addr, &b->addr));
	assert_true(a->incarnation == b->incarnation);
	assert_int_equal(a->weight_milli, b->weight_milli);
	assert_int_equal(a->may_shrink, b->may_shrink);
	assert_string_equal(a->zone, b->zone);
}

static void same_item(const struct agi_item *a, const struct agi_item *b)
{
	same_str(a->ns, b->ns);
	same_str(a->key, b->key);
	same_str(a->value, b->value);
	assert_true(a->version.hlc == b->version.hlc);
	same_id(&a->version.node, &b->version.node);
	assert_true(a->expires_ms == b->expires_ms);
	assert_int_equal(a->is_tombstone, b->is_tombstone);
	assert_true(a->lease == b->lease);
}

static void same_provider(const struct agi_provider *a, const struct agi_provider *b)
{
	same_str(a->service, b->service);
	same_str(a->address, b->address);
	assert_memory_equal(a->pubkey, b->pubkey, sizeof a->pubkey);
	assert_true(agi_addr_eq(&a->node_addr, &b->node_addr));
	assert_true(a->incarnation == b->incarnation && a->seq == b->seq);
	assert_int_equal(a->ttl_ms, b->ttl_ms);
	assert_int_equal(a->load_milli, b->load_milli);
	assert_int_equal(a->is_healthy, b->is_healthy);
	assert_int_equal(a->is_withdrawn, b->is_withdrawn);
	assert_int_equal(a->traits, b->traits);
	assert_string_equal(a->zone, b->zone);
	assert_memory_equal(a->sig, b->sig, sizeof a->sig);
	assert_int_equal(a->has_coord, b->has_coord);
	assert_memory_equal(&a->coord, &b->coord, sizeof a->coord);
}

static void same_lists(const struct agi_msg *a, const struct agi_msg *b)
{
	assert_int_equal(a->n_contacts, b->n_contacts);
	assert_int_equal(a->n_items, b->n_items);
	assert_int_equal(a->n_providers, b->n_providers);
	assert_int_equal(a->n_sources, b->n_sources);
	assert_int_equal(a->view.n_members, b->view.n_members);
	for (size_t i = 0; i < a->n_contacts; i++)
		same_contact(&a->contacts[i], &b->contacts[i]);
	for (size_t i = 0; i < a->n_items; i++)
		same_item(&a->items[i], &b->items[i]);
	for (size_t i = 0; i < a->n_providers; i++)
		same_provider(&a->providers[i], &b->providers[i]);
	for (size_t i = 0; i < a->n_sources; i++)
		same_id(&a->sources[i], &b->sources[i]);
	for (size_t i = 0; i < a->view.n_members; i++)
		same_id(&a->view.members[i], &b->view.members[i]);
}

static void same(const struct agi_msg *a, const struct agi_msg *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_true(a->rpc_id == b->rpc_id && a->epoch == b->epoch);
	assert_int_equal(a->status, b->status);
	same_str(a->why, b->why);
	same_id(&a->cluster, &b->cluster);
	same_contact(&a->contact, &b->contact);
	same_id(&a->target, &b->target);
	assert_int_equal(a->slot, b->slot);
	assert_true(a->ballot.round == b->ballot.round);
	same_id(&a->ballot.node, &b->ballot.node);
	assert_true(a->accepted_ballot.round == b->accepted_ballot.round);
	same_id(&a->accepted_ballot.node, &b->accepted_ballot.node);
	assert_int_equal(a->view.slot, b->view.slot);
	assert_true(a->view.epoch == b->view.epoch);
	assert_int_equal(a->phase, b->phase);
	same_str(a->ns, b->ns);
	same_str(a->key, b->key);
	same_str(a->service, b->service);
	same_str(a->cursor, b->cursor);
	same_str(a->end, b->end);
	same_str(a->hashes, b->hashes);
	same_str(a->blob, b->blob);
	assert_true(a->is_copy == b->is_copy && a->is_background == b->is_background && a->wait_ms == b->wait_ms);
	assert_true(a->mask == b->mask && a->floor == b->floor && a->is_final == b->is_final);
	assert_int_equal(a->has_more, b->has_more);
	assert_int_equal(a->has_item, b->has_item);
	assert_int_equal(a->is_transfer, b->is_transfer);
	assert_int_equal(a->is_strong, b->is_strong);
	assert_true(a->seq == b->seq && a->expected == b->expected && a->delta == b->delta &&
	            a->wall_ms == b->wall_ms);
	assert_int_equal(a->op, b->op);
	assert_int_equal(a->has_coord, b->has_coord);
	assert_memory_equal(&a->coord, &b->coord, sizeof a->coord);
	same_lists(a, b);
}

static void decoded(struct agi_str payload, struct agi_msg_scratch *s, struct agi_msg *out)
{
	struct agi_envelope env;
	struct agi_why why = {"?"};

	if (agi_envelope_open(payload, &env, &why) || agi_msg_decode(env.body, s, out, &why))
		fail_msg("%s", why.text);
	assert_int_equal(env.kind, AGI_BODY_DHT);
}

/* --- tests ------------------------------------------------------------------------------------------ */
static int setup(void **state)
{
	(void)state;
	agi_prng_seed(&w.r, 20261123);
	fill(w.bytes, sizeof w.bytes);
	return 0;
}

static void every_kind_comes_back_as_it_went(void **state)
{
	struct agi_buf b;
	struct agi_msg in, out;
	(void)state;

	agi_buf_init(&b, 0);
	for (int i = 0; i < ROUNDS; i++) {
		in = message((enum agi_msg_kind)(1 + i % (AGI_MSG_KIND_MAX - 1)));
		agi_buf_reset(&b);
		agi_msg_encode(&b, &in);
		assert_int_equal(b.err, AGI_OK);
		decoded(agi_buf_str(&b), &scratch, &out);
		same(&in, &out);
	}
	agi_buf_free(&b);
}

static void generated_code_reads_and_writes_the_same(void **state)
{
	struct agi_buf b;
	struct agi_msg in, out;
	(void)state;

	agi_buf_init(&b, 0);
	for (int i = 0; i < ROUNDS / 4; i++) {
		Agihpc__Overlay__V1__Envelope *twin;
		uint8_t *packed;
		size_t n;

		in = message((enum agi_msg_kind)(1 + i % (AGI_MSG_KIND_MAX - 1)));
		agi_buf_reset(&b);
		agi_msg_encode(&b, &in);
		twin = agihpc__overlay__v1__envelope__unpack(NULL, b.n, b.p);
		assert_non_null(twin);
		assert_int_equal(twin->version, AGI_PROTOCOL_VERSION);
		assert_int_equal(twin->base.n_unknown_fields + twin->dht->base.n_unknown_fields, 0);
		assert_int_equal(twin->dht->kind, in.kind);
		assert_int_equal(twin->dht->n_items, in.n_items);
		packed = malloc(agihpc__overlay__v1__envelope__get_packed_size(twin));
		assert_non_null(packed);
		n = agihpc__overlay__v1__envelope__pack(twin, packed);
		decoded((struct agi_str){(char *)packed, n}, &scratch, &out);
		same(&in, &out);
		free(packed);
		agihpc__overlay__v1__envelope__free_unpacked(twin, NULL);
	}
	agi_buf_free(&b);
}

/* What decodes at all must encode and decode to itself: nothing half-read gets through. The copy is
 * exactly as long as the message, so that a sanitizer sees a read past its end. */
static void decode_mutant(const uint8_t *p, size_t n, struct agi_buf *again)
{
	char *copy = malloc(n ? n : 1);
	struct agi_envelope env;
	struct agi_msg m, m2;
	struct agi_why why;

	assert_non_null(copy);
	memcpy(copy, p, n);
	if (!agi_envelope_open((struct agi_str){copy, n}, &env, &why) && env.kind == AGI_BODY_DHT &&
	    !agi_msg_decode(env.body, &scratch, &m, &why)) {
		agi_buf_reset(again);
		agi_msg_encode(again, &m);
		assert_int_equal(again->err, AGI_OK);
		decoded(agi_buf_str(again), &scratch2, &m2);
		same(&m, &m2);
	}
	free(copy);
}

static void damaged_bytes_never_crash(void **state)
{
	struct agi_buf b, again;
	(void)state;

	agi_buf_init(&b, 0);
	agi_buf_init(&again, 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct agi_msg in = message((enum agi_msg_kind)(1 + i % (AGI_MSG_KIND_MAX - 1)));
		size_t n;

		agi_buf_reset(&b);
		agi_msg_encode(&b, &in);
		n = b.n;
		for (int k = 0; k < 6; k++) {
			size_t at = below(b.n < 200 || coin() ? b.n : 200);

			b.p[at] = coin() ? (uint8_t)below(256) : b.p[at] ^ (uint8_t)(1 << below(8));
			if (below(4) == 0)
				n = below(b.n + 1);
			decode_mutant(b.p, n, &again);
		}
	}
	agi_buf_free(&b);
	agi_buf_free(&again);
}

static void every_truncation_is_refused_or_whole(void **state)
{
	struct agi_buf b, again;
	struct agi_msg in = message(AGI_MSG_WRITE);
	(void)state;

	in.n_items = 2;
	in.n_providers = 1;
	agi_buf_init(&b, 0);
	agi_buf_init(&again, 0);
	agi_msg_encode(&b, &in);
	for (size_t n = 0; n < b.n; n++)
		decode_mutant(b.p, n, &again);
	agi_buf_free(&b);
	agi_buf_free(&again);
}

static enum agi_err refused(const struct agi_msg *m, struct agi_msg *out, struct agi_why *why)
{
	struct agi_envelope env;
	struct agi_buf b;
	enum agi_err e;

	agi_buf_init(&b, 0);
	agi_msg_encode(&b, m);
	assert_int_equal(agi_envelope_open(agi_buf_str(&b), &env, why), AGI_OK);
	e = agi_msg_decode(env.body, &scratch, out, why);
	agi_buf_free(&b);
	return e;
}

static void a_coordinate_that_makes_no_sense_is_left_out_of_its_message(void **state)
{
	struct agi_msg m = {.kind = AGI_MSG_PONG, .rpc_id = 7, .has_coord = true, .coord = coord()}, out;
	struct agi_why why;

	(void)state;
	assert_int_equal(refused(&m, &out, &why), AGI_OK);
	assert_true(out.has_coord);
	m.coord.vec[2] = NAN;
	assert_int_equal(refused(&m, &out, &why), AGI_OK);
	assert_true(out.rpc_id == 7 && !out.has_coord);
}

static void an_unknown_kind_is_named_and_its_rpc_id_kept(void **state)
{
	struct agi_msg m = {.kind = (enum agi_msg_kind)200, .rpc_id = 77}, out;
	struct agi_why why;
	(void)state;

	assert_int_equal(refused(&m, &out, &why), AGI_E_UNSUPPORTED);
	assert_int_equal(out.rpc_id, 77);
	assert_non_null(strstr(why.text, "200"));
}

static void lists_and_values_above_the_limit_are_refused(void **state)
{
	struct agi_msg m = {.kind = AGI_MSG_NODES, .rpc_id = 1}, out;
	struct agi_contact many[AGI_K + 1];
	struct agi_item big = {.value = {NULL, AGI_VALUE_MAX + AGI_RECORD_HEAD_MAX + 1}};
	struct agi_why why;
	char *value = calloc(1, AGI_VALUE_MAX + AGI_RECORD_HEAD_MAX + 1);
	(void)state;

	assert_non_null(value);
	for (size_t i = 0; i <= AGI_K; i++)
		many[i] = contact();
	m.contacts = many;
	m.n_contacts = AGI_K + 1;
	assert_int_equal(refused(&m, &out, &why), AGI_E_TOO_LARGE);
	assert_int_equal(out.kind, AGI_MSG_NODES);
	big.value.p = value;
	m = (struct agi_msg){.kind = AGI_MSG_WRITE, .items = &big, .n_items = 1};
	assert_int_equal(refused(&m, &out, &why), AGI_E_TOO_LARGE);
	big.value.n--;
	assert_int_equal(refused(&m, &out, &why), AGI_OK);
	m = (struct agi_msg){.kind = AGI_MSG_FIND_NODE, .slot = 1u << AGI_SLOT_BITS_MAX};
	assert_int_equal(refused(&m, &out, &why), AGI_E_MALFORMED);
	assert_non_null(strstr(why.text, "slot"));
	free(value);
}

static void text_must_be_utf8_and_zones_without_zero(void **state)
{
	struct agi_msg m = {.kind = AGI_MSG_READ, .ns = {"\xff", 1}}, out;
	struct agi_why why;
	(void)state;

	assert_int_equal(refused(&m, &out, &why), AGI_E_MALFORMED);
	assert_non_null(strstr(why.text, "namespace"));
}

static void another_protocol_version_is_refused(void **state)
{
	static const char ours[] = "\x08\x01\x1a\x02\x08\x01", next[] = "\x08\x02\x1a\x02\x08\x01",
	                  none[] = "\x1a\x02\x08\x01";
	struct agi_envelope env;
	struct agi_why why;
	(void)state;

	assert_int_equal(agi_envelope_open((struct agi_str){ours, 6}, &env, &why), AGI_OK);
	assert_int_equal(env.body.n, 2);
	assert_int_equal(agi_envelope_open((struct agi_str){next, 6}, &env, &why), AGI_E_UNSUPPORTED);
	assert_non_null(strstr(why.text, "version 2"));
	assert_int_equal(agi_envelope_open((struct agi_str){none, 4}, &env, &why), AGI_E_UNSUPPORTED);
	assert_int_equal(agi_envelope_open((struct agi_str){ours, 2}, &env, &why), AGI_E_UNSUPPORTED);
	assert_int_equal(agi_envelope_open((struct agi_str){"", 0}, &env, &why), AGI_E_UNSUPPORTED);
}

static void a_status_of_a_newer_node_is_still_a_failure(void **state)
{
	struct agi_msg m = {.kind = AGI_MSG_WRITE_ACK, .status = (enum agi_err)9999}, out;
	struct agi_why why;
	(void)state;

	assert_int_equal(refused(&m, &out, &why), AGI_OK);
	assert_int_equal(out.status, AGI_E_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_kind_comes_back_as_it_went),
	    cmocka_unit_test(generated_code_reads_and_writes_the_same),
	    cmocka_unit_test(damaged_bytes_never_crash),
	    cmocka_unit_test(every_truncation_is_refused_or_whole),
	    cmocka_unit_test(a_coordinate_that_makes_no_sense_is_left_out_of_its_message),
	    cmocka_unit_test(an_unknown_kind_is_named_and_its_rpc_id_kept),
	    cmocka_unit_test(lists_and_values_above_the_limit_are_refused),
	    cmocka_unit_test(text_must_be_utf8_and_zones_without_zero),
	    cmocka_unit_test(another_protocol_version_is_refused),
	    cmocka_unit_test(a_status_of_a_newer_node_is_still_a_failure),
	};

	return cmocka_run_group_tests_name("msg_codec", tests, setup, NULL);
}
