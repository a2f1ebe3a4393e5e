/* SPDX-License-Identifier: Apache-2.0
 * slot recover: slots go on without the majority of their members. Every member is asked; each does it for the slots
 * of which it is the first survivor. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agihpc.pb-c.h"
#include "base/limits.h"
#include "ctl/call.h"
#include "ctl/out.h"
#include "ctl/units.h"

enum { PATIENCE_MS = 120000, TYPED_MAX = 64 };

const struct ctl_opt ctl_opts_slot_recover[] = {
    {"unsafe", 0, NULL, NULL, "required: acknowledged writes may be lost"},
    {"all-lost", 0, NULL, NULL, "every slot whose majority is gone"},
    {"yes", 'y', NULL, NULL, "do not ask for confirmation"},
    {NULL, 0, NULL, NULL, NULL}};

struct sum {
	uint32_t recovered, failed, silent;
	bool is_refused;       /* somebody knows that the slot is not lost */
	struct agi_why why;    /* the first failure */
};

/* --- confirmation --------------------------------------------------------------------------------
 */
static const char warning[] =
    "A majority of these slots' members must be gone for good: disks lost, hosts scrapped.\n"
    "If they still run somewhere, or come back, this splits the memory: use agihpc-ctl status and\n"
    "members first, and repair the hosts if that is possible at all.\n"
    "What is lost: every write that only the missing members had, acknowledged or not.\n";

static enum ctl_exit confirm(struct ctl *c, const struct ctl_input *in, const char *what)
{
	char typed[TYPED_MAX], expected[TYPED_MAX];

	if (ctl_opt_is_set(&in->opts, "yes"))
		return CTL_OK;
	if (!isatty(STDIN_FILENO))
		return ctl_usage(c, "--yes is missing: there is no terminal to confirm this on");
	snprintf(expected, sizeof expected, "recover %s", what);
	fprintf(stderr, "%sType \"%s\" to go on: ", warning, expected);
	if (!fgets(typed, sizeof typed, stdin))
		typed[0] = '\0';
	typed[strcspn(typed, "\r\n")] = '\0';
	return strcmp(typed, expected) == 0 ? CTL_OK
					    : ctl_error(c, CTL_FAILED, "not confirmed, nothing was done");
}

/* --- asking everybody ------------------------------------------------------------------------------
 */
static void take_failure(struct sum *s, const struct ctl_call *call, const char *text)
{
	if (s->why.text[0] == '\0')
		agi_fail(&s->why, AGI_E_INTERNAL, "%s: %s", call->target, text);
}

/* ABORTED: nothing of it there, or another one comes first. FAILED_PRECONDITION: it is not lost. */
static void take(struct ctl *c, struct sum *s, const struct ctl_call *call)
{
	const Agihpc__V1__RecoverUnsafeResponse *r;

	switch (call->status) {
	case AGI_GRPC_OK:
		r = (const Agihpc__V1__RecoverUnsafeResponse *)call->res;
		s->recovered += r->recovered;
		s->failed += r->failed;
		if (r->failed) {
			char *text = ctl_copy(ctl_str(r->first_failure));

			take_failure(s, call, text);
			free(text);
		}
		break;
	case AGI_GRPC_ABORTED:
		break;
	case AGI_GRPC_FAILED_PRECONDITION:
		s->is_refused = true;
		take_failure(s, call, call->message);
		break;
	case AGI_GRPC_UNAVAILABLE:
	case AGI_GRPC_DEADLINE_EXCEEDED:
		s->silent++;
		ctl_warn(c, "warning: %s did not answer: %s", call->target, call->message);
		break;
	default:
		s->failed++;
		take_failure(s, call, call->message);
		break;
	}
}

