// The shim: everything C++ of this program. No exception leaves it.
//
// toml++ 3.3 asserts some of what it should refuse ("[=]"), and takes an undefined turn at letters beyond ASCII outside
// of strings. A bad file must not end a running node that only wanted to reload it. So its assertions throw like its
// parse errors, and it is given ASCII only: other bytes go in as "~C3" and come out again in keys and strings.

#undef NDEBUG
#include <stdexcept>

[[noreturn]] static void refuse_assertion()
{
	throw std::logic_error("assertion");
}

#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 0
#define TOML_ASSERT(condition) ((condition) ? static_cast<void>(0) : refuse_assertion())
#include <toml++/toml.h>

extern "C" {
#include "config/text.h"
#include "config/toml.h"
}

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace
{

std::string to_ascii(const std::string_view text)
{
	std::string encoded;
	for (char character : text) {
		char escape[] = {'~', "0123456789ABCDEF"[(character >> 4) & 15], "0123456789ABCDEF"[character & 15], '\0'};
		encoded += (character & 0x80) || character == '~' ? std::string(escape) : std::string(1, character);
	}
	return encoded;
}

std::string from_ascii(const std::string_view text)
{
	std::string decoded;
	for (size_t at = 0; at < text.size(); at++) {
		unsigned value = 0;
		const char *digits = text.data() + at + 1;
		bool is_escape = text[at] == '~' && at + 2 < text.size() &&
		                 std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2;
		// What to_ascii does not make was made by an escape of TOML's own ("\u007E41") and is left alone.
		is_escape = is_escape && (value >= 0x80 || value == '~');
		decoded += is_escape ? char(value) : text[at];
		at += is_escape ? 2 : 0;
	}
	return decoded;
}

// The length of the UTF-8 character at text[at], 0 when there is none. RFC 3629, section 4.
size_t character_length(const std::string_view text, size_t at)
{
	auto byte = [&](size_t offset) { return at + offset < text.size() ? (unsigned char)text[at + offset] : 0u; };
	unsigned lead = byte(0), low = 0x80, high = 0xbf;
	size_t length = lead < 0x80                    ? 1
	                : lead >= 0xc2 && lead <= 0xdf ? 2
	                : (lead & 0xf0) == 0xe0        ? 3
	                : lead >= 0xf0 && lead <= 0xf4 ? 4
	                                               : 0;
	low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : low;
	high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : high;
	for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf)
		if (byte(i) < low || byte(i) > high)
			return 0;
	return length;
}

struct tree_place place_of(const toml::source_region &region, const char *name)
{
	return {name, unsigned(region.begin.line), unsigned(region.begin.column)};
}

tree_node *convert(const toml::node &from, const char *key, struct tree_place place);

void convert_children(const toml::node &from, tree_node *to)
{
	tree_node *last = nullptr;
	if (const toml::table *table = from.as_table()) {
		// toml++ sorts keys by name; problems are found in the order of the file.
		std::vector<std::pair<const toml::key *, const toml::node *>> entries;
		for (auto &&[key, value] : *table)
			entries.emplace_back(&key, &value);
		std::stable_sort(entries.begin(), entries.end(),
		                 [](auto &a, auto &b) { return a.first->source().begin < b.first->source().begin; });
		for (auto &&[key, value] : entries) {
			std::string text = from_ascii(key->str());
			// A key's own position says more than its value's: a typing error is in the key.
			struct tree_place place = place_of(key->source(), to->place.name);
			tree_append(to, &last, convert(*value, text.c_str(), place));
		}
		return;
	}
	for (auto &&value : *from.as_array())
		tree_append(to, &last, convert(value, nullptr, place_of(value.source(), to->place.name)));
}

tree_node *convert_text(const std::string &encoded, const char *key, struct tree_place place)
{
	std::string value = from_ascii(encoded);
	bool has_nul = value.find('\0') != std::string::npos;
	tree_node *to = tree_new(has_nul ? TREE_OTHER : TREE_TEXT, key, place);
	to->text = has_nul ? text_copy("a string with a NUL inside") : text_copy_part(value.data(), value.size());
	return to;
}

