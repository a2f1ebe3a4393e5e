/* SPDX-License-Identifier: Apache-2.0
 * verify: do all replicas hold the same, can they be read; or, without a node, is a backup complete and sound. */
#include <inttypes.h>
#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "backup/set.h"
#include "ctl/out.h"
#include "ctl/progress.h"
#include "ctl/units.h"
#include "ctl/task.h"

const struct ctl_opt ctl_opts_verify[] = {
    {"backup", 0, "DIR", NULL, "check the backup in this directory instead, without a node"},
    {NULL, 0, NULL, NULL, NULL}};

/* --- a living cluster ------------------------------------------------------------------------------- */
static bool goes_on(const ProtobufCMessage *m)
{
	return agi_str_eq(ctl_str(((const Agihpc__V1__VerifyResponse *)m)->state), AGI_STR("running"));
}

static void show(const ProtobufCMessage *m)
{
	const Agihpc__V1__VerifyResponse *r = (const Agihpc__V1__VerifyResponse *)m;
	char bytes[CTL_UNIT_TEXT];

	ctl_format_bytes(bytes, r->bytes);
	ctl_progress("comparing", r->judged, r->slots, "%" PRIu64 " records, %s", r->records, bytes);
}

static json_t *holding_json(const Agihpc__V1__Holding *h)
{
	json_t *o = json_object();

	ctl_set(o, "node_id", ctl_json_str(ctl_str(h->node_id)));
	ctl_set(o, "error", ctl_json_str(ctl_str(h->error)));
	ctl_set_u64(o, "items", h->items);
	ctl_set_u64(o, "registers", h->registers);
	ctl_set_u64(o, "bytes", h->bytes);
	ctl_set(o, "digest", ctl_json_str(ctl_str(h->digest)));
	return o;
}

static json_t *found_json(const Agihpc__V1__VerifyResponse *r)
{
	json_t *found = json_array();

	for (size_t i = 0; i < r->n_found; i++) {
		json_t *slot = json_object(), *members = json_array();

		ctl_set_u64(slot, "slot", r->found[i]->slot);
		ctl_set_u64(slot, "epoch", r->found[i]->epoch);
		for (size_t k = 0; k < r->found[i]->n_members; k++)
			json_array_append_new(members, holding_json(r->found[i]->members[k]));
		ctl_set(slot, "members", members);
		json_array_append_new(found, slot);
	}
	return found;
}

static enum ctl_exit print_json(struct ctl *c, const Agihpc__V1__VerifyResponse *r)
{
	json_t *o = json_object();

	ctl_set_u64(o, "slots", r->slots);
	ctl_set_u64(o, "same", r->same);
	ctl_set_u64(o, "different", r->different);
	ctl_set_u64(o, "incomplete", r->incomplete);
	ctl_set_u64(o, "damaged", r->damaged);
	ctl_set_u64(o, "records", r->records);
	ctl_set_u64(o, "bytes", r->bytes);
	ctl_set(o, "found", found_json(r));
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_found(struct ctl *c, const Agihpc__V1__VerifyResponse *r)
{
	static const struct ctl_col cols[] = {{"SLOT", CTL_COL_NUMBER},  {"NODE", CTL_COL_TEXT},
					      {"ITEMS", CTL_COL_NUMBER}, {"REGISTERS", CTL_COL_NUMBER},
					      {"DIGEST", CTL_COL_TEXT}};
	struct ctl_table t;

	ctl_table_init(&t, cols, 5);
	for (size_t i = 0; i < r->n_found; i++)
		for (size_t k = 0; k < r->found[i]->n_members; k++) {
			const Agihpc__V1__Holding *h = r->found[i]->members[k];

			ctl_table_printf(&t, "%" PRIu32, r->found[i]->slot);
			ctl_table_str(&t, ctl_short_id(h->node_id));
			ctl_table_printf(&t, h->error.len ? "-" : "%" PRIu64, h->items);
			ctl_table_printf(&t, h->error.len ? "-" : "%" PRIu64, h->registers);
			ctl_table_str(&t, h->error.len ? ctl_str(h->error) : ctl_short_id(h->digest));
		}
	return ctl_print_table(c, &t);
}

static enum ctl_exit tell(struct ctl *c, const ProtobufCMessage *m)
{
	const Agihpc__V1__VerifyResponse *r = (const Agihpc__V1__VerifyResponse *)m;
	char bytes[CTL_UNIT_TEXT];
	enum ctl_exit code = CTL_OK;

	if (c->is_json)
		code = print_json(c, r);
	else if (r->n_found)
		code = print_found(c, r);
	if (code != CTL_OK)
		return code;
	ctl_format_bytes(bytes, r->bytes);
	if (!c->is_json)
		code = ctl_say(c, "%" PRIu32 " slots with %" PRIu64 " records (%s): %" PRIu32 " the same on all members, %"
				  PRIu32 " not compared with all, %" PRIu32 " different.\n",
			       r->slots, r->records, bytes, r->same, r->incomplete, r->different);
	if (code != CTL_OK)
		return code;
	if (r->damaged)
		return ctl_error(c, CTL_FAILED, "%" PRIu32 " slots cannot be read by a member: see its status",
				 r->damaged);
	if (r->different)
		return ctl_error(c, CTL_FAILED, "members of %" PRIu32 " slots do not hold the same", r->different);
	return r->incomplete ? CTL_UNAVAILABLE : CTL_OK;
}

static enum ctl_exit verify_cluster(struct ctl *c)
{
	Agihpc__V1__VerifyRequest look = AGIHPC__V1__VERIFY_REQUEST__INIT, start = AGIHPC__V1__VERIFY_REQUEST__INIT;
	const struct ctl_task w = {.path = "/agihpc.v1.BackupService/Verify",
				    .look = &look.base, .start = &start.base,
				    .res_type = &agihpc__v1__verify_response__descriptor,
				    .goes_on = goes_on, .show = show, .tell = tell};

