/* SPDX-License-Identifier: Apache-2.0
 * Provider records: what the signature covers, and names of services. */
#include "dht/provider.h"

#include "base/buf.h"

enum { TAG_TRAITS = 14 }; /* its field number in proto/overlay.proto */

/* "agihpc-provider-1" ‖ every field in the order of struct agi_provider, strings with be32 length; then what
 * later versions added, each with a tag and only when it is set: a record without it is signed as it always
 * was, one that has it is good only to those who see it. */
static void signed_bytes(struct agi_buf *b, const struct agi_provider *p)
{
	agi_buf_put_str(b, AGI_STR("agihpc-provider-1"));
	agi_buf_blob(b, p->service);
	agi_buf_blob(b, p->address);
	agi_buf_put(b, p->pubkey, AGI_PUBKEY_BYTES);
	agi_buf_put(b, p->node_addr.ip, 16);
	agi_buf_u16(b, p->node_addr.port);
	agi_buf_u64(b, p->incarnation);
	agi_buf_u64(b, p->seq);
	agi_buf_u32(b, p->ttl_ms);
	agi_buf_u32(b, p->load_milli);
	agi_buf_u8(b, p->is_healthy);
	agi_buf_u8(b, p->is_withdrawn);
	agi_buf_blob(b, agi_str_of(p->zone));
	if (p->traits) {
		agi_buf_u8(b, TAG_TRAITS);
		agi_buf_u32(b, p->traits);
	}
}

void agi_provider_sign(struct agi_provider *p, const uint8_t seckey[AGI_SECKEY_BYTES])
{
	struct agi_buf b;

	memcpy(p->pubkey, seckey + 32, AGI_PUBKEY_BYTES); /* libsodium keeps it behind the seed */
	agi_buf_init(&b, 0);
	signed_bytes(&b, p);
	memset(p->sig, 0, sizeof p->sig);
	if (!b.err)
		agi_sign(p->sig, seckey, agi_buf_str(&b));
	agi_buf_free(&b);
}

bool agi_provider_verify(const struct agi_provider *p)
{
	struct agi_buf b;
	bool is_good;

	agi_buf_init(&b, 0);
	signed_bytes(&b, p);
	is_good = !b.err && agi_verify(p->sig, p->pubkey, agi_buf_str(&b));
	agi_buf_free(&b);
	return is_good;
}

bool agi_service_name_is_valid(struct agi_str s)
{
	if (s.n == 0 || s.n > AGI_SERVICE_NAME_MAX || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	return true;
}
