/* SPDX-License-Identifier: Apache-2.0
 * A node made of canned answers, for the test of agihpc-ctl.
 *
 *   fake_node IP ID LOG [PEER-ID=STATE=ADDRESS ...]
 *
 * Listens on a free port of IP and prints "IP:PORT". An ID is one letter. What was asked goes to
 * LOG, a line each. Some keys, services and plans ask for trouble (fake_node.h). Ends when standard
 * input does. */
#include "fake_node.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <unistd.h>

#include "base/hash.h"

void fake_make_id(char out[65], const char *letter)
{
	memset(out, *letter, 64);
	out[64] = '\0';
}

static void end_hanging(void *call) { agi_grpc_fail(call, AGI_GRPC_CANCELLED, "gone"); }

bool fake_makes_trouble(struct agi_grpc_call *call, ProtobufCBinaryData word)
{
	struct agi_why why;

	if (fake_is(word, "missing")) {
		agi_grpc_fail(call, AGI_GRPC_NOT_FOUND, "NOT_FOUND: no such thing");
	} else if (fake_is(word, "noquorum")) {
		agi_fail(&why, AGI_E_NO_QUORUM, "1 of 2 replicas answered");
		agi_grpc_fail_err(call, AGI_E_NO_QUORUM, &why);
	} else if (fake_is(word, "refused")) {
		agi_grpc_fail(call, AGI_GRPC_INVALID_ARGUMENT, "no \033[31mthank you");
	} else if (fake_is(word, "broken")) {
		agi_grpc_fail(call, AGI_GRPC_INTERNAL, "broken");
	} else if (fake_is(word, "hang")) {
		agi_grpc_call_on_cancel(call, end_hanging, call);
	} else {
		return false;
	}
	return true;
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len,
		      void *server)
{
	struct agi_addr remote = {{0}, 1};

	(void)l;
	(void)sa;
	(void)len;
	agi_grpc_server_accept(server, fd, &remote);
}

static void on_stdin(evutil_socket_t fd, short what, void *base)
{
	char byte;

	(void)what;
	if (read(fd, &byte, 1) <= 0)
		event_base_loopbreak(base);
}

static bool take_peer(struct fake_node *node, const char *word)
{
	struct fake_peer *p = &node->peers[node->n_peers];
	const char *state = strchr(word, '='), *address = state ? strchr(state + 1, '=') : NULL;

	if (!address || node->n_peers == FAKE_PEERS_MAX)
		return false;
	fake_make_id(p->id, word);
	snprintf(p->state, sizeof p->state, "%.*s", (int)(address - state - 1), state + 1);
	snprintf(p->address, sizeof p->address, "%s", address + 1);
	node->n_peers++;
	return true;
}

static struct evconnlistener *listen_on(struct event_base *base, const char *ip, void *server,
					char address[64])
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof sa;
	struct evconnlistener *l;

	if (inet_pton(AF_INET, ip, &sa.sin_addr) != 1)
		return NULL;
	l = evconnlistener_new_bind(base, on_accept, server, LEV_OPT_CLOSE_ON_FREE, 64,
				    (struct sockaddr *)&sa, sizeof sa);
	if (!l || getsockname(evconnlistener_get_fd(l), (struct sockaddr *)&sa, &len) != 0)
		return NULL;
	snprintf(address, 64, "%s:%u", ip, (unsigned)ntohs(sa.sin_port));
	return l;
}

static int serve(struct fake_node *node, struct event_base *base, const char *ip)
{
	const struct agi_grpc_server_cfg cfg = {0};
	struct agi_grpc_server *server;
	struct evconnlistener *l;
	struct event *input;

	if (agi_grpc_server_new(base, &cfg, &server) != AGI_OK ||
	    !fake_add_data_services(server, node) || !fake_add_state_services(server, node) ||
	    !fake_add_backup_service(server, node))
		return 1;
	l = listen_on(base, ip, server, node->self.address);
	input = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_stdin, base);
	if (!l || !input || event_add(input, NULL) != 0)
		return 1;
	printf("%s\n", node->self.address);
	fflush(stdout);
	event_base_dispatch(base);
	agi_grpc_server_free(server);
	evconnlistener_free(l);
	event_free(input);
	return 0;
}

int main(int argc, char **argv)
{
	struct fake_node node = {.self.state = "self"};
	struct event_base *base = event_base_new();
	int rc;

	if (argc < 4 || agi_crypto_init() != AGI_OK || !base)
		return 2;
	fake_make_id(node.self.id, argv[2]);
	for (int i = 4; i < argc; i++)
		if (!take_peer(&node, argv[i]))
			return 2;
	node.log = fopen(argv[3], "a");
	if (!node.log)
		return 1;
	setvbuf(node.log, NULL, _IOLBF, 0);
	rc = serve(&node, base, argv[1]);
	event_base_free(base);
	fclose(node.log);
	return rc;
}
