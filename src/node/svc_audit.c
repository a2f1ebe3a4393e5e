/* SPDX-License-Identifier: Apache-2.0 */
#include "node/svc_audit.h"

#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "node/svc.h"

enum {
	CURSOR_BYTES = 16,
	CHUNKS_MAX = 32 /* read for one page when nothing in them is asked for: 20 MiB */
};

/* One call: main ─ read ─► audit thread ─ answer ─► main. */
struct page {
	struct agi_svc_audit *svc;
	struct agi_grpc_call *call; /* main's; NULL: the client has gone */
	struct agi_loop_message back;
	uint64_t since_ms;
	struct agi_audit_at at;
	struct agi_audit_chunk chunk;
	enum agi_err err;
	struct agi_why why;
};

static void page_free(struct page *p)
{
	agi_buf_free(&p->chunk.records);
	free(p);
}

/* --- cursors: where to go on, for this node only ------------------------------------------------------------ */
static bool take_cursor(struct agi_audit_at *at, struct agi_str cursor)
{
	struct agi_cur c = agi_cur_of(cursor);

	*at = (struct agi_audit_at){.has_segment = cursor.n > 0};
	if (!cursor.n)
		return true;
	at->number = agi_cur_u64(&c);
	at->offset = agi_cur_u64(&c);
	return !c.bad && !c.n && at->offset <= INT64_MAX;
}

static ProtobufCBinaryData put_cursor(uint8_t out[CURSOR_BYTES], const struct agi_audit_at *at)
{
	for (int i = 0; i < 8; i++) {
		out[i] = (uint8_t)(at->number >> (56 - 8 * i));
		out[8 + i] = (uint8_t)(at->offset >> (56 - 8 * i));
	}
	return (ProtobufCBinaryData){at->has_segment ? CURSOR_BYTES : 0, out};
}

/* --- main ---------------------------------------------------------------------------------------------------- */
static void answer(void *arg)
{
	Agihpc__V1__AuditPage res = AGIHPC__V1__AUDIT_PAGE__INIT;
	uint8_t cursor[CURSOR_BYTES];
	struct page *p = arg;

	if (p->call && p->err) {
		agi_grpc_fail_err(p->call, p->err, &p->why);
	} else if (p->call) {
		res.node_id = agi_svc_text(p->svc->node);
		res.records = agi_svc_data(agi_buf_str(&p->chunk.records));
		res.damage = agi_svc_text(p->chunk.damage.text);
		res.cursor = put_cursor(cursor, &p->at);
		res.has_more = p->chunk.has_more;
		agi_grpc_reply(p->call, &res.base);
	}
	page_free(p);
}

/* A loop has stopped. */
static void drop(void *arg)
{
	struct page *p = arg;

	if (p->call)
		agi_grpc_fail_err(p->call, AGI_E_CLOSED, NULL);
	page_free(p);
}

static void on_cancel(void *arg)
{
	struct page *p = arg;
	struct agi_grpc_call *call = p->call;

	p->call = NULL;
	agi_grpc_fail(call, AGI_GRPC_CANCELLED, "the client gave up");
}

/* --- the audit thread ---------------------------------------------------------------------------------------- */
static void read_page(void *arg)
{
	struct page *p = arg;
	char dir[AGI_AUDIT_PATH_MAX];
	int n = 0;

	agi_safety_host_audit_dir(p->svc->safety, dir);
	do {
		p->err = agi_audit_read(dir, &p->at, p->since_ms, &p->chunk, &p->why);
	} while (!p->err && p->chunk.has_more && !p->chunk.records.n && !p->chunk.damage.text[0] && ++n < CHUNKS_MAX);
	(void)!agi_loop_post_kept(p->svc->main, &p->back); /* that loop outlives this thread */
}

/* --- the method ------------------------------------------------------------------------------------------------ */
static void read_log(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__AuditRequest *m = (const Agihpc__V1__AuditRequest *)req;
	struct agi_svc_audit *a = ctx;
	struct page *p = calloc(1, sizeof *p);
	struct agi_why why = {"cursor: none of this node's"};
	enum agi_err e = AGI_E_NOMEM;

	if (p) {
		p->svc = a;
		p->call = call;
		p->since_ms = m->since_ms;
		p->back = (struct agi_loop_message){.fn = answer, .drop = drop, .arg = p};
		agi_buf_init(&p->chunk.records, 0);
		e = take_cursor(&p->at, agi_svc_str(m->cursor)) ? AGI_OK : AGI_E_INVALID;
	}
	if (!e)
		e = agi_loop_post(agi_safety_host_audit_loop(a->safety), read_page, drop, p);
	if (e) {
		free(p);
		agi_grpc_fail_err(call, e, e == AGI_E_INVALID ? &why : NULL);
	} else {
		agi_grpc_call_on_cancel(call, on_cancel, p);
	}
}

enum agi_err agi_svc_audit_add(struct agi_svc_audit *a, struct agi_grpc_server *server)
{
	static const struct agi_grpc_method methods[] = {{.name = "Read", .handler = read_log}};

	return agi_grpc_server_add(server, &agihpc__v1__audit_service__descriptor, methods, 1, a);
}
