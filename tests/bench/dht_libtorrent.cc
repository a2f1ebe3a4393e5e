// SPDX-License-Identifier: Apache-2.0
// libtorrent's part of the DHT bench: N sessions in this process, on loopback, that do nothing but DHT.
//
//   dht_libtorrent NODES KEYS IDLE_SECONDS
//
// One operation at a time, from a session taken at random: immutable items (BEP 44). A put ends with its alert, a get when
// the item is there. Every session is told of all others at its start. What keeps a DHT on one machine from working
// (limits per address, of rate) is off. Output: see dht_bench.h.
#include <libtorrent/alert_types.hpp>
#include <libtorrent/bencode.hpp>
#include <libtorrent/hasher.hpp>
#include <libtorrent/session.hpp>
#include <libtorrent/session_params.hpp>
#include <libtorrent/session_stats.hpp>
#include <libtorrent/settings_pack.hpp>

#include <iterator>
#include <memory>

#include "tests/bench/dht_bench.h"

namespace {

std::unique_ptr<lt::session> make_node()
{
	lt::settings_pack p;

	p.set_int(lt::settings_pack::alert_mask, lt::alert_category::dht | lt::alert_category::stats);
	p.set_str(lt::settings_pack::listen_interfaces, "127.0.0.1:0");
	p.set_str(lt::settings_pack::dht_bootstrap_nodes, "");
	p.set_bool(lt::settings_pack::enable_dht, true);
	p.set_bool(lt::settings_pack::enable_lsd, false);
	p.set_bool(lt::settings_pack::enable_upnp, false);
	p.set_bool(lt::settings_pack::enable_natpmp, false);
	p.set_bool(lt::settings_pack::dht_restrict_routing_ips, false);
	p.set_bool(lt::settings_pack::dht_restrict_search_ips, false);
	p.set_bool(lt::settings_pack::dht_prefer_verified_node_ids, false);
	p.set_bool(lt::settings_pack::dht_ignore_dark_internet, false);
	p.set_int(lt::settings_pack::dht_block_ratelimit, 1000000);
	p.set_int(lt::settings_pack::dht_upload_rate_limit, 1000000000);
	return std::make_unique<lt::session>(lt::session_params(p));
}

lt::entry item_of(const std::string &key) { return lt::entry(bench::value_of(key)); }

lt::sha1_hash target_of(const std::string &key)
{
	std::vector<char> text;

	lt::bencode(std::back_inserter(text), item_of(key));
	return lt::hasher(text).final();
}

// The next alert of this type that `is_it` says is the one; false after 10 s.
template <class Alert> bool await(lt::session &s, const std::function<bool(const Alert &)> &is_it)
{
	for (int i = 0; i < 100; i++) {
		std::vector<lt::alert *> alerts;

		s.wait_for_alert(std::chrono::milliseconds(100));
		s.pop_alerts(&alerts);
		for (auto *a : alerts)
			if (auto *it = lt::alert_cast<Alert>(a))
				if (is_it(*it))
					return true;
	}
	return false;
}

void forget_alerts(lt::session &s)
{
	std::vector<lt::alert *> alerts;
	s.pop_alerts(&alerts);
}

bool put(lt::session &s, const std::string &key)
{
	int holders = 0;

	forget_alerts(s);
	lt::sha1_hash target = s.dht_put_item(item_of(key));
	return await<lt::dht_put_alert>(s, [&](const lt::dht_put_alert &a) {
		       holders = a.num_success;
		       return a.target == target;
	       }) && holders > 0;
}

bool get(lt::session &s, const std::string &key)
{
	lt::sha1_hash target = target_of(key);
	bool is_right = false;

	forget_alerts(s);
	s.dht_get_item(target);
	return await<lt::dht_immutable_item_alert>(s, [&](const lt::dht_immutable_item_alert &a) {
		       is_right = a.item.type() == lt::entry::string_t && a.item.string() == bench::value_of(key);
		       return a.target == target;
	       }) && is_right;
}

long known_nodes(lt::session &s)
{
	static const int index = lt::find_metric_idx("dht.dht_nodes");
	long n = 0;

	forget_alerts(s);
	s.post_session_stats();
	await<lt::session_stats_alert>(s, [&](const lt::session_stats_alert &a) {
		n = (long)a.counters()[index];
		return true;
	});
	return n;
}

} // namespace

int main(int argc, char **argv)
{
	bench::Options options(argc, argv);
	std::vector<std::unique_ptr<lt::session>> nodes;
	bench::Figures figures;

	figures.join([&] {
		for (int i = 0; i < options.nodes; i++)
			nodes.push_back(make_node());
		for (auto &n : nodes)
			bench::wait("a session listens", [&] { return n->listen_port() != 0 && n->is_dht_running(); });
		for (auto &n : nodes)
			for (auto &other : nodes)
				if (n != other)
					n->add_dht_node({"127.0.0.1", other->listen_port()});
		bench::wait("every node knows eight others", [&] {
			for (auto &n : nodes)
				if (known_nodes(*n) < 8)
					return false;
			return true;
		});
	});
	figures.operations(options, [&](int n, const std::string &key) { return put(*nodes[n], key); },
	                   [&](int n, const std::string &key) { return get(*nodes[n], key); });
	figures.idle(options);
	figures.print(options);
	fflush(stdout);
	_exit(0);
}
