/* SPDX-License-Identifier: Apache-2.0
 * What is asked of a serialized google.protobuf.FileDescriptorSet (descriptor.proto): files by name
 * and by what they declare, and what a file imports. The set is our own (made when this was built)
 * and is borrowed; nothing is kept, each question reads it anew: it has some dozen files. */
#ifndef AGI_NET_DESCRIPTOR_SET_H
#define AGI_NET_DESCRIPTOR_SET_H

#include "base/str.h"

enum { AGI_DESCRIPTOR_FILES_MAX = 64 };

/* The serialized FileDescriptorProto, or {NULL, 0}. */
struct agi_str agi_descriptor_file(struct agi_str set, struct agi_str name);
/* The file that declares a full name ("agi.plan.v1.PlanService.GeneratePlan"): a message, field,
 * oneof, enum, value, service, method or extension. */
struct agi_str agi_descriptor_file_of(struct agi_str set, struct agi_str symbol);
/* The same for messages only. */
struct agi_str agi_descriptor_file_of_message(struct agi_str set, struct agi_str symbol);
/* file and all that it imports, directly or not, each once, file first. Returns how many. */
size_t agi_descriptor_with_imports(struct agi_str set, struct agi_str file,
				   struct agi_str out[AGI_DESCRIPTOR_FILES_MAX]);

/* i-th method of all services, by file and as declared; false past the end. */
struct agi_descriptor_method {
	struct agi_str package, service, method; /* "agi.plan.v1", "PlanService", "Plan" */
};
bool agi_descriptor_method_at(struct agi_str set, size_t i, struct agi_descriptor_method *out);

#endif
