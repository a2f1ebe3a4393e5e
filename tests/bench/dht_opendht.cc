// SPDX-License-Identifier: Apache-2.0
// OpenDHT's part of the DHT bench: N nodes in this process, on loopback.
//
//   dht_opendht NODES KEYS IDLE_SECONDS
//
// One operation at a time, from a node taken at random. A put ends when the library says it is done, a get when the value
// is handed over. The library's rate limits are off, and every node is told of all others at
// its start. Output: see dht_bench.h.
#include <opendht/dhtrunner.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "tests/bench/dht_bench.h"

namespace {

// One answer that is waited for.
class Answer {
public:
	void give(bool ok)
	{
		std::lock_guard<std::mutex> lock(mutex_);
		if (!is_given_) {
			is_given_ = true;
			ok_ = ok;
			given_.notify_one();
		}
	}
	bool wait()
	{
		std::unique_lock<std::mutex> lock(mutex_);
		return given_.wait_for(lock, std::chrono::seconds(10), [this] { return is_given_; }) && ok_;
	}

private:
	std::mutex mutex_;
	std::condition_variable given_;
	bool is_given_ = false, ok_ = false;
};

std::unique_ptr<dht::DhtRunner> make_node()
{
	auto node = std::make_unique<dht::DhtRunner>();
	dht::DhtRunner::Config config;

	config.dht_config.node_config.network = 4711;
	config.dht_config.node_config.max_req_per_sec = -1;
	config.dht_config.node_config.max_peer_req_per_sec = -1;
	config.bind4.setFamily(AF_INET);
	config.bind4.setAddress("127.0.0.1");
	config.bind4.setPort(0);
	node->run(config, {});
	return node;
}

dht::SockAddr address_of(const dht::DhtRunner &node)
{
	dht::SockAddr a;

	a.setFamily(AF_INET);
	a.setAddress("127.0.0.1");
	a.setPort(node.getBoundPort());
	return a;
}

bool put(dht::DhtRunner &node, const std::string &key)
{
	auto answer = std::make_shared<Answer>();
	const std::string value = bench::value_of(key);

	node.put(dht::InfoHash::get(key), dht::Value((const uint8_t *)value.data(), value.size()),
	         dht::DoneCallbackSimple([answer](bool ok) { answer->give(ok); }));
	return answer->wait();
}

bool get(dht::DhtRunner &node, const std::string &key)
{
	auto answer = std::make_shared<Answer>();
	const std::string wanted = bench::value_of(key);

	node.get(
	    dht::InfoHash::get(key),
	    [answer, wanted](const std::vector<std::shared_ptr<dht::Value>> &values) {
		    for (auto &v : values)
			    answer->give(std::string(v->data.begin(), v->data.end()) == wanted);
		    return false;
	    },
	    dht::DoneCallbackSimple([answer](bool) { answer->give(false); }));
	return answer->wait();
}

} // namespace

int main(int argc, char **argv)
{
	bench::Options options(argc, argv);
	std::vector<std::unique_ptr<dht::DhtRunner>> nodes;
	bench::Figures figures;

	figures.join([&] {
		for (int i = 0; i < options.nodes; i++)
			nodes.push_back(make_node());
		for (auto &n : nodes)
			for (auto &other : nodes)
				if (n != other)
					n->bootstrap(other->getNodeId(), address_of(*other));
		bench::wait("every node knows eight others", [&] {
			for (auto &n : nodes) {
				auto known = n->getNodesStats(AF_INET);
				if (known.good_nodes + known.dubious_nodes < 8)
					return false;
			}
			return true;
		});
	});
	figures.operations(options, [&](int n, const std::string &key) { return put(*nodes[n], key); },
	                   [&](int n, const std::string &key) { return get(*nodes[n], key); });
	figures.idle(options);
	figures.print(options);
	fflush(stdout);
	_exit(0); // without each node's long good-bye
}
