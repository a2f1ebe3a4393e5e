/* SPDX-License-Identifier: Apache-2.0 */
#include "node/http_api.h"

#include "node/activate.h"
#include "node/care.h"
#include "node/http_services.h"
#include "node/log.h"

static void head(struct agi_buf *b, const char *name, const char *type, const char *help)
{
	agi_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct agi_buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
	head(b, name, type, help);
	agi_buf_printf(b, "%s %llu\n", name, (unsigned long long)v);
}

static void seconds(struct agi_buf *b, const char *name, const char *help, uint64_t us)
{
	head(b, name, "gauge", help);
	agi_buf_printf(b, "%s %llu.%06llu\n", name, (unsigned long long)(us / 1000000),
	               (unsigned long long)(us % 1000000));
}

static void core_metrics(struct agi_buf *b, const struct agi_dht_status *d)
{
	one(b, "agihpc_ready", "gauge", "1 when this node has joined and serves its slots.", d->is_ready);
	one(b, "agihpc_incarnation", "gauge", "Starts of this node identity.", d->incarnation);
	head(b, "agihpc_members", "gauge", "Other hosts of the overlay, by what this node sees of them.");
	agi_buf_printf(b, "agihpc_members{state=\"up\"} %u\nagihpc_members{state=\"suspect\"} %u\n"
	                  "agihpc_members{state=\"down\"} %u\n",
	               d->members_up, d->members_suspect, d->members_down);
	head(b, "agihpc_slots", "gauge", "Slots this node takes part in, by phase.");
	agi_buf_printf(b, "agihpc_slots{phase=\"active\"} %u\nagihpc_slots{phase=\"joining\"} %u\n"
	                  "agihpc_slots{phase=\"sealed\"} %u\nagihpc_slots{phase=\"leaving\"} %u\n",
	               d->slots_active, d->slots_joining, d->slots_sealed, d->slots_leaving);
	one(b, "agihpc_hints", "gauge", "Writes owed to hosts that cannot be reached.", d->hints);
	one(b, "agihpc_calls_in_flight", "gauge", "Client operations open at this node.", d->calls);
	one(b, "agihpc_rpcs_in_flight", "gauge", "Requests to peers that await an answer.", d->rpcs);
	one(b, "agihpc_slot_changes_in_flight", "gauge", "Slots this node is changing now.", d->reconfigs);
	one(b, "agihpc_provider_records", "gauge", "Service records kept for other hosts.", d->providers);
	one(b, "agihpc_drained", "gauge", "1 when this host gives its slots away, or has.", d->is_drained);
}

static void move_metrics(struct agi_buf *b, const struct agi_dht_moves *m)
{
	const struct agi_move_stats *s = &m->stats;

	one(b, "agihpc_slots_to_move", "gauge", "Slots led by this node that should have other members.",
	    m->wanted);
	head(b, "agihpc_slots_moving", "gauge", "Slots this node works on now, by what it does.");
	agi_buf_printf(b, "agihpc_slots_moving{work=\"preparing\"} %u\nagihpc_slots_moving{work=\"proposing\"} %u\n"
	                  "agihpc_slots_moving{work=\"copying\"} %u\nagihpc_slots_moving{work=\"joining\"} %u\n"
	                  "agihpc_slots_moving{work=\"handing_over\"} %u\n",
	               m->preparing, m->proposing, m->copying, m->joining, m->leaving);
	one(b, "agihpc_slot_copies", "gauge", "Slots copied here for views to come.", m->copies);
	head(b, "agihpc_move_bytes_total", "counter", "Bytes of records moved with slots, by direction.");
	agi_buf_printf(b, "agihpc_move_bytes_total{direction=\"in\"} %llu\n"
	                  "agihpc_move_bytes_total{direction=\"out\"} %llu\n",
	               (unsigned long long)s->bytes_in, (unsigned long long)s->bytes_out);
	one(b, "agihpc_move_bytes_after_seal_total", "counter",
	    "Of the bytes moved in: while their slot did not serve.", s->bytes_sealed);
	one(b, "agihpc_move_throttled_total", "counter", "Pages that waited for their share of the bandwidth.",
	    s->throttled);
	one(b, "agihpc_slot_changes_led_total", "counter", "Changes of views decided under this node's lead.",
	    s->slots_led);
	one(b, "agihpc_slots_taken_total", "counter", "Slots this node became a member of.", s->slots_in);
	one(b, "agihpc_slots_given_total", "counter", "Slots this node gave away.", s->slots_out);
	one(b, "agihpc_slot_pauses_total", "counter", "Times a slot did not serve here during a change.", s->sealed);
	head(b, "agihpc_slot_pause_seconds_total", "counter", "Time slots did not serve here during changes.");
	agi_buf_printf(b, "agihpc_slot_pause_seconds_total %llu.%06llu\n",
	               (unsigned long long)(s->sealed_us / 1000000), (unsigned long long)(s->sealed_us % 1000000));
	seconds(b, "agihpc_slot_pause_max_seconds", "Longest of these times.", s->sealed_max_us);
}

