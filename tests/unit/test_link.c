/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "loop.h"
#include "net/link_hello.h"
#include "net/link_record.h"
#include "net/listener.h"

/* --- a node: links, a listener, and a diary of what its handlers saw
 * ------------------------------- */
struct node {
	struct event_base *base;
	struct agi_links *links;
	struct agi_listener *listener;
	struct agi_links *other; /* the set of the channels that links has not */
	struct agi_id id;
	struct agi_addr addr;
	/* diary */
	struct agi_buf last; /* last message */
	uint64_t n_messages, n_downs, next_number;
	bool is_in_order, echoes, frees_itself;
	struct agi_id last_peer, down_peer;
	struct agi_addr last_remote, down_dialled;
	enum agi_chan last_chan;
	enum agi_err down_err;
	struct agi_why down_why;
};

struct options {
	uint8_t seed, psk[2];
	int n_psk;
	uint32_t handshake_ms, idle_ms, links_max;
};

static void on_message(void *ctx, const struct agi_id *peer, const struct agi_addr *remote,
		       enum agi_chan chan, struct agi_str m)
{
	struct node *n = ctx;
	struct agi_cur in = agi_cur_of(m);

	n->n_messages++;
	n->is_in_order = n->is_in_order && (m.n != 8 || agi_cur_u64(&in) == n->next_number++);
	n->last_peer = *peer;
	n->last_remote = *remote;
	n->last_chan = chan;
	agi_buf_reset(&n->last);
	agi_buf_put_str(&n->last, m);
	if (n->echoes)
		assert_int_equal(agi_links_send(n->links, peer, NULL, chan, m), AGI_OK);
	if (n->frees_itself) {
		agi_links_free(n->links);
		n->links = NULL;
	}
}

static void on_down(void *ctx, const struct agi_id *peer, const struct agi_addr *dialled,
		    enum agi_chan chan, enum agi_err err, const struct agi_why *why)
{
	struct node *n = ctx;

	(void)chan;
	n->n_downs++;
	n->down_peer = *peer;
	n->down_dialled = *dialled;
	n->down_err = err;
	n->down_why = *why;
}

static void on_link(void *ctx, struct agi_transport *t)
{
	struct node *n = ctx;
	struct agi_addr remote;
	int fd = agi_transport_release(t, &remote);

	if (n->links)
		agi_links_accept(n->links, fd, &remote);
	else
		close(fd);
}

static void node_start(struct node *n, struct event_base *base, struct options o)
{
	static const struct agi_links_handlers handlers = {on_message, on_down};
	uint8_t seed[32] = {o.seed}, pub[32];
	struct agi_links_cfg cfg = {.n_psk = o.n_psk ? o.n_psk : 1,
				    .handshake_timeout_ms = o.handshake_ms,
				    .idle_timeout_ms = o.idle_ms,
				    .links_max = o.links_max,
				    .psk = {{o.psk[0]}, {o.psk[1]}}};
	struct agi_listener_cfg lcfg = {.addr = loopback(0), .ctx = n};
	struct agi_why why;

	*n = (struct node){.base = base, .is_in_order = true};
	agi_buf_init(&n->last, 0);
	agi_keypair_of_seed(seed, pub, cfg.seckey);
	agi_id_of_pubkey(&n->id, pub);
	assert_int_equal(agi_links_new(base, &cfg, &handlers, n, &n->links), AGI_OK);
	lcfg.on_wire[AGI_WIRE_LINK] = on_link;
	assert_int_equal(agi_listener_new(base, &lcfg, &n->listener, &why), AGI_OK);
	n->addr = *agi_listener_addr(n->listener);
}

static void node_stop(struct node *n)
{
	agi_listener_free(n->listener);
	agi_links_free(n->links);
	agi_buf_free(&n->last);
}

/* Two nodes on one loop. */
struct pair {
	struct event_base *base;
	struct node a, b;
};

static void pair_start_with(struct pair *p, struct options a, struct options b)
{
	p->base = event_base_new();
	node_start(&p->a, p->base, a);
	node_start(&p->b, p->base, b);
}

static void pair_start(struct pair *p)
{
	pair_start_with(p, (struct options){.seed = 1}, (struct options){.seed = 2});
}

static void pair_stop(struct pair *p)
{
	node_stop(&p->a);
	node_stop(&p->b);
	event_base_free(p->base);
}

static void send_to(struct node *from, const struct node *to, enum agi_chan chan, struct agi_str m)
{
	assert_int_equal(agi_links_send(from->links, &to->id, &to->addr, chan, m), AGI_OK);
}

