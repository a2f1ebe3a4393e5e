/* SPDX-License-Identifier: Apache-2.0
 * Every key of the configuration, once, and how a value of each type is read, freed and written. Private to
 * src/config. */
#ifndef AGI_CONFIG_SCHEMA_H
#define AGI_CONFIG_SCHEMA_H

#include "config/config.h"

enum agi_value_type {
	AGI_V_TEXT,      /* char *; min..max bytes */
	AGI_V_WHOLE,     /* uint32_t; min..max */
	AGI_V_PORT,      /* uint16_t; 1..65535 */
	AGI_V_REAL,      /* double; min..max */
	AGI_V_DURATION,  /* uint32_t milliseconds; min..max */
	AGI_V_SIZE,      /* uint64_t bytes; min..max */
	AGI_V_ADDR,      /* struct agi_addr; port default: min */
	AGI_V_IP,        /* struct agi_addr, port 0 */
	AGI_V_ENDPOINT,  /* struct agi_endpoint; port default: min, 0 = required */
	AGI_V_CHOICE,    /* an enum: the index into choices */
	AGI_V_TEXTS,     /* struct agi_config_list; each checked, 1..max bytes */
	AGI_V_ENDPOINTS, /* struct agi_endpoints; port default: min; at most max */
	AGI_V_CHOICES,   /* struct agi_config_choices: a section NAME: CHOICE, as one text NAME=CHOICE; names as TEXT */
	AGI_V_SERVICES   /* struct agi_config_services */
};

struct agi_key_spec {
	const char *path;
	enum agi_value_type type;
	size_t offset;             /* in struct agi_config, or struct agi_config_service */
	double min, max;
	const char *const *choices; /* NULL-terminated */
	const char *preset;        /* the default as text, lists comma-separated; "" = not given */
	const char *help;
	const char *note;          /* why a refused value is refused; NULL = nothing to add */
	/* TEXT, TEXTS and the names of CHOICES: refuses one text with a reason (what was expected); NULL = all are good. */
	const char *(*refuse)(const char *text);
	bool is_for_later;
};

/* Ends with path NULL. */
extern const struct agi_key_spec agi_config_spec[];
extern const struct agi_key_spec agi_service_spec[]; /* paths relative to dht.services[] */

const struct agi_key_spec *agi_spec_find(const struct agi_key_spec *table, const char *path);
/* "a whole number, 1..7" */
void agi_spec_expected(const struct agi_key_spec *spec, char *out, size_t n);

/* Reads one scalar into the field (its old value is freed). INVALID + why (no place, no path: "9 is out of
 * range, expected …"), NOMEM; the field is unchanged on error. Lists: appends one item. */
AGI_MUST_USE enum agi_err agi_value_parse(const struct agi_key_spec *spec, void *field, const char *text,
                                          struct agi_why *why);
bool agi_value_is_list(const struct agi_key_spec *spec);
/* Back to all zeros (texts and hosts: NULL). */
void agi_value_clear(const struct agi_key_spec *spec, void *field);
/* "" for texts that are not there yet; after this no text is NULL. NOMEM. */
AGI_MUST_USE enum agi_err agi_value_fill(const struct agi_key_spec *spec, void *field);
/* As YAML. Nothing for SERVICES. */
void agi_value_write(const struct agi_key_spec *spec, const void *field, struct agi_buf *out);

#endif
