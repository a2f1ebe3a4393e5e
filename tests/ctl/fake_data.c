/* SPDX-License-Identifier: Apache-2.0
 * Canned answers of KvService and RegistryService. */
#include <inttypes.h>

#include "agihpc.pb-c.h"
#include "base/hash.h"
#include "fake_node.h"

#define FAKE_VERSION UINT64_C(116916733474897921) /* not a double */

/* --- KvService -------------------------------------------------------------------------------- */
static void on_put(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__PutRequest *req = (const Agihpc__V1__PutRequest *)m;
	Agihpc__V1__PutResponse res = AGIHPC__V1__PUT_RESPONSE__INIT;
	struct fake_node *node = ctx;
	uint8_t hash[32];
	char hex[65];

	agi_sha256(hash, (struct agi_str){(char *)req->value.data, req->value.len});
	agi_hex(hex, hash, 32);
	fprintf(node->log, "Put ns=%.*s key=%.*s bytes=%zu sha256=%s level=%d ttl=%" PRIu64 "\n",
		FAKE_TEXT(req->namespace_), FAKE_TEXT(req->key), req->value.len, hex,
		(int)req->level, req->ttl_ms);
	if (fake_makes_trouble(call, req->key))
		return;
	res.version = FAKE_VERSION;
	res.acks = 2;
	res.slot = 7;
	agi_grpc_reply(call, &res.base);
}

static void on_get(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	static const char binary[] = "\xff\0\xfe";
	const Agihpc__V1__GetRequest *req = (const Agihpc__V1__GetRequest *)m;
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;
	struct fake_node *node = ctx;

	fprintf(node->log, "Get ns=%.*s key=%.*s level=%d\n", FAKE_TEXT(req->namespace_),
		FAKE_TEXT(req->key), (int)req->level);
	if (fake_makes_trouble(call, req->key))
		return;
	res.value = fake_bin("green");
	if (fake_is(req->key, "binary"))
		res.value = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t)binary};
	res.version = FAKE_VERSION;
	res.acks = 2;
	res.slot = 7;
	agi_grpc_reply(call, &res.base);
}

static void on_delete(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__DeleteRequest *req = (const Agihpc__V1__DeleteRequest *)m;
	Agihpc__V1__DeleteResponse res = AGIHPC__V1__DELETE_RESPONSE__INIT;

	(void)ctx;
	if (fake_makes_trouble(call, req->key))
		return;
	res.version = 5;
	res.acks = 1;
	agi_grpc_reply(call, &res.base);
}

/* A strong item "held" has FAKE_VERSION and the value "green"; no other item is there. */
static void on_compare_and_set(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__CompareAndSetRequest *req = (const Agihpc__V1__CompareAndSetRequest *)m;
	Agihpc__V1__CompareAndSetResponse res = AGIHPC__V1__COMPARE_AND_SET_RESPONSE__INIT;
	struct fake_node *node = ctx;
	uint64_t present = fake_is(req->key, "held") ? FAKE_VERSION : 0;

	fprintf(node->log, "CompareAndSet ns=%.*s key=%.*s bytes=%zu expected=%" PRIu64 " delete=%d\n",
		FAKE_TEXT(req->namespace_), FAKE_TEXT(req->key), req->value.len,
		req->expected_version, req->delete_);
	if (fake_makes_trouble(call, req->key))
		return;
	res.succeeded = req->expected_version == present;
	res.version = res.succeeded ? FAKE_VERSION + 1 : present;
	if (!res.succeeded && present)
		res.value = fake_bin("green");
	res.slot = 7;
	agi_grpc_reply(call, &res.base);
}

static void on_add(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__AddRequest *req = (const Agihpc__V1__AddRequest *)m;
	Agihpc__V1__AddResponse res = AGIHPC__V1__ADD_RESPONSE__INIT;

	(void)ctx;
	if (fake_makes_trouble(call, req->key))
		return;
	res.value = req->delta;
	res.version = FAKE_VERSION;
	res.slot = 7;
	agi_grpc_reply(call, &res.base);
}

/* Two pages: b and a, then c. */
static void on_scan(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__ScanRequest *req = (const Agihpc__V1__ScanRequest *)m;
	Agihpc__V1__ScanResponse res = AGIHPC__V1__SCAN_RESPONSE__INIT;
	Agihpc__V1__KeyValue rows[2] = {AGIHPC__V1__KEY_VALUE__INIT, AGIHPC__V1__KEY_VALUE__INIT};
	Agihpc__V1__KeyValue *list[2] = {&rows[0], &rows[1]};
	bool is_second = fake_is(req->page_token, "two");
	struct fake_node *node = ctx;

	fprintf(node->log, "Scan ns=%.*s prefix=%.*s limit=%u keys=%d count=%d token=%.*s\n",
		FAKE_TEXT(req->namespace_), FAKE_TEXT(req->prefix), req->limit, req->keys_only,
		req->count_only, FAKE_TEXT(req->page_token));
	if (fake_makes_trouble(call, req->prefix))
		return;
	rows[0].key = fake_bin(is_second ? "c" : "b");
	rows[1].key = fake_bin("a\033[2J");
	rows[0].value = rows[1].value = fake_bin("green");
	rows[0].version = rows[1].version = FAKE_VERSION;
	res.count = is_second ? 1 : 2;
	if (!req->count_only) {
		res.items = list;
		res.n_items = res.count;
	}
	if (!is_second)
		res.next_page_token = fake_bin("two");
	agi_grpc_reply(call, &res.base);
}

