/* SPDX-License-Identifier: Apache-2.0
 * The fake node of the test of agihpc-ctl: what its files share. */
#ifndef AGI_TESTS_CTL_FAKE_NODE_H
#define AGI_TESTS_CTL_FAKE_NODE_H

#include <stdio.h>
#include <string.h>

#include "net/grpc.h"

enum { FAKE_PEERS_MAX = 8 };

struct fake_peer {
	char id[65], state[16], address[64];
};
struct fake_node {
	FILE *log;
	struct fake_peer self;
	struct fake_peer peers[FAKE_PEERS_MAX];
	size_t n_peers;
};

static inline ProtobufCBinaryData fake_bin(const char *z)
{
	return (ProtobufCBinaryData){strlen(z), (uint8_t *)(uintptr_t)z};
}
static inline bool fake_is(ProtobufCBinaryData b, const char *z)
{
	return b.len == strlen(z) && memcmp(b.data, z, b.len) == 0;
}
#define FAKE_TEXT(b) (int)(b).len, (b).data ? (const char *)(b).data : ""

/* 64 hexadecimal digits from one letter. */
void fake_make_id(char out[65], const char *letter);
/* Ends the call in the way the word asks for: missing, noquorum, refused, broken, hang (never
 * answers). False when it asks for none of them. */
bool fake_makes_trouble(struct agi_grpc_call *call, ProtobufCBinaryData word);
/* NodeService's methods about slots that move. */
enum { FAKE_MOVE_METHODS = 5 };
extern const struct agi_grpc_method fake_move_methods[FAKE_MOVE_METHODS];
/* The services; ctx of every handler is the struct fake_node. */
bool fake_add_data_services(struct agi_grpc_server *s,
			    struct fake_node *node); /* memory, registry */
bool fake_add_state_services(struct agi_grpc_server *s,
			     struct fake_node *node); /* node, health, safety */
bool fake_add_backup_service(struct agi_grpc_server *s, struct fake_node *node);

#endif
