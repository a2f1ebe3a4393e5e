/* SPDX-License-Identifier: Apache-2.0
 * struct agi_db: what db.c (opening, reading, writing) and db_info.c (looking at it) share. */
#ifndef AGI_STORE_DB_IMPL_H
#define AGI_STORE_DB_IMPL_H

#include <limits.h>
#include <rocksdb/c.h>

#include "store/db.h"
#include "store/expiry.h"
#include "store/mark.h"

enum { AGI_DB_CFS = AGI_CF_COUNT + 1 /* RocksDB insists on "default", here the last */ };

struct agi_db {
	rocksdb_t *db;
	rocksdb_options_t *options, *item_options; /* of AGI_CF_ITEMS: with the filter */
	struct agi_expiry expiry;
	rocksdb_readoptions_t *get_options, *peek_options;
	rocksdb_writeoptions_t *write_options;
	rocksdb_column_family_handle_t *cf[AGI_DB_CFS];
	struct agi_synced synced;
	uint64_t background_errors; /* told already */
	char path[PATH_MAX];
};

#endif
