// The certificates of a proxy in one list: proxy.cert_path first, then proxy.fallback_cert_path, then those of
// proxy.certificates.

#pragma once

#include "config/config.h"

#include <stddef.h>

size_t certificates_count(const struct config *config);
// index below certificates_count. The texts are lent by the configuration.
struct config_certificate certificates_at(const struct config *config, size_t index);
