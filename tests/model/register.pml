/* SPDX-License-Identifier: Apache-2.0
 * One strong register while the members of its slot change: what docs/safety-argument.md argues in words, checked in
 * every interleaving of a small world. The names are those of src/dht; each rule says which function it stands for.
 *
 * A message that was sent may be handled by any member at any later time, or never: so messages are lost, late and out
 * of order. What an acceptor writes down it has written down when it answers (the store's contract), so a crash
 * takes only what is volatile: what a new member has merged so far. A leader or a proposer that crashes is
 * one that does nothing more, which each may do at any moment.
 *
 * The world: NODES hosts, of which the first three are the members of epoch 1; EPOCHS epochs, PROPOSERS rival proposals
 * for each of them; LEADERS ballots with SEQS operations each (put, add, get), READERS direct gets.
 *
 * What is asserted: never two views of one epoch; an operation's result is as new as everything that was acknowledged
 * before the operation began; nothing that was seen lies between what an acknowledged addition read and what it
 * wrote. The switches named like the mutants of src/dht/mutant.h break one rule each, and the assertions must
 * find it. */
#ifndef EPOCHS
#define EPOCHS 2
#endif
#ifndef PROPOSERS
#define PROPOSERS 2
#endif
#ifndef LEADERS
#define LEADERS 2
#endif
#ifndef SEQS
#define SEQS 1
#endif
#ifndef READERS
#define READERS 1
#endif
#define NODES 4
#define WRITES (LEADERS * SEQS)

/* --- sets of nodes, as bits ----------------------------------------------------------------------- */
#define BIT(n) (1 << (n))
#define HAS(set, n) (((set) >> (n)) & 1)
#define COUNT(set) (((set) & 1) + ((set) >> 1 & 1) + ((set) >> 2 & 1) + ((set) >> 3 & 1))
#ifdef MINORITY
#define IS_MAJORITY(set, view) (2 * COUNT((set) & (view)) + 1 >= COUNT(view))
#else
#define IS_MAJORITY(set, view) (2 * COUNT((set) & (view)) > COUNT(view))
#endif
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* --- nodes ---------------------------------------------------------------------------------------- */
#define NONE 0
#define JOINING 1
#define ACTIVE 2
#define SEALED 3
#define LEAVING 4
#define WHOLE 15 /* merged: all of it, from an active member */

byte view[EPOCHS + 1]; /* the members of each epoch; 0 = not decided */
byte epoch[NODES], phase[NODES], promised[NODES], accepted[NODES], merged[NODES];
byte view_promised[NODES], view_accepted[NODES]; /* ballots for the view after this one */
#if EPOCHS > 2
bit is_copy[NODES];
#endif

/* --- operations: each write has a number, later ballots and later ones of a ballot have higher ones --- */
#define WRITE_OF(leader, seq) (((leader) - 1) * SEQS + (seq))
#define LEADER_OF(w) (((w) - 1) / SEQS + 1)
#define ORDER(e, w) ((e) * 16 + (w)) /* of accepted writes: the head of a register's record (reg.c, encode) */
#define WRITE_IN(order) ((order) & 15)

#define ASKING 1
#define LEADING 2
#define READING 3
#define WRITING 4
#define PUT 1
#define ADD 2
#define GET 3

byte lead_state[LEADERS + 1], lead_epoch[LEADERS + 1], lead_set[LEADERS + 1], lead_seq[LEADERS + 1];
byte op_kind[LEADERS + 1], op_floor[LEADERS + 1], op_best[LEADERS + 1], op_same[LEADERS + 1];
byte version[WRITES + 1], base[WRITES + 1], acks[WRITES + 1]; /* version 0: not sent */
bit is_addition[WRITES + 1];

byte read_state[READERS + 1], read_epoch[READERS + 1], read_set[READERS + 1], read_floor[READERS + 1];
byte read_best[READERS + 1], read_same[READERS + 1];

/* what clients know */
byte newest;            /* the highest version acknowledged or returned */
bit seen[WRITES + 1];   /* versions acknowledged or returned */
bit added[WRITES + 1];  /* acknowledged additions */

/* --- proposals of views: of epoch e, ballot p ----------------------------------------------------------- */
#define AT(e, p) (((e) - 1) * PROPOSERS + (p))
#define PROPOSALS ((EPOCHS - 1) * PROPOSERS)
byte prop_state[PROPOSALS + 1], prop_set[PROPOSALS + 1], prop_best[PROPOSALS + 1], prop_value[PROPOSALS + 1];
#define PREPARING 1
#define ACCEPTING 2
/* the rivals want different views: from {0,1,2} to {1,2,3} or {0,1,3}; from there to {0,2,3} or {0,1,2} */
#define WANTED(e, p) ((e) == 1 -> ((p) == 1 -> 14 : 11) : ((p) == 1 -> 13 : 7))