static void repair_metrics(struct agi_buf *b, const struct agi_repair_stats *s)
{
	one(b, "agihpc_repair_slots_compared_total", "counter",
	    "Slots compared with another member, once for each member.", s->compared);
	one(b, "agihpc_repair_slots_differed_total", "counter", "Of the slots compared: those that differed.",
	    s->differed);
	one(b, "agihpc_repair_failures_total", "counter", "Attempts to make a slot alike that failed; each is made again.",
	    s->pulls_failed);
	one(b, "agihpc_repair_items_total", "counter", "Items this node lacked, or had an older version of.", s->items);
	one(b, "agihpc_repair_registers_total", "counter", "Strong registers made alike at this node's request.",
	    s->registers);
	one(b, "agihpc_repair_bytes_total", "counter", "Bytes of these items.", s->bytes);
	one(b, "agihpc_repair_hash_bytes_total", "counter", "Bytes sent and received to find what differs.",
	    s->hash_bytes);
	seconds(b, "agihpc_repair_age_seconds",
	        "Since the slot that waits longest was alike with all its members.", s->oldest_ms * 1000);
	one(b, "agihpc_sweeps_total", "counter", "Slots searched for dead items under this node's lead.", s->sweeps);
	one(b, "agihpc_tombstones_collected_total", "counter",
	    "Deleted and expired items and registers removed for good under this node's lead.", s->tombstones);
	one(b, "agihpc_hints_expired_total", "counter", "Writes owed for longer than dht.hint_ttl.", s->hints_expired);
	one(b, "agihpc_writes_too_old_total", "counter",
	    "Items not taken because what is as old may have been deleted and forgotten.", s->writes_below_floor);
}

