/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dns_packet.h"

#include <string.h>

enum {
	HEADER = 12,
	RECORD = 10, /* type, class, time to live, length */
	LABEL_MAX = 63,
	CLASS_IN = 1,
	POINTER = 0xc000 | HEADER, /* to the name in the question (RFC 1035 4.1.4) */
	IS_ANSWER = 0x8000,
	OPCODE = 0x7800,
	AUTHORITATIVE = 0x0400,
	RECURSION_DESIRED = 0x0100 /* comes back as it was sent */
};

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }

/* --- questions
 * ---------------------------------------------------------------------------------------- */
/* '.' would look like the end of a label, a zero like that of the name. */
static char character(uint8_t c) { return c > ' ' && c < 0x7f && c != '.' ? (char)c : '?'; }

/* The name at p, which must not be compressed: bytes it takes there, 0 when it is none. */
static size_t read_name(char out[AGI_DNS_NAME_MAX + 1], const uint8_t *p, size_t n)
{
	size_t at = 0, w = 0;

	while (at < n && p[at]) {
		size_t label = p[at++];

		if (label > LABEL_MAX || label >= n - at || at + label + 1 > AGI_DNS_NAME_MAX)
			return 0;
		if (w)
			out[w++] = '.';
		while (label--)
			out[w++] = character(p[at++]);
	}
	out[w] = '\0';
	return at < n ? at + 1 : 0;
}

bool agi_dns_packet_read(struct agi_dns_asked *out, const uint8_t *p, size_t n,
			 enum agi_dns_code *code)
{
	size_t name;

	memset(out, 0, sizeof *out);
	if (n < HEADER || get16(p + 2) & IS_ANSWER)
		return false;
	out->id = get16(p);
	out->flags = get16(p + 2);
	*code = out->flags & OPCODE ? AGI_DNS_NOTIMP : AGI_DNS_FORMERR;
	if (*code == AGI_DNS_NOTIMP || get16(p + 4) != 1)
		return true;
	name = read_name(out->name, p + HEADER, n - HEADER);
	if (!name || n - HEADER - name < 4)
		return true;
	out->question_bytes = name + 4;
	memcpy(out->question, p + HEADER, out->question_bytes);
	out->type = get16(p + HEADER + name);
	*code = get16(p + HEADER + name + 2) == CLASS_IN ? AGI_DNS_OK : AGI_DNS_REFUSED;
	return true;
}

/* --- answers
 * ------------------------------------------------------------------------------------------ */
bool agi_dns_name_put(struct agi_buf *b, const char *name)
{
	if (!*name || strlen(name) > AGI_DNS_NAME_MAX - 2)
		return false;
	for (;;) {
		size_t n = strcspn(name, ".");

		if (n == 0 || n > LABEL_MAX)
			return false;
		agi_buf_u8(b, (uint8_t)n);
		agi_buf_put(b, name, n);
		name += n;
		if (!*name || !name[1]) /* a dot at the end is allowed */
			break;
		name++;
	}
	agi_buf_u8(b, 0);
	return true;
}

void agi_dns_reply_init(struct agi_dns_reply *r, const struct agi_dns_asked *asked)
{
	memset(r, 0, sizeof *r);
	for (int i = 0; i < AGI_DNS_PARTS; i++)
		agi_buf_init(&r->part[i], AGI_DNS_ANSWER_MAX);
	r->room = AGI_DNS_ANSWER_MAX - HEADER - asked->question_bytes;
}

void agi_dns_reply_free(struct agi_dns_reply *r)
{
	for (int i = 0; i < AGI_DNS_PARTS; i++)
		agi_buf_free(&r->part[i]);
}

bool agi_dns_reply_put(struct agi_dns_reply *r, enum agi_dns_part part, const char *owner,
		       uint16_t type, uint32_t ttl_s, struct agi_str data)
{
	struct agi_buf b;
	bool ok = true;

	agi_buf_init(&b, 2 * AGI_DNS_ANSWER_MAX);
	if (owner)
		ok = agi_dns_name_put(&b, owner);
	else
		agi_buf_u16(&b, POINTER);
	agi_buf_u16(&b, type);
	agi_buf_u16(&b, CLASS_IN);
	agi_buf_u32(&b, ttl_s);
	agi_buf_u16(&b, (uint16_t)data.n);
	agi_buf_put_str(&b, data);
	ok = ok && !b.err && agi_buf_str(&b).n <= r->room;
	if (ok) {
		agi_buf_put_str(&r->part[part], agi_buf_str(&b));
		r->room -= agi_buf_str(&b).n;
		r->count[part]++;
	}
	agi_buf_free(&b);
	return ok;
}

void agi_dns_reply_write(struct agi_buf *out, const struct agi_dns_asked *asked,
			 const struct agi_dns_reply *r, enum agi_dns_code code)
{
	agi_buf_u16(out, asked->id);
	agi_buf_u16(out, (uint16_t)(IS_ANSWER | AUTHORITATIVE |
				    (asked->flags & (OPCODE | RECURSION_DESIRED)) | code));
	agi_buf_u16(out, asked->question_bytes > 0);
	for (int i = 0; i < AGI_DNS_PARTS; i++)
		agi_buf_u16(out, r->count[i]);
	agi_buf_put(out, asked->question, asked->question_bytes);
	for (int i = 0; i < AGI_DNS_PARTS; i++)
		agi_buf_put_str(out, agi_buf_str(&r->part[i]));
}
