/* SPDX-License-Identifier: Apache-2.0
 * The echo service as a process, for tests/net/test_grpcio.py: prints its port, serves until its
 * standard input ends. Argument: the largest message it receives, in bytes. */
#include "tests/net/echo_service.h"

static void on_stdin(evutil_socket_t fd, short what, void *arg)
{
	char c;

	(void)what;
	if (read(fd, &c, 1) <= 0)
		event_base_loopbreak(arg);
}

int main(int argc, char **argv)
{
	struct agi_grpc_server_cfg cfg = {.recv_max_bytes =
					      argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0};
	struct event_base *base = event_base_new();
	struct event *input = event_new(base, 0, EV_READ | EV_PERSIST, on_stdin, base);
	struct echo echo;

	event_add(input, NULL);
	echo_start(&echo, base, &cfg, 0);
	printf("%u\n", (unsigned)echo.addr.port);
	fflush(stdout);
	event_base_dispatch(base);
	echo_stop(&echo);
	event_free(input);
	event_base_free(base);
	return 0;
}
