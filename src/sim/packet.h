/* SPDX-License-Identifier: Apache-2.0
 * A message under way between two simulated nodes, and what it weighs on a real network. */
#ifndef AGI_SIM_PACKET_H
#define AGI_SIM_PACKET_H

#include "dht/dht.h"

struct agi_sim_packet {
	struct agi_peer from, to;
	enum agi_traffic traffic;
	struct agi_msg *msg; /* owned; NULL: only that it could not be delivered */
};
/* msg is copied. */
struct agi_sim_packet *agi_sim_packet_new(const struct agi_peer *from, const struct agi_peer *to,
                                          enum agi_traffic traffic, const struct agi_msg *msg);
void agi_sim_packet_free(struct agi_sim_packet *p);

enum {
	/* Around the bytes of a message: its length and the record's, the tag of the cipher, and the headers of IPv4
	 * and TCP with timestamps. Each message counts as a segment of its own. */
	AGI_SIM_FRAME_BYTES = 4 + 2 + 16 + 20 + 32
};
/* Bytes of this message as an Envelope of proto/overlay.proto, without the frame; exact for routing, membership,
 * registry and views (a unit test compares it with the daemon's encoder). */
size_t agi_sim_wire_bytes(const struct agi_msg *m);

#endif
