// Configuration text: the first byte chooses source, dest or proxy and TOML or JSON, the rest is the file. What is
// accepted is printed and freed again.

#include "config/load.h"
#include "config/report.h"

#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_DEST = 1, FUZZ_JSON = 2, FUZZ_PROXY = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *const nothing[] = {NULL};
	if (size == 0)
		return 0;
	struct load_input input = {
		.command = data[0] & FUZZ_PROXY  ? CONFIG_PROXY
	               : data[0] & FUZZ_DEST ? CONFIG_DEST
	                                     : CONFIG_SOURCE,
		.argv = nothing,
		.environment = nothing,
		.text = (const char *)data + 1,
		.length = size - 1,
		.text_name = data[0] & FUZZ_JSON ? "fuzz.json" : "fuzz.toml",
	};
	struct load load;
	FILE *out = fopen("/dev/null", "w");
	if (!out)
		return 0;
	int result = load_run(&input, &load);
	problem_print(&load.problems, "", out);
	if (result == 0)
		report_settings(&load, out);
	json_decref(report_json(&load));
	load_fini(&load);
	fclose(out);
	return 0;
}