byte i, u; /* of loops within a step */

/* --- what clients are told -------------------------------------------------------------------------------- */
inline check_between(w)
{
	u = base[w] + 1;
	do
	:: u < w -> assert(!seen[u]); u++
	:: else -> break
	od
}

/* Version v was acknowledged, or returned, to an operation that began when `floor` was the newest known. */
inline tell(v, floor)
{
	assert(v >= floor);
	if
	:: v -> seen[v] = 1
	:: else
	fi;
	newest = MAX(newest, v);
	i = 1;
	do
	:: i <= WRITES ->
		if
		:: added[i] -> check_between(i)
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0; u = 0
}

/* --- who may be answered (view.c, agi_view_admit) ----------------------------------------------------------- */
#ifdef IGNORE_EPOCH
#define SERVES(n, e) (epoch[n] >= (e) && phase[n] == ACTIVE)
#elif defined(ANSWER_JOINING)
#define SERVES(n, e) (epoch[n] == (e) && (phase[n] == ACTIVE || phase[n] == JOINING))
#elif defined(ANSWER_SEALED)
#define SERVES(n, e) (epoch[n] == (e) && (phase[n] == ACTIVE || phase[n] == SEALED))
#else
#define SERVES(n, e) (epoch[n] == (e) && phase[n] == ACTIVE)
#endif

/* --- leaders of the register (lead.c) -------------------------------------------------------------------------- */
/* A leader begins in the epoch of the first member that promises. (Promises made after the majority's only refuse
 * more: they are left out.) */
#define IS_ASKING(b, n) (lead_state[b] == 0 || (lead_state[b] == ASKING && !HAS(lead_set[b], n) && SERVES(n, lead_epoch[b])))
#define LEAD_RULE(b, n) \
:: d_step { IS_ASKING(b, n) && SERVES(n, epoch[n]) && promised[n] < b -> /* agi_reg_on_lead */ \
	if \
	:: lead_state[b] == 0 -> lead_state[b] = ASKING; lead_epoch[b] = epoch[n] \
	:: else \
	fi; \
	promised[n] = b; \
	lead_set[b] = lead_set[b] | BIT(n); \
	if \
	:: IS_MAJORITY(lead_set[b], view[lead_epoch[b]]) -> lead_state[b] = LEADING; lead_set[b] = 0 \
	:: else \
	fi }

inline send(b, v)
{
	version[WRITE_OF(b, lead_seq[b] + 1)] = v; /* v is a text that may name lead_seq */
	lead_seq[b]++;
	lead_state[b] = WRITING; lead_set[b] = 0; op_same[b] = 0
}

#define PUT_RULE(b) \
:: d_step { lead_state[b] == LEADING && lead_seq[b] < SEQS -> \
	op_kind[b] = PUT; op_floor[b] = newest; send(b, WRITE_OF(b, lead_seq[b] + 1)) }

inline op_end(b)
{
	lead_state[b] = LEADING; lead_set[b] = 0; op_kind[b] = 0; op_floor[b] = 0; op_best[b] = 0; op_same[b] = 0
}

/* A majority has been read (lead.c, decide). */
inline decide(b)
{
	if
	:: op_kind[b] == ADD ->
		is_addition[WRITE_OF(b, lead_seq[b] + 1)] = 1;
		base[WRITE_OF(b, lead_seq[b] + 1)] = version[WRITE_IN(op_best[b])];
		op_best[b] = 0;
		send(b, WRITE_OF(b, lead_seq[b] + 1))
#ifdef SAME_ONE
	:: op_kind[b] == GET ->
#else
	:: op_kind[b] == GET && (op_best[b] == 0 || op_same[b] == lead_set[b]) ->
#endif
		lead_seq[b]++;
		tell(version[WRITE_IN(op_best[b])], op_floor[b]);
		op_end(b)
	:: else -> /* half written: it is written again before anything is answered */
		send(b, version[WRITE_IN(op_best[b])]);
		op_best[b] = 0
	fi
}

inline note_best(best, same, n)
{
	if
	:: accepted[n] > best -> best = accepted[n]; same = BIT(n)
	:: accepted[n] == best -> same = same | BIT(n)
	:: else
	fi
}

