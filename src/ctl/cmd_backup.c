/* SPDX-License-Identifier: Apache-2.0
 * backup, restore: tasks that go on without their caller. The command starts one, or finds it running, and watches
 * it to its end. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "agihpc.pb-c.h"
#include "base/backup.h"
#include "ctl/out.h"
#include "ctl/progress.h"
#include "ctl/units.h"
#include "ctl/task.h"

const struct ctl_opt ctl_opts_backup[] = {
    {"no-wait", 0, NULL, NULL, "start it and come back at once"},
    {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_restore[] = {
    {"partial", 0, NULL, NULL, "also when slots are not whole: what there is"},
    {"no-wait", 0, NULL, NULL, "start it and come back at once"},
    {NULL, 0, NULL, NULL, NULL}};

static bool is_state(ProtobufCBinaryData state, const char *word)
{
	return agi_str_eq(ctl_str(state), agi_str_of(word));
}

static enum ctl_exit check_name(const struct ctl *c, const char *name)
{
	if (agi_backup_name_is_valid(agi_str_of(name)))
		return CTL_OK;
	return ctl_usage(c, "'%.80s' is no name of a backup: 1 to %d letters, digits, '.', '_' or '-', the first a "
			    "letter or digit", name, AGI_BACKUP_NAME_MAX);
}

/* --- backup --------------------------------------------------------------------------------------- */
static bool backup_goes_on(const ProtobufCMessage *m)
{
	return is_state(((const Agihpc__V1__BackupResponse *)m)->state, "running");
}

static void show_backup(const ProtobufCMessage *m)
{
	const Agihpc__V1__BackupResponse *r = (const Agihpc__V1__BackupResponse *)m;
	uint64_t bytes = 0, total = 0;
	char text[CTL_UNIT_TEXT];

	for (size_t i = 0; i < r->n_parts; i++) {
		bytes += r->parts[i]->bytes;
		total += r->parts[i]->bytes_total;
	}
	ctl_format_bytes(text, total);
	ctl_progress("backup", bytes, total, "%.*s, %zu nodes, %s", AGI_STR_ARG(ctl_str(r->step)), r->n_parts, text);
}

static json_t *backup_json(const Agihpc__V1__BackupResponse *r)
{
	json_t *o = json_object(), *parts = json_array();

	ctl_set(o, "name", ctl_json_str(ctl_str(r->name)));
	ctl_set(o, "state", ctl_json_str(ctl_str(r->state)));
	ctl_set(o, "why", ctl_json_str(ctl_str(r->why)));
	ctl_set(o, "directory", ctl_json_str(ctl_str(r->directory)));
	ctl_set_u64(o, "slots", r->slots);
	ctl_set_u64(o, "slots_whole", r->slots_whole);
	for (size_t i = 0; i < r->n_parts; i++) {
		const Agihpc__V1__BackupPart *p = r->parts[i];
		json_t *part = json_object();

		ctl_set(part, "node_id", ctl_json_str(ctl_str(p->node_id)));
		ctl_set(part, "address", ctl_json_str(ctl_str(p->address)));
		ctl_set(part, "state", ctl_json_str(ctl_str(p->state)));
		ctl_set(part, "why", ctl_json_str(ctl_str(p->why)));
		ctl_set_u64(part, "files", p->files);
		ctl_set_u64(part, "bytes", p->bytes_total);
		json_array_append_new(parts, part);
	}
	ctl_set(o, "parts", parts);
	return o;
}

static enum ctl_exit print_parts(struct ctl *c, const Agihpc__V1__BackupResponse *r)
{
	static const struct ctl_col cols[] = {{"NODE", CTL_COL_TEXT},  {"ADDRESS", CTL_COL_TEXT},
					      {"STATE", CTL_COL_STATE}, {"FILES", CTL_COL_NUMBER},
					      {"BYTES", CTL_COL_NUMBER}, {"WHY", CTL_COL_TEXT}};
	struct ctl_table t;

	ctl_table_init(&t, cols, 6);
	for (size_t i = 0; i < r->n_parts; i++) {
		const Agihpc__V1__BackupPart *p = r->parts[i];
		char bytes[CTL_UNIT_TEXT];

		ctl_format_bytes(bytes, p->bytes_total);
		ctl_table_str(&t, ctl_short_id(p->node_id));
		ctl_table_str(&t, ctl_str(p->address));
		ctl_table_str(&t, ctl_str(p->state));
		ctl_table_printf(&t, "%" PRIu32, p->files);
		ctl_table_text(&t, bytes);
		ctl_table_str(&t, ctl_str(p->why));
	}
	return ctl_print_table(c, &t);
}

static enum ctl_exit tell_backup(struct ctl *c, const ProtobufCMessage *m)
{
	const Agihpc__V1__BackupResponse *r = (const Agihpc__V1__BackupResponse *)m;
	enum ctl_exit code = c->is_json ? ctl_print_json_take(c, backup_json(r)) : print_parts(c, r);

	if (code != CTL_OK)
		return code;
	if (is_state(r->state, "failed") || is_state(r->state, "none"))
		return ctl_error(c, CTL_FAILED, "%.*s",
				 AGI_STR_ARG(r->why.len ? ctl_str(r->why)
							: AGI_STR("the node has forgotten it: it was started anew")));
	if (r->why.len)
		ctl_warn(c, "%.*s", AGI_STR_ARG(ctl_str(r->why)));
	if (!c->is_json && is_state(r->state, "done"))
		return ctl_say(c, "%" PRIu32 " of %" PRIu32 " slots are whole; every node's part is in its %.*s.\n",
			   r->slots_whole, r->slots, AGI_STR_ARG(ctl_str(r->directory)));
	return CTL_OK;
}

