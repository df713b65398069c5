// The shim: everything C++ of this program. toml++ is used without exceptions of its own; lack of memory may still
// throw, and is reported like a bad file.

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

extern "C" {
#include "config/text.h"
#include "config/toml.h"
}

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace
{

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
		std::stable_sort(entries.begin(), entries.end(), [](auto &a, auto &b) {
			return a.first->source().begin < b.first->source().begin;
		});
		for (auto &&[key, value] : entries) {
			std::string text(key->str());
			// A key's own position says more than its value's: a typing error is in the key.
			struct tree_place place = place_of(key->source(), to->place.name);
			tree_append(to, &last, convert(*value, text.c_str(), place));
		}
		return;
	}
	for (auto &&value : *from.as_array())
		tree_append(to, &last, convert(value, nullptr, place_of(value.source(), to->place.name)));
}

tree_node *convert_text(const std::string &value, const char *key, struct tree_place place)
{
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

size_t count_dots(const std::string_view text)
{
	size_t dots = 0;
	for (size_t at = 0; at < text.size(); at++) {
		if (text[at] == '#')
			at = std::min(text.find('\n', at), text.size());
		else if (text[at] == '"' || text[at] == '\'')
			at = skip_string(text, at);
		else if (text[at] == '.')
			dots++;
	}
	return dots;
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
	if (count_dots(view) > TOML_MAX_DOTS)
		return refuse(place, {name, 0, 0}, problem, "more dotted keys than any configuration needs");
	toml::parse_result result = toml::parse(view);
	if (!result)
		return refuse(place, place_of(result.error().source(), name), problem, result.error().description());
	*root = convert(result.table(), nullptr, {name, 0, 0});
	return 0;
} catch (const std::exception &) {
	return refuse(place, {name, 0, 0}, problem, "no memory to read it");
}
