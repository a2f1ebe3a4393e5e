/* SPDX-License-Identifier: Apache-2.0
 * Backups as a fake node tells of them: what is started goes on for two more looks, and then has an end that depends on
 * the name ("lost": not whole; "forgotten": nobody knows of it). Node a compares sound slots, others one that differs. */
#include "fake_node.h"

#include "agihpc.pb-c.h"

static uint32_t left; /* looks until the end */

static const char *state_of(bool is_start, ProtobufCBinaryData name, const char *running)
{
	if (is_start)
		left = 2;
	else if (left)
		left--;
	if (left)
		return running;
	return fake_is(name, "lost") ? "failed" : fake_is(name, "forgotten") ? "none" : "done";
}

static void on_backup(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	Agihpc__V1__BackupResponse res = AGIHPC__V1__BACKUP_RESPONSE__INIT;
	const Agihpc__V1__BackupRequest *req = (const Agihpc__V1__BackupRequest *)m;
	struct fake_node *node = ctx;
	Agihpc__V1__BackupPart part = AGIHPC__V1__BACKUP_PART__INIT, *parts[] = {&part};
	bool is_lost = fake_is(req->name, "lost");

	fprintf(node->log, "Backup name=%.*s start=%d\n", FAKE_TEXT(req->name), (int)req->start);
	res.state = fake_bin(state_of(req->start, req->name, "running"));
	res.name = req->name;
	res.step = fake_bin("copying");
	res.why = fake_bin(is_lost ? "3 of 64 slots are not whole" : "");
	res.slots = 64;
	res.slots_whole = is_lost ? 61 : 64;
	res.directory = fake_bin("/srv/backups/x");
	part.node_id = fake_bin(node->self.id);
	part.address = fake_bin(node->self.address);
	part.state = fake_bin("done");
	part.bytes = 1 << 20;
	part.bytes_total = 2 << 20;
	part.files = 7;
	res.parts = parts;
	res.n_parts = 1;
	agi_grpc_reply(call, &res.base);
}

static void on_restore(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	Agihpc__V1__RestoreResponse res = AGIHPC__V1__RESTORE_RESPONSE__INIT;
	const Agihpc__V1__RestoreRequest *req = (const Agihpc__V1__RestoreRequest *)m;
	struct fake_node *node = ctx;

	fprintf(node->log, "Restore name=%.*s start=%d partial=%d\n", FAKE_TEXT(req->name), (int)req->start,
	        (int)req->partial);
	res.state = fake_bin(state_of(req->start, req->name, "writing"));
	res.name = req->name;
	res.why = fake_bin(fake_is(req->name, "lost") ? "slot 5 of the backup cannot be written" : "");
	res.slots = res.slots_whole = res.slots_done = 64;
	res.parts = 3;
	res.items = 100;
	res.registers = 20;
	res.registers_kept = 4;
	res.expired = 2;
	agi_grpc_reply(call, &res.base);
}

static void on_verify(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const ProtobufCBinaryData none = {0, NULL};
	Agihpc__V1__VerifyResponse res = AGIHPC__V1__VERIFY_RESPONSE__INIT;
	Agihpc__V1__SlotHoldings slot = AGIHPC__V1__SLOT_HOLDINGS__INIT, *found[] = {&slot};
	Agihpc__V1__Holding one = AGIHPC__V1__HOLDING__INIT, other = one, *members[] = {&one, &other};
	struct fake_node *node = ctx;
	bool is_sound = node->self.id[0] == 'a';

	fprintf(node->log, "Verify start=%d\n", (int)((const Agihpc__V1__VerifyRequest *)m)->start);
	res.state = fake_bin(state_of(((const Agihpc__V1__VerifyRequest *)m)->start, none, "running"));
	res.slots = res.judged = 64;
	res.same = is_sound ? 64 : 63;
	res.different = !is_sound;
	res.records = 1000;
	res.bytes = 1 << 20;
	slot.slot = 9;
	slot.members = members;
	slot.n_members = 2;
	one.node_id = other.node_id = fake_bin(node->self.id);
	one.digest = fake_bin("0123456789abcdef0123");
	one.items = 5;
	other.error = fake_bin("UNREACHABLE");
	res.found = found;
	res.n_found = !is_sound;
	agi_grpc_reply(call, &res.base);
}

bool fake_add_backup_service(struct agi_grpc_server *s, struct fake_node *node)
{
	static const struct agi_grpc_method methods[] = {
	    {"Backup", on_backup}, {"Restore", on_restore}, {"Verify", on_verify}};

	return agi_grpc_server_add(s, &agihpc__v1__backup_service__descriptor, methods, 3, node) == AGI_OK;
}
