/* SPDX-License-Identifier: Apache-2.0 */
#include "base/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { FORMAT = 1, HOSTS_MAX = 65536 };

static const char *const phases[] = {"active", "sealed", "joining", "leaving"};

bool agi_backup_name_is_valid(struct agi_str name)
{
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (!is_word && (i == 0 || (c != '.' && c != '_' && c != '-')))
			return false;
	}
	return name.n > 0 && name.n <= AGI_BACKUP_NAME_MAX;
}

/* --- building ---------------------------------------------------------------------------------- */
void agi_backup_part_free(struct agi_backup_part *p)
{
	for (size_t i = 0; i < p->n_files; i++)
		free(p->files[i].name);
	free(p->files);
	free(p->slots);
	free(p->hosts);
	free(p->took_part);
	*p = (struct agi_backup_part){.slot_bits = 0};
}

static enum agi_err grow(void **array, size_t *cap, size_t n, size_t size)
{
	size_t more = n < 16 ? 16 : 2 * n;
	void *p;

	if (n < *cap)
		return AGI_OK;
	p = reallocarray(*array, more, size);
	if (!p)
		return AGI_E_NOMEM;
	*array = p;
	*cap = more;
	return AGI_OK;
}

static enum agi_err add_host(struct agi_backup_part *p, const struct agi_id *id)
{
	size_t cap = p->cap_hosts;
	enum agi_err e;

	if (p->n_hosts == HOSTS_MAX)
		return AGI_E_FULL;
	e = grow((void **)&p->hosts, &cap, p->n_hosts, sizeof *p->hosts);
	if (!e)
		e = grow((void **)&p->took_part, &p->cap_hosts, p->n_hosts, sizeof *p->took_part);
	if (e)
		return e;
	p->took_part[p->n_hosts] = false;
	p->hosts[p->n_hosts++] = *id;
	return AGI_OK;
}

enum agi_err agi_backup_host(struct agi_backup_part *p, const struct agi_id *id, uint32_t *out)
{
	enum agi_err e;

	for (*out = 0; *out < p->n_hosts; (*out)++)
		if (agi_id_eq(&p->hosts[*out], id))
			return AGI_OK;
	e = add_host(p, id);
	return e;
}

enum agi_err agi_backup_add_slot(struct agi_backup_part *p, const struct agi_backup_slot *s)
{
	enum agi_err e = grow((void **)&p->slots, &p->cap_slots, p->n_slots, sizeof *p->slots);

	if (!e)
		p->slots[p->n_slots++] = *s;
	return e;
}

enum agi_err agi_backup_add_file(struct agi_backup_part *p, struct agi_str name, uint64_t bytes,
                                 const uint8_t hash[32])
{
	enum agi_err e = grow((void **)&p->files, &p->cap_files, p->n_files, sizeof *p->files);
	struct agi_backup_file *f;

	if (e)
		return e;
	f = &p->files[p->n_files];
	f->name = malloc(name.n + 1);
	if (!f->name)
		return AGI_E_NOMEM;
	memcpy(f->name, name.p, name.n);
	f->name[name.n] = '\0';
	f->bytes = bytes;
	memcpy(f->hash, hash, sizeof f->hash);
	p->n_files++;
	return AGI_OK;
}

/* --- writing ----------------------------------------------------------------------------------- */
static void put_hex(struct agi_buf *b, const char *word, const uint8_t bytes[32])
{
	char hex[65];

	agi_hex(hex, bytes, 32);
	agi_buf_printf(b, "%s %s\n", word, hex);
}

static void put_slot(struct agi_buf *b, const struct agi_backup_slot *s)
{
	agi_buf_printf(b, "slot %" PRIu32 " %" PRIu64 " %s", s->slot, s->epoch, phases[s->phase]);
	for (uint8_t i = 0; i < s->n_members; i++)
		agi_buf_printf(b, " %" PRIu32, s->members[i]);
	agi_buf_u8(b, '\n');
}

