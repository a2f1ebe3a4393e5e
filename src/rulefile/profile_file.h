/* SPDX-License-Identifier: Apache-2.0
 * Profiles as files (agihpc-profiles(5)): DEME JSON, one profile each, NAME.json in a directory, read into a set
 * (roles/erisml/profile.h). Used by the daemon and by agihpc-ctl config check. */
#ifndef AGI_RULEFILE_PROFILE_FILE_H
#define AGI_RULEFILE_PROFILE_FILE_H

#include "config/config.h"
#include "roles/erisml/profile.h"

/* Adds the profile that text describes. On error why begins "NAME:LINE: ", and says what was wrong and what would be right;
 * the set is unchanged. INVALID, TOO_LARGE, FULL, NOMEM. */
AGI_MUST_USE enum agi_err agi_profile_file_parse(const char *name, struct agi_str text, struct agi_profiles *set,
                                                 struct agi_why *why);
/* Every NAME.json of the directory, in the order of their names; the caller frees the set. A profile whose name is not its
 * file's is INVALID. IO, INVALID, TOO_LARGE, FULL, NOMEM + why. */
AGI_MUST_USE enum agi_err agi_profile_dir_load(const char *dir, struct agi_profiles **out, struct agi_why *why);
/* *out NULL: the configuration names no directory. INVALID + why as well: safety.profile is not among them (evaluation
 * strict). */
AGI_MUST_USE enum agi_err agi_profile_dir_of(const struct agi_config *c, struct agi_profiles **out, struct agi_why *why);
/* OK where agi_profile_dir_of would be. */
AGI_MUST_USE enum agi_err agi_profile_dir_check(const struct agi_config *c, struct agi_why *why);

#endif
