/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/records.h"

#include <stdlib.h>

#include "dht/state.h"

bool agi_record_is_sane(const struct agi_provider *p)
{
	return agi_service_name_is_valid(p->service) && p->address.n > 0 &&
	       p->address.n <= AGI_ADDRESS_MAX && p->ttl_ms > 0 && p->ttl_ms <= 10 * AGI_PROVIDER_TTL_MS;
}

/* node id ‖ service ‖ 0 ‖ address */
static size_t key_bytes(const struct agi_provider *p) { return AGI_ID_BYTES + p->service.n + 1 + p->address.n; }

static void key_fill(char *to, const struct agi_provider *p)
{
	struct agi_id node;

	agi_id_of_pubkey(&node, p->pubkey);
	memcpy(to, node.b, AGI_ID_BYTES);
	memcpy(to + AGI_ID_BYTES, p->service.p, p->service.n);
	to[AGI_ID_BYTES + p->service.n] = '\0';
	memcpy(to + AGI_ID_BYTES + p->service.n + 1, p->address.p, p->address.n);
}

struct agi_record *agi_records_find(const struct agi_records *rs, const struct agi_provider *p)
{
	char key[AGI_ID_BYTES + AGI_SERVICE_NAME_MAX + 1 + AGI_ADDRESS_MAX];
	struct agi_record *r;

	if (p->service.n > AGI_SERVICE_NAME_MAX || p->address.n > AGI_ADDRESS_MAX)
		return NULL;
	key_fill(key, p);
	HASH_FIND(hh, rs->by_key, key, key_bytes(p), r);
	return r;
}

bool agi_record_is_newer(const struct agi_provider *a, const struct agi_provider *b)
{
	return a->incarnation != b->incarnation ? a->incarnation > b->incarnation : a->seq > b->seq;
}

bool agi_record_is_ghost(const struct agi_record *r) { return r->p.incarnation < r->host->incarnation; }

static struct agi_record_host *host_of(struct agi_records *rs, const struct agi_id *id)
{
	struct agi_record_host *h;

	HASH_FIND(hh, rs->by_host, id, sizeof *id, h);
	if (h || !(h = calloc(1, sizeof *h)))
		return h;
	h->id = *id;
	HASH_ADD(hh, rs->by_host, id, sizeof h->id, h);
	if (!h->hh.tbl) {
		free(h);
		return NULL;
	}
	return h;
}

static void drop_host(struct agi_records *rs, struct agi_record_host *h)
{
	if (h->n > 0)
		return;
	HASH_DEL(rs->by_host, h);
	free(h);
}

static void fill(struct agi_record *r, const struct agi_provider *p)
{
	if (r->host->incarnation < p->incarnation)
		r->host->incarnation = p->incarnation;
	r->p = *p;
	r->p.service = (struct agi_str){r->bytes + AGI_ID_BYTES, p->service.n};
	r->p.address = (struct agi_str){r->bytes + AGI_ID_BYTES + p->service.n + 1, p->address.n};
}

static struct agi_record *insert(struct agi_records *rs, const struct agi_provider *p)
{
	struct agi_record *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->key_bytes = key_bytes(p);
	r->bytes = malloc(r->key_bytes);
	if (!r->bytes)
		goto fail;
	key_fill(r->bytes, p);
	memcpy(r->node.b, r->bytes, AGI_ID_BYTES);
	r->host = host_of(rs, &r->node);
	if (!r->host)
		goto fail;
	HASH_ADD_KEYPTR(hh, rs->by_key, r->bytes, r->key_bytes, r);
	if (!r->hh.tbl) {
		drop_host(rs, r->host);
		goto fail;
	}
	rs->n++;
	r->host->n++;
	fill(r, p);
	return r;
fail:
	free(r->bytes);
	free(r);
	return NULL;
}

struct agi_record *agi_records_put(struct agi_records *rs, const struct agi_provider *p, uint64_t expires_us,
                                   uint32_t max)
{
	struct agi_record *r = agi_records_find(rs, p);
	struct agi_record_host *h;
	struct agi_id node;

	agi_id_of_pubkey(&node, p->pubkey);
	HASH_FIND(hh, rs->by_host, &node, sizeof node, h);
	if ((!r && rs->n >= max) || (h && p->incarnation < h->incarnation))
		return NULL;
	if (!r)
		r = insert(rs, p);
	else if (agi_record_is_newer(p, &r->p))
		fill(r, p);
	else if (agi_record_is_newer(&r->p, p))
		return NULL;
	if (r)
		r->expires_us = expires_us;
	return r;
}

void agi_records_remove(struct agi_records *rs, struct agi_record *r)
{
	HASH_DEL(rs->by_key, r);
	rs->n--;
	r->host->n--;
	drop_host(rs, r->host);
	free(r->bytes);
	free(r);
}

void agi_records_free(struct agi_records *rs)
{
	while (rs->by_key)
		agi_records_remove(rs, rs->by_key);
}

void agi_records_expire(struct agi_records *rs, uint64_t now_us)
{
	struct agi_record *r, *tmp;

	HASH_ITER(hh, rs->by_key, r, tmp) {
		if (r->expires_us <= now_us || agi_record_is_ghost(r))
			agi_records_remove(rs, r);
	}
}
