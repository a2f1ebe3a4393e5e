/* SPDX-License-Identifier: Apache-2.0
 * The echo service as a process, for tests/net/test_grpcio.py: prints its port, serves until its
 * standard input ends. */
#include "tests/net/echo_service.h"

static void on_stdin(evutil_socket_t fd, short what, void *arg)
{
	char c;

	(void)what;
	if (read(fd, &c, 1) <= 0)
		event_base_loopbreak(arg);
}

int main(void)
{
	struct event_base *base = event_base_new();
	struct event *input = event_new(base, 0, EV_READ | EV_PERSIST, on_stdin, base);
	struct echo echo;

	event_add(input, NULL);
	echo_start(&echo, base, &(struct agi_grpc_server_cfg){0}, 0);
	printf("%u\n", (unsigned)echo.addr.port);
	fflush(stdout);
	event_base_dispatch(base);
	echo_stop(&echo);
	event_free(input);
	event_base_free(base);
	return 0;
}
