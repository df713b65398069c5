// Counters: each thread adds to its own block without a lock; a reader sums all blocks. A counter is a line in the
// table below: identifier, metric name, its labels ("" for none), help. Lines of one metric name stand together.

#pragma once

#include <stddef.h>
#include <stdint.h>

// clang-format off
#define COUNTER_TABLE(X) \
	X(HANDSHAKE_CONTROL_OK, "qanat_handshakes_total", "kind=\"control\",outcome=\"ok\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_DATA_OK, "qanat_handshakes_total", "kind=\"data\",outcome=\"ok\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_TIMEOUT, "qanat_handshakes_total", "kind=\"any\",outcome=\"timeout\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_CLOSED, "qanat_handshakes_total", "kind=\"any\",outcome=\"closed\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_NOT_TLS, "qanat_handshakes_total", "kind=\"any\",outcome=\"not_tls\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_BAD_ALPN, "qanat_handshakes_total", "kind=\"any\",outcome=\"bad_alpn\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_NO_GROUP, "qanat_handshakes_total", "kind=\"any\",outcome=\"no_common_group\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_PROTOCOL, "qanat_handshakes_total", "kind=\"any\",outcome=\"protocol_error\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_PEER_ALERT, "qanat_handshakes_total", "kind=\"any\",outcome=\"peer_alert\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_NO_CERT, "qanat_handshakes_total", "kind=\"control\",outcome=\"no_certificate\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_UNKNOWN_CA, "qanat_handshakes_total", "kind=\"control\",outcome=\"unknown_ca\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_EXPIRED, "qanat_handshakes_total", "kind=\"control\",outcome=\"expired\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_NOT_YET_VALID, "qanat_handshakes_total", "kind=\"control\",outcome=\"not_yet_valid\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_REVOKED, "qanat_handshakes_total", "kind=\"control\",outcome=\"revoked\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_NO_CRL, "qanat_handshakes_total", "kind=\"control\",outcome=\"no_crl\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_WRONG_USAGE, "qanat_handshakes_total", "kind=\"control\",outcome=\"wrong_usage\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_WRONG_NAME, "qanat_handshakes_total", "kind=\"control\",outcome=\"wrong_name\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_NOT_ALLOWED, "qanat_handshakes_total", "kind=\"control\",outcome=\"not_allowed\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_BAD_SIGNATURE, "qanat_handshakes_total", "kind=\"control\",outcome=\"bad_signature\"", "TLS handshakes by outcome") \
	X(HANDSHAKE_BAD_CERT, "qanat_handshakes_total", "kind=\"control\",outcome=\"bad_certificate\"", "TLS handshakes by outcome") \
	X(PSK_UNKNOWN_LINK, "qanat_psk_refused_total", "reason=\"unknown_link\"", "Data connections refused for their one-time PSK") \
	X(PSK_UNKNOWN_EPOCH, "qanat_psk_refused_total", "reason=\"unknown_epoch\"", "Data connections refused for their one-time PSK") \
	X(PSK_REPLAYED, "qanat_psk_refused_total", "reason=\"replayed\"", "Data connections refused for their one-time PSK") \
	X(PSK_MALFORMED, "qanat_psk_refused_total", "reason=\"malformed\"", "Data connections refused for their one-time PSK") \
	X(PSK_BAD_BINDER, "qanat_psk_refused_total", "reason=\"bad_binder\"", "Data connections refused for their one-time PSK") \
	X(PSK_NOT_USED, "qanat_psk_refused_total", "reason=\"not_used\"", "Data connections refused for their one-time PSK") \
	X(ADMISSION_SOURCE, "qanat_admission_refused_total", "reason=\"source_address\"", "Connections refused before any expensive work") \
	X(ADMISSION_RATE, "qanat_admission_refused_total", "reason=\"rate\"", "Connections refused before any expensive work") \
	X(ADMISSION_IN_FLIGHT, "qanat_admission_refused_total", "reason=\"in_flight\"", "Connections refused before any expensive work") \
	X(ADMISSION_PENDING, "qanat_admission_refused_total", "reason=\"pending_full\"", "Connections refused before any expensive work") \
	X(ADMISSION_DESCRIPTORS, "qanat_admission_refused_total", "reason=\"descriptors\"", "Connections refused before any expensive work") \
	X(ADMISSION_LINKS, "qanat_admission_refused_total", "reason=\"links\"", "Connections refused before any expensive work") \
	X(ADMISSION_RESOURCES, "qanat_admission_refused_total", "reason=\"resources\"", "Connections refused before any expensive work") \
	X(ADMISSION_WAITED, "qanat_admission_waited_total", "", "Handshakes that waited in line for their turn") \
	X(LINK_REFUSED, "qanat_links_refused_total", "", "Control connections that ended before their link was up") \
	X(LINKS_OPENED, "qanat_links_opened_total", "", "Links that reached their first completed epoch") \
	X(LINKS_CLOSED, "qanat_links_closed_total", "", "Links that ended") \
	X(LINK_DIAL_FAILED, "qanat_link_dials_failed_total", "", "Attempts to open a link that failed") \
	X(LINK_DIAL_NOT_ALLOWED, "qanat_link_dials_refused_total", "", "Addresses of dest outside source.allowed_outbound") \
	X(LINKS_RENEWED, "qanat_links_renewed_total", "", "Links that took over from one that still stood") \
	X(LINKS_REJUDGED, "qanat_links_rejudged_out_total", "", "Links ended because a reload allows their peer no longer") \
	X(CONTROL_VIOLATION, "qanat_control_violations_total", "", "Links ended because the peer broke the link protocol") \
	X(EPOCH_COMPLETED, "qanat_epochs_total", "outcome=\"completed\"", "Key epochs by outcome") \
	X(EPOCH_FAILED, "qanat_epochs_total", "outcome=\"failed\"", "Key epochs by outcome") \
	X(EPOCH_RETRIED, "qanat_epochs_total", "outcome=\"retried\"", "Key epochs by outcome") \
	X(KEY_UPDATE_SENT, "qanat_tls_key_updates_total", "", "TLS KeyUpdates sent on long streams") \
	X(RENEWAL_OK, "qanat_renewals_total", "outcome=\"ok\"", "Renewals of our own certificate by outcome") \
	X(RENEWAL_FAILED, "qanat_renewals_total", "outcome=\"failed\"", "Renewals of our own certificate by outcome") \
	X(RELOAD_OK, "qanat_reloads_total", "outcome=\"ok\"", "Configurations read again by outcome") \
	X(RELOAD_REFUSED, "qanat_reloads_total", "outcome=\"refused\"", "Configurations read again by outcome") \
	X(CONTROL_SOCKET_OK, "qanat_control_socket_requests_total", "outcome=\"ok\"", "Control socket requests by outcome") \
	X(CONTROL_SOCKET_BAD, "qanat_control_socket_requests_total", "outcome=\"bad_request\"", "Control socket requests by outcome") \
	X(CONTROL_SOCKET_REFUSED, "qanat_control_socket_requests_total", "outcome=\"not_allowed\"", "Control socket requests by outcome") \
	X(CONTROL_SOCKET_BUSY, "qanat_control_socket_requests_total", "outcome=\"busy\"", "Control socket requests by outcome") \
	X(CONTROL_SOCKET_LATE, "qanat_control_socket_requests_total", "outcome=\"timeout\"", "Control socket requests by outcome") \
	X(FLOW_OPENED, "qanat_flows_total", "outcome=\"opened\"", "Flows by outcome") \
	X(FLOW_FINISHED, "qanat_flows_total", "outcome=\"finished\"", "Flows by outcome") \
	X(FLOW_RESET_LOCAL, "qanat_flows_total", "outcome=\"reset_by_local\"", "Flows by outcome") \
	X(FLOW_RESET_PEER, "qanat_flows_total", "outcome=\"reset_by_peer\"", "Flows by outcome") \
	X(FLOW_TOO_OLD, "qanat_flows_total", "outcome=\"too_old\"", "Flows by outcome") \
	X(FLOW_IDLE, "qanat_flows_total", "outcome=\"idle\"", "Flows by outcome") \
	X(FLOW_REFUSED_SERVICE, "qanat_flows_total", "outcome=\"unknown_service\"", "Flows by outcome") \
	X(FLOW_REFUSED_CLIENT, "qanat_flows_total", "outcome=\"not_allowed\"", "Flows by outcome") \
	X(FLOW_REFUSED_CLIENT_LIMIT, "qanat_flows_total", "outcome=\"client_limit\"", "Flows by outcome") \
	X(FLOW_REFUSED_TARGET, "qanat_flows_total", "outcome=\"target_unreachable\"", "Flows by outcome") \
	X(FLOW_REFUSED_LIMIT, "qanat_flows_total", "outcome=\"limit\"", "Flows by outcome") \
	X(FLOW_REFUSED_DESCRIPTORS, "qanat_flows_total", "outcome=\"descriptors\"", "Flows by outcome") \
	X(FLOW_REFUSED_NO_LINK, "qanat_flows_total", "outcome=\"no_link\"", "Flows by outcome") \
	X(FLOW_REFUSED_PEER, "qanat_flows_total", "outcome=\"refused_by_peer\"", "Flows by outcome") \
	X(ENTRY_SOCKS, "qanat_entry_requests_total", "outcome=\"socks_connect\"", "Requests at the entry by outcome") \
	X(ENTRY_ASSOCIATE, "qanat_entry_requests_total", "outcome=\"socks_udp_associate\"", "Requests at the entry by outcome") \
	X(ENTRY_ASSOCIATES_FULL, "qanat_entry_requests_total", "outcome=\"associates_full\"", "Requests at the entry by outcome") \
	X(ENTRY_HTTP, "qanat_entry_requests_total", "outcome=\"http_connect\"", "Requests at the entry by outcome") \
	X(ENTRY_MALFORMED, "qanat_entry_requests_total", "outcome=\"malformed\"", "Requests at the entry by outcome") \
	X(ENTRY_UNSUPPORTED, "qanat_entry_requests_total", "outcome=\"unsupported\"", "Requests at the entry by outcome") \
	X(ENTRY_NOT_EXPOSED, "qanat_entry_requests_total", "outcome=\"not_exposed\"", "Requests at the entry by outcome") \
	X(ENTRY_NOT_OUTBOUND, "qanat_entry_requests_total", "outcome=\"outbound_not_allowed\"", "Requests at the entry by outcome") \
	X(ENTRY_TIMEOUT, "qanat_entry_requests_total", "outcome=\"timeout\"", "Requests at the entry by outcome") \
	X(ENTRY_CLOSED, "qanat_entry_requests_total", "outcome=\"closed\"", "Requests at the entry by outcome") \
	X(ENTRY_FULL, "qanat_entry_requests_total", "outcome=\"pending_full\"", "Requests at the entry by outcome") \
	X(FLOW_ASKED_AGAIN, "qanat_flows_asked_again_total", "", "Flows that nothing had left of, asked for again") \
	X(ASSOCIATION_OPENED, "qanat_associations_total", "outcome=\"opened\"", "UDP associations by outcome") \
	X(ASSOCIATION_IDLE, "qanat_associations_total", "outcome=\"idle\"", "UDP associations by outcome") \
	X(ASSOCIATION_ENDED, "qanat_associations_total", "outcome=\"ended_by_peer\"", "UDP associations by outcome") \
	X(ASSOCIATION_BROKEN, "qanat_associations_total", "outcome=\"broken\"", "UDP associations by outcome") \
	X(ASSOCIATION_LIMIT, "qanat_associations_total", "outcome=\"limit\"", "UDP associations by outcome") \
	X(ASSOCIATION_CLIENT_LIMIT, "qanat_associations_total", "outcome=\"client_limit\"", "UDP associations by outcome") \
	X(ASSOCIATION_RATE, "qanat_associations_total", "outcome=\"rate\"", "UDP associations by outcome") \
	X(ASSOCIATION_NOT_ALLOWED, "qanat_associations_total", "outcome=\"not_allowed\"", "UDP associations by outcome") \
	X(ASSOCIATION_UNKNOWN_SERVICE, "qanat_associations_total", "outcome=\"unknown_service\"", "UDP associations by outcome") \
	X(ASSOCIATION_NO_TARGET, "qanat_associations_total", "outcome=\"target_unreachable\"", "UDP associations by outcome") \
	X(ASSOCIATION_DESCRIPTORS, "qanat_associations_total", "outcome=\"descriptors\"", "UDP associations by outcome") \
	X(ASSOCIATION_REFUSED, "qanat_associations_total", "outcome=\"refused_by_peer\"", "UDP associations by outcome") \
	X(DATAGRAM_OUTWARD, "qanat_datagrams_total", "direction=\"outward\"", "Datagrams carried, outward = from our local side to the peer") \
	X(DATAGRAM_INWARD, "qanat_datagrams_total", "direction=\"inward\"", "Datagrams carried, outward = from our local side to the peer") \
	X(DATAGRAM_NO_LINK, "qanat_datagrams_dropped_total", "reason=\"no_link\"", "Datagrams dropped by reason") \
	X(DATAGRAM_CONGESTED, "qanat_datagrams_dropped_total", "reason=\"congested\"", "Datagrams dropped by reason") \
	X(DATAGRAM_NO_ASSOCIATION, "qanat_datagrams_dropped_total", "reason=\"no_association\"", "Datagrams dropped by reason") \
	X(DATAGRAM_REFUSED, "qanat_datagrams_dropped_total", "reason=\"refused_by_peer\"", "Datagrams dropped by reason") \
	X(DATAGRAM_BROKEN, "qanat_datagrams_dropped_total", "reason=\"broken\"", "Datagrams dropped by reason") \
	X(DATAGRAM_TOO_LARGE, "qanat_datagrams_dropped_total", "reason=\"too_large\"", "Datagrams dropped by reason") \
	X(DATAGRAM_TRUNCATED, "qanat_datagrams_dropped_total", "reason=\"truncated\"", "Datagrams dropped by reason") \
	X(DATAGRAM_OVERFLOW, "qanat_datagrams_dropped_total", "reason=\"socket_overflow\"", "Datagrams dropped by reason") \
	X(DATAGRAM_LOCAL_FULL, "qanat_datagrams_dropped_total", "reason=\"local_full\"", "Datagrams dropped by reason") \
	X(DATAGRAM_UNREACHABLE, "qanat_datagrams_dropped_total", "reason=\"unreachable\"", "Datagrams dropped by reason") \
	X(DATAGRAM_STRANGER, "qanat_datagrams_dropped_total", "reason=\"stranger\"", "Datagrams dropped by reason") \
	X(DATAGRAM_MALFORMED, "qanat_datagrams_dropped_total", "reason=\"malformed\"", "Datagrams dropped by reason") \
	X(DATAGRAM_NOT_EXPOSED, "qanat_datagrams_dropped_total", "reason=\"not_exposed\"", "Datagrams dropped by reason") \
	X(ICMP_REPORTS, "qanat_datagrams_unreachable_reports_total", "", "Reports that a target was not reached") \
	X(STREAM_BAD_HEADER, "qanat_stream_headers_refused_total", "", "Data connections ended because of their stream header") \
	X(OPEN_SENT, "qanat_opens_total", "outcome=\"sent\"", "OPENs to agents without a parked connection, by what became of them") \
	X(OPEN_CLAIMED, "qanat_opens_total", "outcome=\"claimed\"", "OPENs to agents without a parked connection, by what became of them") \
	X(OPEN_REFUSED, "qanat_opens_total", "outcome=\"refused\"", "OPENs to agents without a parked connection, by what became of them") \
	X(OPEN_LATE, "qanat_opens_total", "outcome=\"late\"", "OPENs to agents without a parked connection, by what became of them") \
	X(OPEN_WITHDRAWN, "qanat_opens_total", "outcome=\"withdrawn\"", "OPENs to agents without a parked connection, by what became of them") \
	X(CLAIM_UNKNOWN, "qanat_offers_refused_total", "reason=\"unknown_token\"", "Data connections of agents ended when they came") \
	X(PARK_TOO_MANY, "qanat_offers_refused_total", "reason=\"too_many_parked\"", "Data connections of agents ended when they came") \
	X(OFFER_NO_LINK, "qanat_offers_refused_total", "reason=\"link_over\"", "Data connections of agents ended when they came") \
	X(STREAM_SILENT, "qanat_streams_silent_total", "", "Data connections whose peer acknowledged nothing") \
	X(BYTES_OUTWARD, "qanat_bytes_total", "direction=\"outward\"", "Payload bytes carried, outward = from our local side to the peer") \
	X(BYTES_INWARD, "qanat_bytes_total", "direction=\"inward\"", "Payload bytes carried, outward = from our local side to the peer") \
	X(GREETING_OK, "qanat_psk_handshakes_total", "outcome=\"ok\"", "Handshakes of pre-shared-key tunnels by outcome") \
	X(GREETING_REFUSED, "qanat_psk_handshakes_total", "outcome=\"refused\"", "Handshakes of pre-shared-key tunnels by outcome") \
	X(GREETING_TIMEOUT, "qanat_psk_handshakes_total", "outcome=\"timeout\"", "Handshakes of pre-shared-key tunnels by outcome") \
	X(GREETING_CLOSED, "qanat_psk_handshakes_total", "outcome=\"closed\"", "Handshakes of pre-shared-key tunnels by outcome") \
	X(GREETING_CROWDED, "qanat_psk_handshakes_total", "outcome=\"crowded_out\"", "Handshakes of pre-shared-key tunnels by outcome") \
	X(GREETING_REPEATED, "qanat_psk_handshakes_total", "outcome=\"repeated\"", "Handshakes of pre-shared-key tunnels by outcome") \
	X(PACKETS_OUTWARD, "qanat_packets_total", "direction=\"outward\"", "IP packets carried, outward = from our device to the peer") \
	X(PACKETS_INWARD, "qanat_packets_total", "direction=\"inward\"", "IP packets carried, outward = from our device to the peer") \
	X(SUPER_OUTWARD, "qanat_super_packets_total", "direction=\"outward\"", "Super-packets cut or joined by direction") \
	X(SUPER_INWARD, "qanat_super_packets_total", "direction=\"inward\"", "Super-packets cut or joined by direction") \
	X(PACKET_PASSED, "qanat_packets_passed_on_total", "", "IP packets passed to the worker of their data connection") \
	X(PACKET_NO_SESSION, "qanat_packets_dropped_total", "reason=\"no_session\"", "IP packets dropped by reason") \
	X(PACKET_CONGESTED, "qanat_packets_dropped_total", "reason=\"congested\"", "IP packets dropped by reason") \
	X(PACKET_STRANGE, "qanat_packets_dropped_total", "reason=\"strange_offload\"", "IP packets dropped by reason") \
	X(PACKET_TOO_BIG, "qanat_packets_dropped_total", "reason=\"too_big\"", "IP packets dropped by reason") \
	X(PACKET_MALFORMED, "qanat_packets_dropped_total", "reason=\"malformed\"", "IP packets dropped by reason") \
	X(PACKET_SOURCE, "qanat_packets_dropped_total", "reason=\"source\"", "IP packets dropped by reason") \
	X(PACKET_SPOOFED, "qanat_packets_dropped_total", "reason=\"spoofed\"", "IP packets dropped by reason") \
	X(PACKET_CROSSED, "qanat_packets_dropped_total", "reason=\"client_to_client\"", "IP packets dropped by reason") \
	X(PACKET_MARTIAN, "qanat_packets_dropped_total", "reason=\"martian\"", "IP packets dropped by reason")          \
	X(PACKET_LINK_LOCAL, "qanat_packets_dropped_total", "reason=\"link_local\"", "IP packets dropped by reason") \
	X(PACKET_REFUSED, "qanat_packets_dropped_total", "reason=\"device_refused\"", "IP packets dropped by reason") \
	X(SIDECAR_FINISHED, "qanat_proxy_connections_total", "outcome=\"finished\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_CLIENT_BROKE, "qanat_proxy_connections_total", "outcome=\"reset_by_client\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_TARGET_BROKE, "qanat_proxy_connections_total", "outcome=\"reset_by_target\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_IDLE, "qanat_proxy_connections_total", "outcome=\"idle\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_HALF_CLOSED, "qanat_proxy_connections_total", "outcome=\"half_closed\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_TOO_OLD, "qanat_proxy_connections_total", "outcome=\"too_old\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_NOT_ALLOWED, "qanat_proxy_connections_total", "outcome=\"not_allowed_any_more\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_STOPPED, "qanat_proxy_connections_total", "outcome=\"stopped\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_SILENT, "qanat_proxy_connections_total", "outcome=\"silent\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_TIMED_OUT, "qanat_proxy_connections_total", "outcome=\"handshake_timeout\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_BAD_HEADER, "qanat_proxy_connections_total", "outcome=\"bad_proxy_header\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_BAD_HANDSHAKE, "qanat_proxy_connections_total", "outcome=\"handshake_failed\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_LIMIT, "qanat_proxy_connections_total", "outcome=\"limit\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_CLIENT_LIMIT, "qanat_proxy_connections_total", "outcome=\"client_limit\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_RATE, "qanat_proxy_connections_total", "outcome=\"rate\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_CROWDED_OUT, "qanat_proxy_connections_total", "outcome=\"crowded_out\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_NO_TARGET, "qanat_proxy_connections_total", "outcome=\"no_target\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_UNREACHABLE, "qanat_proxy_connections_total", "outcome=\"target_unreachable\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_NO_DESCRIPTOR, "qanat_proxy_connections_total", "outcome=\"descriptors\"", "Ended connections of a proxy by outcome") \
	X(SIDECAR_NO_MEMORY, "qanat_proxy_connections_total", "outcome=\"no_memory\"", "Ended connections of a proxy by outcome") \
	X(STAPLE_SERVED, "qanat_proxy_staples_total", "outcome=\"served\"", "OCSP responses that clients of a proxy asked for, by outcome") \
	X(STAPLE_OVER, "qanat_proxy_staples_total", "outcome=\"over\"", "OCSP responses that clients of a proxy asked for, by outcome") \
	X(SIDECAR_CLASSICAL, "qanat_proxy_classical_total", "", "Handshakes without a post-quantum group") \
	X(DEVICE_UP, "qanat_device_links_total", "outcome=\"up\"", "Links of devices by outcome") \
	X(DEVICE_TAKEOVER, "qanat_device_links_total", "outcome=\"takeover\"", "Links of devices by outcome") \
	X(DEVICE_NO_NAME, "qanat_device_links_total", "outcome=\"no_name\"", "Links of devices by outcome") \
	X(DEVICE_OTHER_NAME, "qanat_device_links_total", "outcome=\"other_name\"", "Links of devices by outcome") \
	X(DEVICE_TAKEN, "qanat_device_links_total", "outcome=\"name_taken\"", "Links of devices by outcome") \
	X(DEVICE_DENIED, "qanat_device_links_total", "outcome=\"denied\"", "Links of devices by outcome") \
	X(DEVICE_FLAPS, "qanat_device_links_total", "outcome=\"flaps\"", "Links of devices by outcome") \
	X(DEVICE_CLAIMS, "qanat_device_links_total", "outcome=\"too_many_claims\"", "Links of devices by outcome") \
	X(DEVICE_FULL, "qanat_device_links_total", "outcome=\"too_many\"", "Links of devices by outcome") \
	X(DEVICE_KICKED, "qanat_device_links_ended_total", "reason=\"kicked\"", "Links of devices that the hub ended") \
	X(DEVICE_CUT, "qanat_device_links_ended_total", "reason=\"denied\"", "Links of devices that the hub ended") \
	X(CHANNEL_OPENED, "qanat_channels_total", "outcome=\"opened\"", "Connections to devices by outcome") \
	X(CHANNEL_NOT_ALLOWED, "qanat_channels_total", "outcome=\"not_allowed\"", "Connections to devices by outcome") \
	X(CHANNEL_OFFLINE, "qanat_channels_total", "outcome=\"offline\"", "Connections to devices by outcome") \
	X(CHANNEL_LIMIT, "qanat_channels_total", "outcome=\"limit\"", "Connections to devices by outcome") \
	X(CHANNEL_REFUSED, "qanat_channels_total", "outcome=\"refused_by_device\"", "Connections to devices by outcome") \
	X(CHANNEL_GONE, "qanat_channels_total", "outcome=\"user_gone\"", "Connections to devices by outcome") \
	X(CHANNEL_FAILED, "qanat_channels_total", "outcome=\"failed\"", "Connections to devices by outcome") \
	X(DOOR_BLOCKED, "qanat_device_sockets_blocked_total", "", "Sockets of devices that could not be made") \
	X(NETWORK_CHANGES, "qanat_network_changes_total", "", "Times that the network of this host has changed") \
	X(AUDIT_WRITTEN, "qanat_audit_lines_total", "outcome=\"written\"", "Lines of the audit log by outcome") \
	X(AUDIT_DROPPED, "qanat_audit_lines_total", "outcome=\"dropped\"", "Lines of the audit log by outcome") \
	X(POOL_HIT, "qanat_pool_total", "outcome=\"hit\"", "New streams that found a parked data connection, or had to dial") \
	X(POOL_MISS, "qanat_pool_total", "outcome=\"miss\"", "New streams that found a parked data connection, or had to dial")
// clang-format on

enum counter {
#define X(id, name, labels, help) COUNTER_##id,
	COUNTER_TABLE(X)
#undef X
		COUNTER_COUNT
};

struct counter_text {
	const char *name, *labels, *help;
};

// Adds to this thread's block (made on first use; blocks outlive their thread). A relaxed store, no locked instruction.
void counter_add(enum counter counter, uint64_t amount);
// The sum over all threads.
uint64_t counter_read(enum counter counter);
const struct counter_text *counter_text(enum counter counter);
