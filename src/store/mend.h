/* SPDX-License-Identifier: Apache-2.0
 * A store's files looked at without RocksDB, around its opening. Private to src/store. */
#ifndef AGI_STORE_MEND_H
#define AGI_STORE_MEND_H

#include "base/err.h"

/* Before opening: CORRUPT + why when the store is marked as damaged, or when RocksDB would begin a new, empty
 * store in the place of this one. EXISTS: marked, by a process that has it open. IO. */
AGI_MUST_USE enum agi_err agi_mend_check(const char *dir, struct agi_why *why);
/* After RocksDB said CORRUPT: when only a torn write at the log's end is in the way, cuts it off and says so
 * in notice. OK: try again; CORRUPT otherwise, why is replaced when the log is what is damaged. */
AGI_MUST_USE enum agi_err agi_mend_log(const char *dir, struct agi_why *notice, struct agi_why *why);

/* agi_store_set_aside */
AGI_MUST_USE enum agi_err agi_mend_set_aside(const char *dir, const char *to, struct agi_why *why);

#endif
