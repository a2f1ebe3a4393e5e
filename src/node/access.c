/* SPDX-License-Identifier: Apache-2.0 */
#include "node/access.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
	NONE = 0,
	READ = AGI_SCOPE_READ,
	WRITE = AGI_SCOPE_WRITE,
	SAFETY = AGI_SCOPE_SAFETY,
	ADMIN = AGI_SCOPE_ADMIN
};

/* --- the table
 * -------------------------------------------------------------------------------------------- */
/* Every method there is has a row, and every row is of a method there is (tests/unit/test_access.c): needing admin
 * is a decision too. What has none needs admin. */
static const struct {
	const char *service, *method;
	unsigned scope;
} table[] = {
    {"grpc.health.v1.Health", "Check", NONE},
    {"grpc.health.v1.Health", "Watch", NONE},
    {"grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", NONE},
    {"grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", NONE},

    {"agihpc.v1.KvService", "Put", WRITE},
    {"agihpc.v1.KvService", "Get", READ},
    {"agihpc.v1.KvService", "Delete", WRITE},
    {"agihpc.v1.KvService", "Owners", READ},
    {"agihpc.v1.KvService", "CompareAndSet", WRITE},
    {"agihpc.v1.KvService", "Add", WRITE},
    {"agihpc.v1.KvService", "Scan", READ},
    {"agihpc.v1.KvService", "Batch", WRITE},
    {"agihpc.v1.KvService", "Watch", READ},
    {"agihpc.v1.LeaseService", "Grant", WRITE},
    {"agihpc.v1.LeaseService", "KeepAlive", WRITE},
    {"agihpc.v1.LeaseService", "Revoke", WRITE},
    {"agihpc.v1.LeaseService", "GetLease", READ},
    {"agihpc.v1.LeaseService", "ListLeases", READ},
    {"agihpc.v1.LeaseService", "Lock", WRITE},
    {"agihpc.v1.RegistryService", "RegisterService", WRITE},
    {"agihpc.v1.RegistryService", "DeregisterService", WRITE},
    {"agihpc.v1.RegistryService", "Discover", READ},
    {"agihpc.v1.RegistryService", "Nearest", READ},
    {"agihpc.v1.RegistryService", "WatchService", READ},
    {"agihpc.v1.RegistryService", "Heartbeat", WRITE},
    {"agihpc.v1.NodeService", "Status", READ},
    {"agihpc.v1.NodeService", "Members", READ},
    {"agihpc.v1.NodeService", "Slots", READ},
    {"agihpc.v1.NodeService", "Roles", READ},
    {"agihpc.v1.NodeService", "Lookup", READ},
    {"agihpc.v1.NodeService", "Rebalance", READ},
    {"agihpc.v1.NodeService", "Drain", ADMIN},
    {"agihpc.v1.NodeService", "Undrain", ADMIN},
    {"agihpc.v1.NodeService", "Leave", ADMIN},
    {"agihpc.v1.NodeService", "RecoverUnsafe", ADMIN},
    {"agihpc.v1.EventService", "Publish", WRITE},
    {"agihpc.v1.EventService", "Subscribe", READ},

    {"agi.safety.v1.PreActionSafetyService", "CheckPlan", SAFETY},
    {"agi.safety.v1.PreActionSafetyService", "CheckStep", SAFETY},
    {"agi.safety.v1.InActionSafetyService", "CheckAction", SAFETY},
    {"agi.safety.v1.InActionSafetyService", "ReflexCheck", SAFETY},
    {"agi.safety.v1.InActionSafetyService", "EmergencyStop", SAFETY},
    {"agi.safety.v1.PostActionSafetyService", "ReportOutcome", SAFETY},
    {"agi.erisml.v1.ErisMLService", "EvaluateStep", SAFETY},
    {"agi.erisml.v1.ErisMLService", "EvaluatePlan", SAFETY},
    {"agi.erisml.v1.ErisMLService", "ComputeBondIndex", SAFETY},
    {"agi.erisml.v1.ErisMLService", "GetBondIndex", SAFETY},
    {"agi.erisml.v1.ErisMLService", "VerifyHohfeldian", SAFETY},

    {"agi.memory.v1.SemanticMemoryService", "SemanticSearch", READ},
    {"agi.memory.v1.SemanticMemoryService", "StoreFact", WRITE},
    {"agi.memory.v1.SemanticMemoryService", "GetToolSchema", READ},
    {"agi.memory.v1.EpisodicMemoryService", "EpisodicSearch", READ},
    {"agi.memory.v1.EpisodicMemoryService", "StoreEpisode", WRITE},
    {"agi.memory.v1.EpisodicMemoryService", "GetEpisode", READ},
    {"agi.memory.v1.ProceduralMemoryService", "SkillSearch", READ},
    {"agi.memory.v1.ProceduralMemoryService", "GetSkill", READ},
    {"agi.memory.v1.ProceduralMemoryService", "RegisterSkill", WRITE},
    {"agi.memory.v1.ProceduralMemoryService", "UpdateSkillStats", WRITE},
    {"agi.memory.v1.UnifiedMemoryService", "EnrichPlanningContext", READ},
    {"agi.plan.v1.PlanService", "Plan", WRITE},
    {"agi.plan.v1.SimulationService", "Simulate", READ},
    {"agi.rh.v1.PerceptionService", "UpdatePerception", WRITE},
    {"agi.rh.v1.PerceptionService", "GetState", READ},
    {"agi.rh.v1.WorldModelService", "Predict", READ},
    {"agi.rh.v1.ControlExecutionService", "Execute", WRITE},
    {"agi.rh.v1.ControlExecutionService", "GetStatus", READ},
    {"agi.rh.v1.RHHealthService", "GetStatus", READ},

    {"agihpc.v1.BackupService", "Backup", ADMIN},
    {"agihpc.v1.BackupService", "Restore", ADMIN},
    {"agihpc.v1.BackupService", "Verify", ADMIN},
    {"agihpc.v1.SafetyService", "Resume", ADMIN},
    {"agihpc.v1.SafetyService", "Stop", SAFETY},
    {"agihpc.v1.SafetyService", "GetStop", READ},
    {"agihpc.v1.AuditService", "Read", SAFETY},
    {"agihpc.v1.PolicyService", "Get", READ},
    {"agihpc.v1.PolicyService", "Set", ADMIN},
};

