// What the files of core/loop.h share. Nobody else includes this.

#pragma once

#include "core/loop.h"

#include <uv.h>

uv_loop_t *loop_uv(struct loop *loop);
// A close callback: frees the allocation of our own that handle->data points to.
void loop_free_handle(uv_handle_t *handle);
