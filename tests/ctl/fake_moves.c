/* SPDX-License-Identifier: Apache-2.0
 * Slots on the move, as a fake node tells it: it has them at its first two answers, and none from the third on. Each
 * answer it holds 40 slots fewer than at the one before. */
#include "fake_node.h"

#include "agihpc.pb-c.h"

static void on_rebalance(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	static uint32_t asked;
	Agihpc__V1__RebalanceResponse res = AGIHPC__V1__REBALANCE_RESPONSE__INIT;
	struct fake_node *node = ctx;
	bool is_moving = asked++ < 2;

	(void)m;
	fprintf(node->log, "Rebalance\n");
	res.node_id = fake_bin(node->self.id);
	res.address = fake_bin(node->self.address);
	res.slots_held = asked < 3 ? 120 - 40 * asked : 0;
	res.settled = !is_moving;
	res.slots_to_move = is_moving ? 30 - 10 * asked : 0;
	res.preparing = is_moving ? 4 : 0;
	res.changes_led = 100 + 10 * asked;
	res.changes_per_s = is_moving ? 2 : 0;
	res.bytes_in = 3 << 20;
	res.slots_in = 3;
	res.bytes_in_per_s = is_moving ? 512 << 10 : 0;
	res.pauses = 4;
	res.pause_mean_ms = 2.5;
	res.pause_max_ms = 7;
	agi_grpc_reply(call, &res.base);
}

static void on_drain(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	Agihpc__V1__DrainResponse res = AGIHPC__V1__DRAIN_RESPONSE__INIT;
	const Agihpc__V1__DrainRequest *req = (const Agihpc__V1__DrainRequest *)m;
	struct fake_node *node = ctx;
	struct agi_why why;

	fprintf(node->log, "Drain force=%d\n", (int)req->force);
	if (node->self.id[0] == 'a' && !req->force) {
		agi_fail(&why, AGI_E_TOO_FEW_HOSTS, "2 hosts would remain for 3 replicas");
		agi_grpc_fail_err(call, AGI_E_TOO_FEW_HOSTS, &why);
		return;
	}
	res.slots = 120;
	agi_grpc_reply(call, &res.base);
}

static void on_undrain(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	Agihpc__V1__UndrainResponse res = AGIHPC__V1__UNDRAIN_RESPONSE__INIT;
	struct fake_node *node = ctx;

	(void)m;
	fprintf(node->log, "Undrain\n");
	agi_grpc_reply(call, &res.base);
}

static void on_leave(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	Agihpc__V1__LeaveResponse res = AGIHPC__V1__LEAVE_RESPONSE__INIT;
	struct fake_node *node = ctx;

	fprintf(node->log, "Leave force=%d\n", (int)((const Agihpc__V1__LeaveRequest *)m)->force);
	res.slots = 120;
	agi_grpc_reply(call, &res.base);
}

/* Node a recovers slot 1 and, of all, three; slot 2 is not lost; b has nothing. */
static void on_recover(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	Agihpc__V1__RecoverUnsafeResponse res = AGIHPC__V1__RECOVER_UNSAFE_RESPONSE__INIT;
	const Agihpc__V1__RecoverUnsafeRequest *req = (const Agihpc__V1__RecoverUnsafeRequest *)m;
	struct fake_node *node = ctx;
	bool is_a = node->self.id[0] == 'a';
	struct agi_why why;

	fprintf(node->log, "RecoverUnsafe slot=%u all=%d\n", req->slot, (int)req->all_lost);
	if (!req->all_lost && (!is_a || req->slot > 2)) {
		agi_fail(&why, AGI_E_NOT_MEMBER, "slot %u: this node holds nothing of it", req->slot);
		agi_grpc_fail_err(call, AGI_E_NOT_MEMBER, &why);
	} else if (!req->all_lost && req->slot == 2) {
		agi_fail(&why, AGI_E_NOT_LOST, "slot 2: 3 of its 3 members answer");
		agi_grpc_fail_err(call, AGI_E_NOT_LOST, &why);
	} else {
		res.recovered = req->all_lost && is_a ? 3 : is_a;
		agi_grpc_reply(call, &res.base);
	}
}

const struct agi_grpc_method fake_move_methods[FAKE_MOVE_METHODS] = {{"Rebalance", on_rebalance},
								     {"Drain", on_drain},
								     {"Undrain", on_undrain},
								     {"Leave", on_leave},
								     {"RecoverUnsafe", on_recover}};
