/* SPDX-License-Identifier: BSD-3-Clause */
#include "memtrace.h"

#include <string.h>

#include "memtrace_region.h"

bool word_is(struct word word, const char *text)
{
	return strlen(text) == word.len && !memcmp(word.at, text, word.len);
}

static int32_t field_priority(struct cursor *cursor)
{
	struct word word = field_word(cursor);
	bool negative = word.len && *word.at == '-';
	int64_t value = 0;
	size_t i;

	for (i = negative; i < word.len; i++) {
		unsigned int digit = (unsigned char)word.at[i] - '0';

		value = value * 10 + digit;
		if (digit > 9 || value > INT64_C(1) << 31)
			break;
	}
	if (negative)
		value = -value;
	if (i < word.len || word.len == negative || value > INT32_MAX) {
		cursor->wrong = "expected a priority of 32 bits";
		return 0;
	}
	return value;
}

static void parse_set_bool(struct cursor *c, struct record *r)
{
	r->set.id = field_id(c);
	r->set.value = field_bool(c);
}

static void parse_set_hex(struct cursor *c, struct record *r)
{
	r->set.id = field_id(c);
	r->set.value = field_hex(c);
}

static void parse_set_size(struct cursor *c, struct record *r)
{
	r->set.id = field_id(c);
	r->set.size = field_size(c);
}

static void parse_set_log(struct cursor *c, struct record *r)
{
	r->set.id = field_id(c);
	if (field_decimal(c, UINT32_MAX) != 0 && !c->wrong)
		c->wrong = "the only client of dirty logging is 0";
	r->set.value = field_bool(c);
}

static void parse_id(struct cursor *c, struct record *r)
{
	r->set.id = field_id(c);
}

static void parse_value(struct cursor *c, struct record *r)
{
	r->set.value = field_decimal(c, UINT32_MAX);
}

static void parse_coalescing(struct cursor *c, struct record *r)
{
	r->set.id = field_id(c);
	r->set.value = field_hex(c);
	r->set.size = field_size(c);
}

static void parse_add(struct cursor *c, struct record *r)
{
	r->add.parent = field_id(c);
	r->add.child = field_id(c);
	r->add.offset = field_hex(c);
	r->add.priority = field_priority(c);
}

static void parse_del(struct cursor *c, struct record *r)
{
	r->add.parent = field_id(c);
	r->add.child = field_id(c);
}

static void parse_list_ioeventfd(struct cursor *c, struct record *r)
{
	r->ioeventfd.address = field_hex(c);
	r->ioeventfd.size = field_decimal(c, 8);
	r->ioeventfd.match = field_bool(c);
	r->ioeventfd.data = field_hex(c);
	r->ioeventfd.fd = field_id(c);
}

static void parse_ioeventfd(struct cursor *c, struct record *r)
{
	r->ioeventfd.region = field_id(c);
	parse_list_ioeventfd(c, r);
}

static void parse_as_init(struct cursor *c, struct record *r)
{
	r->space.id = field_id(c);
	r->space.root = field_id(c);
	r->space.name = field_word(c);
}

static void parse_as_destroy(struct cursor *c, struct record *r)
{
	r->space.id = field_id(c);
}

static void parse_listener(struct cursor *c, struct record *r)
{
	field_id(c);
	r->space.id = field_id(c);
	r->space.root = field_priority(c);
	r->space.name = field_word(c);
}

static void parse_publish(struct cursor *c, struct record *r)
{
	struct word kind;

	r->publish.seq = field_id(c);
	kind = field_word(c);
	field_decimal(c, UINT64_MAX);
	r->publish.render = field_decimal(c, UINT64_MAX);
	r->publish.apply = field_decimal(c, UINT64_MAX);
	field_decimal(c, UINT64_MAX);
	field_id(c);
	if (word_is(kind, "topology"))
		r->publish.kind = PUBLISH_TOPOLOGY;
	else if (word_is(kind, "ioeventfd"))
		r->publish.kind = PUBLISH_IOEVENTFD;
	else if (word_is(kind, "as_init"))
		r->publish.kind = PUBLISH_AS_INIT;
	else if (!c->wrong)
		c->wrong = "unknown kind of publication";
}

static void parse_view(struct cursor *c, struct record *r)
{
	r->view.id = field_id(c);
	r->view.root = field_id(c);
	r->view.count = field_id(c);
	r->view.base = field_id(c);
	r->view.head = field_id(c);
	r->view.tail = field_id(c);
}

static void parse_range(struct cursor *c, struct record *r)
{
	r->range.start = field_hex(c);
	r->range.last = field_last(c, r->range.start);
	r->range.region = field_id(c);
	r->range.offset = field_hex(c);
	r->range.readonly = field_bool(c);
	r->range.rom_mode = field_bool(c);
	r->range.nonvolatile = field_bool(c);
	r->range.dirty = field_decimal(c, UINT8_MAX);
}

static void parse_pair(struct cursor *c, struct record *r)
{
	r->pair.space = field_id(c);
	r->pair.value = field_id(c);
}