struct wait {
	struct node *n;
	uint64_t messages, downs;
};
static bool has_seen(void *arg)
{
	struct wait *w = arg;

	return w->n->n_messages >= w->messages && w->n->n_downs >= w->downs;
}
static void until_messages(struct node *n, uint64_t messages)
{
	struct wait w = {n, messages, 0};

	if (!loop_until(n->base, has_seen, &w))
		fail_msg("%d of %d messages; %d links down, last: %s", (int)n->n_messages,
			 (int)messages, (int)n->n_downs, n->down_why.text);
}
static void until_downs(struct node *n, uint64_t downs)
{
	struct wait w = {n, 0, downs};

	assert_true(loop_until(n->base, has_seen, &w));
}

static uint32_t links_of(const struct node *n)
{
	struct agi_links_stats s;

	agi_links_stats(n->links, &s);
	return s.links;
}

/* --- delivery
 * ---------------------------------------------------------------------------------------- */
static void a_message_goes_there_and_its_echo_comes_back_on_the_same_link(void **state)
{
	static const struct agi_addr nowhere;
	struct pair p;

	(void)state;
	pair_start(&p);
	p.b.echoes = true;
	send_to(&p.a, &p.b, AGI_CHAN_SAFETY, AGI_STR("ping"));
	until_messages(&p.a, 1);
	assert_true(agi_str_eq(agi_buf_str(&p.a.last), AGI_STR("ping")));
	assert_true(agi_id_eq(&p.b.last_peer, &p.a.id));
	assert_true(agi_id_eq(&p.a.last_peer, &p.b.id));
	assert_true(agi_addr_eq(&p.a.last_remote, &p.b.addr));
	assert_int_equal(p.b.last_chan, AGI_CHAN_SAFETY);
	assert_int_equal(links_of(&p.a), 1);
	assert_int_equal(links_of(&p.b), 1);
	/* there is no link on another channel, and no address to make one */
	assert_int_equal(agi_links_send(p.b.links, &p.a.id, &nowhere, AGI_CHAN_BULK, AGI_STR("x")),
			 AGI_E_UNREACHABLE);
	pair_stop(&p);
}

static void whoever_answers_can_be_asked_by_address_alone(void **state)
{
	static const struct agi_id anybody;
	struct pair p;

	(void)state;
	pair_start(&p);
	for (int i = 0; i < 3; i++)
		assert_int_equal(
		    agi_links_send(p.a.links, &anybody, &p.b.addr, AGI_CHAN_CONTROL, AGI_STR("x")),
		    AGI_OK);
	until_messages(&p.b, 3);
	assert_int_equal(
	    agi_links_send(p.a.links, &anybody, &p.b.addr, AGI_CHAN_CONTROL, AGI_STR("x")), AGI_OK);
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("by id"));
	until_messages(&p.b, 5);
	assert_int_equal(links_of(&p.b), 1);
	pair_stop(&p);
}

static void the_largest_message_arrives_unharmed(void **state)
{
	struct pair p;
	struct agi_prng rng;
	uint8_t *m = malloc(AGI_LINK_FRAME_MAX);
	struct agi_str s = {(char *)m, AGI_LINK_FRAME_MAX};

	(void)state;
	agi_prng_seed(&rng, 1);
	for (size_t i = 0; i < AGI_LINK_FRAME_MAX; i++)
		m[i] = (uint8_t)agi_prng_u64(&rng);
	pair_start(&p);
	send_to(&p.a, &p.b, AGI_CHAN_BULK, s);
	assert_int_equal(agi_links_send(p.a.links, &p.b.id, &p.b.addr, AGI_CHAN_BULK,
					(struct agi_str){s.p, s.n + 1}),
			 AGI_E_TOO_LARGE);
	until_messages(&p.b, 1);
	assert_true(agi_str_eq(agi_buf_str(&p.b.last), s));
	free(m);
	pair_stop(&p);
}

static void ten_thousand_small_messages_arrive_in_order(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p);
	for (uint64_t i = 0; i < 10000; i++) {
		struct agi_buf m;

		agi_buf_init(&m, 0);
		agi_buf_u64(&m, i);
		send_to(&p.a, &p.b, AGI_CHAN_CONTROL, agi_buf_str(&m));
		agi_buf_free(&m);
		if (i % 1000 == 0) /* some are queued while connecting, some are sent */
			event_base_loop(p.base, EVLOOP_NONBLOCK);
	}
	until_messages(&p.b, 10000);
	assert_true(p.b.is_in_order);
	assert_int_equal(p.b.n_messages, 10000);
	pair_stop(&p);
}

