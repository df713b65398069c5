// The certificates of a proxy over time: warnings, renewal, files that change.

#include "cmd/proxy_internal.h"
#include "config/certificates.h"
#include "core/log.h"

_Static_assert(PROXY_PROBLEM_BYTES >= LIFE_PROBLEM_BYTES, "problems are handed on");

// As the CA that renews them issued them. The others are judged without a CA, for theirs need not be the one whose
// clients are believed.
struct own_files {
	struct identity_files list[PROXY_IDENTITIES];
	struct life_files files;
};

static void collect(const struct config *config, struct own_files *own)
{
	bool is_apart = config->renewal.ca_cert_path != NULL;
	size_t count = certificates_count(config);
	for (size_t i = 0; i < count; i++) {
		struct config_certificate certificate = certificates_at(config, i);
		own->list[i] = (struct identity_files){
			.ca_path = is_apart ? config->renewal.ca_cert_path : config->proxy.ca_cert_path,
			.cert_path = certificate.cert_path,
			.key_path = certificate.key_path,
			.ocsp_path = certificate.ocsp_path,
			.crl_paths = (const char *const *)config->proxy.crl_paths,
			.crl_count = is_apart ? 0 : config->proxy.crl_count,
			.usage = config->proxy.mode == CONFIG_PROXY_CLIENT ? IDENTITY_CLIENT : IDENTITY_SERVER,
		};
	}
	own->files = (struct life_files){own->list, count};
}

// Found out now rather than when the certificate is about to end: its CA must be the one that is to renew it.
static int try_issuers(const struct life_files *files, char problem[PROXY_PROBLEM_BYTES])
{
	int r = 0;
	for (size_t i = 0; i < files->count && r == 0; i++) {
		struct identity *identity = NULL;
		r = identity_load(&files->list[i], &identity, problem);
		if (identity)
			identity_unref(&identity);
	}
	return r;
}

int proxy_check_life(const struct config *config, char problem[PROXY_PROBLEM_BYTES])
{
	struct own_files own;
	collect(config, &own);
	int r = life_check(config, &own.files, problem);
	return r == 0 && config->renewal.method != CONFIG_RENEWAL_OFF ? try_issuers(&own.files, problem) : r;
}

int proxy_prepare_life(const struct config *config)
{
	struct own_files own;
	char problem[PROXY_PROBLEM_BYTES] = "";
	collect(config, &own);
	int r = life_prepare(config, &own.files);
	if (r != 0 || config->renewal.method == CONFIG_RENEWAL_OFF || (r = try_issuers(&own.files, problem)) == 0)
		return r;
	log_error("proxy", "renewal: %s", r < 0 ? outcome_text(r) : problem);
	return 1;
}

void proxy_set_life(struct proxy *proxy)
{
	struct own_files own;
	const struct proxy_material *material = &proxy->material;
	collect(proxy->config, &own);
	life_set(proxy->node.life, proxy->config, &own.files,
	         &(struct life_identities){.list = material->identities,
	                                   .count = material->identity_count,
	                                   .believed = material->trust ? trust_store(material->trust) : NULL});
}
