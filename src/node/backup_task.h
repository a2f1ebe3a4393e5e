/* SPDX-License-Identifier: Apache-2.0
 * What nodes say to each other about a backup: tasks and their answers as bytes (the blob of OPERATE and OPERATED).
 *
 *   task    u8 kind ‖ blob name ‖ be32 attempt ‖ BEGIN: be64 began ‖ LIST: be32 slot ‖ FINISH: be32 n, n ids
 *   answer  u8 agi_err ‖ blob why ‖ u8 state ‖ be64 bytes ‖ be64 bytes in all ‖ be32 files
 *           ‖ LIST: be32 n hosts, their ids, be32 n slots, each be32 slot ‖ be64 epoch ‖ u8 phase ‖ u8 n ‖ n be32 ‖ u8 more
 *
 * Private to the backup. */
#ifndef AGI_NODE_BACKUP_TASK_H
#define AGI_NODE_BACKUP_TASK_H

#include "node/backup_part.h"

enum agi_task_kind { AGI_TASK_BEGIN = 1, AGI_TASK_LOOK = 2, AGI_TASK_LIST = 3, AGI_TASK_FINISH = 4, AGI_TASK_DROP = 5 };

struct agi_task {
	enum agi_task_kind kind;
	struct agi_str name;
	uint32_t attempt;
	uint64_t began_ms;     /* BEGIN */
	uint32_t from;         /* LIST: slots from this one on */
	const struct agi_id *hosts; /* FINISH */
	uint32_t n_hosts;
};
struct agi_task_answer {
	enum agi_err err; /* of the task; why is in part.why */
	struct agi_part_status part;
	struct agi_cur list; /* LIST: to be read by agi_task_take_list */
};

void agi_task_put(struct agi_buf *b, const struct agi_task *t);
/* LIST: adds the slots to p; *next is where to go on, UINT32_MAX at the end. MALFORMED, NOMEM. */
AGI_MUST_USE enum agi_err agi_task_take_list(struct agi_task_answer *a, struct agi_backup_part *p, uint32_t *next);
/* MALFORMED. Borrowed from bytes. */
AGI_MUST_USE enum agi_err agi_task_take_answer(struct agi_task_answer *out, struct agi_str bytes);

#endif