void agi_backup_write(struct agi_backup_part *p, struct agi_buf *b)
{
	size_t begin = b->n;
	struct agi_str all;
	char hex[65];

	agi_buf_printf(b, "agihpc-backup %d\nname %s\n", FORMAT, p->name);
	put_hex(b, "cluster", p->cluster.b);
	put_hex(b, "node", p->node.b);
	agi_buf_printf(b, "address %s\nslot_bits %" PRIu32 "\nbegan %" PRIu64 "\nended %" PRIu64 "\n", p->address,
	               p->slot_bits, p->began_ms, p->ended_ms);
	for (size_t i = 0; i < p->n_hosts; i++)
		put_hex(b, "host", p->hosts[i].b);
	for (size_t i = 0; i < p->n_hosts; i++)
		if (p->took_part[i])
			agi_buf_printf(b, "part %zu\n", i);
	for (size_t i = 0; i < p->n_slots; i++)
		put_slot(b, &p->slots[i]);
	for (size_t i = 0; i < p->n_files; i++) {
		agi_hex(hex, p->files[i].hash, 32);
		agi_buf_printf(b, "file %s %" PRIu64 " %s\n", p->files[i].name, p->files[i].bytes, hex);
	}
	if (b->err)
		return;
	all = (struct agi_str){(const char *)b->p + begin, b->n - begin};
	agi_blake2b_256(p->end, &all, 1);
	put_hex(b, "end", p->end);
}

/* --- reading ----------------------------------------------------------------------------------- */
static struct agi_str next_word(struct agi_str *line)
{
	const char *blank = line->n ? memchr(line->p, ' ', line->n) : NULL;
	struct agi_str word = {line->p, blank ? (size_t)(blank - line->p) : line->n};

	line->p += word.n + (blank != NULL);
	line->n -= word.n + (blank != NULL);
	return word;
}