enum ctl_exit ctl_backup(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__BackupRequest look = AGIHPC__V1__BACKUP_REQUEST__INIT, start = AGIHPC__V1__BACKUP_REQUEST__INIT;
	const struct ctl_task w = {.path = "/agihpc.v1.BackupService/Backup",
				    .look = &look.base, .start = &start.base,
				    .res_type = &agihpc__v1__backup_response__descriptor,
				    .goes_on = backup_goes_on, .show = show_backup, .tell = tell_backup,
				    .is_started_only = ctl_opt_is_set(&in->opts, "no-wait")};
	enum ctl_exit code = check_name(c, in->words.p[0]);

	look.name = start.name = ctl_bin_of(in->words.p[0]);
	start.start = 1;
	return code == CTL_OK ? ctl_task_run(c, &w) : code;
}

/* --- restore ---------------------------------------------------------------------------------------- */
static bool restore_goes_on(const ProtobufCMessage *m)
{
	const Agihpc__V1__RestoreResponse *r = (const Agihpc__V1__RestoreResponse *)m;

	return is_state(r->state, "checking") || is_state(r->state, "writing");
}

static void show_restore(const ProtobufCMessage *m)
{
	const Agihpc__V1__RestoreResponse *r = (const Agihpc__V1__RestoreResponse *)m;

	if (is_state(r->state, "checking"))
		ctl_progress("checking", r->bytes_checked, r->bytes_total, "%" PRIu32 " nodes' parts", r->parts);
	else
		ctl_progress("restoring", r->slots_done, r->slots, "%" PRIu64 " items, %" PRIu64 " registers",
			     r->items, r->registers);
}

static json_t *restore_json(const Agihpc__V1__RestoreResponse *r)
{
	json_t *o = json_object();

	ctl_set(o, "name", ctl_json_str(ctl_str(r->name)));
	ctl_set(o, "state", ctl_json_str(ctl_str(r->state)));
	ctl_set(o, "why", ctl_json_str(ctl_str(r->why)));
	ctl_set_u64(o, "parts", r->parts);
	ctl_set_u64(o, "parts_missing", r->parts_missing);
	ctl_set_u64(o, "slots", r->slots);
	ctl_set_u64(o, "slots_whole", r->slots_whole);
	ctl_set_u64(o, "slots_done", r->slots_done);
	ctl_set_u64(o, "resumed_at", r->resumed_at);
	ctl_set_u64(o, "items", r->items);
	ctl_set_u64(o, "registers", r->registers);
	ctl_set_u64(o, "registers_kept", r->registers_kept);
	ctl_set_u64(o, "expired", r->expired);
	ctl_set_u64(o, "leased", r->leased);
	return o;
}

static void row(struct ctl_table *t, const char *name, uint64_t n, const char *text)
{
	ctl_table_text(t, name);
	ctl_table_printf(t, "%" PRIu64 "%s", n, text);
}

static enum ctl_exit print_restore(struct ctl *c, const Agihpc__V1__RestoreResponse *r)
{
	static const struct ctl_col cols[] = {{NULL, CTL_COL_TEXT}, {NULL, CTL_COL_TEXT}};
	struct ctl_table t;

	ctl_table_init(&t, cols, 2);
	ctl_table_text(&t, "parts");
	ctl_table_printf(&t, "%" PRIu32 " (%" PRIu32 " missing)", r->parts, r->parts_missing);
	ctl_table_text(&t, "slots");
	ctl_table_printf(&t, "%" PRIu32 " of %" PRIu32 " done, %" PRIu32 " whole in the backup", r->slots_done,
			 r->slots, r->slots_whole);
	row(&t, "items", r->items, " written");
	row(&t, "registers", r->registers, " written");
	if (r->registers_kept)
		row(&t, "", r->registers_kept, " were there already and stay");
	if (r->expired)
		row(&t, "left out", r->expired, " items that have expired");
	if (r->leased)
		row(&t, "left out", r->leased, " leases, and registers that belonged to one");
	return ctl_print_table(c, &t);
}

static enum ctl_exit tell_restore(struct ctl *c, const ProtobufCMessage *m)
{
	const Agihpc__V1__RestoreResponse *r = (const Agihpc__V1__RestoreResponse *)m;
	enum ctl_exit code = c->is_json ? ctl_print_json_take(c, restore_json(r)) : print_restore(c, r);

	if (code == CTL_OK && is_state(r->state, "failed"))
		return ctl_error(c, CTL_FAILED, "%.*s (the same command goes on where it stopped)",
				 AGI_STR_ARG(ctl_str(r->why)));
	if (code == CTL_OK && is_state(r->state, "none"))
		return ctl_error(c, CTL_FAILED, "the node was started anew (the same command goes on where it stopped)");
	return code;
}

enum ctl_exit ctl_restore(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__RestoreRequest look = AGIHPC__V1__RESTORE_REQUEST__INIT, start = AGIHPC__V1__RESTORE_REQUEST__INIT;
	const struct ctl_task w = {.path = "/agihpc.v1.BackupService/Restore",
				    .look = &look.base, .start = &start.base,
				    .res_type = &agihpc__v1__restore_response__descriptor,
				    .goes_on = restore_goes_on, .show = show_restore, .tell = tell_restore,
				    .is_started_only = ctl_opt_is_set(&in->opts, "no-wait")};
	enum ctl_exit code = check_name(c, in->words.p[0]);

	look.name = start.name = ctl_bin_of(in->words.p[0]);
	start.start = 1;
	start.partial = ctl_opt_is_set(&in->opts, "partial");
	return code == CTL_OK ? ctl_task_run(c, &w) : code;
}
