/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/moves.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/progress.h"
#include "ctl/units.h"

enum { TEXT_MAX = 160 };

/* --- the sum ----------------------------------------------------------------------------------- */
void ctl_moves_add(struct ctl_moves_sum *s, const Agihpc__V1__RebalanceResponse *r)
{
	s->is_settled = (s->reports == 0 || s->is_settled) && r->settled;
	s->reports++;
	s->to_move += r->slots_to_move;
	s->working += r->preparing + r->proposing;
	s->joining += r->joining;
	s->handing_over += r->handing_over;
	s->copying += r->copying;
	s->changes += r->changes_led;
	s->bytes_in += r->bytes_in;
	s->slots_in += r->slots_in;
	s->pause_mean_ms += r->pause_mean_ms * (double)r->pauses;
	s->pauses += r->pauses;
	if (r->pause_max_ms > s->pause_max_ms)
		s->pause_max_ms = r->pause_max_ms;
	s->bytes_per_s += r->bytes_in_per_s;
	s->changes_per_s += r->changes_per_s;
	if (r->slots_held && r->store_bytes / r->slots_held > s->bytes_per_slot)
		s->bytes_per_slot = r->store_bytes / r->slots_held;
}

void ctl_moves_finish(struct ctl_moves_sum *s)
{
	if (s->pauses)
		s->pause_mean_ms /= (double)s->pauses;
	if (s->slots_in)
		s->bytes_per_slot = s->bytes_in / s->slots_in;
	s->is_settled = s->is_settled && s->reports > 0 && s->silent == 0;
}

double ctl_moves_eta_s(const struct ctl_moves_sum *s)
{
	if (s->to_move == 0)
		return s->is_settled ? 0 : -1;
	return s->changes_per_s > 0 ? (double)s->to_move / s->changes_per_s : -1;
}

/* --- asking ------------------------------------------------------------------------------------ */
static bool is_down(const Agihpc__V1__Member *m)
{
	return agi_str_eq(ctl_str(m->state), AGI_STR("down"));
}

static void ask_members(struct ctl *c, struct ctl_moves *m, const struct ctl_call *one)
{
	const Agihpc__V1__MembersResponse *members =
	    (const Agihpc__V1__MembersResponse *)m->list.res;

	m->calls = ctl_alloc(sizeof *m->calls * (members->n_members + 1));
	for (size_t i = 0; i < members->n_members; i++) {
		if (is_down(members->members[i]))
			continue;
		m->calls[m->n] = *one;
		m->calls[m->n++].target = ctl_copy(ctl_str(members->members[i]->address));
	}
	ctl_calls_run(c, m->calls, m->n, ctl_left_ms(c));
}

static void add_up(struct ctl_moves *m)
{
	for (size_t i = 0; i < m->n; i++) {
		if (ctl_moves_report(m, i))
			ctl_moves_add(&m->sum, ctl_moves_report(m, i));
		else
			m->sum.silent++;
	}
	ctl_moves_finish(&m->sum);
}

enum ctl_exit ctl_moves_ask(struct ctl *c, bool is_local, struct ctl_moves *m)
{
	Agihpc__V1__MembersRequest members = AGIHPC__V1__MEMBERS_REQUEST__INIT;
	Agihpc__V1__RebalanceRequest req = AGIHPC__V1__REBALANCE_REQUEST__INIT;
	const struct ctl_call one =
	    CTL_CALL("agihpc.v1.NodeService/Rebalance", &req, agihpc__v1__rebalance_response__descriptor);
	enum ctl_exit code;

	*m = (struct ctl_moves){.list = CTL_CALL("agihpc.v1.NodeService/Members", &members,
						 agihpc__v1__members_response__descriptor)};
	if (is_local) {
		m->calls = ctl_alloc(sizeof *m->calls);
		m->calls[m->n++] = one;
		code = ctl_ask(c, &m->calls[0]);
		m->calls[0].target = NULL; /* the chosen node's, not ours */
	} else {
		code = ctl_ask(c, &m->list);
		if (code == CTL_OK)
			ask_members(c, m, &one);
	}
	if (code == CTL_OK)
		add_up(m);
	return code;
}

const Agihpc__V1__RebalanceResponse *ctl_moves_report(const struct ctl_moves *m, size_t i)
{
	return m->calls[i].status == AGI_GRPC_OK
		   ? (const Agihpc__V1__RebalanceResponse *)m->calls[i].res
		   : NULL;
}

void ctl_moves_clear(struct ctl_moves *m)
{
	for (size_t i = 0; i < m->n; i++) {
		ctl_call_clear(&m->calls[i]);
		free((char *)(uintptr_t)m->calls[i].target);
	}
	free(m->calls);
	ctl_call_clear(&m->list);
	*m = (struct ctl_moves){.n = 0};
}

/* --- the line ---------------------------------------------------------------------------------- */
void ctl_progress_line(struct agi_buf *out, size_t columns, uint64_t done, uint64_t total,
		       double bytes_per_s, double eta_s)
{
	char text[TEXT_MAX], rate[CTL_UNIT_TEXT], left[CTL_UNIT_TEXT];

	ctl_format_bytes(rate, bytes_per_s > 0 ? (uint64_t)bytes_per_s : 0);
	ctl_format_ms(left, eta_s * 1000);
	snprintf(text, sizeof text, "%" PRIu64 "/%" PRIu64 " slots  %s/s%s%s%s", done, total, rate,
		 eta_s >= 0 ? "  " : "", eta_s >= 0 ? left : "", eta_s >= 0 ? " left" : "");
	ctl_bar(out, columns, done, total, text);
}
