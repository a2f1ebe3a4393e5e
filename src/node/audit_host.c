/* SPDX-License-Identifier: Apache-2.0 */
#include "node/audit_host.h"

#include <stdlib.h>
#include <unistd.h>

enum { MAILBOX = 256 /* reads that wait */ };

struct agi_audit_host {
	struct agi_loop *safety, *loop;
	struct agi_safety_plane *plane;
	/* the sync under way: handed back and forth */
	struct agi_loop_message asked, done;
	struct agi_audit_sync sync;
	enum agi_err err;
	struct agi_why why;
};

static void tell(void *arg)
{
	struct agi_audit_host *h = arg;

	agi_safety_plane_audit_synced(h->plane, h->err, &h->why);
}

static void run(void *arg)
{
	struct agi_audit_host *h = arg;

	h->err = agi_audit_sync_run(&h->sync, &h->why);
	(void)!agi_loop_post_kept(h->safety, &h->done); /* CLOSED: the node ends */
}

static void drop(void *arg)
{
	struct agi_audit_host *h = arg;

	for (uint8_t i = 0; i < h->sync.n; i++)
		close(h->sync.fd[i]);
}

enum agi_err agi_audit_host_sync(struct agi_audit_host *h, const struct agi_audit_sync *sync)
{
	h->sync = *sync;
	return agi_loop_post_kept(h->loop, &h->asked);
}

struct agi_loop *agi_audit_host_loop(const struct agi_audit_host *h) { return h->loop; }
void agi_audit_host_serve(struct agi_audit_host *h, struct agi_safety_plane *plane) { h->plane = plane; }
enum agi_err agi_audit_host_start(struct agi_audit_host *h) { return agi_loop_start(h->loop); }

void agi_audit_host_stop(struct agi_audit_host *h)
{
	if (h)
		agi_loop_stop(h->loop);
}

enum agi_err agi_audit_host_new(struct agi_loop *safety, struct agi_audit_host **out)
{
	const struct agi_loop_cfg cfg = {.name = "audit", .mailbox_max = MAILBOX};
	struct agi_audit_host *h = calloc(1, sizeof *h);
	enum agi_err e;

	if (!h)
		return AGI_E_NOMEM;
	h->safety = safety;
	h->asked = (struct agi_loop_message){.fn = run, .drop = drop, .arg = h};
	h->done = (struct agi_loop_message){.fn = tell, .arg = h};
	e = agi_loop_new(&cfg, &h->loop);
	if (e) {
		free(h);
		return e;
	}
	*out = h;
	return AGI_OK;
}

void agi_audit_host_free(struct agi_audit_host *h)
{
	if (!h)
		return;
	agi_loop_free(h->loop);
	free(h);
}