static void both_may_dial_at_once_and_nothing_is_lost(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p);
	for (int i = 0; i < 10; i++) {
		send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("a to b"));
		send_to(&p.b, &p.a, AGI_CHAN_CONTROL, AGI_STR("b to a"));
	}
	until_messages(&p.a, 10);
	until_messages(&p.b, 10);
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("more"));
	send_to(&p.b, &p.a, AGI_CHAN_CONTROL, AGI_STR("more"));
	until_messages(&p.a, 11);
	until_messages(&p.b, 11);
	assert_int_equal(p.a.n_downs + p.b.n_downs, 0);
	pair_stop(&p);
}

static void a_queue_above_its_bound_is_full_and_says_so(void **state)
{
	struct pair p;
	char *m = calloc(1, 1 << 20);
	int n = 0;
	enum agi_err err;

	(void)state;
	pair_start(&p);
	do {
		err = agi_links_send(p.a.links, &p.b.id, &p.b.addr, AGI_CHAN_BULK,
				     (struct agi_str){m, 1 << 20});
		n += !err;
	} while (!err && n < 1000);
	assert_int_equal(err, AGI_E_FULL);
	assert_in_range(n, 31, 32);
	until_messages(&p.b, (uint64_t)n);
	send_to(&p.a, &p.b, AGI_CHAN_BULK, AGI_STR("again"));
	until_messages(&p.b, (uint64_t)n + 1);
	free(m);
	pair_stop(&p);
}

/* --- who is it?
 * -------------------------------------------------------------------------------------- */
static void another_cluster_key_is_refused_on_both_sides_by_name(void **state)
{
	struct pair p;

	(void)state;
	pair_start_with(&p, (struct options){.seed = 1, .psk = {1}},
			(struct options){.seed = 2, .psk = {2}});
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("secret"));
	until_downs(&p.a, 1);
	until_downs(&p.b, 1);
	assert_int_equal(p.a.down_err, AGI_E_AUTH);
	assert_non_null(strstr(p.a.down_why.text, "cluster key differs"));
	assert_true(agi_addr_eq(&p.a.down_dialled, &p.b.addr));
	assert_int_equal(p.b.down_err, AGI_E_AUTH);
	assert_non_null(strstr(p.b.down_why.text, "cluster key differs"));
	assert_true(agi_id_is_zero(&p.b.down_peer));
	assert_int_equal(p.b.down_dialled.port, 0);
	assert_int_equal(p.b.n_messages, 0);
	assert_int_equal(p.a.n_downs + p.b.n_downs, 2);
	pair_stop(&p);
}

static void while_keys_rotate_both_are_accepted(void **state)
{
	struct pair p;

	(void)state;
	/* a has moved on to key 2 and still takes 1; b uses 1 and takes 2 already */
	pair_start_with(&p, (struct options){.seed = 1, .psk = {2, 1}, .n_psk = 2},
			(struct options){.seed = 2, .psk = {1, 2}, .n_psk = 2});
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("x"));
	send_to(&p.b, &p.a, AGI_CHAN_BULK, AGI_STR("y"));
	until_messages(&p.b, 1);
	until_messages(&p.a, 1);
	assert_int_equal(p.a.n_downs + p.b.n_downs, 0);
	pair_stop(&p);
}

static void a_host_that_proves_another_identity_is_refused_by_name(void **state)
{
	struct pair p;
	struct agi_id asked = {{0xab, 0xcd}};
	char name[AGI_ID_SHORT_HEX];

	(void)state;
	pair_start(&p);
	assert_int_equal(
	    agi_links_send(p.a.links, &asked, &p.b.addr, AGI_CHAN_CONTROL, AGI_STR("x")), AGI_OK);
	until_downs(&p.a, 1);
	assert_int_equal(p.a.down_err, AGI_E_AUTH);
	assert_true(agi_id_eq(&p.a.down_peer, &asked));
	agi_id_short(name, &asked);
	assert_non_null(strstr(p.a.down_why.text, name));
	agi_id_short(name, &p.b.id);
	assert_non_null(strstr(p.a.down_why.text, name));
	assert_int_equal(p.b.n_messages, 0);
	pair_stop(&p);
}

static void a_node_does_not_link_to_itself(void **state)
{
	static const struct agi_id anybody;
	struct pair p;

	(void)state;
	pair_start(&p);
	assert_int_equal(
	    agi_links_send(p.a.links, &anybody, &p.a.addr, AGI_CHAN_CONTROL, AGI_STR("x")), AGI_OK);
	until_downs(&p.a, 1);
	assert_int_equal(p.a.n_messages, 0);
	pair_stop(&p);
}

/* --- ends
 * -------------------------------------------------------------------------------------------- */
