/* SPDX-License-Identifier: Apache-2.0
 * A router between network namespaces that delays packets, for kernels without netem. Needs root.
 *
 *   delayrouter NETNS=ADDRESS=SITE ... SITE~SITE=MICROSECONDS ...
 *
 * Makes a TUN device tun0 in each network namespace (a file below /run/netns; "-": the router's own), says "ready",
 * and then passes IPv4 packets between their addresses, each way after the time given for the pair of sites (either
 * order; not given: at once), in order, until it is killed. Who starts it gives tun0 its address and route. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { HOSTS_MAX = 32, QUEUE_MAX = 4096, PACKET_MAX = 2048, NAME_MAX_ = 64, DELAY_MAX_US = 10000000 };

struct packet {
	uint64_t due_ns;
	size_t n;
	struct packet *next;
	uint8_t bytes[];
};

/* What is on its way between two hosts: one delay, so the first in is the first out. */
struct pipe_of {
	uint64_t delay_ns;
	struct packet *first, **last;
	unsigned n;
};

struct host {
	int fd;
	uint32_t address; /* network order */
	char site[NAME_MAX_];
};

static struct host hosts[HOSTS_MAX];
static int n_hosts;
static struct pipe_of pipes[HOSTS_MAX][HOSTS_MAX];

static void die(const char *what)
{
	fprintf(stderr, "delayrouter: %s: %s\n", what, errno ? strerror(errno) : "not understood");
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The device stays with the namespace it was made in; its descriptor goes where we go. */
static int open_tun(const char *netns)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = -1, fd;

	if (strcmp(netns, "-") != 0) {
		there = open(netns, O_RDONLY | O_CLOEXEC);
		if (home < 0 || there < 0 || setns(there, CLONE_NEWNET))
			die(netns);
	}
	snprintf(r.ifr_name, sizeof r.ifr_name, "tun0");
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &r))
		die("/dev/net/tun");
	if (there >= 0 && setns(home, CLONE_NEWNET))
		die("setns");
	if (there >= 0)
		close(there);
	close(home);
	return fd;
}

/* NETNS=ADDRESS=SITE */
static int add_host(char *arg)
{
	char *address = strchr(arg, '='), *site = address ? strchr(address + 1, '=') : NULL;
	struct in_addr in;

	if (!site || n_hosts == HOSTS_MAX)
		return -1;
	*address++ = *site++ = '\0';
	if (strlen(site) >= NAME_MAX_ || inet_pton(AF_INET, address, &in) != 1)
		return -1;
	hosts[n_hosts].address = in.s_addr;
	strcpy(hosts[n_hosts].site, site);
	hosts[n_hosts++].fd = open_tun(arg);
	return 0;
}

/* SITE~SITE=MICROSECONDS */
static int set_delay(char *arg)
{
	char *b = strchr(arg, '~'), *us = strchr(arg, '='), *end;
	unsigned long v;

	if (!us || us < b)
		return -1;
	*b++ = *us++ = '\0';
	v = strtoul(us, &end, 10);
	if (*end || end == us || v > DELAY_MAX_US)
		return -1;
	for (int i = 0; i < n_hosts; i++)
		for (int j = 0; j < n_hosts; j++)
			if (i != j && ((!strcmp(hosts[i].site, arg) && !strcmp(hosts[j].site, b)) ||
			               (!strcmp(hosts[i].site, b) && !strcmp(hosts[j].site, arg))))
				pipes[i][j].delay_ns = v * 1000u;
	return 0;
}

static void enqueue(int from, int to, const uint8_t *bytes, size_t n)
{
	struct pipe_of *q = &pipes[from][to];
	struct packet *p = q->n < QUEUE_MAX ? malloc(sizeof *p + n) : NULL;

	if (!p)
		return; /* as a full router does */
	p->due_ns = now_ns() + q->delay_ns;
	p->n = n;
	p->next = NULL;
	memcpy(p->bytes, bytes, n);
	*q->last = p;
	q->last = &p->next;
	q->n++;
}

static void take_in(int from)
{
	uint8_t bytes[PACKET_MAX];
	uint32_t destination;
	ssize_t n;

	while ((n = read(hosts[from].fd, bytes, sizeof bytes)) > 0) {
		if (n < 20 || bytes[0] >> 4 != 4)
			continue;
		memcpy(&destination, bytes + 16, sizeof destination);
		for (int to = 0; to < n_hosts; to++)
			if (to != from && hosts[to].address == destination)
				enqueue(from, to, bytes, (size_t)n);
	}
}

/* Hands out what is due; returns when the next will be (0 = nothing is on its way). */
static uint64_t hand_out(void)
{
	uint64_t now = now_ns(), next = 0;

	for (int i = 0; i < n_hosts; i++) {
		for (int j = 0; j < n_hosts; j++) {
			struct pipe_of *q = &pipes[i][j];

			while (q->first && q->first->due_ns <= now) {
				struct packet *p = q->first;
				ssize_t done = write(hosts[j].fd, p->bytes, p->n);

				(void)done; /* a host that is down loses it */
				q->first = p->next;
				if (!q->first)
					q->last = &q->first;
				q->n--;
				free(p);
			}
			if (q->first && (!next || q->first->due_ns < next))
				next = q->first->due_ns;
		}
	}
	return next;
}

static void route(void)
{
	struct pollfd p[HOSTS_MAX];

	for (;;) {
		uint64_t next = hand_out(), now = now_ns(), wait = next > now ? next - now : 0;
		struct timespec t = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};

		for (int i = 0; i < n_hosts; i++)
			p[i] = (struct pollfd){.fd = hosts[i].fd, .events = POLLIN};
		if (ppoll(p, (nfds_t)n_hosts, next ? &t : NULL, NULL) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < n_hosts; i++)
			if (p[i].revents & POLLIN)
				take_in(i);
	}
}

int main(int argc, char **argv)
{
	for (int i = 0; i < HOSTS_MAX; i++)
		for (int j = 0; j < HOSTS_MAX; j++)
			pipes[i][j].last = &pipes[i][j].first;
	for (int i = 1; i < argc; i++) {
		errno = 0;
		if (strchr(argv[i], '~') ? set_delay(argv[i]) : add_host(argv[i]))
			die(argv[i]);
	}
	puts("ready");
	fflush(stdout);
	route();
}
