// SPDX-License-Identifier: Apache-2.0
// What the peers of the DHT bench have in common: keys, values, clocks, and what they print: one line of JSON with join_s,
// put_us and get_us (each operation, in microseconds), put_cpu_us and get_cpu_us (CPU time of this process per
// operation: all nodes and who asks), put_failed, get_failed, rss_kib (per node), idle_cpu (percent of one processor, per node).
#ifndef AGI_TESTS_DHT_BENCH_H
#define AGI_TESTS_DHT_BENCH_H

#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace bench {

inline double clock_us(clockid_t clock)
{
	timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

inline std::string value_of(const std::string &key) { return "value of " + key + std::string(64, '.'); }

struct Options {
	int nodes, keys, idle_s;
	Options(int argc, char **argv)
	{
		if (argc != 4 || (nodes = atoi(argv[1])) < 9 || (keys = atoi(argv[2])) < 1 || (idle_s = atoi(argv[3])) < 1) {
			fprintf(stderr, "usage: %s NODES KEYS IDLE_SECONDS (at least 9 nodes)\n", argv[0]);
			exit(2);
		}
	}
};

inline void wait(const char *what, const std::function<bool()> &condition)
{
	for (int i = 0; i < 6000; i++) {
		if (condition())
			return;
		std::this_thread::sleep_for(std::chrono::milliseconds(10));
	}
	fprintf(stderr, "not within 60 s: %s\n", what);
	exit(1);
}

struct Phase {
	std::vector<double> us;
	double cpu_us = 0;
	int failed = 0;
};

class Figures {
public:
	static constexpr int settle_s = 10; // as in bench_dht.py

	void join(const std::function<void()> &all)
	{
		double from = clock_us(CLOCK_MONOTONIC);
		all();
		join_s_ = (clock_us(CLOCK_MONOTONIC) - from) / 1e6;
		std::this_thread::sleep_for(std::chrono::seconds(settle_s)); // what joining began ends
	}
	using Operation = std::function<bool(int node, const std::string &key)>;
	void operations(const Options &o, const Operation &put, const Operation &get)
	{
		run(o, put_, put);
		run(o, get_, get);
	}
	void idle(const Options &o)
	{
		std::this_thread::sleep_for(std::chrono::seconds(2));
		double from = clock_us(CLOCK_PROCESS_CPUTIME_ID);
		std::this_thread::sleep_for(std::chrono::seconds(o.idle_s));
		idle_cpu_ = (clock_us(CLOCK_PROCESS_CPUTIME_ID) - from) / 1e4 / o.idle_s / o.nodes;
	}
	void print(const Options &o)
	{
		printf("{\"join_s\":%.3f,\"rss_kib\":%.0f,\"idle_cpu\":%.4f", join_s_, rss_kib() / o.nodes, idle_cpu_);
		print("put", put_);
		print("get", get_);
		printf("}\n");
	}

private:
	double join_s_ = 0, idle_cpu_ = 0;
	Phase put_, get_;
	std::mt19937 random_{std::random_device{}()};

	void run(const Options &o, Phase &p, const Operation &operation)
	{
		double cpu = clock_us(CLOCK_PROCESS_CPUTIME_ID);
		for (int i = 0; i < o.keys; i++) {
			int node = random_() % o.nodes;
			double from = clock_us(CLOCK_MONOTONIC);
			if (operation(node, "key " + std::to_string(i)))
				p.us.push_back(clock_us(CLOCK_MONOTONIC) - from);
			else
				p.failed++;
		}
		p.cpu_us = (clock_us(CLOCK_PROCESS_CPUTIME_ID) - cpu) / o.keys;
	}
	static void print(const char *name, const Phase &p)
	{
		printf(",\"%s_failed\":%d,\"%s_cpu_us\":%.1f,\"%s_us\":[", name, p.failed, name, p.cpu_us, name);
		for (size_t i = 0; i < p.us.size(); i++)
			printf("%s%.1f", i ? "," : "", p.us[i]);
		printf("]");
	}
	static double rss_kib()
	{
		std::ifstream f("/proc/self/statm");
		double pages = 0;
		f >> pages >> pages;
		return pages * sysconf(_SC_PAGESIZE) / 1024;
	}
};

} // namespace bench

#endif