static void nobody_listening_is_unreachable(void **state)
{
	struct pair p;
	struct agi_addr addr;

	(void)state;
	pair_start(&p);
	addr = p.b.addr;
	agi_listener_free(p.b.listener);
	p.b.listener = NULL;
	assert_int_equal(agi_links_send(p.a.links, &p.b.id, &addr, AGI_CHAN_CONTROL, AGI_STR("x")),
			 AGI_OK);
	assert_int_equal(p.a.n_downs, 0); /* never from inside send */
	until_downs(&p.a, 1);
	assert_int_equal(p.a.down_err, AGI_E_UNREACHABLE);
	assert_true(agi_addr_eq(&p.a.down_dialled, &addr));
	pair_stop(&p);
}

static void an_idle_link_closes_in_order_on_both_sides(void **state)
{
	struct pair p;

	(void)state;
	pair_start_with(&p, (struct options){.seed = 1, .idle_ms = 20},
			(struct options){.seed = 2});
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("x"));
	until_downs(&p.a, 1);
	until_downs(&p.b, 1);
	assert_int_equal(p.a.down_err, AGI_OK);
	assert_int_equal(p.b.down_err, AGI_OK);
	assert_int_equal(p.b.n_messages, 1);
	assert_int_equal(links_of(&p.a) + links_of(&p.b), 0);
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("again"));
	until_messages(&p.b, 2);
	pair_stop(&p);
}

static void a_broken_link_is_reported_once_and_can_be_dialled_again(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p);
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("x"));
	until_messages(&p.b, 1);
	agi_links_free(p.b.links);
	p.b.links = NULL;
	until_downs(&p.a, 1);
	assert_int_equal(p.a.down_err, AGI_E_UNREACHABLE);
	assert_true(agi_id_eq(&p.a.down_peer, &p.b.id));
	node_stop(&p.b);
	node_start(&p.b, p.base, (struct options){.seed = 2});
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("y"));
	until_messages(&p.b, 1);
	assert_int_equal(p.a.n_downs, 1);
	pair_stop(&p);
}

static bool is_gone(void *arg) { return ((struct node *)arg)->links == NULL; }

static void links_may_be_freed_inside_a_handler(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p);
	p.b.frees_itself = true;
	for (int i = 0; i < 5; i++)
		send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("bye"));
	assert_true(loop_until(p.base, is_gone, &p.b));
	assert_int_equal(p.b.n_messages, 1);
	until_downs(&p.a, 1);
	pair_stop(&p);
}

static void surplus_links_of_one_peer_are_closed_in_order(void **state)
{
	struct node b, twin[AGI_LINK_TWINS_MAX + 2];
	struct event_base *base = event_base_new();
	int n = AGI_LINK_TWINS_MAX + 2;

	(void)state;
	node_start(&b, base, (struct options){.seed = 2});
	for (int i = 0; i < n;
	     i++) { /* one identity, many link sets: as if it dialled again and again */
		node_start(&twin[i], base, (struct options){.seed = 1});
		send_to(&twin[i], &b, AGI_CHAN_CONTROL, AGI_STR("x"));
		until_messages(&b, (uint64_t)i + 1);
	}
	until_downs(&b, 2);
	assert_int_equal(b.down_err, AGI_OK);
	assert_int_equal(links_of(&b), AGI_LINK_TWINS_MAX);
	until_downs(&twin[0], 1);
	assert_int_equal(twin[0].down_err, AGI_OK);
	for (int i = 0; i < n; i++)
		node_stop(&twin[i]);
	node_stop(&b);
	event_base_free(base);
}

static void messages_of_a_dial_that_fails_go_over_the_link_the_peer_made(void **state)
{
	struct pair p;
	struct agi_addr dead;
	int fd;

	(void)state;
	pair_start_with(&p, (struct options){.seed = 1, .handshake_ms = 200},
			(struct options){.seed = 2});
	/* b's advertised address takes connections and never answers; b itself dials a meanwhile */
	dead = loopback(0);
	fd = agi_sock_tcp(&dead);
	{
		struct sockaddr_storage sa;
		socklen_t n = agi_sock_of_addr(&sa, &dead);

		assert_int_equal(bind(fd, (struct sockaddr *)&sa, n), 0);
		assert_int_equal(listen(fd, 8), 0);
		n = sizeof sa;
		assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
		assert_int_equal(agi_addr_of_sock(&dead, (struct sockaddr *)&sa), AGI_OK);
	}
	assert_int_equal(
	    agi_links_send(p.a.links, &p.b.id, &dead, AGI_CHAN_CONTROL, AGI_STR("kept")), AGI_OK);
	send_to(&p.b, &p.a, AGI_CHAN_CONTROL, AGI_STR("hello"));
	until_messages(&p.b, 1);
	assert_true(agi_str_eq(agi_buf_str(&p.b.last), AGI_STR("kept")));
	until_downs(&p.a, 1);
	assert_int_equal(p.a.down_err, AGI_OK);
	close(fd);
	pair_stop(&p);
}

