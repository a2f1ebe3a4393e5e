/* SPDX-License-Identifier: Apache-2.0
 * Canned answers of NodeService, grpc.health.v1 and PreActionSafetyService. */
#include "agihpc.pb-c.h"
#include "health.pb-c.h"
#include "safety.pb-c.h"
#include "fake_node.h"

enum { SLOTS = 8 };

/* --- NodeService ------------------------------------------------------------------------------ */
static void on_status(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	ProtobufCBinaryData roles[] = {fake_bin("erisml"), fake_bin("safety-gateway")};
	ProtobufCBinaryData warning = fake_bin("two members are down");
	Agihpc__V1__StatusResponse res = AGIHPC__V1__STATUS_RESPONSE__INIT;
	struct fake_node *node = ctx;

	(void)m;
	res.node_id = fake_bin(node->self.id);
	res.address = fake_bin(node->self.address);
	res.version = fake_bin("0.1.0");
	res.ready = 1;
	res.phase = fake_bin("joined");
	res.incarnation = 4;
	res.uptime_ms = 3723000;
	res.members_up = 3;
	res.slots_total = 4096;
	res.slots_active = 1365;
	res.rss_bytes = 4299162;
	res.roles = roles;
	res.n_roles = 2;
	res.warnings = &warning;
	res.n_warnings = 1;
	agi_grpc_reply(call, &res.base);
}

static void fill_member(Agihpc__V1__Member *one, const struct fake_peer *p)
{
	*one = (Agihpc__V1__Member)AGIHPC__V1__MEMBER__INIT;
	one->node_id = fake_bin(p->id);
	one->state = fake_bin(p->state);
	one->address = fake_bin(p->address);
	one->rtt_ms = fake_is(one->state, "self") ? 0 : fake_is(one->state, "down") ? -1 : 1.25;
	one->weight = 1;
	one->state_age_ms = 5000;
}

static void on_members(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	Agihpc__V1__MembersResponse res = AGIHPC__V1__MEMBERS_RESPONSE__INIT;
	Agihpc__V1__Member v[FAKE_PEERS_MAX + 1], *list[FAKE_PEERS_MAX + 1];
	struct fake_node *node = ctx;

	(void)m;
	for (size_t i = 0; i <= node->n_peers; i++) {
		fill_member(&v[i], i ? &node->peers[i - 1] : &node->self);
		list[i] = &v[i];
	}
	res.members = list;
	res.n_members = node->n_peers + 1;
	agi_grpc_reply(call, &res.base);
}

/* Node a holds slots 0 to 5 with b at epoch 2. Node b agrees on 0 to 3, knows a newer, sealed view
 * of 4 that it holds with c, and joins 6 with c. Nobody reports 7. */
static void on_slots(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	char ids[3][65];
	ProtobufCBinaryData abc[3];
	Agihpc__V1__SlotsResponse res = AGIHPC__V1__SLOTS_RESPONSE__INIT;
	Agihpc__V1__Slot v[SLOTS], *list[SLOTS];
	struct fake_node *node = ctx;
	bool is_a = node->self.id[0] == 'a';

	fprintf(node->log, "Slots held_only=%d\n",
		(int)((const Agihpc__V1__SlotsRequest *)m)->held_only);
	for (int i = 0; i < 3; i++) {
		fake_make_id(ids[i], &"abc"[i]);
		abc[i] = fake_bin(ids[i]);
	}
	for (uint32_t i = 0; i < 6; i++) {
		bool is_newer = !is_a && i >= 4;

		v[i] = (Agihpc__V1__Slot)AGIHPC__V1__SLOT__INIT;
		v[i].slot = is_newer && i == 5 ? 6 : i;
		v[i].epoch = is_newer ? 3 : 2;
		v[i].phase = fake_bin(!is_newer ? "active" : i == 4 ? "sealed" : "joining");
		v[i].members = is_newer ? abc + 1 : abc;
		v[i].n_members = 2;
		list[i] = &v[i];
	}
	res.slots_total = SLOTS;
	res.slots = list;
	res.n_slots = 6;
	agi_grpc_reply(call, &res.base);
}

static void on_roles(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	Agihpc__V1__RolesResponse res = AGIHPC__V1__ROLES_RESPONSE__INIT;
	Agihpc__V1__RoleInstance one = AGIHPC__V1__ROLE_INSTANCE__INIT, *list = &one;
	struct fake_node *node = ctx;

	(void)m;
	one.role = fake_bin("safety-gateway");
	one.address = fake_bin("10.0.0.1:50055");
	one.node_id = fake_bin(node->self.id);
	one.state = fake_bin("serving");
	one.rtt_ms = 0.2;
	res.roles = &list;
	res.n_roles = 1;
	agi_grpc_reply(call, &res.base);
}

