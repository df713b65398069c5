#include "flow/sidecar_share.h"

#include "limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static struct sidecar_shares *begin(struct sidecar_limits limits)
{
	struct sidecar_shares *shares;
	assert_int_equal(sidecar_shares_new(&limits, 42, &shares), 0);
	return shares;
}

static struct address ip(const char *host)
{
	struct address address;
	assert_int_equal(address_from_ip(host, 1, &address), 0);
	return address;
}

static void places_are_as_many_as_may_be(void **state)
{
	(void)state;
	struct sidecar_shares *shares = begin((struct sidecar_limits){.connections_max = 2, .handshakes_max = 1});
	assert_true(sidecar_share_enter(shares) && sidecar_share_enter(shares));
	assert_false(sidecar_share_enter(shares));
	assert_int_equal(sidecar_shares_open(shares), 2);
	sidecar_share_leave(shares);
	assert_true(sidecar_share_enter(shares));
	assert_true(sidecar_share_begin(shares));
	assert_false(sidecar_share_begin(shares));
	sidecar_share_end(shares);
	assert_true(sidecar_share_begin(shares));
	sidecar_shares_free(&shares);
	assert_null(shares);
}

static void without_limits_everybody_comes_in(void **state)
{
	(void)state;
	struct sidecar_shares *shares = begin((struct sidecar_limits){0});
	struct address client = ip("192.0.2.1");
	struct quota_key key;
	bool charged;
	quota_key_of_address(&client.any, &key);
	for (unsigned i = 0; i < 1000; i++) {
		assert_true(sidecar_share_enter(shares) && sidecar_share_begin(shares));
		assert_true(sidecar_share_allows(shares, &client.any, 1));
		assert_true(sidecar_share_charge(shares, &key, &charged));
		assert_false(charged);
	}
	sidecar_shares_free(&shares);
}

static void a_client_has_a_limit_of_its_own_that_a_reload_changes(void **state)
{
	(void)state;
	struct sidecar_shares *shares = begin((struct sidecar_limits){.client_max = 1});
	struct address clients[] = {ip("192.0.2.1"), ip("192.0.2.2")};
	struct quota_key keys[2];
	bool charged;
	for (unsigned i = 0; i < 2; i++) {
		quota_key_of_address(&clients[i].any, &keys[i]);
		assert_true(sidecar_share_charge(shares, &keys[i], &charged) && charged);
		assert_false(sidecar_share_charge(shares, &keys[i], &charged));
		assert_false(charged);
	}
	struct sidecar_limits more = {.client_max = 2};
	assert_int_equal(sidecar_shares_set(shares, &more), 0);
	assert_true(sidecar_share_charge(shares, &keys[0], &charged) && charged);
	sidecar_share_discharge(shares, &keys[1]);
	assert_true(sidecar_share_charge(shares, &keys[1], &charged) && charged);
	sidecar_shares_free(&shares);
}

static void handshakes_of_an_address_have_a_rate(void **state)
{
	(void)state;
	struct sidecar_limits limits = {.rate_max = 2, .rate_window_ms = 1000};
	struct sidecar_shares *shares = begin(limits);
	struct address one = ip("192.0.2.1"), other = ip("192.0.2.2");
	assert_true(sidecar_share_allows(shares, &one.any, 1) && sidecar_share_allows(shares, &one.any, 2));
	assert_false(sidecar_share_allows(shares, &one.any, 3));
	assert_true(sidecar_share_allows(shares, &other.any, 4));
	// The same limits again forget nothing; others begin anew.
	assert_int_equal(sidecar_shares_set(shares, &limits), 0);
	assert_false(sidecar_share_allows(shares, &one.any, 5));
	limits.rate_max = 3;
	assert_int_equal(sidecar_shares_set(shares, &limits), 0);
	assert_true(sidecar_share_allows(shares, &one.any, 6));
	limits.rate_max = 0;
	assert_int_equal(sidecar_shares_set(shares, &limits), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_true(sidecar_share_allows(shares, &one.any, 7));
	sidecar_shares_free(&shares);
}

static void tallies_are_kept_by_name_and_bounded(void **state)
{
	(void)state;
	struct sidecar_shares *shares = begin((struct sidecar_limits){0});
	char name[32];
	struct tally *a = sidecar_tally(shares, "a:1"), *total = sidecar_tally(shares, "");
	assert_non_null(a);
	assert_ptr_not_equal(a, total);
	assert_ptr_equal(sidecar_tally(shares, "a:1"), a);
	for (unsigned i = 0; i < LIMIT_TALLIES - 2; i++) {
		snprintf(name, sizeof name, "b:%u", i);
		assert_non_null(sidecar_tally(shares, name));
	}
	assert_null(sidecar_tally(shares, "one too many"));
	assert_ptr_equal(sidecar_tally(shares, "a:1"), a);
	sidecar_shares_free(&shares);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_are_as_many_as_may_be),
		cmocka_unit_test(without_limits_everybody_comes_in),
		cmocka_unit_test(a_client_has_a_limit_of_its_own_that_a_reload_changes),
		cmocka_unit_test(handshakes_of_an_address_have_a_rate),
		cmocka_unit_test(tallies_are_kept_by_name_and_bounded),
	};
	return cmocka_run_group_tests_name("sidecar_share", tests, NULL, NULL);
}