/* --- hostile peers
 * ------------------------------------------------------------------------------------ */
/* Sends bytes to n as a stranger, then (when hangs_up) closes; returns the socket otherwise. */
static int stranger(struct node *n, const void *bytes, size_t len, bool hangs_up)
{
	int fd = raw_connect(&n->addr);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	if (!hangs_up)
		return fd;
	close(fd);
	return -1;
}

static void garbage_instead_of_a_handshake_is_refused(void **state)
{
	static const struct agi_str garbage[] = {
	    {"\x01"
	     "BAD\x02\x00",
	     6}, /* preface */
	    {"\x01"
	     "AGI\x02\x03",
	     6}, /* channel */
	    {"\x01"
	     "AGI\x02\x00\xff\xff",
	     8}, /* length of message 1 */
	    {"\x01"
	     "AGI\x02\x00\x00\x04zzzz",
	     12}, /* message 1 too short */
	    {"\x01"
	     "AGI\x02\x00\x00\x00",
	     8}, /* empty message 1 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
		struct pair p;
		int fd;
		char byte;

		pair_start(&p);
		fd = stranger(&p.b, garbage[i].p, garbage[i].n, false);
		until_downs(&p.b, 1);
		assert_int_equal(p.b.down_err, AGI_E_MALFORMED);
		assert_true(agi_id_is_zero(&p.b.down_peer));
		assert_int_equal(recv(fd, &byte, 1, 0), 0);
		close(fd);
		pair_stop(&p);
	}
}

static void another_version_is_refused_by_number(void **state)
{
	struct pair p;
	int fd;

	(void)state;
	pair_start(&p);
	fd = stranger(&p.b,
		      "\x01"
		      "AGI\x09\x00",
		      6, false);
	until_downs(&p.b, 1);
	assert_int_equal(p.b.down_err, AGI_E_UNSUPPORTED);
	assert_non_null(strstr(p.b.down_why.text, "version 9"));
	close(fd);
	pair_stop(&p);
}

static void a_handshake_cut_short_ends_at_hangup_or_in_time(void **state)
{
	struct pair p;
	int fd;

	(void)state;
	pair_start_with(&p, (struct options){.seed = 1},
			(struct options){.seed = 2, .handshake_ms = 30});
	stranger(&p.b,
		 "\x01"
		 "AGI\x02\x00\x00\x20half",
		 12, true);
	until_downs(&p.b, 1);
	assert_int_equal(p.b.down_err, AGI_E_UNREACHABLE);
	fd = stranger(&p.b,
		      "\x01"
		      "AGI\x02\x00\x00\x20half",
		      11, false);
	until_downs(&p.b, 2);
	assert_int_equal(p.b.down_err, AGI_E_TIMEOUT);
	close(fd);
	pair_stop(&p);
}

static void a_server_that_is_no_node_is_unreachable_with_a_hint(void **state)
{
	struct pair p;
	struct agi_addr addr = loopback(0);
	struct sockaddr_storage sa;
	socklen_t n = agi_sock_of_addr(&sa, &addr);
	int fd = agi_sock_tcp(&addr), client;

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, n) || listen(fd, 8), 0);
	n = sizeof sa;
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
	assert_int_equal(agi_addr_of_sock(&addr, (struct sockaddr *)&sa), AGI_OK);
	pair_start(&p);
	assert_int_equal(agi_links_send(p.a.links, &p.b.id, &addr, AGI_CHAN_CONTROL, AGI_STR("x")),
			 AGI_OK);
	do {
		event_base_loop(p.base, EVLOOP_NONBLOCK);
		client = accept4(fd, NULL, NULL, 0);
	} while (client < 0);
	shutdown(client, SHUT_WR); /* hangs up in answer */
	until_downs(&p.a, 1);
	assert_int_equal(p.a.down_err, AGI_E_UNREACHABLE);
	assert_non_null(strstr(p.a.down_why.text, "overlay port"));
	close(client);
	close(fd);
	pair_stop(&p);
}

/* A hostile member: it holds the cluster key, shakes hands well, then sends what it likes. */
struct member {
	int fd;
	struct agi_link_keys keys;
	struct agi_hello hello;
	struct agi_noise_cipher send, recv;
};

static bool is_up(void *arg) { return links_of(arg) > 0; }

static void exchange(struct member *m, struct node *n, struct agi_buf *say)
{
	uint8_t in[4096];
	ssize_t got;
	size_t used;
	struct agi_why why;

	assert_int_equal(write(m->fd, say->p, say->n), say->n);
	agi_buf_reset(say);
	do {
		event_base_loop(n->base, EVLOOP_NONBLOCK);
		got = recv(m->fd, in, sizeof in, MSG_DONTWAIT);
	} while (got < 0);
	assert_int_equal(agi_hello_feed(&m->hello, in, (size_t)got, &used, say, &why), AGI_OK);
	assert_int_equal(used, got);
}

static void member_join(struct member *m, struct node *n)
{
	uint8_t seed[32] = {77}, pub[32];
	struct agi_links_cfg cfg = {.n_psk = 1};
	struct agi_buf say;

	memset(m, 0, sizeof *m);
	agi_keypair_of_seed(seed, pub, cfg.seckey);
	assert_int_equal(agi_link_keys_init(&m->keys, &cfg), AGI_OK);
	m->fd = raw_connect(&n->addr);
	agi_buf_init(&say, 0);
	assert_int_equal(agi_hello_dial(&m->hello, &m->keys, &n->id, AGI_CHAN_CONTROL, &say),
			 AGI_OK);
	exchange(m, n, &say);
	exchange(m, n, &say);
	assert_int_equal(m->hello.state, AGI_HELLO_DONE);
	assert_true(loop_until(n->base, is_up, n));
	m->send = m->hello.send;
	agi_buf_free(&say);
}

static void member_send(struct member *m, struct agi_str text)
{
	uint8_t record[256] = {0, (uint8_t)(text.n + 16)};

	memcpy(record + 2, text.p, text.n);
	assert_int_equal(agi_noise_seal(&m->send, AGI_STR(""), record + 2, text.n), AGI_OK);
	assert_int_equal(write(m->fd, record, 2 + text.n + 16), 2 + text.n + 16);
}

/* Two sets of one node: b has all but the safety channel, c has that; what b hands on goes to c. */
static void to_other_set(void *ctx, int fd, const struct agi_addr *remote, enum agi_chan chan)
{
	struct node *n = ctx;

	assert_int_equal(chan, AGI_CHAN_SAFETY);
	agi_links_accept(n->other, fd, remote);
}

static void split_channels(struct node *n, struct node *safety, struct event_base *base)
{
	static const struct agi_links_handlers main_h = {on_message, on_down, to_other_set};
	static const struct agi_links_handlers safety_h = {on_message, on_down, NULL};
	uint8_t seed[32] = {2}, pub[32];
	struct agi_links_cfg cfg = {.n_psk = 1, .channels = 1 << AGI_CHAN_SAFETY};

	agi_links_free(n->links);
	*safety = (struct node){.base = base, .is_in_order = true, .id = n->id, .addr = n->addr};
	agi_buf_init(&safety->last, 0);
	agi_keypair_of_seed(seed, pub, cfg.seckey);
	assert_int_equal(agi_links_new(base, &cfg, &safety_h, safety, &safety->links), AGI_OK);
	cfg.channels = (1 << AGI_CHAN_CONTROL) | (1 << AGI_CHAN_BULK);
	assert_int_equal(agi_links_new(base, &cfg, &main_h, n, &n->links), AGI_OK);
	n->other = safety->links;
}

static void links_of_a_channel_go_to_the_set_that_has_it(void **state)
{
	struct pair p;
	struct node safety;

	(void)state;
	pair_start(&p);
	split_channels(&p.b, &safety, p.base);
	safety.echoes = true;
	send_to(&p.a, &p.b, AGI_CHAN_SAFETY, AGI_STR("vote"));
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("probe"));
	until_messages(&safety, 1);
	until_messages(&p.b, 1);
	until_messages(&p.a, 1);
	assert_true(agi_str_eq(agi_buf_str(&safety.last), AGI_STR("vote")));
	assert_true(agi_str_eq(agi_buf_str(&p.b.last), AGI_STR("probe")));
	assert_true(agi_str_eq(agi_buf_str(&p.a.last), AGI_STR("vote")));
	assert_int_equal(links_of(&p.b), 1);
	assert_int_equal(links_of(&safety), 1);
	agi_links_free(safety.links);
	agi_buf_free(&safety.last);
	pair_stop(&p);
}

