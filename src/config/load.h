/* SPDX-License-Identifier: Apache-2.0
 * A parsed file laid over the configuration. Private to src/config. */
#ifndef AGI_CONFIG_LOAD_H
#define AGI_CONFIG_LOAD_H

#include "config/schema.h"
#include "config/yaml_tree.h"

/* name is kept in sources: it must live as long as c. */
AGI_MUST_USE enum agi_err agi_config_load_tree(struct agi_config *c, const char *name,
                                               const struct agi_yaml_node *root, struct agi_why *why);
/* INVALID: "WHERE: PATH: unknown key; did you mean "listen"? valid here: …". */
enum agi_err agi_config_unknown(const struct agi_key_spec *table, const char *where, const char *path,
                                struct agi_why *why);

#endif