/* Fails what has the key "bad". */
static void on_batch(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__BatchRequest *req = (const Agihpc__V1__BatchRequest *)m;
	Agihpc__V1__BatchResponse res = AGIHPC__V1__BATCH_RESPONSE__INIT;
	Agihpc__V1__BatchResult rows[64], *list[64];
	struct fake_node *node = ctx;

	fprintf(node->log, "Batch ns=%.*s level=%d", FAKE_TEXT(req->namespace_), (int)req->level);
	for (size_t i = 0; i < req->n_items && i < 64; i++) {
		const Agihpc__V1__BatchItem *it = req->items[i];

		fprintf(node->log, " %s:%.*s=%.*s/%" PRIu64, it->delete_ ? "del" : "put", FAKE_TEXT(it->key),
			FAKE_TEXT(it->value), it->ttl_ms);
		agihpc__v1__batch_result__init(&rows[i]);
		rows[i].version = FAKE_VERSION;
		if (fake_is(it->key, "bad")) {
			rows[i].code = 14;
			rows[i].message = fake_bin("no\033 quorum");
		}
		list[i] = &rows[i];
	}
	fprintf(node->log, "\n");
	res.results = list;
	res.n_results = req->n_items;
	agi_grpc_reply(call, &res.base);
}

static void on_owners(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__OwnersRequest *req = (const Agihpc__V1__OwnersRequest *)m;
	Agihpc__V1__OwnersResponse res = AGIHPC__V1__OWNERS_RESPONSE__INIT;
	Agihpc__V1__Owner one = AGIHPC__V1__OWNER__INIT, *list = &one;
	struct fake_node *node = ctx;

	if (fake_makes_trouble(call, req->key))
		return;
	one.node_id = fake_bin(node->self.id);
	one.address = fake_bin(node->self.address);
	one.zone = fake_bin("rack-\033[2J");
	one.state = fake_bin("self");
	res.owners = &list;
	res.n_owners = 1;
	res.slot = 7;
	res.epoch = 3;
	res.key_hash = one.node_id;
	agi_grpc_reply(call, &res.base);
}

/* --- RegistryService -------------------------------------------------------------------------- */
static void on_register(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__RegisterRequest *req = (const Agihpc__V1__RegisterRequest *)m;
	Agihpc__V1__RegisterResponse res = AGIHPC__V1__REGISTER_RESPONSE__INIT;
	struct fake_node *node = ctx;

	fprintf(node->log, "Register %.*s %.*s check=%.*s interval=%u path=%.*s\n",
		FAKE_TEXT(req->service), FAKE_TEXT(req->address),
		FAKE_TEXT(req->health_check->kind), req->health_check->interval_ms,
		FAKE_TEXT(req->health_check->path));
	if (fake_makes_trouble(call, req->service))
		return;
	res.node_id = fake_bin(node->self.id);
	agi_grpc_reply(call, &res.base);
}

static void on_deregister(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__DeregisterRequest *req = (const Agihpc__V1__DeregisterRequest *)m;
	Agihpc__V1__DeregisterResponse res = AGIHPC__V1__DEREGISTER_RESPONSE__INIT;

	(void)ctx;
	if (!fake_makes_trouble(call, req->service))
		agi_grpc_reply(call, &res.base);
}

static void fill_instance(Agihpc__V1__Instance *one, const struct fake_node *node,
			  const char *address, double rtt_ms)
{
	*one = (Agihpc__V1__Instance)AGIHPC__V1__INSTANCE__INIT;
	one->address = fake_bin(address);
	one->node_id = fake_bin(node->self.id);
	one->rtt_ms = rtt_ms;
	one->load = 0.25;
}

static void on_discover(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__DiscoverRequest *req = (const Agihpc__V1__DiscoverRequest *)m;
	Agihpc__V1__DiscoverResponse res = AGIHPC__V1__DISCOVER_RESPONSE__INIT;
	Agihpc__V1__Instance v[2], *list[2] = {&v[0], &v[1]};

	if (fake_makes_trouble(call, req->service))
		return;
	fill_instance(&v[0], ctx, "10.0.0.7:8080", 0.412);
	fill_instance(&v[1], ctx, "10.0.0.8:8080", -1);
	v[1].stale = 1;
	res.instances = list;
	res.n_instances = fake_is(req->service, "nobody") ? 0 : req->limit == 1 ? 1 : 2;
	agi_grpc_reply(call, &res.base);
}

static void on_nearest(struct agi_grpc_call *call, const ProtobufCMessage *m, void *ctx)
{
	const Agihpc__V1__NearestRequest *req = (const Agihpc__V1__NearestRequest *)m;
	Agihpc__V1__NearestResponse res = AGIHPC__V1__NEAREST_RESPONSE__INIT;
	Agihpc__V1__Instance one;

	if (fake_makes_trouble(call, req->service))
		return;
	fill_instance(&one, ctx, "10.0.0.7:8080", 0.412);
	res.instance = fake_is(req->service, "nobody") ? NULL : &one;
	agi_grpc_reply(call, &res.base);
}

static const struct agi_grpc_method kv[] = {
    {"Put", on_put},       {"Get", on_get},
    {"Delete", on_delete}, {"Owners", on_owners},
    {"Add", on_add},       {"CompareAndSet", on_compare_and_set},
    {"Scan", on_scan},     {"Batch", on_batch}};
static const struct agi_grpc_method registry[] = {{"RegisterService", on_register},
						  {"DeregisterService", on_deregister},
						  {"Discover", on_discover},
						  {"Nearest", on_nearest}};

bool fake_add_data_services(struct agi_grpc_server *s, struct fake_node *node)
{
	return agi_grpc_server_add(s, &agihpc__v1__kv_service__descriptor, kv,
				   sizeof kv / sizeof *kv, node) == AGI_OK &&
	       agi_grpc_server_add(s, &agihpc__v1__registry_service__descriptor, registry, 4,
				   node) == AGI_OK;
}