static void a_preface_in_pieces_or_cut_short_is_decided_too(void **state)
{
	struct pair p;
	struct node safety;
	int fd;

	(void)state;
	pair_start(&p);
	split_channels(&p.b, &safety, p.base);
	stranger(&p.b, "\x01" "AG", 3, true);
	until_downs(&p.b, 1);
	assert_int_equal(p.b.down_err, AGI_E_UNREACHABLE);
	fd = stranger(&p.b, "\x01" "AGI", 4, false);
	for (int i = 0; i < 20; i++)
		event_base_loop(p.base, EVLOOP_NONBLOCK);
	assert_int_equal(write(fd, "\x02\x01\x00\x02zz", 6), 6);
	until_downs(&safety, 1);
	assert_int_equal(safety.down_err, AGI_E_MALFORMED);
	close(fd);
	fd = stranger(&safety, "\x01" "AGI\x02\x07", 6, false);
	until_downs(&p.b, 2);
	assert_int_equal(p.b.down_err, AGI_E_MALFORMED);
	close(fd);
	agi_links_free(safety.links);
	agi_buf_free(&safety.last);
	pair_stop(&p);
}

/* Whoever is in the middle cannot move a link to another channel. */
static void a_channel_changed_on_the_way_breaks_the_handshake(void **state)
{
	struct agi_link_keys ours, theirs;
	struct agi_links_cfg cfg = {.n_psk = 1};
	struct agi_hello a, b;
	struct agi_buf say, answer;
	struct agi_why why;
	uint8_t seed[32] = {1}, pub[32];
	size_t used;

	(void)state;
	agi_keypair_of_seed(seed, pub, cfg.seckey);
	assert_int_equal(agi_link_keys_init(&ours, &cfg), AGI_OK);
	seed[0] = 2;
	agi_keypair_of_seed(seed, pub, cfg.seckey);
	assert_int_equal(agi_link_keys_init(&theirs, &cfg), AGI_OK);
	agi_buf_init(&say, 0);
	agi_buf_init(&answer, 0);
	assert_int_equal(agi_hello_dial(&a, &ours, &theirs.id, AGI_CHAN_SAFETY, &say), AGI_OK);
	agi_hello_answer(&b, &theirs);
	say.p[AGI_LINK_PREFACE_BYTES - 1] = AGI_CHAN_BULK;
	assert_int_equal(agi_hello_feed(&b, say.p, say.n, &used, &answer, &why), AGI_E_MALFORMED);
	assert_int_equal(answer.n, 0);
	agi_buf_free(&say);
	agi_buf_free(&answer);
}

