/* SPDX-License-Identifier: Apache-2.0
 * Compressed messages as they come from strangers. The first byte says: bit 0 deflate instead of gzip; bits 1 to 3:
 * in pieces of 1 << 2n bytes. The rest is a run of length-prefixed messages. What comes of it must not
 * depend on the pieces, and no message is longer than it may be. */
#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "net/grpc_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_BYTES = 20000, MESSAGES_MAX = 64 };

/* Everything that was read: each message with its length, then how it ended. */
static void read_all(struct agi_str in, enum agi_grpc_encoding encoding, size_t piece, struct agi_buf *story)
{
	struct agi_grpc_reader r = {.encoding = encoding};
	enum agi_grpc_read e = AGI_GRPC_READ_MORE;
	int messages = 0;

	while (in.n && messages < MESSAGES_MAX && (e == AGI_GRPC_READ_MORE || e == AGI_GRPC_READ_MESSAGE)) {
		struct agi_str part = {in.p, in.n < piece ? in.n : piece};
		size_t before = part.n;

		e = agi_grpc_reader_feed(&r, &part, MAX_BYTES);
		assert(part.n <= before && r.message.n <= MAX_BYTES);
		assert(e == AGI_GRPC_READ_MESSAGE || e != AGI_GRPC_READ_MORE || part.n == 0);
		in = (struct agi_str){in.p + (before - part.n), in.n - (before - part.n)};
		if (e != AGI_GRPC_READ_MESSAGE)
			continue;
		agi_buf_blob(story, agi_buf_str(&r.message));
		agi_grpc_reader_next(&r);
		assert(agi_grpc_reader_is_idle(&r));
		messages++;
	}
	agi_buf_u8(story, (uint8_t)e);
	agi_buf_u8(story, agi_grpc_reader_is_idle(&r));
	agi_grpc_reader_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agi_cur in = {data, n, false};
	uint8_t how = agi_cur_u8(&in);
	struct agi_str rest = agi_cur_take(&in, in.n);
	enum agi_grpc_encoding encoding = how & 1 ? AGI_GRPC_DEFLATE : AGI_GRPC_GZIP;
	struct agi_buf whole, pieces;

	agi_buf_init(&whole, 0);
	agi_buf_init(&pieces, 0);
	read_all(rest, encoding, SIZE_MAX, &whole);
	read_all(rest, encoding, (size_t)1 << 2 * (how >> 1 & 7), &pieces);
	assert(!whole.err && agi_str_eq(agi_buf_str(&whole), agi_buf_str(&pieces)));
	agi_buf_free(&whole);
	agi_buf_free(&pieces);
	return 0;
}