static void host_metrics(struct agi_buf *b, const struct agi_dht_host_stats *h)
{
	static const char *const calls[AGI_CALL_KINDS] = {
	    "put",      "get", "delete", "owners", "lookup",  "register", "deregister",
	    "discover", "cas", "add",    "drain",  "undrain", "leave", "scan", "batch",
	    "operate", "restore", "digest", "recover", "watch", "grant",
	    "renew", "revoke", "lease", "lock", "nearest"};

	head(b, "agihpc_messages_received_total", "counter", "Overlay messages from peers, by kind.");
	for (int k = 1; k < AGI_MSG_KIND_MAX; k++)
		agi_buf_printf(b, "agihpc_messages_received_total{kind=\"%s\"} %llu\n",
		               agi_msg_kind_name((enum agi_msg_kind)k),
		               (unsigned long long)h->messages_in[k]);
	head(b, "agihpc_messages_sent_total", "counter", "Overlay messages made by the core, by kind.");
	for (int k = 1; k < AGI_MSG_KIND_MAX; k++)
		agi_buf_printf(b, "agihpc_messages_sent_total{kind=\"%s\"} %llu\n",
		               agi_msg_kind_name((enum agi_msg_kind)k),
		               (unsigned long long)h->messages_out[k]);
	head(b, "agihpc_operations_total", "counter", "Operations asked for by clients and by the node.");
	for (int k = 0; k < AGI_CALL_KINDS; k++)
		agi_buf_printf(b, "agihpc_operations_total{operation=\"%s\"} %llu\n", calls[k],
		               (unsigned long long)h->calls[k]);
	head(b, "agihpc_operations_failed_total", "counter", "Operations that ended with an error.");
	for (int k = 0; k < AGI_CALL_KINDS; k++)
		agi_buf_printf(b, "agihpc_operations_failed_total{operation=\"%s\"} %llu\n", calls[k],
		               (unsigned long long)h->calls_failed[k]);
	one(b, "agihpc_slots_recovered_unsafe_total", "counter",
	    "Slots an operator recovered without a majority of their members.", h->slots_recovered);
	one(b, "agihpc_messages_refused_total", "counter", "Messages that were not understood.",
	    h->decode_errors);
	one(b, "agihpc_send_errors_total", "counter", "Messages that could not be queued.", h->send_errors);
	one(b, "agihpc_input_dropped_total", "counter", "Input of peers that made no sense.", h->dropped);
	one(b, "agihpc_store_refused_total", "counter", "Storage jobs the queue had no room for.",
	    h->store_refused);
	one(b, "agihpc_slow_turns_total", "counter", "Turns of the core longer than 10 ms.", h->slow_turns);
	seconds(b, "agihpc_turn_max_seconds", "Longest turn of the core since start.", h->longest_turn_us);
}

static void trouble_metrics(struct agi_buf *b, enum agi_store_trouble now)
{
	head(b, "agihpc_store_trouble", "gauge", "1 for why the store writes nothing any more (or is sound).");
	for (int t = AGI_STORE_SOUND; t <= AGI_STORE_DAMAGED; t++)
		agi_buf_printf(b, "agihpc_store_trouble{cause=\"%s\"} %d\n",
		               agi_store_trouble_name((enum agi_store_trouble)t), (int)now == t);
}

static void disk_metrics(struct agi_buf *b, struct agi_svc *s, const struct agi_store_stats *st)
{
	const struct agi_disk_watch *w = s->disk;
	uint64_t slowed_to;
	bool is_stopped;

	agi_store_stall(s->store, &is_stopped, &slowed_to);
	trouble_metrics(b, st->trouble);
	one(b, "agihpc_disk_free_bytes", "gauge", "Free space on the disk of the data directory.", w->free_bytes);
	one(b, "agihpc_disk_reserve_bytes", "gauge", "Free space below which new data is refused.",
	    w->reserve_bytes);
	one(b, "agihpc_disk_nearly_full", "gauge", "1 while new data is refused for lack of free space.",
	    w->is_low);
	one(b, "agihpc_store_expired_bytes_total", "counter",
	    "Bytes of expired items that compactions did not write again.", st->expired_bytes);
	one(b, "agihpc_store_scrub_bytes_total", "counter", "Bytes read to look for damage.", st->scrub_bytes);
	one(b, "agihpc_store_scrub_last_timestamp_seconds", "gauge",
	    "Unix time at which everything had been read without a finding; 0: never.", st->scrub_last_end);
	one(b, "agihpc_store_write_stopped", "gauge", "1 while RocksDB holds writes up.", is_stopped);
	one(b, "agihpc_store_write_slowed_to_bytes", "gauge",
	    "Bytes a second RocksDB slows writes down to; 0: not slowed.", slowed_to);
	seconds(b, "agihpc_store_commit_max_seconds", "Longest batch of the store since start.",
	        st->commit_max_us);
}