static void ask_all(struct ctl *c, const Agihpc__V1__MembersResponse *members,
		    const Agihpc__V1__RecoverUnsafeRequest *req, struct sum *s)
{
	const struct ctl_call one = CTL_CALL("agihpc.v1.NodeService/RecoverUnsafe", req,
					     agihpc__v1__recover_unsafe_response__descriptor);
	struct ctl_call *calls = ctl_alloc(sizeof *calls * (members->n_members + 1));
	size_t n = 0;

	for (size_t i = 0; i < members->n_members; i++) {
		if (agi_str_eq(ctl_str(members->members[i]->state), AGI_STR("down")))
			continue;
		calls[n] = one;
		calls[n++].target = ctl_copy(ctl_str(members->members[i]->address));
	}
	c->deadline_us = ctl_now_us() + (uint64_t)PATIENCE_MS * 1000;
	ctl_calls_run(c, calls, n, PATIENCE_MS);
	for (size_t i = 0; i < n; i++) {
		take(c, s, &calls[i]);
		ctl_call_clear(&calls[i]);
		free((char *)(uintptr_t)calls[i].target);
	}
	free(calls);
}

/* --- the outcome ------------------------------------------------------------------------------------
 */
static enum ctl_exit print(struct ctl *c, const struct sum *s)
{
	struct agi_buf b;
	enum ctl_exit code;
	json_t *o;

	if (c->is_json) {
		o = json_object();
		ctl_set_u64(o, "recovered", s->recovered);
		ctl_set_u64(o, "failed", s->failed);
		ctl_set_u64(o, "members_silent", s->silent);
		ctl_set(o, "first_failure", json_string(s->why.text));
		return ctl_print_json_take(c, o);
	}
	agi_buf_init(&b, 0);
	agi_buf_printf(&b, "%u slots recovered; they grow back to their replicas as hosts permit\n", s->recovered);
	code = ctl_write(c, agi_buf_str(&b));
	agi_buf_free(&b);
	return code;
}

static enum ctl_exit judge(struct ctl *c, const struct sum *s, bool is_all)
{
	enum ctl_exit code = CTL_OK;

	if (s->recovered || (is_all && !s->failed))
		code = print(c, s);
	if (code == CTL_OK && s->failed)
		code = ctl_error(c, CTL_FAILED, "%u slots could not be recovered; %s", s->failed, s->why.text);
	else if (code == CTL_OK && !is_all && !s->recovered && s->is_refused)
		code = ctl_error(c, CTL_FAILED, "refused: %s", s->why.text);
	else if (code == CTL_OK && !is_all && !s->recovered)
		code = ctl_error(c, CTL_NOT_FOUND, "no member that answers holds anything of this slot");
	return code;
}

/* which: the word given; *slot is written unless all are meant. */
static enum ctl_exit parse(struct ctl *c, const struct ctl_input *in, bool is_all, uint32_t *slot)
{
	struct agi_why why;

	if (!ctl_opt_is_set(&in->opts, "unsafe"))
		return ctl_usage(c, "--unsafe is missing: this gives up acknowledged writes");
	if (is_all == (in->words.n == 1))
		return ctl_usage(c, "give the number of a slot or --all-lost");
	if (!is_all && ctl_parse_u32(slot, in->words.p[0], 0, (1u << AGI_SLOT_BITS_MAX) - 1, &why) != AGI_OK)
		return ctl_usage(c, "SLOT %s", why.text);
	return CTL_OK;
}

enum ctl_exit ctl_slot_recover(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__MembersRequest members = AGIHPC__V1__MEMBERS_REQUEST__INIT;
	Agihpc__V1__RecoverUnsafeRequest req = AGIHPC__V1__RECOVER_UNSAFE_REQUEST__INIT;
	struct ctl_call list =
	    CTL_CALL("agihpc.v1.NodeService/Members", &members, agihpc__v1__members_response__descriptor);
	bool is_all = ctl_opt_is_set(&in->opts, "all-lost");
	struct sum s = {.recovered = 0};
	enum ctl_exit code = parse(c, in, is_all, &req.slot);

	req.all_lost = is_all;
	if (code == CTL_OK)
		code = confirm(c, in, is_all ? "all lost slots" : in->words.p[0]);
	if (code == CTL_OK) {
		c->deadline_us = ctl_now_us() + (uint64_t)c->timeout_ms * 1000; /* typing took its time */
		code = ctl_ask(c, &list);
	}
	if (code == CTL_OK) {
		ask_all(c, (const Agihpc__V1__MembersResponse *)list.res, &req, &s);
		code = judge(c, &s, is_all);
	}
	ctl_call_clear(&list);
	return code;
}
