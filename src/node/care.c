/* SPDX-License-Identifier: Apache-2.0 */
#include "node/care.h"

#include <stdio.h>
#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "node/svc.h"

/* --- life ------------------------------------------------------------------------------------------ */
enum agi_err agi_care_open(struct agi_care *c, const struct agi_config *config, struct agi_store *store,
                           const struct agi_id *node, const struct agi_addr *advertise)
{
	struct agi_backup_maker_cfg cfg = {.store = store, .dir = config->node.backup_dir, .node = *node,
	                                   .slot_bits = config->node.slot_bits};

	c->config = config;
	agi_addr_format(cfg.address, advertise);
	return agi_backup_maker_new(&cfg, &c->maker);
}

enum agi_err agi_care_join(struct agi_care *c, struct event_base *base, struct agi_dht_host *host,
                           struct agi_log *log)
{
	const struct agi_backup_cfg backup = {.base = base, .host = host, .log = log};
	const struct agi_restore_cfg restore = {.base = base, .host = host, .log = log,
	                                        .backup_dir = c->config->node.backup_dir,
	                                        .data_dir = c->config->node.data_dir};
	enum agi_err e = agi_backup_new(&backup, &c->backup);

	if (!e)
		e = agi_restore_new(&restore, &c->restore);
	return e ? e : agi_compare_new(base, host, &c->compare);
}

void agi_care_close(struct agi_care *c)
{
	agi_backup_free(c->backup);
	agi_restore_free(c->restore);
	agi_compare_free(c->compare);
	c->backup = NULL;
	c->restore = NULL;
	c->compare = NULL;
}

void agi_care_free(struct agi_care *c)
{
	agi_backup_maker_free(c->maker);
	c->maker = NULL;
}

void agi_care_stats(const struct agi_care *c, struct agi_care_stats *out)
{
	*out = (struct agi_care_stats){.is_restoring = false};
	agi_part_counts(c->maker, &out->parts);
	if (c->restore)
		agi_restore_counts(c->restore, &out->is_restoring, &out->restored_items, &out->restored_registers);
	if (c->compare)
		out->compared_at = agi_compare_last(c->compare, &out->compared);
}

enum agi_err agi_care_operate(void *ctx, struct agi_str task, struct agi_buf *answer)
{
	return agi_backup_on_task(((struct agi_care *)ctx)->maker, task, answer);
}

/* --- Backup ------------------------------------------------------------------------------------------ */
struct part_row {
	Agihpc__V1__BackupPart p;
	char id[AGI_ID_HEX], addr[AGI_ADDR_TEXT];
};

static void fill_part(struct part_row *row, const struct agi_backup_node *n)
{
	agihpc__v1__backup_part__init(&row->p);
	agi_id_hex(row->id, &n->contact.id);
	agi_addr_format(row->addr, &n->contact.addr);
	row->p.node_id = agi_svc_text(row->id);
	row->p.address = agi_svc_text(row->addr);
	row->p.state = agi_svc_text(agi_part_state_name(n->part.state));
	row->p.why = agi_svc_text(n->part.state == AGI_PART_FAILED ? n->part.why.text : "");
	row->p.bytes = n->part.bytes;
	row->p.bytes_total = n->part.bytes_total;
	row->p.files = n->part.files;
}

static void reply_backup(struct agi_care *c, struct agi_grpc_call *call, struct agi_str name)
{
	static const char *const states[] = {"none", "running", "done", "failed"};
	Agihpc__V1__BackupResponse r = AGIHPC__V1__BACKUP_RESPONSE__INIT;
	struct agi_backup_status st;
	struct part_row *rows;
	Agihpc__V1__BackupPart **list;
	char dir[1200];

	agi_backup_look(c->backup, &st);
	if (!agi_str_eq(name, agi_str_of(st.name)))
		st = (struct agi_backup_status){.step = ""};
	rows = calloc(st.n_nodes + 1, sizeof *rows);
	list = calloc(st.n_nodes + 1, sizeof *list);
	for (size_t i = 0; rows && list && i < st.n_nodes; i++) {
		fill_part(&rows[i], &st.nodes[i]);
		list[i] = &rows[i].p;
	}
	snprintf(dir, sizeof dir, "%s/%s", c->config->node.backup_dir, st.name);
	r.state = agi_svc_text(states[st.state]);
	r.name = agi_svc_text(st.name);
	r.step = agi_svc_text(st.state == AGI_BACKUP_RUNNING ? st.step : "");
	r.why = agi_svc_text(st.why.text);
	r.attempt = st.attempt;
	r.slots = st.slots;
	r.slots_whole = st.whole;
	r.parts = list;
	r.n_parts = st.n_nodes;
	r.directory = agi_svc_text(dir);
	if (rows && list)
		agi_grpc_reply(call, &r.base);
	else
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
	free(rows);
	free(list);
}

static void backup(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__BackupRequest *p = (const Agihpc__V1__BackupRequest *)req;
	struct agi_care *c = ctx;
	struct agi_why why;
	enum agi_err e = p->start ? agi_backup_start(c->backup, agi_svc_str(p->name), &why) : AGI_OK;

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		reply_backup(c, call, agi_svc_str(p->name));
}