static void a_member_that_announces_an_oversized_message_is_cut_off(void **state)
{
	struct pair p;
	struct member m;

	(void)state;
	pair_start(&p);
	member_join(&m, &p.b);
	member_send(&m, (struct agi_str){"\x00\x00\x00\x02ok", 6});
	member_send(&m, (struct agi_str){"\x7f\xff\xff\xff", 4});
	until_downs(&p.b, 1);
	assert_int_equal(p.b.down_err, AGI_E_TOO_LARGE);
	assert_int_equal(p.b.n_messages, 1);
	assert_true(agi_id_eq(&p.b.down_peer, &m.keys.id));
	close(m.fd);
	pair_stop(&p);
}

static void a_member_that_dies_within_a_message_leaves_nothing_behind(void **state)
{
	struct pair p;
	struct member m;

	(void)state;
	pair_start(&p);
	member_join(&m, &p.b);
	member_send(&m, (struct agi_str){"\x00\x00\x00\x20half", 8});
	close(m.fd);
	until_downs(&p.b, 1);
	assert_int_equal(p.b.down_err, AGI_E_UNREACHABLE);
	assert_non_null(strstr(p.b.down_why.text, "middle of a message"));
	assert_int_equal(p.b.n_messages, 0);
	pair_stop(&p);
}

static void a_forged_record_cuts_the_link(void **state)
{
	struct pair p;
	struct member m;

	(void)state;
	pair_start(&p);
	member_join(&m, &p.b);
	m.send.key[0] ^= 1;
	member_send(&m, (struct agi_str){"\x00\x00\x00\x02no", 6});
	until_downs(&p.b, 1);
	assert_int_equal(p.b.down_err, AGI_E_AUTH);
	assert_int_equal(p.b.n_messages, 0);
	close(m.fd);
	pair_stop(&p);
}

/* A member that never answers our goodbye, or never reads. */
static void a_half_open_link_ends_in_time(void **state)
{
	struct pair p;
	struct member m;

	(void)state;
	pair_start_with(&p, (struct options){.seed = 1},
			(struct options){.seed = 2, .idle_ms = 10, .handshake_ms = 500});
	member_join(&m, &p.b);
	until_downs(&p.b, 1);
	assert_int_equal(p.b.down_err, AGI_OK); /* nothing of ours was lost */
	assert_int_equal(links_of(&p.b), 0);
	close(m.fd);
	pair_stop(&p);
}