	start.start = 1;
	return ctl_task_run(c, &w);
}

/* --- a backup -------------------------------------------------------------------------------------------- */
struct check {
	const struct ctl *c;
	struct agi_backup_set set;
	uint64_t bytes;
	uint32_t bad_files;
};

static bool on_bytes(void *ctx, uint64_t n)
{
	struct check *k = ctx;

	k->bytes += n;
	ctl_progress("checking", k->bytes, k->set.bytes, "%zu nodes' parts", k->set.n);
	return true;
}

/* Every file is looked at: each that is bad is told. */
static void check_files(struct check *k)
{
	struct agi_why why;

	for (size_t i = 0; i < k->set.n; i++)
		for (size_t f = 0; f < k->set.parts[i].p.n_files; f++) {
			if (agi_backup_check_file(&k->set.parts[i], &k->set.parts[i].p.files[f], on_bytes, k, &why) ==
			    AGI_OK)
				continue;
			ctl_progress_end();
			ctl_warn(k->c, "%s", why.text);
			k->bad_files++;
		}
	ctl_progress_end();
}

static json_t *backup_json(const struct check *k)
{
	json_t *o = json_object(), *parts = json_array();
	char hex[AGI_ID_HEX];

	agi_id_hex(hex, &k->set.parts[0].p.cluster);
	ctl_set(o, "name", ctl_json_str(agi_str_of(k->set.parts[0].p.name)));
	ctl_set(o, "cluster_id", ctl_json_str(agi_str_of(hex)));
	ctl_set_u64(o, "began_ms", k->set.parts[0].p.began_ms);
	ctl_set_u64(o, "slots", k->set.cover.n_slots);
	ctl_set_u64(o, "slots_whole", k->set.cover.whole);
	ctl_set_u64(o, "parts_missing", k->set.missing);
	ctl_set_u64(o, "bytes", k->set.bytes);
	ctl_set_u64(o, "files_damaged", k->bad_files);
	for (size_t i = 0; i < k->set.n; i++) {
		json_t *p = json_object();

		agi_id_hex(hex, &k->set.parts[i].p.node);
		ctl_set(p, "node_id", ctl_json_str(agi_str_of(hex)));
		ctl_set(p, "address", ctl_json_str(agi_str_of(k->set.parts[i].p.address)));
		ctl_set_u64(p, "files", k->set.parts[i].p.n_files);
		ctl_set_u64(p, "slots", k->set.parts[i].p.n_slots);
		json_array_append_new(parts, p);
	}
	ctl_set(o, "parts", parts);
	return o;
}

static enum ctl_exit judge(struct ctl *c, const struct check *k)
{
	const struct agi_backup_cover *cover = &k->set.cover;
	char bytes[CTL_UNIT_TEXT];
	enum ctl_exit code = CTL_OK;

	ctl_format_bytes(bytes, k->set.bytes);
	if (c->is_json)
		code = ctl_print_json_take(c, backup_json(k));
	else
		code = ctl_say(c, "%s: %zu nodes' parts (%" PRIu32 " missing), %s, %" PRIu32 " of %" PRIu32
				  " slots whole.\n",
			       k->set.parts[0].p.name, k->set.n, k->set.missing, bytes, cover->whole, cover->n_slots);
	if (code != CTL_OK)
		return code;
	if (k->bad_files)
		return ctl_error(c, CTL_FAILED, "%" PRIu32 " files are damaged", k->bad_files);
	if (cover->whole < cover->n_slots)
		return ctl_error(c, CTL_FAILED, "slot %" PRIu32 " and %" PRIu32 " others are not whole: fetch the parts of "
						"all nodes to this directory", cover->first_incomplete,
				 cover->n_slots - cover->whole - 1);
	return CTL_OK;
}

static enum ctl_exit verify_backup(struct ctl *c, const char *dir)
{
	struct check k = {.c = c};
	struct agi_why why;
	enum ctl_exit code;
	enum agi_err e = agi_backup_set_open(&k.set, dir, &why);

	if (e)
		return ctl_error(c, e == AGI_E_NOT_FOUND ? CTL_NOT_FOUND : CTL_FAILED, "%s", why.text);
	check_files(&k);
	code = judge(c, &k);
	agi_backup_set_free(&k.set);
	return code;
}

enum ctl_exit ctl_verify(struct ctl *c, const struct ctl_input *in)
{
	const char *dir = ctl_opt_value(&in->opts, "backup");

	return dir ? verify_backup(c, dir) : verify_cluster(c);
}