/* --- Restore ------------------------------------------------------------------------------------------- */
static void reply_restore(struct agi_care *c, struct agi_grpc_call *call, struct agi_str name)
{
	static const char *const states[] = {"none", "checking", "writing", "done", "failed"};
	Agihpc__V1__RestoreResponse r = AGIHPC__V1__RESTORE_RESPONSE__INIT;
	struct agi_restore_status st;

	agi_restore_look(c->restore, &st);
	if (!agi_str_eq(name, agi_str_of(st.name)))
		st = (struct agi_restore_status){.items = 0};
	r.state = agi_svc_text(states[st.state]);
	r.name = agi_svc_text(st.name);
	r.why = agi_svc_text(st.why.text);
	r.bytes_checked = st.read.bytes;
	r.bytes_total = st.read.bytes_total;
	r.slots = st.read.slots;
	r.slots_whole = st.read.whole;
	r.slots_done = st.slots_done;
	r.resumed_at = st.resumed_at;
	r.parts = st.read.parts;
	r.parts_missing = st.read.missing;
	r.items = st.items;
	r.registers = st.registers;
	r.registers_kept = st.kept;
	r.expired = st.read.expired;
	r.leased = st.read.leased;
	agi_grpc_reply(call, &r.base);
}

static void restore(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__RestoreRequest *p = (const Agihpc__V1__RestoreRequest *)req;
	struct agi_care *c = ctx;
	struct agi_why why;
	enum agi_err e = p->start ? agi_restore_start(c->restore, agi_svc_str(p->name), p->partial, &why) : AGI_OK;

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		reply_restore(c, call, agi_svc_str(p->name));
}

/* --- Verify ---------------------------------------------------------------------------------------------- */
struct holding_row {
	Agihpc__V1__Holding h;
	char id[AGI_ID_HEX], digest[AGI_ID_HEX];
};
struct found_row {
	Agihpc__V1__SlotHoldings s;
	struct holding_row members[AGI_REPLICAS_MAX];
	Agihpc__V1__Holding *list[AGI_REPLICAS_MAX];
};

static void fill_holding(struct holding_row *row, const struct agi_id *node, const struct agi_holding *h)
{
	struct agi_str parts[2] = {{(const char *)h->part[0].hash, 32}, {(const char *)h->part[1].hash, 32}};
	uint8_t hash[32];

	agihpc__v1__holding__init(&row->h);
	agi_id_hex(row->id, node);
	row->h.node_id = agi_svc_text(row->id);
	if (h->err) {
		row->h.error = agi_svc_text(agi_err_name(h->err));
		return;
	}
	agi_blake2b_256(hash, parts, 2);
	agi_hex(row->digest, hash, sizeof hash);
	row->h.digest = agi_svc_text(row->digest);
	row->h.items = h->part[0].records;
	row->h.registers = h->part[1].records;
	row->h.bytes = h->part[0].bytes + h->part[1].bytes;
}

static void fill_found(struct found_row *row, const struct agi_compare_slot *t)
{
	agihpc__v1__slot_holdings__init(&row->s);
	row->s.slot = t->view.slot;
	row->s.epoch = t->view.epoch;
	row->s.members = row->list;
	row->s.n_members = t->view.n_members;
	for (uint8_t i = 0; i < t->view.n_members; i++) {
		fill_holding(&row->members[i], &t->view.members[i], &t->holding[i]);
		row->list[i] = &row->members[i].h;
	}
}

static void reply_verify(struct agi_care *c, struct agi_grpc_call *call)
{
	static const char *const states[] = {"none", "running", "done"};
	Agihpc__V1__VerifyResponse r = AGIHPC__V1__VERIFY_RESPONSE__INIT;
	Agihpc__V1__SlotHoldings *list[AGI_COMPARE_TOLD_MAX];
	struct agi_compare_status st;
	struct found_row *rows;

	agi_compare_look(c->compare, &st);
	rows = calloc(st.n_told + 1, sizeof *rows);
	if (!rows) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	for (uint32_t i = 0; i < st.n_told; i++) {
		fill_found(&rows[i], &st.told[i]);
		list[i] = &rows[i].s;
	}
	r.state = agi_svc_text(states[st.state]);
	r.slots = st.slots;
	r.judged = st.judged;
	r.same = st.same;
	r.different = st.different;
	r.incomplete = st.incomplete;
	r.damaged = st.damaged;
	r.records = st.records;
	r.bytes = st.bytes;
	r.found = list;
	r.n_found = st.n_told;
	agi_grpc_reply(call, &r.base);
	free(rows);
}

static void verify(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__VerifyRequest *p = (const Agihpc__V1__VerifyRequest *)req;
	struct agi_care *c = ctx;
	struct agi_why why;
	enum agi_err e = p->start ? agi_compare_start(c->compare, &why) : AGI_OK;

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		reply_verify(c, call);
}

enum agi_err agi_svc_backup_add(struct agi_grpc_server *server, struct agi_care *c)
{
	static const struct agi_grpc_method methods[] = {{"Backup", backup}, {"Restore", restore}, {"Verify", verify}};

	return agi_grpc_server_add(server, &agihpc__v1__backup_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, c);
}
