/* SPDX-License-Identifier: Apache-2.0
 * Hosts that lie. They are members like others, with keys of their own, and answer everything but FIND_NODE as they
 * should: that one as their attack says. */
#ifndef AGI_SIM_ATTACK_H
#define AGI_SIM_ATTACK_H

#include "base/prng.h"
#include "dht/ring.h"

enum agi_sim_attack_kind {
	AGI_SIM_COLLUDE, /* with those of the adversaries who are nearest */
	AGI_SIM_EMPTY,   /* with nobody */
	AGI_SIM_DROP,    /* not at all */
	AGI_SIM_ECLIPSE  /* with invented hosts that would be nearer than almost all there are */
};
struct agi_sim_attack_cfg {
	enum agi_sim_attack_kind kind;
	double share;    /* of the hosts */
};
struct agi_sim_attack {
	struct agi_sim_attack_cfg cfg;
	bool *is_adversary;            /* of each node */
	uint32_t n_nodes, n_adversaries, virtual_nodes;
	struct agi_ring names;         /* what is answered with */
	struct agi_contact *contact;   /* COLLUDE: of each node; ECLIPSE: invented */
	bool *is_named;                /* COLLUDE: contact[i] is in names */
};

void agi_sim_attack_init(struct agi_sim_attack *a, const struct agi_sim_attack_cfg *cfg, uint32_t n_nodes,
                         uint32_t virtual_nodes, uint64_t seed);
void agi_sim_attack_free(struct agi_sim_attack *a);
/* ECLIPSE: invents hosts, at this address of an adversary's. */
void agi_sim_attack_invent(struct agi_sim_attack *a, uint64_t seed, void (*addr_of)(struct agi_addr *, uint32_t node));
/* An adversary starts or stops. */
void agi_sim_attack_came(struct agi_sim_attack *a, uint32_t node, const struct agi_contact *c);
void agi_sim_attack_went(struct agi_sim_attack *a, uint32_t node);
/* What an adversary says who is nearest to target: how many of out are filled, at most AGI_K; -1: it says nothing. */
int agi_sim_attack_answer(const struct agi_sim_attack *a, const struct agi_id *target, struct agi_contact out[AGI_K]);

#endif
