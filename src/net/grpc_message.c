/* SPDX-License-Identifier: Apache-2.0
 * Length-prefixed messages, plain and compressed. */
#include <stdlib.h>
#include <zlib.h>

#include "base/limits.h"
#include "net/grpc_wire.h"

enum {
	WINDOW_BITS = 15,
	GZIP = 16, /* added to the window bits: zlib's way to ask for a gzip header */
	LEVEL = 1, /* zlib's fastest: the loop waits for it */
	MEM_LEVEL = 8,
	GROW_BYTES = 4096 /* room made for unpacked bytes at least */
};

/* --- names ----------------------------------------------------------------------------------- */
static const char *const names[AGI_GRPC_ENCODINGS] = {"identity", "gzip", "deflate"};

const char *agi_grpc_encoding_name(enum agi_grpc_encoding e) { return names[e]; }

enum agi_grpc_encoding agi_grpc_encoding_parse(struct agi_str name)
{
	unsigned i = 0;

	while (i < AGI_GRPC_ENCODINGS && !agi_str_eq(name, agi_str_of(names[i])))
		i++;
	return (enum agi_grpc_encoding)i;
}

bool agi_grpc_accepts(struct agi_str list, enum agi_grpc_encoding e)
{
	while (list.n) {
		const char *comma = memchr(list.p, ',', list.n);
		size_t n = comma ? (size_t)(comma - list.p) : list.n;
		struct agi_str one = {list.p, n};

		while (one.n && one.p[0] == ' ')
			one = (struct agi_str){one.p + 1, one.n - 1};
		while (one.n && one.p[one.n - 1] == ' ')
			one.n--;
		if (agi_grpc_encoding_parse(one) == e)
			return true;
		n += comma != NULL;
		list = (struct agi_str){list.p + n, list.n - n};
	}
	return false;
}

/* --- writing --------------------------------------------------------------------------------- */
struct agi_grpc_packer {
	z_stream z;
	struct agi_buf plain;
};

struct agi_grpc_packer *agi_grpc_packer_new(void)
{
	struct agi_grpc_packer *p = calloc(1, sizeof *p);

	if (p && deflateInit2(&p->z, LEVEL, Z_DEFLATED, WINDOW_BITS + GZIP, MEM_LEVEL,
			      Z_DEFAULT_STRATEGY) == Z_OK)
		return p;
	free(p);
	return NULL;
}

void agi_grpc_packer_free(struct agi_grpc_packer *p)
{
	if (!p)
		return;
	deflateEnd(&p->z);
	agi_buf_free(&p->plain);
	free(p);
}

static bool put_plain(struct agi_buf *out, const ProtobufCMessage *m, size_t n)
{
	size_t before = out->n;
	uint8_t *p;

	agi_buf_u8(out, 0);
	agi_buf_u32(out, (uint32_t)n);
	p = agi_buf_reserve(out, n);
	if (!p) {
		out->n = before;
		return false;
	}
	out->n += protobuf_c_message_pack(m, p);
	return true;
}

bool agi_grpc_put_message(struct agi_buf *out, const ProtobufCMessage *m)
{
	size_t n = protobuf_c_message_get_packed_size(m);

	return n <= UINT32_MAX && put_plain(out, m, n);
}

bool agi_grpc_put_bytes(struct agi_buf *out, struct agi_str message)
{
	size_t before = out->n;

	if (message.n > UINT32_MAX)
		return false;
	agi_buf_u8(out, 0);
	agi_buf_u32(out, (uint32_t)message.n);
	agi_buf_put_str(out, message);
	if (out->err)
		out->n = before;
	return !out->err;
}

/* Deflates plain; 0 unless it became smaller. */
static size_t pack(struct agi_grpc_packer *p, struct agi_str plain, uint8_t *to)
{
	p->z.next_in = (Bytef *)plain.p;
	p->z.avail_in = (uInt)plain.n;
	p->z.next_out = to;
	p->z.avail_out = (uInt)plain.n;
	if (deflateReset(&p->z) != Z_OK || deflate(&p->z, Z_FINISH) != Z_STREAM_END)
		return 0;
	return plain.n - p->z.avail_out;
}

bool agi_grpc_put_packed_bytes(struct agi_buf *out, struct agi_str message, struct agi_grpc_packer *p)
{
	size_t packed;
	uint8_t *to;

	if (message.n == 0 || message.n > AGI_GRPC_COMPRESS_MAX)
		return agi_grpc_put_bytes(out, message);
	to = agi_buf_reserve(out, AGI_GRPC_PREFIX_BYTES + message.n);
	if (!to)
		return false;
	packed = pack(p, message, to + AGI_GRPC_PREFIX_BYTES);
	if (packed == 0)
		return agi_grpc_put_bytes(out, message);
	agi_buf_u8(out, 1);
	agi_buf_u32(out, (uint32_t)packed);
	out->n += packed;
	return true;
}

bool agi_grpc_put_packed(struct agi_buf *out, const ProtobufCMessage *m, struct agi_grpc_packer *p)
{
	size_t n = protobuf_c_message_get_packed_size(m);

	if (n == 0 || n > AGI_GRPC_COMPRESS_MAX)
		return n <= UINT32_MAX && put_plain(out, m, n);
	agi_buf_reset(&p->plain);
	if (!agi_buf_reserve(&p->plain, n))
		return false;
	p->plain.n = protobuf_c_message_pack(m, p->plain.p);
	return agi_grpc_put_packed_bytes(out, agi_buf_str(&p->plain), p);
}