#ifdef READ_UNPROMISED
#define READS(b, n) (SERVES(n, lead_epoch[b]))
#define PROMISE_AT_READ(b, n) skip
#else
#define READS(b, n) (SERVES(n, lead_epoch[b]) && promised[n] <= b)
#define PROMISE_AT_READ(b, n) promised[n] = b
#endif
/* An operation begins when the first member answers for it: before that nothing depends on it. */
#define IS_READING(b, n, kind) \
	((lead_state[b] == LEADING && lead_seq[b] < SEQS) || \
	 (lead_state[b] == READING && op_kind[b] == kind && !HAS(lead_set[b], n)))
#define READ_RULE(b, n, kind) \
:: d_step { IS_READING(b, n, kind) && READS(b, n) -> /* agi_reg_on_read */ \
	if \
	:: lead_state[b] == LEADING -> lead_state[b] = READING; op_kind[b] = kind; op_floor[b] = newest \
	:: else \
	fi; \
	PROMISE_AT_READ(b, n); \
	note_best(op_best[b], op_same[b], n); \
	lead_set[b] = lead_set[b] | BIT(n); \
	if \
	:: kind == ADD -> op_same[b] = 0 /* of no use */ \
	:: else \
	fi; \
	if \
	:: IS_MAJORITY(lead_set[b], view[lead_epoch[b]]) -> decide(b) \
	:: else \
	fi }
#define ADD_RULE(b, n) READ_RULE(b, n, ADD)
#define GET_RULE(b, n) READ_RULE(b, n, GET)

inline written(b, w)
{
	if
	:: version[w] == w && is_addition[w] ->
		assert(base[w] >= op_floor[b]);
		added[w] = 1
	:: else
	fi;
	if
	:: version[w] == w -> assert(w > op_floor[b])
	:: else
	fi;
	tell(version[w], op_floor[b]);
	acks[w] = WHOLE;
	op_end(b)
}

#ifdef REG_BELOW_PROMISE
#define ACCEPTS(b, n) (SERVES(n, lead_epoch[b]))
#else
#define ACCEPTS(b, n) (SERVES(n, lead_epoch[b]) && promised[n] <= b)
#endif
#define WRITE_RULE(w, n) \
:: d_step { version[w] && !(HAS(acks[w], n) && acks[w] != WHOLE) && ACCEPTS(LEADER_OF(w), n) -> /* agi_reg_on_write */ \
	promised[n] = MAX(promised[n], LEADER_OF(w)); \
	accepted[n] = MAX(accepted[n], ORDER(lead_epoch[LEADER_OF(w)], w)); \
	if \
	:: acks[w] != WHOLE -> acks[w] = acks[w] | BIT(n) \
	:: else \
	fi; \
	if \
	:: lead_state[LEADER_OF(w)] == WRITING && WRITE_OF(LEADER_OF(w), lead_seq[LEADER_OF(w)]) == w && \
	   acks[w] != WHOLE && IS_MAJORITY(acks[w], view[lead_epoch[LEADER_OF(w)]]) -> written(LEADER_OF(w), w) \
	:: else \
	fi }

/* --- gets that ask the members directly (strong.c) ------------------------------------------------------------- */
#ifdef SAME_ONE
#define IS_SETTLED(r) (IS_MAJORITY(read_set[r], view[read_epoch[r]]))
#else
#define IS_SETTLED(r) (IS_MAJORITY(read_same[r], view[read_epoch[r]]))
#endif
#define IS_ASKED(r, n) \
	(read_state[r] == 0 || (read_state[r] == READING && !HAS(read_set[r], n) && SERVES(n, read_epoch[r])))
#define READER_RULE(r, n) \
:: d_step { IS_ASKED(r, n) && SERVES(n, epoch[n]) -> \
	if \
	:: read_state[r] == 0 -> read_state[r] = READING; read_epoch[r] = epoch[n]; read_floor[r] = newest \
	:: else \
	fi; \
	note_best(read_best[r], read_same[r], n); \
	read_set[r] = read_set[r] | BIT(n); \
	if \
	:: IS_SETTLED(r) -> \
		tell(version[WRITE_IN(read_best[r])], read_floor[r]); \
		read_state[r] = LEADING; read_set[r] = 0; read_best[r] = 0; read_same[r] = 0; read_floor[r] = 0; \
		read_epoch[r] = 0 \
	:: else \
	fi }

/* --- changes of the view (propose.c, acceptor.c) ----------------------------------------------------------------- */
#define VOTES(n, e) (epoch[n] == (e) && (phase[n] == ACTIVE || phase[n] == SEALED)) /* admit_change */