static void admission_metrics(struct agi_buf *b, const struct agi_admit *a)
{
	struct agi_admit_stats st;

	agi_admit_stats(a, &st);
	one(b, "agihpc_admission_running", "gauge", "Clients' operations on keys that run.", st.running);
	one(b, "agihpc_admission_queued", "gauge", "Clients' operations on keys that wait for their turn.",
	    st.queued);
	one(b, "agihpc_admission_queued_bytes", "gauge", "Keys and values of those that wait.", st.queued_bytes);
	one(b, "agihpc_admission_namespaces", "gauge", "Namespaces with operations that run or wait.",
	    st.namespaces);
	one(b, "agihpc_admission_admitted_total", "counter", "Operations that were let in.", st.admitted);
	one(b, "agihpc_admission_waited_total", "counter", "Of them, those that had to wait.", st.waited);
	head(b, "agihpc_admission_wait_seconds_total", "counter", "How long these waited together.");
	agi_buf_printf(b, "agihpc_admission_wait_seconds_total %llu.%06llu\n",
	               (unsigned long long)(st.wait_us / 1000000), (unsigned long long)(st.wait_us % 1000000));
	head(b, "agihpc_admission_refused_total", "counter", "Operations refused for lack of room, by reason.");
	agi_buf_printf(b, "agihpc_admission_refused_total{reason=\"full\"} %llu\n"
	                  "agihpc_admission_refused_total{reason=\"late\"} %llu\n"
	                  "agihpc_admission_refused_total{reason=\"pushed_out\"} %llu\n",
	               (unsigned long long)st.refused_full, (unsigned long long)st.refused_late,
	               (unsigned long long)st.pushed_out);
}

static void care_metrics(struct agi_buf *b, const struct agi_care *c)
{
	struct agi_care_stats st;

	agi_care_stats(c, &st);
	one(b, "agihpc_backup_last_timestamp_seconds", "gauge",
	    "Unix time of this node's newest part of a backup in node.backup_dir; 0: there is none.",
	    (uint64_t)st.parts.last_done);
	head(b, "agihpc_backup_parts_total", "counter", "Parts of backups made here, by result.");
	agi_buf_printf(b, "agihpc_backup_parts_total{result=\"done\"} %llu\n"
	                  "agihpc_backup_parts_total{result=\"failed\"} %llu\n",
	               (unsigned long long)st.parts.done, (unsigned long long)st.parts.failed);
	one(b, "agihpc_restore_running", "gauge", "1 while this node restores a backup.", st.is_restoring);
	head(b, "agihpc_restored_total", "counter", "Written back from backups by this node.");
	agi_buf_printf(b, "agihpc_restored_total{kind=\"item\"} %llu\nagihpc_restored_total{kind=\"register\"} %llu\n",
	               (unsigned long long)st.restored_items, (unsigned long long)st.restored_registers);
	one(b, "agihpc_verify_last_timestamp_seconds", "gauge",
	    "Unix time at which this node last ended a comparison of all replicas; 0: none since its start.",
	    (uint64_t)st.compared_at);
	head(b, "agihpc_verify_slots", "gauge", "What that found, in slots; damaged ones are counted twice.");
	agi_buf_printf(b, "agihpc_verify_slots{result=\"same\"} %u\nagihpc_verify_slots{result=\"different\"} %u\n"
	                  "agihpc_verify_slots{result=\"incomplete\"} %u\n"
	                  "agihpc_verify_slots{result=\"damaged\"} %u\n",
	               st.compared.same, st.compared.different, st.compared.incomplete, st.compared.damaged);
}