static void parse_seq(struct cursor *c, struct record *r)
{
	r->publish.seq = field_id(c);
}

static void parse_text(struct cursor *c, struct record *r)
{
	r->text.at = c->at;
	r->text.len = c->end - c->at;
	c->at = c->end;
}

static void parse_nothing(struct cursor *c, struct record *r)
{
	(void)c;
	(void)r;
}

static const struct grammar {
	const char *name;
	enum record_type type;
	void (*parse)(struct cursor *cursor, struct record *record);
} grammars[] = {
	/* What there is most of comes first. */
	{ "f", REC_IOEVENTFD, parse_list_ioeventfd },
	{ "r", REC_RANGE, parse_range },
	{ "ev", REC_EVENT, parse_text },
	{ "ioeventfds", REC_IOEVENTFDS, parse_pair },
	{ "region", REC_REGION, memtrace_parse_region },
	{ "destroy", REC_DESTROY, parse_id },
	{ "use", REC_USE, parse_pair },
	{ "add", REC_ADD, parse_add },
	{ "del", REC_DEL, parse_del },
	{ "view", REC_VIEW, parse_view },
	{ "publish", REC_PUBLISH, parse_publish },
	{ "end", REC_END, parse_seq },
	{ "begin", REC_BEGIN, parse_value },
	{ "commit", REC_COMMIT, parse_value },
	{ "set_address", REC_SET_ADDRESS, parse_set_hex },
	{ "set_enabled", REC_SET_ENABLED, parse_set_bool },
	{ "set_size", REC_SET_SIZE, parse_set_size },
	{ "set_readonly", REC_SET_READONLY, parse_set_bool },
	{ "set_nonvolatile", REC_SET_NONVOLATILE, parse_set_bool },
	{ "set_romd", REC_SET_ROMD, parse_set_bool },
	{ "set_alias_offset", REC_SET_ALIAS_OFFSET, parse_set_hex },
	{ "set_log", REC_SET_LOG, parse_set_log },
	{ "migratable", REC_MIGRATABLE, parse_set_bool },
	{ "global_dirty", REC_GLOBAL_DIRTY, parse_value },
	{ "code_log", REC_CODE_LOG, parse_value },
	{ "add_ioeventfd", REC_ADD_IOEVENTFD, parse_ioeventfd },
	{ "del_ioeventfd", REC_DEL_IOEVENTFD, parse_ioeventfd },
	{ "add_coalescing", REC_ADD_COALESCING, parse_coalescing },
	{ "clear_coalescing", REC_CLEAR_COALESCING, parse_id },
	{ "as_init", REC_AS_INIT, parse_as_init },
	{ "as_destroy", REC_AS_DESTROY, parse_as_destroy },
	{ "listener_register", REC_LISTENER_REGISTER, parse_listener },
	{ "meta", REC_META, parse_text },
	{ "eof", REC_EOF, parse_nothing },
};

int memtrace_parse(const char *line, size_t len, struct record *record,
		   struct failure *failure)
{
	struct cursor cursor = { line, line + len, NULL };
	struct word type = { line, 0 };
	size_t i;

	while (!field_ends(&cursor))
		cursor.at++;
	type.len = cursor.at - line;
	record->type = REC_SKIP;
	for (i = 0; i < sizeof(grammars) / sizeof(*grammars); i++)
		if (word_is(type, grammars[i].name))
			break;
	if (i == sizeof(grammars) / sizeof(*grammars))
		return 0;
	record->type = grammars[i].type;
	grammars[i].parse(&cursor, record);
	/* What follows is a field that we need not know. */
	if (!cursor.wrong && !field_ends(&cursor))
		cursor.wrong = "unexpected characters";
	if (cursor.wrong)
		return failure_set(
			failure, "%s, field %d: %s", grammars[i].name,
			memtrace_field(line, cursor.at), cursor.wrong);
	return 0;
}

int memtrace_field(const char *line, const char *at)
{
	int field = 1;

	for (; line < at; line++)
		field += *line == ' ';
	return field;
}

int memtrace_check_header(const char *line, size_t len, struct failure *failure)
{
	if (!word_is((struct word){ line, len }, "memtrace 1"))
		return failure_set(failure,
				   "the first line is not \"memtrace 1\"");
	return 0;
}

int memtrace_unescape(struct word word, char *to, size_t max,
		      struct failure *failure)
{
	const char *p = word.at, *end = p + word.len;
	size_t n = 0;

	*to = '\0';
	if (word_is(word, "-") || word_is(word, "%"))
		return 0;
	for (; p < end; p++) {
		unsigned int c = (unsigned char)*p;

		if (c == '%') {
			if (end - p < 3 || hex_digit(p[1]) > 15 ||
			    hex_digit(p[2]) > 15)
				return failure_set(failure,
						   "a name's %%xx is broken");
			c = hex_digit(p[1]) << 4 | hex_digit(p[2]);
			p += 2;
		}
		if (!c)
			return failure_set(failure, "a name contains %%00");
		if (n + 1 < max)
			to[n++] = c;
	}
	to[n] = '\0';
	return 0;
}