const char *agi_access_row(size_t i, const char **method)
{
	if (i >= sizeof table / sizeof *table)
		return NULL;
	*method = table[i].method;
	return table[i].service;
}

unsigned agi_access_needed(const char *service, const char *method)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i].method, method) == 0 && strcmp(table[i].service, service) == 0)
			return table[i].scope;
	return ADMIN;
}

/* --- who somebody is
 * ---------------------------------------------------------------------------------------- */
static bool has_admin_name(const struct agi_access *a, const struct agi_transport_peer *peer)
{
	for (size_t i = 0; peer->has_cert && i < peer->n_names; i++)
		for (size_t k = 0; k < a->admin_names->n; k++)
			if (strcmp(peer->names[i], a->admin_names->v[k]) == 0)
				return true;
	return false;
}

static bool is_operator(const struct agi_access *a, const struct agi_transport_peer *peer)
{
	if (a->is_forwarded)
		return false;
	return (peer->is_unix && (peer->uid == geteuid() || peer->uid == 0)) ||
	       has_admin_name(a, peer);
}

/* RFC 6750 2.1; the scheme's case does not matter (RFC 9110 11.1). */
static bool take_token(struct agi_str authorization, struct agi_str *token)
{
	static const char scheme[] = "Bearer ";
	size_t n = sizeof scheme - 1;

	if (authorization.n <= n || strncasecmp(authorization.p, scheme, n) != 0)
		return false;
	while (n < authorization.n && authorization.p[n] == ' ')
		n++;
	*token = (struct agi_str){authorization.p + n, authorization.n - n};
	return token->n > 0;
}

/* --- the answer
 * --------------------------------------------------------------------------------------------- */
static enum agi_grpc_status refuse(struct agi_why *why, enum agi_grpc_status status,
				   const char *text)
{
	(void)agi_fail(why, AGI_E_DENIED, "%s", text);
	return status;
}

static const char *scope_name(unsigned scope)
{
	static const char *const names[] = {"none", "read", "write", "none", "safety"};

	return scope < sizeof names / sizeof *names ? names[scope] : "admin";
}

static enum agi_grpc_status refuse_token(struct agi_why *why, unsigned needed, unsigned have,
					 const char *name, const char *method)
{
	char list[AGI_SCOPES_TEXT];

	agi_scopes_format(list, have);
	(void)agi_fail(why, AGI_E_DENIED, "%s needs the scope \"%s\"; the token of %s has %s",
		       method, scope_name(needed), name, list);
	return AGI_GRPC_PERMISSION_DENIED;
}

/* Nobody has said who they are. */
static enum agi_grpc_status refuse_stranger(const struct agi_access *a, struct agi_why *why,
					    unsigned needed, const char *method)
{
	if (a->is_forwarded && a->tokens)
		(void)agi_fail(why, AGI_E_AUTH,
			       "%s needs the scope \"%s\": send \"authorization: Bearer TOKEN\" "
			       "(a node handed the call on: client certificates and Unix sockets do "
			       "not count)",
			       method, scope_name(needed));
	else if (needed == AGI_SCOPE_ADMIN)
		(void)agi_fail(why, AGI_E_DENIED,
			       "%s needs the scope \"admin\": a token that has it "
			       "(auth.tokens_file), a client certificate "
			       "with a name of tls.admin_names, or the Unix socket "
			       "(node.unix_socket) as the node's user",
			       method);
	else
		(void)agi_fail(why, AGI_E_AUTH,
			       "%s needs the scope \"%s\": send \"authorization: Bearer TOKEN\"",
			       method, scope_name(needed));
	return a->tokens ? AGI_GRPC_UNAUTHENTICATED : AGI_GRPC_PERMISSION_DENIED;
}

enum agi_grpc_status agi_access_check(const struct agi_access *a,
				      const struct agi_transport_peer *peer,
				      struct agi_str authorization, unsigned needed,
				      const char *method, struct agi_why *why)
{
	unsigned have = 0;
	const char *name = NULL;
	struct agi_str token;

	if (!needed || is_operator(a, peer))
		return AGI_GRPC_OK;
	if (!a->tokens)
		return needed == AGI_SCOPE_ADMIN ? refuse_stranger(a, why, needed, method)
						 : AGI_GRPC_OK;
	if (!authorization.n)
		return refuse_stranger(a, why, needed, method);
	if (!take_token(authorization, &token))
		return refuse(
		    why, AGI_GRPC_UNAUTHENTICATED,
		    "the authorization header is not understood: expected \"Bearer TOKEN\"");
	if (!agi_tokens_find(a->tokens, token, &have, &name))
		return refuse(why, AGI_GRPC_UNAUTHENTICATED,
			      "the token is not known to this node: is its line in the file "
			      "auth.tokens_file names?");
	return have & needed ? AGI_GRPC_OK : refuse_token(why, needed, have, name, method);
}