tree_node *convert(const toml::node &from, const char *key, struct tree_place place)
{
	if (from.is_table() || from.is_array()) {
		tree_node *to = tree_new(from.is_table() ? TREE_TABLE : TREE_LIST, key, place);
		convert_children(from, to);
		return to;
	}
	if (auto text = from.as_string())
		return convert_text(text->get(), key, place);
	tree_node *to = tree_new(TREE_OTHER, key, place);
	if (auto number = from.as_integer()) {
		to->kind = TREE_NUMBER;
		to->number = number->get();
	} else if (auto truth = from.as_boolean()) {
		to->kind = TREE_BOOL;
		to->truth = truth->get();
	} else {
		to->text = text_copy(from.is_floating_point() ? "a number with a fraction" : "a date or time");
	}
	return to;
}

// Past a string that begins at text[at]: one or three quotes, with escapes when they are double ones.
size_t skip_string(const std::string_view text, size_t at)
{
	char quote = text[at];
	std::string_view rest = text.substr(at);
	size_t width = rest.size() >= 3 && rest[1] == quote && rest[2] == quote ? 3 : 1;
	for (at += width; at < text.size(); at++) {
		if (text[at] == '\\' && quote == '"')
			at++;
		else if (width == 1 && (text[at] == quote || text[at] == '\n'))
			return at;
		else if (width == 3 && text.substr(at, 3) == std::string(3, quote))
			return at + 2;
	}
	return at;
}

// Goes through the text as far as strings and comments make a difference. Returns what is wrong at `at`, or nothing.
const char *find_misplaced(const std::string_view text, size_t &at)
{
	size_t dots = 0;
	for (at = 0; at < text.size(); at++) {
		unsigned char character = (unsigned char)text[at];
		if (character == '#')
			at = std::min(text.find('\n', at), text.size());
		else if (character == '"' || character == '\'')
			at = skip_string(text, at);
		else if (character >= 0x80)
			return "letters beyond ASCII belong between quotes";
		else if (character == '.' && ++dots > TOML_MAX_DOTS)
			return "more dotted keys than any configuration needs";
	}
	return nullptr;
}

const char *find_foreign(const std::string_view text, size_t &at)
{
	for (at = 0; at < text.size(); at += character_length(text, at)) {
		unsigned char character = (unsigned char)text[at];
		if ((character < 0x20 && character != '\t' && character != '\n' && character != '\r') || character == 0x7f)
			return "a control character that TOML does not allow";
		if (character_length(text, at) == 0)
			return "a byte that is not UTF-8";
	}
	return nullptr;
}

struct tree_place place_at(const std::string_view text, size_t at, const char *name)
{
	std::string_view before = text.substr(0, at);
	size_t line = 1 + size_t(std::count(before.begin(), before.end(), '\n'));
	size_t column = at - (before.rfind('\n') + 1) + 1;
	return {name, unsigned(line), unsigned(column)};
}

bool has_assertion(const std::string_view text)
try {
	(void)toml::parse(text);
	return false;
} catch (const std::logic_error &) {
	return true;
} catch (const std::exception &) {
	return false;
}

// The parser goes through the text once, so every prefix that reaches the place of a failed assertion fails it too.
unsigned find_assertion(const std::string_view text)
{
	std::vector<size_t> ends;
	for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1))
		ends.push_back(at + 1);
	auto end = std::partition_point(ends.begin(), ends.end(),
	                                [&](size_t to) { return !has_assertion(text.substr(0, to)); });
	return unsigned(end - ends.begin()) + 1;
}

int refuse(struct tree_place *place, struct tree_place at, char *problem, std::string_view reason)
{
	*place = at;
	snprintf(problem, TOML_PROBLEM_BYTES, "%.*s", int(reason.size()), reason.data());
	return TOML_BAD;
}

} // namespace

int toml_read(const char *text, size_t length, const char *name, tree_node **root, struct tree_place *place,
              char problem[TOML_PROBLEM_BYTES])
try {
	std::string_view view(text, length);
	if (view.substr(0, 3) == "\xef\xbb\xbf") // a byte order mark
		view.remove_prefix(3);
	size_t at = 0;
	for (auto find : {find_foreign, find_misplaced})
		if (const char *reason = find(view, at))
			return refuse(place, place_at(view, at, name), problem, reason);
	*root = convert(toml::parse(to_ascii(view)), nullptr, {name, 0, 0});
	return 0;
} catch (const toml::parse_error &error) {
	return refuse(place, place_of(error.source(), name), problem, from_ascii(error.description()));
} catch (const std::logic_error &) {
	return refuse(place, {name, find_assertion(to_ascii({text, length})), 1}, problem, "this line is not TOML");
} catch (const std::exception &) {
	return refuse(place, {name, 0, 0}, problem, "no memory to read it");
}