#define PREPARE_RULE(e, p, n) \
:: d_step { prop_state[AT(e, p)] < ACCEPTING && view[e] && VOTES(n, e) && view_promised[n] < p -> \
	/* agi_view_on_prepare */ \
	prop_state[AT(e, p)] = PREPARING; view_promised[n] = p; \
	prop_set[AT(e, p)] = prop_set[AT(e, p)] | BIT(n); \
	prop_best[AT(e, p)] = MAX(prop_best[AT(e, p)], view_accepted[n]); \
	if \
	:: IS_MAJORITY(prop_set[AT(e, p)], view[e]) -> propose(e, p) \
	:: else \
	fi }

inline propose(e, p)
{
	prop_value[AT(e, p)] = WANTED(e, p);
#ifndef FORGET_ACCEPTED
	if
	:: prop_best[AT(e, p)] -> prop_value[AT(e, p)] = prop_value[AT(e, prop_best[AT(e, p)])]
	:: else
	fi;
#endif
	prop_state[AT(e, p)] = ACCEPTING; prop_set[AT(e, p)] = 0; prop_best[AT(e, p)] = 0
}

#ifdef VIEW_BELOW_PROMISE
#define VIEW_ACCEPTS(n, p) 1
#else
#define VIEW_ACCEPTS(n, p) (view_promised[n] <= (p))
#endif
#define ACCEPT_RULE(e, p, n) \
:: d_step { prop_state[AT(e, p)] == ACCEPTING && VOTES(n, e) && VIEW_ACCEPTS(n, p) && \
            !HAS(prop_set[AT(e, p)], n) -> /* agi_view_on_accept */ \
	view_promised[n] = p; view_accepted[n] = p; phase[n] = SEALED; \
	prop_set[AT(e, p)] = prop_set[AT(e, p)] | BIT(n); \
	if \
	:: IS_MAJORITY(prop_set[AT(e, p)], view[e]) -> \
		assert(view[(e) + 1] == 0 || view[(e) + 1] == prop_value[AT(e, p)]); \
		view[(e) + 1] = prop_value[AT(e, p)] \
	:: else \
	fi }

#if EPOCHS > 2
#define COPIED(n) is_copy[n]
#define IS_OWN(n) is_copy[n] = 0
#define IS_COPIED(n) is_copy[n] = is_copy[n] || phase[n] == NONE /* copy.c: a newcomer has only a copy */
#else
#define COPIED(n) 0
#define IS_OWN(n) skip
#define IS_COPIED(n) skip
#endif
/* view.c, install; an epoch may be skipped */
#define LEARN_RULE(e, n) \
:: d_step { view[e] && epoch[n] < (e) -> \
	epoch[n] = e; view_promised[n] = 0; view_accepted[n] = 0; merged[n] = 0; \
	if \
	:: HAS(view[e], n) -> IS_COPIED(n); phase[n] = JOINING \
	:: !HAS(view[e], n) && phase[n] != NONE -> phase[n] = LEAVING \
	:: else \
	fi }

/* --- a new member (join.c, pull.c) ---------------------------------------------------------------------------------- */
#ifdef ROUND_LOST
#define TAKE_ROUND(n, m) skip
#else
#define TAKE_ROUND(n, m) promised[n] = MAX(promised[n], promised[m]) /* take_strong_round */
#endif
#ifdef MERGE_UNSEALED
#define HAS_LEFT(m, e) (epoch[m] >= (e) - 1 && phase[m] != NONE)
#else
#define HAS_LEFT(m, e) (epoch[m] == (e) && phase[m] != NONE)
#endif
#ifdef MERGE_ONE
#define HAS_ALL(n) 1
#else
#define HAS_ALL(n) (merged[n] == WHOLE || IS_MAJORITY(merged[n] | BIT(n), view[epoch[n] - 1]))
#endif
/* Sources that hold only a copy count, and are not pulled from. (Being active and asked nothing is like not being
 * active yet: the last merge makes it active.) */
#define MERGE_RULE(n, m) \
:: d_step { (n) != (m) && phase[n] == JOINING && !HAS(merged[n], m) && HAS_LEFT(m, epoch[n]) && \
            (HAS(view[epoch[n] - 1], m) || (phase[m] == ACTIVE && epoch[m] == epoch[n])) -> \
	if \
	:: phase[m] == ACTIVE && epoch[m] == epoch[n] -> merged[n] = WHOLE \
	:: else -> merged[n] = merged[n] | BIT(m) \
	fi; \
	if \
	:: !COPIED(m) -> accepted[n] = MAX(accepted[n], accepted[m]); TAKE_ROUND(n, m) \
	:: else \
	fi; \
	if \
	:: HAS_ALL(n) -> phase[n] = ACTIVE; merged[n] = 0; IS_OWN(n) \
	:: else \
	fi }