static void at_links_max_strangers_are_refused_and_dials_are_full(void **state)
{
	static const struct agi_id anybody;
	struct pair p;
	struct agi_addr other = loopback(1);

	(void)state;
	pair_start_with(&p, (struct options){.seed = 1, .links_max = 1},
			(struct options){.seed = 2, .links_max = 1});
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("x"));
	until_messages(&p.b, 1);
	assert_int_equal(
	    agi_links_send(p.a.links, &anybody, &other, AGI_CHAN_CONTROL, AGI_STR("x")),
	    AGI_E_FULL);
	{
		struct member m = {.fd = raw_connect(&p.b.addr)};
		char byte;

		assert_int_equal(write(m.fd, "\x01", 1), 1);
		while (recv(m.fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN)
			event_base_loop(p.base, EVLOOP_NONBLOCK);
		close(m.fd);
	}
	assert_int_equal(p.b.n_downs, 0);
	pair_stop(&p);
}

static void a_flood_of_half_open_strangers_does_not_keep_a_member_out(void **state)
{
	struct pair p;
	int fd[40];

	(void)state;
	pair_start_with(&p, (struct options){.seed = 1},
			(struct options){.seed = 2, .links_max = 64});
	for (int i = 0; i < 40; i++) {
		fd[i] = stranger(&p.b,
				 "\x01"
				 "AGI\x02\x00",
				 6, false);
		event_base_loop(p.base, EVLOOP_NONBLOCK);
	}
	until_downs(&p.b, 40 - 16);
	assert_int_equal(p.b.down_err, AGI_E_FULL);
	send_to(&p.a, &p.b, AGI_CHAN_CONTROL, AGI_STR("x"));
	until_messages(&p.b, 1);
	for (int i = 0; i < 40; i++)
		close(fd[i]);
	pair_stop(&p);
}

static void keys_that_are_no_pair_are_refused(void **state)
{
	static const struct agi_links_handlers handlers = {on_message, on_down};
	struct event_base *base = event_base_new();
	struct agi_links_cfg cfg = {.n_psk = 1, .seckey = {1, 2, 3}};
	struct agi_links *l = NULL;

	(void)state;
	assert_int_equal(agi_links_new(base, &cfg, &handlers, NULL, &l), AGI_E_INVALID);
	assert_null(l);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_message_goes_there_and_its_echo_comes_back_on_the_same_link),
	    cmocka_unit_test(whoever_answers_can_be_asked_by_address_alone),
	    cmocka_unit_test(the_largest_message_arrives_unharmed),
	    cmocka_unit_test(ten_thousand_small_messages_arrive_in_order),
	    cmocka_unit_test(both_may_dial_at_once_and_nothing_is_lost),
	    cmocka_unit_test(a_queue_above_its_bound_is_full_and_says_so),
	    cmocka_unit_test(another_cluster_key_is_refused_on_both_sides_by_name),
	    cmocka_unit_test(while_keys_rotate_both_are_accepted),
	    cmocka_unit_test(a_host_that_proves_another_identity_is_refused_by_name),
	    cmocka_unit_test(a_node_does_not_link_to_itself),
	    cmocka_unit_test(nobody_listening_is_unreachable),
	    cmocka_unit_test(an_idle_link_closes_in_order_on_both_sides),
	    cmocka_unit_test(a_broken_link_is_reported_once_and_can_be_dialled_again),
	    cmocka_unit_test(links_may_be_freed_inside_a_handler),
	    cmocka_unit_test(surplus_links_of_one_peer_are_closed_in_order),
	    cmocka_unit_test(messages_of_a_dial_that_fails_go_over_the_link_the_peer_made),
	    cmocka_unit_test(garbage_instead_of_a_handshake_is_refused),
	    cmocka_unit_test(another_version_is_refused_by_number),
	    cmocka_unit_test(a_handshake_cut_short_ends_at_hangup_or_in_time),
	    cmocka_unit_test(a_server_that_is_no_node_is_unreachable_with_a_hint),
	    cmocka_unit_test(links_of_a_channel_go_to_the_set_that_has_it),
	    cmocka_unit_test(a_preface_in_pieces_or_cut_short_is_decided_too),
	    cmocka_unit_test(a_channel_changed_on_the_way_breaks_the_handshake),
	    cmocka_unit_test(a_member_that_announces_an_oversized_message_is_cut_off),
	    cmocka_unit_test(a_member_that_dies_within_a_message_leaves_nothing_behind),
	    cmocka_unit_test(a_forged_record_cuts_the_link),
	    cmocka_unit_test(a_half_open_link_ends_in_time),
	    cmocka_unit_test(at_links_max_strangers_are_refused_and_dials_are_full),
	    cmocka_unit_test(a_flood_of_half_open_strangers_does_not_keep_a_member_out),
	    cmocka_unit_test(keys_that_are_no_pair_are_refused),
	};

	if (agi_crypto_init())
		return 1;
	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
