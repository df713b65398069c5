#include "cmd/doctor_internal.h"

#include <jansson.h>

void doctor_report_text(const struct findings *findings)
{
	size_t counts[FINDING_ERROR + 1] = {0};

	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->items[i];
		counts[finding->severity]++;
		printf("%-7s  %s: %s\n", finding_severity_name(finding->severity), finding->subject, finding->text);
		if (finding->advice[0])
			printf("         -> %s\n", finding->advice);
	}
	printf("\n%zu error%s, %zu warning%s, %zu note%s, %zu ok\n", counts[FINDING_ERROR],
	       counts[FINDING_ERROR] == 1 ? "" : "s", counts[FINDING_WARNING], counts[FINDING_WARNING] == 1 ? "" : "s",
	       counts[FINDING_NOTE], counts[FINDING_NOTE] == 1 ? "" : "s", counts[FINDING_OK]);
}

void doctor_report_json(const struct findings *findings)
{
	json_t *object = json_object(), *list = json_array();

	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->items[i];
		json_t *item = json_object(), *text = json_string(finding->text);
		json_object_set_new(item, "severity", json_string(finding_severity_name(finding->severity)));
		json_object_set_new(item, "subject", json_string(finding->subject));
		json_object_set_new(item, "text", text ? text : json_string("(not UTF-8)"));
		json_object_set_new(item, "advice", finding->advice[0] ? json_string(finding->advice) : json_null());
		json_array_append_new(list, item);
	}
	json_object_set_new(object, "worst", json_string(finding_severity_name(finding_worst(findings))));
	json_object_set_new(object, "findings", list);
	json_dumpf(object, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(object);
}