/* --- reading --------------------------------------------------------------------------------- */
static bool read_prefix(struct agi_grpc_reader *r, struct agi_str *in)
{
	while (r->prefix_bytes < AGI_GRPC_PREFIX_BYTES && in->n > 0) {
		r->prefix[r->prefix_bytes++] = (uint8_t)*in->p++;
		in->n--;
	}
	if (r->prefix_bytes < AGI_GRPC_PREFIX_BYTES)
		return false;
	r->message_bytes = (uint32_t)r->prefix[1] << 24 | (uint32_t)r->prefix[2] << 16 |
			   (uint32_t)r->prefix[3] << 8 | r->prefix[4];
	return true;
}

static enum agi_grpc_read start_unpacking(struct agi_grpc_reader *r)
{
	if (r->prefix[0] > 1 || r->encoding == AGI_GRPC_IDENTITY)
		return AGI_GRPC_READ_COMPRESSED;
	r->z = calloc(1, sizeof *r->z);
	if (r->z &&
	    inflateInit2(r->z, WINDOW_BITS + (r->encoding == AGI_GRPC_GZIP ? GZIP : 0)) == Z_OK)
		return AGI_GRPC_READ_MORE;
	free(r->z);
	r->z = NULL;
	return AGI_GRPC_READ_NOMEM;
}

static void stop_unpacking(struct agi_grpc_reader *r)
{
	if (r->z)
		inflateEnd(r->z);
	free(r->z);
	r->z = NULL;
	r->is_unpacked = false;
}

/* Makes room and inflates once; Z_BUF_ERROR: the message would have more than max_bytes. */
static int unpack_some(struct agi_grpc_reader *r, uint32_t max_bytes)
{
	size_t left = max_bytes - r->message.n, room = 4 * (size_t)r->z->avail_in;
	uint8_t extra, *to;
	int e;

	room = room < GROW_BYTES ? GROW_BYTES : room;
	room = room < left ? room : left;
	to =
	    room ? agi_buf_reserve(&r->message, room) : &extra; /* full: does one more byte come? */
	if (!to)
		return Z_MEM_ERROR;
	r->z->next_out = to;
	r->z->avail_out = room ? (uInt)room : 1;
	e = inflate(r->z, Z_NO_FLUSH);
	if (!room)
		return r->z->avail_out == 0 ? Z_BUF_ERROR : e == Z_BUF_ERROR ? Z_OK : e;
	r->message.n += room - r->z->avail_out;
	if (e == Z_BUF_ERROR) /* no progress for want of input: not an error */
		e = Z_OK;
	return e;
}

static enum agi_grpc_read unpack(struct agi_grpc_reader *r, struct agi_str part, uint32_t max_bytes)
{
	r->z->next_in = (Bytef *)(uintptr_t)part.p;
	r->z->avail_in = (uInt)part.n;
	for (;;) {
		int e;

		if (r->is_unpacked)
			return r->z->avail_in ? AGI_GRPC_READ_BAD
					      : AGI_GRPC_READ_MORE; /* bytes after its end */
		e = unpack_some(r, max_bytes);
		r->is_unpacked = e == Z_STREAM_END;
		if (e == Z_BUF_ERROR)
			return AGI_GRPC_READ_TOO_LARGE_UNPACKED;
		if (e == Z_MEM_ERROR)
			return AGI_GRPC_READ_NOMEM;
		if (e != Z_OK && e != Z_STREAM_END)
			return AGI_GRPC_READ_BAD;
		if (e == Z_OK && r->z->avail_in == 0 && r->z->avail_out > 0)
			return AGI_GRPC_READ_MORE;
	}
}

static enum agi_grpc_read take_part(struct agi_grpc_reader *r, struct agi_str part,
				    uint32_t max_bytes)
{
	enum agi_grpc_read e;

	r->taken_bytes += (uint32_t)part.n;
	if (!r->prefix[0]) {
		agi_buf_put_str(&r->message, part);
		if (r->message.err)
			return AGI_GRPC_READ_NOMEM;
		return r->taken_bytes == r->message_bytes ? AGI_GRPC_READ_MESSAGE
							  : AGI_GRPC_READ_MORE;
	}
	e = part.n ? unpack(r, part, max_bytes) : AGI_GRPC_READ_MORE;
	if (e != AGI_GRPC_READ_MORE || r->taken_bytes < r->message_bytes)
		return e;
	if (!r->is_unpacked && r->message_bytes)
		return AGI_GRPC_READ_BAD; /* cut short */
	stop_unpacking(r);
	return AGI_GRPC_READ_MESSAGE;
}

enum agi_grpc_read agi_grpc_reader_feed(struct agi_grpc_reader *r, struct agi_str *in,
					uint32_t max_bytes)
{
	struct agi_str part = {NULL, 0};

	if (r->prefix_bytes < AGI_GRPC_PREFIX_BYTES) {
		enum agi_grpc_read e;

		if (!read_prefix(r, in))
			return AGI_GRPC_READ_MORE;
		e = r->prefix[0] ? start_unpacking(r) : AGI_GRPC_READ_MORE;
		if (e != AGI_GRPC_READ_MORE)
			return e;
		if (r->message_bytes > max_bytes)
			return AGI_GRPC_READ_TOO_LARGE;
	}
	part.n = r->message_bytes - r->taken_bytes;
	part.n = part.n < in->n ? part.n : in->n;
	part.p = in->p;
	in->p += part.n;
	in->n -= part.n;
	return take_part(r, part, max_bytes);
}

void agi_grpc_reader_next(struct agi_grpc_reader *r)
{
	stop_unpacking(r);
	r->prefix_bytes = 0;
	r->message_bytes = r->taken_bytes = 0;
	agi_buf_reset(&r->message);
}

void agi_grpc_reader_free(struct agi_grpc_reader *r)
{
	stop_unpacking(r);
	agi_buf_free(&r->message);
}