static void shell_metrics(struct agi_buf *b, struct agi_svc *s)
{
	struct agi_store_stats st;
	struct agi_links_stats l;

	agi_store_stats(s->store, &st);
	agi_svc_links_stats(s, &l);
	one(b, "agihpc_store_writes_total", "counter", "Write requests made durable.", st.writes);
	one(b, "agihpc_store_commits_total", "counter", "Synced batches; writes over commits is the group size.",
	    st.commits);
	one(b, "agihpc_store_reads_total", "counter", "Reads of one key.", st.reads);
	one(b, "agihpc_store_scans_total", "counter", "Range reads.", st.scans);
	one(b, "agihpc_store_queued", "gauge", "Storage requests waiting.", st.queued);
	one(b, "agihpc_store_disk_bytes", "gauge", "Live bytes on disk.", st.disk_bytes);
	one(b, "agihpc_store_read_only", "gauge", "1 after a disk error: writes are refused.",
	    st.is_read_only);
	disk_metrics(b, s, &st);
	admission_metrics(b, s->admit);
	care_metrics(b, s->care);
	one(b, "agihpc_links", "gauge", "Established links to other nodes.", l.links);
	one(b, "agihpc_link_received_bytes_total", "counter", "Bytes from other nodes, encrypted.", l.bytes_in);
	one(b, "agihpc_link_sent_bytes_total", "counter", "Bytes to other nodes, encrypted.", l.bytes_out);
	one(b, "agihpc_link_handshakes_total", "counter", "Links that proved their identity.",
	    l.handshakes_ok);
	one(b, "agihpc_link_handshakes_failed_total", "counter", "Links refused: wrong key or broken.",
	    l.handshakes_failed);
}

static void log_metrics(struct agi_buf *b, const struct agi_log *log)
{
	head(b, "agihpc_log_lines_total", "counter", "Events logged, repeats included.");
	for (int i = AGI_LOG_ERROR; i <= AGI_LOG_DEBUG; i++)
		agi_buf_printf(b, "agihpc_log_lines_total{level=\"%s\"} %llu\n",
		               agi_log_level_name((enum agi_log_level)i),
		               (unsigned long long)agi_log_count(log, (enum agi_log_level)i));
}

static void metrics(struct agi_http_api *api, struct agi_buf *b)
{
	struct agi_dht_status d;
	struct agi_dht_moves m;
	struct agi_repair_stats repair;

	agi_dht_status(agi_dht_host_core(api->svc->host), &d);
	head(b, "agihpc_build_info", "gauge", "Version of this node, always 1.");
	agi_buf_printf(b, "agihpc_build_info{version=\"%s\"} 1\n", AGI_VERSION);
	core_metrics(b, &d);
	agi_dht_moves(agi_dht_host_core(api->svc->host), &m);
	move_metrics(b, &m);
	agi_dht_repair_stats(agi_dht_host_core(api->svc->host), &repair);
	repair_metrics(b, &repair);
	host_metrics(b, agi_dht_host_stats(api->svc->host));
	shell_metrics(b, api->svc);
	if (api->svc->activate)
		agi_activate_metrics(api->svc->activate, b);
	log_metrics(b, api->svc->log);
	seconds(b, "agihpc_loop_lag_max_seconds", "Greatest lateness of the event loop since start.",
	        api->lag_max_us);
	if (api->more_metrics)
		api->more_metrics(api->ctx, b);
}

static int healthz(struct agi_http_api *api, struct agi_buf *b)
{
	char why[128];

	if (agi_svc_is_ready(api->svc, why)) {
		agi_buf_put_str(b, AGI_STR("ok\n"));
		return 200;
	}
	agi_buf_printf(b, "not ready: %s\n", why);
	return 503;
}

int agi_http_api_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type)
{
	struct agi_http_api *api = ctx;
	const char *path = ask->path;

	*content_type = "text/plain; charset=utf-8";
	if (strcmp(path, "/healthz") == 0)
		return healthz(api, body);
	if (strcmp(path, "/metrics") == 0) {
		*content_type = "text/plain; version=0.0.4; charset=utf-8";
		metrics(api, body);
		return 200;
	}
	if (strncmp(path, AGI_HTTP_SERVICES, sizeof AGI_HTTP_SERVICES - 1) == 0)
		return agi_http_services_get(api->svc, ask, body, content_type);
	if (strcmp(path, AGI_HTTP_SD) == 0 || strncmp(path, AGI_HTTP_SD "/", sizeof AGI_HTTP_SD) == 0)
		return agi_http_sd_get(api->svc, ask, body, content_type);
	agi_buf_put_str(body, AGI_STR("not found: /metrics, /healthz, " AGI_HTTP_SERVICES "NAME and " AGI_HTTP_SD
	                              "[/NAME] are served here\n"));
	return 404;
}
