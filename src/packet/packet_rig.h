// Packets for tests, built byte by byte and independent of the code under test.

#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define RIG_PACKET_BYTES 65536

struct rig_flow {
	int version;
	uint8_t protocol; // 6 or 17
	uint8_t flags;    // TCP
	uint8_t options;  // bytes of TCP options, zeros
	uint16_t id;
	uint32_t sequence;
	uint16_t port;
};

// One's complement sum the slow way: byte by byte.
static inline uint16_t rig_sum(uint32_t sum, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static inline void rig_put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline uint16_t rig_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline size_t rig_ip_bytes(const uint8_t *packet)
{
	return packet[0] >> 4 == 4 ? 20 : 40;
}

// The sum over pseudo header and transport part: 0xffff when the checksum is right.
static inline uint16_t rig_transport_sum(const uint8_t *packet, size_t length)
{
	size_t ip = rig_ip_bytes(packet);
	uint32_t sum = ip == 20 ? packet[9] : packet[6];
	sum += (uint32_t)(length - ip);
	sum = rig_sum(sum, ip == 20 ? packet + 12 : packet + 8, ip == 20 ? 8 : 32);
	return rig_sum(sum, packet + ip, length - ip);
}

static inline void rig_finish(uint8_t *packet, size_t length)
{
	size_t ip = rig_ip_bytes(packet);
	uint8_t *field = packet + ip + ((ip == 20 ? packet[9] : packet[6]) == 17 ? 6 : 16);
	if (ip == 20) {
		rig_put16(packet + 10, 0);
		rig_put16(packet + 10, (uint16_t)~rig_sum(0, packet, 20));
	}
	rig_put16(field, 0);
	uint16_t check = (uint16_t)~rig_transport_sum(packet, length);
	rig_put16(field, check == 0 ? 0xffff : check);
}

// Payload bytes count up from `fill`. Returns the length.
static inline size_t rig_build(const struct rig_flow *flow, size_t payload, unsigned fill, uint8_t *packet)
{
	size_t ip = flow->version == 4 ? 20 : 40, transport = flow->protocol == 17 ? 8 : 20u + flow->options;
	size_t length = ip + transport + payload;
	memset(packet, 0, ip + transport);
	if (ip == 20) {
		packet[0] = 0x45;
		rig_put16(packet + 2, length);
		rig_put16(packet + 4, flow->id);
		packet[6] = 0x40;
		packet[8] = 64;
		packet[9] = flow->protocol;
		memcpy(packet + 12, "\x0a\x01\x01\x01\x0a\x01\x01\x02", 8);
	} else {
		packet[0] = 0x60;
		rig_put16(packet + 4, length - 40);
		packet[6] = flow->protocol;
		packet[7] = 64;
		packet[8] = packet[24] = 0xfc;
		packet[9] = packet[25] = 0x11;
		packet[23] = 1;
		packet[39] = 2;
	}
	rig_put16(packet + ip, 1000);
	rig_put16(packet + ip + 2, flow->port ? flow->port : 5201);
	if (flow->protocol == 17) {
		rig_put16(packet + ip + 4, 8 + payload);
	} else {
		rig_put16(packet + ip + 4, flow->sequence >> 16);
		rig_put16(packet + ip + 6, flow->sequence & 0xffff);
		packet[ip + 11] = 7;
		packet[ip + 12] = (uint8_t)(transport / 4 << 4);
		packet[ip + 13] = flow->flags;
		packet[ip + 14] = 1;
	}
	for (size_t i = 0; i < payload; i++)
		packet[ip + transport + i] = (uint8_t)(fill + i);
	rig_finish(packet, length);
	return length;
}