static void on_lookup(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__LookupRequest *req = (const Agihpc__V1__LookupRequest *)m;
	Agihpc__V1__LookupResponse res = AGIHPC__V1__LOOKUP_RESPONSE__INIT;
	Agihpc__V1__Hop v[3], *hops[3];
	Agihpc__V1__Member one, *nearest = &one;
	struct fake_node *node = ctx;

	fprintf(node->log, "Lookup target=%.*s ns=%.*s key=%.*s\n", FAKE_TEXT(req->target),
		FAKE_TEXT(req->namespace_), FAKE_TEXT(req->key));
	if (fake_makes_trouble(call, req->key))
		return;
	for (uint32_t i = 0; i < 3; i++) {
		v[i] = (Agihpc__V1__Hop)AGIHPC__V1__HOP__INIT;
		v[i].round = i < 2 ? 1 : 2;
		v[i].node_id = fake_bin(node->self.id);
		v[i].address = fake_bin(node->self.address);
		v[i].rtt_ms = i == 1 ? -1 : 0.3;
		v[i].distance_bits = 255 - i;
		hops[i] = &v[i];
	}
	fill_member(&one, &node->self);
	res.target = req->target.len ? req->target : fake_bin(node->self.id);
	res.hops = hops;
	res.n_hops = 3;
	res.nearest = &nearest;
	res.n_nearest = 1;
	agi_grpc_reply(call, &res.base);
}

/* --- health, safety --------------------------------------------------------------------------- */
static void on_health(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Grpc__Health__V1__HealthCheckRequest *req =
	    (const Grpc__Health__V1__HealthCheckRequest *)m;
	Grpc__Health__V1__HealthCheckResponse res = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	(void)ctx;
	if (fake_makes_trouble(call, req->service))
		return;
	res.status = fake_is(req->service, "sick")
			 ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
			 : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	agi_grpc_reply(call, &res.base);
}

/* By plan id; "vague" decides nothing, every other plan is allowed. */
static Agi__Safety__V1__SafetyDecision decision_of(ProtobufCBinaryData plan_id)
{
	static const char *const names[] = {"vague", "allow", "block", "revise", "defer"};

	for (int d = 0; d < 5; d++)
		if (fake_is(plan_id, names[d]))
			return (Agi__Safety__V1__SafetyDecision)d;
	return AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_ALLOW;
}

static void on_check_plan(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agi__Safety__V1__CheckPlanRequest *req = (const Agi__Safety__V1__CheckPlanRequest *)m;
	Agi__Safety__V1__CheckPlanResponse res = AGI__SAFETY__V1__CHECK_PLAN_RESPONSE__INIT;
	Agi__Safety__V1__SafetyResult result = AGI__SAFETY__V1__SAFETY_RESULT__INIT, stop = result;
	Agi__Safety__V1__StepSafetyResult step = AGI__SAFETY__V1__STEP_SAFETY_RESULT__INIT;
	Agi__Safety__V1__StepSafetyResult *steps = &step;
	Agi__Safety__V1__SafetyResult__MetadataEntry quorum =
	    AGI__SAFETY__V1__SAFETY_RESULT__METADATA_ENTRY__INIT;
	Agi__Safety__V1__SafetyResult__MetadataEntry *metadata = &quorum;
	ProtobufCBinaryData id = req->plan->plan_id, reason = fake_bin("said so");
	struct fake_node *node = ctx;

	fprintf(node->log, "CheckPlan plan=%.*s steps=%zu profile=%.*s proofs=%d\n", FAKE_TEXT(id),
		req->plan->n_steps, FAKE_TEXT(req->profile_name), (int)req->require_proofs);
	if (fake_makes_trouble(call, id))
		return;
	result.decision = decision_of(id);
	result.risk_score = 0.3f;
	result.reasons = &reason;
	result.n_reasons = 1;
	quorum.key = fake_bin("quorum");
	quorum.value = fake_bin("3 of 3 voted");
	result.metadata = &metadata;
	result.n_metadata = 1;
	stop.decision = AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_BLOCK;
	stop.risk_score = 1;
	step.step_id = fake_bin("s1");
	step.result = &stop;
	res.step_results = &steps;
	res.n_step_results = result.decision == stop.decision;
	res.result = fake_is(id, "empty") ? NULL : &result;
	res.plan_approved =
	    result.decision == AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_ALLOW &&
	    !fake_is(id, "liar");
	agi_grpc_reply(call, &res.base);
}

static const struct agi_grpc_method of_node[] = {{"Status", on_status},
						 {"Members", on_members},
						 {"Slots", on_slots},
						 {"Roles", on_roles},
						 {"Lookup", on_lookup}};
static const struct agi_grpc_method health[] = {{"Check", on_health}};
static const struct agi_grpc_method safety[] = {{"CheckPlan", on_check_plan}};

bool fake_add_state_services(struct agi_grpc_server *s, struct fake_node *node)
{
	struct agi_grpc_method all[5 + FAKE_MOVE_METHODS];

	memcpy(all, of_node, sizeof of_node);
	memcpy(all + 5, fake_move_methods, sizeof fake_move_methods);
	return agi_grpc_server_add(s, &agihpc__v1__node_service__descriptor, all, 5 + FAKE_MOVE_METHODS,
				   node) == AGI_OK &&
	       agi_grpc_server_add(s, &grpc__health__v1__health__descriptor, health, 1, node) ==
		   AGI_OK &&
	       agi_grpc_server_add(s, &agi__safety__v1__pre_action_safety_service__descriptor,
				   safety, 1, node) == AGI_OK;
}
