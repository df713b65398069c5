#include "config/certificates.h"

size_t certificates_count(const struct config *config)
{
	size_t count = config->proxy.certificate_count;
	count += config->proxy.cert_path ? 1 : 0;
	return count + (config->proxy.fallback_cert_path ? 1 : 0);
}

struct config_certificate certificates_at(const struct config *config, size_t index)
{
	const struct config_of_proxy *proxy = &config->proxy;
	if (proxy->cert_path && index-- == 0)
		return (struct config_certificate){proxy->cert_path, proxy->key_path, proxy->ocsp_path};
	if (proxy->fallback_cert_path && index-- == 0)
		return (struct config_certificate){proxy->fallback_cert_path, proxy->fallback_key_path, NULL};
	return proxy->certificates[index];
}
