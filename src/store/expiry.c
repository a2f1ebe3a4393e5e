/* SPDX-License-Identifier: Apache-2.0 */
#include "store/expiry.h"

#include <string.h>

bool agi_expiry_strip(uint64_t before_ms, struct agi_str value, uint8_t head[AGI_ITEM_HEAD_BYTES])
{
	uint64_t expires_ms = 0;

	if (value.n <= AGI_ITEM_HEAD_BYTES) /* nothing to take, or nothing we know */
		return false;
	memcpy(head, value.p, AGI_ITEM_HEAD_BYTES);
	for (int i = 0; i < 8; i++)
		expires_ms = expires_ms << 8 | head[AGI_ITEM_EXPIRY_AT + i];
	if (expires_ms == 0 || expires_ms >= before_ms)
		return false;
	head[AGI_ITEM_FLAGS_AT] |= AGI_ITEM_IS_DELETED;
	return true;
}

/* Runs on RocksDB's threads. It copies what *out points to before it calls again. */
static unsigned char filter(void *state, int level, const char *key, size_t key_bytes, const char *value,
                            size_t value_bytes, char **out, size_t *out_bytes, unsigned char *is_changed)
{
	static _Thread_local uint8_t head[AGI_ITEM_HEAD_BYTES];
	struct agi_expiry *x = state;

	(void)level, (void)key, (void)key_bytes;
	if (!agi_expiry_strip(atomic_load(&x->before_ms), (struct agi_str){value, value_bytes}, head))
		return 0;
	atomic_fetch_add(&x->bytes, value_bytes - sizeof head);
	*out = (char *)head;
	*out_bytes = sizeof head;
	*is_changed = 1;
	return 0; /* it is not removed */
}

static const char *name(void *state)
{
	(void)state;
	return "agi-expiry";
}

static void forget(void *state) { (void)state; }

void agi_expiry_init(struct agi_expiry *x)
{
	atomic_init(&x->before_ms, 0);
	atomic_init(&x->bytes, 0);
	x->filter = rocksdb_compactionfilter_create(x, forget, filter, name);
}

void agi_expiry_free(struct agi_expiry *x)
{
	if (x->filter)
		rocksdb_compactionfilter_destroy(x->filter);
	x->filter = NULL;
}