/* leave.c; the registers are not pushed */
#define ACTIVES(e) \
	((epoch[0] == (e) && phase[0] == ACTIVE) + 2 * (epoch[1] == (e) && phase[1] == ACTIVE) + \
	 4 * (epoch[2] == (e) && phase[2] == ACTIVE) + 8 * (epoch[3] == (e) && phase[3] == ACTIVE))
#define MAY_RELEASE(n) IS_MAJORITY(ACTIVES(epoch[n]), view[epoch[n]])
#define RELEASE_RULE(n) \
:: d_step { phase[n] == LEAVING && MAY_RELEASE(n) -> phase[n] = NONE; accepted[n] = 0 }

/* --- crashes ----------------------------------------------------------------------------------------------------------- */
#ifdef LED_UNSTORED
#define FORGET_PROMISE(n) promised[n] = 0
#define HAS_VOLATILE_PROMISE(n) (promised[n] && (phase[n] == ACTIVE))
#else
#define FORGET_PROMISE(n) skip
#define HAS_VOLATILE_PROMISE(n) 0
#endif
#ifdef SEAL_UNSTORED
#define FORGET_SEAL(n) if :: phase[n] == SEALED -> phase[n] = ACTIVE; view_accepted[n] = 0 :: else fi
#define HAS_VOLATILE_SEAL(n) (phase[n] == SEALED)
#else
#define FORGET_SEAL(n) skip
#define HAS_VOLATILE_SEAL(n) 0
#endif
#define CRASH_RULE(n) \
:: d_step { merged[n] || HAS_VOLATILE_PROMISE(n) || HAS_VOLATILE_SEAL(n) -> \
	merged[n] = 0; FORGET_PROMISE(n); FORGET_SEAL(n) }

/* --- all of it ----------------------------------------------------------------------------------------------------------- */
#define EACH_NODE(RULE, a) RULE(a, 0) RULE(a, 1) RULE(a, 2) RULE(a, 3)
#define EACH_NODE2(RULE, a, b) RULE(a, b, 0) RULE(a, b, 1) RULE(a, b, 2) RULE(a, b, 3)
#define ALL_NODES(RULE) RULE(0) RULE(1) RULE(2) RULE(3)
#ifdef NO_GET /* at a leader: a smaller world */
#define GET_RULES(b)
#else
#define GET_RULES(b) EACH_NODE(GET_RULE, b)
#endif
#define LEADER_RULES(b) EACH_NODE(LEAD_RULE, b) PUT_RULE(b) EACH_NODE(ADD_RULE, b) GET_RULES(b)
#define PROPOSAL_RULES(e, p) EACH_NODE2(PREPARE_RULE, e, p) EACH_NODE2(ACCEPT_RULE, e, p)
#if PROPOSERS > 1
#define PROPOSALS_OF(e) PROPOSAL_RULES(e, 1) PROPOSAL_RULES(e, 2)
#elif PROPOSERS > 0
#define PROPOSALS_OF(e) PROPOSAL_RULES(e, 1)
#else
#define PROPOSALS_OF(e)
#endif

active proctype world()
{
	d_step {
		view[1] = 7;
		epoch[0] = 1; epoch[1] = 1; epoch[2] = 1;
		phase[0] = ACTIVE; phase[1] = ACTIVE; phase[2] = ACTIVE
	}
end:
	do
#if LEADERS > 0
	LEADER_RULES(1)
	EACH_NODE(WRITE_RULE, 1)
#endif
#if LEADERS > 1
	LEADER_RULES(2)
#endif
#if LEADERS > 2
	LEADER_RULES(3)
#endif
#if WRITES > 1
	EACH_NODE(WRITE_RULE, 2)
#endif
#if WRITES > 2
	EACH_NODE(WRITE_RULE, 3)
#endif
#if WRITES > 3
	EACH_NODE(WRITE_RULE, 4)
#endif
#if READERS > 0
	EACH_NODE(READER_RULE, 1)
#endif
#if READERS > 1
	EACH_NODE(READER_RULE, 2)
#endif
	PROPOSALS_OF(1)
	EACH_NODE(LEARN_RULE, 2)
#if EPOCHS > 2
	PROPOSALS_OF(2)
	EACH_NODE(LEARN_RULE, 3)
#endif
	EACH_NODE(MERGE_RULE, 0)
	EACH_NODE(MERGE_RULE, 1)
	EACH_NODE(MERGE_RULE, 2)
	EACH_NODE(MERGE_RULE, 3)
	ALL_NODES(RELEASE_RULE)
	ALL_NODES(CRASH_RULE)
	od
}
