/* SPDX-License-Identifier: Apache-2.0
 * An item of a backup is written as it was, with its version, at a majority of its slot's members: whatever is
 * newer stays, so doing it again changes nothing. (A register is written by a compare-and-set for absence, with the
 * versions of the backup as floor.) */
#include <stdlib.h>

#include "dht/care.h"

struct restore_call {
	uint64_t call_id;
	bool is_cancelled;
};

static void on_written(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct restore_call *rc = arg;
	struct agi_result res = {.kind = AGI_CALL_RESTORE, .err = err};

	if (!rc->is_cancelled)
		agi_call_reply(d, rc->call_id, &res);
	free(rc);
}

static void cancel(struct agi_dht *d, void *op)
{
	struct restore_call *rc = op;

	(void)d;
	rc->is_cancelled = true; /* the write goes on: half a write is no harm here */
}

void agi_restore_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	static const struct agi_id nobody;
	struct restore_call *rc;
	struct agi_call check = *call;
	struct agi_why why;
	enum agi_err e = call->n_items == 1 ? AGI_OK : agi_fail(&why, AGI_E_INVALID, "one item at a time");

	if (!e) {
		check.ns = call->items[0].ns;
		check.key = call->items[0].key;
		check.value = call->items[0].value;
		e = agi_kv_check_call(d, &check, &why);
	}
	rc = e ? NULL : calloc(1, sizeof *rc);
	if (!rc) {
		agi_call_fail(d, call_id, call->kind, e ? e : AGI_E_NOMEM, e ? why.text : "");
		return;
	}
	rc->call_id = call_id;
	if (agi_call_open(d, call_id, call->kind, rc, cancel) != AGI_OK) {
		free(rc);
		return;
	}
	e = agi_kv_rewrite(d, call->items, &nobody, on_written, rc);
	if (e) {
		free(rc);
		agi_call_fail(d, call_id, call->kind, e, "");
	}
}

/* --- records of a copy ------------------------------------------------------------------------------ */
enum agi_err agi_dht_read_item(struct agi_str key, struct agi_str value, struct agi_item *out)
{
	*out = (struct agi_item){.lease = 0};
	return agi_item_decode(out, key, value);
}

enum agi_err agi_dht_read_register(struct agi_str key, struct agi_str value, struct agi_item *out)
{
	struct agi_cur k = agi_cur_of(key);
	struct agi_reg reg;
	enum agi_err e = agi_reg_decode(&reg, value);

	*out = (struct agi_item){.lease = reg.lease, .value = reg.value, .is_tombstone = reg.is_tombstone,
	                         .version = {.hlc = reg.version}};
	(void)agi_cur_u32(&k); /* slot */
	out->ns = agi_cur_take(&k, agi_cur_u8(&k));
	out->key = agi_cur_take(&k, k.n);
	return e || k.bad ? AGI_E_CORRUPT : AGI_OK;
}
