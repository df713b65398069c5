// Texts for people and their tools: printable ASCII, whatever a peer called itself. Shared by the encoders of
// ops/status.h.

#pragma once

#include <stddef.h>

// Copies text with every byte that is not printable ASCII as \xNN. What does not fit is left off, never half an escape;
// out[size] always ends in NUL, size is at least 1. NULL is the empty text.
void status_text(const char *text, char *out, size_t size);