static bool take_u64(struct agi_str *line, uint64_t max, uint64_t *out)
{
	struct agi_str w = next_word(line);
	uint64_t v = 0;

	if (w.n == 0 || w.n > 19)
		return false;
	for (size_t i = 0; i < w.n; i++) {
		if (w.p[i] < '0' || w.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(w.p[i] - '0');
	}
	*out = v;
	return v <= max;
}

static bool take_hash(struct agi_str *line, uint8_t out[32])
{
	return agi_unhex(out, 32, next_word(line)) == AGI_OK;
}

static bool take_text(struct agi_str *line, char *out, size_t cap)
{
	struct agi_str w = next_word(line);

	if (w.n == 0 || w.n >= cap)
		return false;
	memcpy(out, w.p, w.n);
	out[w.n] = '\0';
	return true;
}

static bool take_phase(struct agi_str *line, enum agi_backup_phase *out)
{
	struct agi_str w = next_word(line);

	for (int i = AGI_BACKUP_ACTIVE; i <= AGI_BACKUP_LEAVING; i++)
		if (agi_str_eq(w, agi_str_of(phases[i]))) {
			*out = (enum agi_backup_phase)i;
			return true;
		}
	return false;
}

static enum agi_err read_slot(struct agi_backup_part *p, struct agi_str line)
{
	struct agi_backup_slot s = {.n_members = 0};
	uint64_t slot, member;

	if (!p->slot_bits || !take_u64(&line, (1ull << p->slot_bits) - 1, &slot) ||
	    (p->n_slots && slot <= p->slots[p->n_slots - 1].slot) || !take_u64(&line, UINT64_MAX, &s.epoch) ||
	    !take_phase(&line, &s.phase))
		return AGI_E_CORRUPT;
	s.slot = (uint32_t)slot;
	while (line.n) {
		if (s.n_members == AGI_REPLICAS_MAX || !p->n_hosts || !take_u64(&line, p->n_hosts - 1, &member))
			return AGI_E_CORRUPT;
		s.members[s.n_members++] = (uint32_t)member;
	}
	return s.n_members && s.epoch ? agi_backup_add_slot(p, &s) : AGI_E_CORRUPT;
}

/* A name is one of store/'s own files: nothing that leads elsewhere. */
static enum agi_err read_file(struct agi_backup_part *p, struct agi_str line)
{
	struct agi_str name = next_word(&line);
	uint64_t bytes;
	uint8_t hash[32];

	if (!agi_backup_name_is_valid(name) || !take_u64(&line, INT64_MAX, &bytes) || !take_hash(&line, hash) ||
	    line.n)
		return AGI_E_CORRUPT;
	return agi_backup_add_file(p, name, bytes, hash);
}

static enum agi_err read_part(struct agi_backup_part *p, struct agi_str line)
{
	uint64_t i;

	if (!p->n_hosts || !take_u64(&line, p->n_hosts - 1, &i) || line.n)
		return AGI_E_CORRUPT;
	p->took_part[i] = true;
	return AGI_OK;
}

static enum agi_err read_host(struct agi_backup_part *p, struct agi_str line)
{
	struct agi_id id;

	return take_hash(&line, id.b) && !line.n ? add_host(p, &id) : AGI_E_CORRUPT;
}

static bool read_head(struct agi_backup_part *p, struct agi_str word, struct agi_str *line)
{
	uint64_t v;

	if (agi_str_eq(word, AGI_STR("name")))
		return take_text(line, p->name, sizeof p->name) && agi_backup_name_is_valid(agi_str_of(p->name));
	if (agi_str_eq(word, AGI_STR("cluster")))
		return take_hash(line, p->cluster.b);
	if (agi_str_eq(word, AGI_STR("node")))
		return take_hash(line, p->node.b);
	if (agi_str_eq(word, AGI_STR("address")))
		return take_text(line, p->address, sizeof p->address);
	if (agi_str_eq(word, AGI_STR("began")))
		return take_u64(line, UINT64_MAX, &p->began_ms);
	if (agi_str_eq(word, AGI_STR("ended")))
		return take_u64(line, UINT64_MAX, &p->ended_ms);
	if (!agi_str_eq(word, AGI_STR("slot_bits")) || !take_u64(line, AGI_SLOT_BITS_MAX, &v))
		return false;
	p->slot_bits = (uint32_t)v;
	return true;
}

static enum agi_err read_line(struct agi_backup_part *p, struct agi_str line)
{
	struct agi_str word = next_word(&line);

	if (agi_str_eq(word, AGI_STR("slot")))
		return read_slot(p, line);
	if (agi_str_eq(word, AGI_STR("file")))
		return read_file(p, line);
	if (agi_str_eq(word, AGI_STR("host")))
		return read_host(p, line);
	if (agi_str_eq(word, AGI_STR("part")))
		return read_part(p, line);
	return read_head(p, word, &line) && !line.n ? AGI_OK : AGI_E_CORRUPT;
}

static struct agi_str next_line(struct agi_str *text)
{
	const char *nl = text->n ? memchr(text->p, '\n', text->n) : NULL;
	struct agi_str line = {text->p, nl ? (size_t)(nl - text->p) : text->n};

	text->p += line.n + (nl != NULL);
	text->n -= line.n + (nl != NULL);
	return line;
}

/* Its last line is right about all before it. */
static bool is_sealed(struct agi_backup_part *p, struct agi_str text, size_t *body_n)
{
	enum { END_BYTES = 4 + 64 + 1 };
	struct agi_str body, line;
	uint8_t hash[32];

	if (text.n < END_BYTES || memcmp(text.p + text.n - END_BYTES, "end ", 4) != 0 || text.p[text.n - 1] != '\n')
		return false;
	body = (struct agi_str){text.p, text.n - END_BYTES};
	line = (struct agi_str){text.p + body.n + 4, 64};
	agi_blake2b_256(hash, &body, 1);
	*body_n = body.n;
	return take_hash(&line, p->end) && memcmp(hash, p->end, sizeof hash) == 0;
}

static enum agi_err read_lines(struct agi_backup_part *p, struct agi_str text, struct agi_why *why)
{
	for (unsigned n = 2; text.n; n++) {
		struct agi_str line = next_line(&text);
		enum agi_err e = read_line(p, line);

		if (e)
			return agi_fail(why, e, "line %u is not understood: \"%.*s\"", n,
			                (int)(line.n < 60 ? line.n : 60), line.p);
	}
	if (!p->slot_bits || !p->name[0] || agi_id_is_zero(&p->node) || agi_id_is_zero(&p->cluster))
		return agi_fail(why, AGI_E_CORRUPT, "name, cluster, node or slot_bits are missing");
	return AGI_OK;
}

enum agi_err agi_backup_read(struct agi_backup_part *p, struct agi_str text, struct agi_why *why)
{
	struct agi_str body = text, first = next_line(&body), word = next_word(&first);
	struct agi_backup_part fresh = {.slot_bits = 0};
	uint64_t format = 0;
	enum agi_err e;

	if (!agi_str_eq(word, AGI_STR("agihpc-backup")) || !take_u64(&first, UINT64_MAX, &format))
		return agi_fail(why, AGI_E_CORRUPT, "not the manifest of a backup");
	if (format > FORMAT)
		return agi_fail(why, AGI_E_UNSUPPORTED, "format %" PRIu64 ": this version reads up to %d", format,
		                FORMAT);
	if (!is_sealed(&fresh, text, &text.n))
		return agi_fail(why, AGI_E_CORRUPT, "the manifest was cut short or changed");
	body.n = text.n - (size_t)(body.p - text.p);
	e = read_lines(&fresh, body, why);
	if (e) {
		agi_backup_part_free(&fresh);
		return e;
	}
	*p = fresh;
	return AGI_OK;
}

/* --- a set of parts ---------------------------------------------------------------------------- */
static const struct agi_backup_slot *slot_of(const struct agi_backup_part *p, uint32_t slot)
{
	size_t lo = 0, hi = p->n_slots;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (p->slots[mid].slot < slot)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->n_slots && p->slots[lo].slot == slot ? &p->slots[lo] : NULL;
}

static bool is_member(const struct agi_backup_part *p, const struct agi_backup_slot *s, const struct agi_id *id)
{
	for (uint8_t i = 0; i < s->n_members; i++)
		if (agi_id_eq(&p->hosts[s->members[i]], id))
			return true;
	return false;
}

/* Did a majority of this view's members copy the slot while active in it? */
static bool is_whole(const struct agi_backup_part *const *parts, size_t n, const struct agi_backup_part *p,
                     const struct agi_backup_slot *view)
{
	uint32_t have = 0;

	for (size_t i = 0; i < n; i++) {
		const struct agi_backup_slot *s = slot_of(parts[i], view->slot);

		have += s && s->phase == AGI_BACKUP_ACTIVE && s->epoch == view->epoch &&
		        is_member(p, view, &parts[i]->node);
	}
	return have > view->n_members / 2u;
}

static uint64_t whole_epoch(const struct agi_backup_part *const *parts, size_t n, uint32_t slot)
{
	uint64_t best = 0;

	for (size_t i = 0; i < n; i++) {
		const struct agi_backup_slot *s = slot_of(parts[i], slot);

		if (s && s->phase == AGI_BACKUP_ACTIVE && s->epoch > best && is_whole(parts, n, parts[i], s))
			best = s->epoch;
	}
	return best;
}

enum agi_err agi_backup_cover(const struct agi_backup_part *const *parts, size_t n, struct agi_backup_cover *out)
{
	struct agi_backup_cover c = {.n_slots = n ? 1u << parts[0]->slot_bits : 0};

	c.epoch = calloc((size_t)c.n_slots + 1, sizeof *c.epoch);
	if (!c.epoch)
		return AGI_E_NOMEM;
	c.first_incomplete = UINT32_MAX;
	for (uint32_t slot = 0; slot < c.n_slots; slot++) {
		c.epoch[slot] = whole_epoch(parts, n, slot);
		c.whole += c.epoch[slot] != 0;
		if (!c.epoch[slot] && c.first_incomplete == UINT32_MAX)
			c.first_incomplete = slot;
	}
	*out = c;
	return AGI_OK;
}

void agi_backup_cover_free(struct agi_backup_cover *c)
{
	free(c->epoch);
	c->epoch = NULL;
}

bool agi_backup_counts(const struct agi_backup_cover *c, const struct agi_backup_part *p, uint32_t slot)
{
	const struct agi_backup_slot *s = slot < c->n_slots ? slot_of(p, slot) : NULL;

	if (!s || !c->epoch[slot])
		return s != NULL;
	return s->epoch >= c->epoch[slot] && (s->phase == AGI_BACKUP_ACTIVE || s->phase == AGI_BACKUP_SEALED);
}
