// Every number that bounds what a peer, a stranger or a configuration can make this program hold, do or wait for, with
// its reason. Sizes in bytes, times in milliseconds, unless the name says otherwise.

#pragma once

// ---- secrets -------------------------------------------------------------------------------------------------------

// 64-byte slots of locked memory: 4 epochs' secrets for each of 10 000 links and some; 2.5 MiB, below the usual
// RLIMIT_MEMLOCK of 8 MiB.
#define LIMIT_SECRETS 40960

// ---- control connection --------------------------------------------------------------------------------------------

// HELLO carries names, lists and a digest: 8 KiB is four times the largest we make.
#define LIMIT_HELLO_BYTES 8192
// A McEliece 460896 public key and its frame: the only large message, allowed only when it was asked for.
#define LIMIT_KEY_BYTES 524160
// EPOCH_OFFER with all legs is 1 425 bytes; every other message is smaller.
#define LIMIT_CONTROL_BYTES 2048
// Reason texts in CLOSE, GOAWAY, OPEN_FAILED and stream answers: one log line.
#define LIMIT_REASON_BYTES 255
#define LIMIT_NODE_NAME_BYTES 128
#define LIMIT_SERVICE_NAME_BYTES 64
// NAME.SERVICE.sock of both fits a file name (255); NAME.sock in most folders a socket's path (107).
#define LIMIT_DEVICE_NAME_BYTES 64
// Bytes queued towards a peer that does not read its control connection: one KEY and a handful of small messages.
#define LIMIT_CONTROL_QUEUE_BYTES (1024 * 1024)
// Control messages a peer may send per second (pings, opens): beyond it the link is ended, so a peer cannot keep a
// worker busy.
#define LIMIT_CONTROL_MESSAGES_PER_S 2000
// A link's initiator must send HELLO and finish its first epoch within this time after the TLS handshake.
#define LIMIT_ESTABLISH_MS 15000

// ---- admission -----------------------------------------------------------------------------------------------------

// One deadline from accept to authenticated, for the whole exchange, not per read.
#define LIMIT_HANDSHAKE_MS 10000
// Certificate handshakes at once, and per address (IPv6: /64) in a window of 10 s: each costs about 1 ms of CPU.
#define LIMIT_CONTROL_HANDSHAKES 64
#define LIMIT_CONTROL_HANDSHAKES_PER_ADDRESS 16
#define LIMIT_ADDRESS_WINDOW_MS 10000
// Addresses remembered for the rate: 64 bytes each; when full the oldest is forgotten.
#define LIMIT_ADDRESS_TABLE 16384
// Accepted connections per worker that have not yet proved anything. When full, the oldest of them is closed.
#define LIMIT_PENDING_PER_WORKER 2048
// Those of them that wait, their ClientHello read (some 20 KiB each), until fewer handshakes are under way: what a core
// does in a second. A fleet that comes back in one moment is served one after the other, instead of being sent away to
// try again and again; other strangers, and data connections, still find a place.
#define LIMIT_HANDSHAKES_WAITING 512
// And of one address: a fleet behind one NAT finds room, and the others do as well.
#define LIMIT_HANDSHAKES_WAITING_PER_ADDRESS (LIMIT_HANDSHAKES_WAITING / 2)
// The part of a hub's places, one in so many, that one address has at most: whoever begins handshakes there and leaves
// them lying until their deadline keeps nobody out but who comes from the same address.
#define LIMIT_HANDSHAKES_SHARE 4
// Then they are sent away after all: a handshake that begins shortly before its deadline costs as much as one that is
// in time, and brings nothing.
#define LIMIT_LINE_MS 3000
// How often they are looked at, and how many of them begin then, so that others get their turn in between.
#define LIMIT_LINE_TURN_MS 5
#define LIMIT_LINE_TURN 8

// Dests a source may list: each costs a try before a round is over.
#define LIMIT_DESTS 32
// Links of a source that only wait for their last streams, beside the one for new streams. A renewal waits while there
// are as many, so that reloads and fail-backs cannot pile up links.
#define LIMIT_RETIRING_LINKS 4

// Links a responder keeps at once: their secrets (four each, for two epochs and the exchange) fit LIMIT_SECRETS. A hub
// knows as many devices.
#define LIMIT_LINKS 10000

// ---- sidecars ------------------------------------------------------------------------------------------------------

// Certificates between a stranger's leaf and its root: each costs a signature check. Public chains have one or two.
#define LIMIT_CHAIN_DEPTH 8
// CAs whose names a request for a client certificate says, and the bytes of those: they are in every handshake, beside
// a chain of some KiB. A private CA has one; a system's whole bundle, 150 in 17 KB, is not said.
#define LIMIT_CA_NAMES 32
#define LIMIT_CA_NAMES_BYTES 4096
// An OCSP response: some 500 bytes with ECDSA, 8 KiB with ML-DSA, and the responder's certificate. It is sent to every
// client that asks.
#define LIMIT_STAPLE_BYTES 32768

// ---- epochs and data connections -----------------------------------------------------------------------------------

// Indices of one epoch; the bitmap is 144 KiB with its table when full, and grows on demand. Half-way the initiator
// makes a new epoch.
#define LIMIT_EPOCH_INDICES (1u << 20)
// The previous epoch's keys stay valid this long after a change.
#define LIMIT_EPOCH_OVERLAP_MS 60000
// Below OpenSSL's 16 384 with room for a HelloRetryRequest's second ClientHello (protocol.md 5, trap 7).
#define LIMIT_EARLY_DATA_BYTES 16000
// Data connections one link may have at once, parked ones included: more than a process has descriptors for. At a dest
// this is also what bounds those that are parked, which say nothing until they are taken into use.
#define LIMIT_LINK_CONNECTIONS 20000
#define LIMIT_STREAM_HEADER_BYTES 1024
// A stream's header must be complete this long after its data connection was taken into use. On a reverse link that is
// after its handshake: an agent says at once what it offers.
#define LIMIT_STREAM_HEADER_MS 10000
// TLS 1.3 AES-GCM: about 2^24.5 full records; keys are updated after 64 GiB, far before 388 GB. RFC 8446 5.5.
#define LIMIT_TLS_KEY_BYTES (64ULL << 30)
// The least it may be set to: an update costs a record and a key derivation on both sides.
#define LIMIT_TLS_KEY_BYTES_LEAST 65536

// ---- reverse links -------------------------------------------------------------------------------------------------

// Data connections of one agent that wait at the hub for a stream: each costs it about 20 KiB. More are ended.
#define LIMIT_PARKED_PER_LINK 64
// OPENs of one agent that are not answered yet, so that a burst of local connections makes a device dial no more at
// once; further wishes wait for their turn.
#define LIMIT_OPENS_PER_LINK 64
// And so many of them a second, well below what a control connection takes (LIMIT_CONTROL_MESSAGES_PER_S), so that the
// answers of an agent that refuses each at once fit as well.
#define LIMIT_OPENS_PER_S 500
// Data connections that a hub bears of one link beside the channels its device may have: parked, asked for, and as many
// again on whose handshakes and headers it waits.
#define LIMIT_REVERSE_CONNECTIONS (2 * (LIMIT_PARKED_PER_LINK + LIMIT_OPENS_PER_LINK))
// Wishes without a stream, of one agent and in all; each holds a local connection and some 200 bytes.
#define LIMIT_WISHES_PER_LINK 4096
#define LIMIT_WISHES 65536
// OPENs that an agent carries out at once (a hub that sends more is refused them), and the longest deadline it heeds.
#define LIMIT_CLAIMS (2 * LIMIT_OPENS_PER_LINK)
#define LIMIT_OPEN_MS 60000

// ---- descriptors ---------------------------------------------------------------------------------------------------

// The last of them (at most an eighth) serve no flow: the link and its successor, status requests, certificates and
// lists read again on a reload, and a second per listener.
#define LIMIT_DESCRIPTORS_RESERVED 64

// ---- flows ---------------------------------------------------------------------------------------------------------

// One unit of the data path: measured best between 16 and 256 KiB, stays in the second-level cache.
#define LIMIT_UNIT_BYTES 65536
// Sealed bytes read at once: a unit and its record overhead (4 x 22 bytes) and one partial record more.
#define LIMIT_RECORD_BUFFER_BYTES (LIMIT_UNIT_BYTES + 16384 + 512)
// Units moved for one flow before other flows get their turn.
#define LIMIT_UNITS_PER_TURN 8
// New local connections that wait for a link or for fewer dials, per worker: under 1 KiB each, and more of them than a
// process usually has descriptors for, so that source.max_connections is what counts.
#define LIMIT_FLOWS_WAITING 16384
// Data connections for flows that one source dials at once, over all workers: half of what one worker of dest keeps of
// strangers (LIMIT_PENDING_PER_WORKER), so that a burst does not push its own handshakes out.
#define LIMIT_DIALS (LIMIT_PENDING_PER_WORKER / 2)

// ---- the control socket --------------------------------------------------------------------------------------------

// {"command":"version"} is 21 bytes.
#define LIMIT_CONTROL_REQUEST_BYTES 512
// From connecting to the answer's last byte; asking a node takes a moment, reading 1000 links' status some.
#define LIMIT_CONTROL_REQUEST_MS 10000
// People and probes at once. A reload takes its time, but it is one at a time.
#define LIMIT_CONTROL_CLIENTS 16
// ---- the entry and access ------------------------------------------------------------------------------------------

// A SOCKS greeting and request are 518 bytes at most; an HTTP CONNECT with its fields is rarely one KiB.
#define LIMIT_ENTRY_REQUEST_BYTES 8192
// From accept to a whole request: one deadline for the negotiation, however many bytes trickle in meanwhile.
#define LIMIT_ENTRY_MS 10000
// Negotiations of one worker at once; when full the oldest is cut. Each holds at most LIMIT_ENTRY_REQUEST_BYTES.
#define LIMIT_ENTRIES_PER_WORKER 1024
// SOCKS UDP ASSOCIATE at once on one worker: a control connection and a UDP port each, that is two descriptors.
#define LIMIT_ASSOCIATES_PER_WORKER 1024
// Clients of one worker that were answered "no" and have not gone yet, and how long they may take: an answer that is
// followed by a reset may never be read.
#define LIMIT_FAREWELLS_PER_WORKER 256
#define LIMIT_FAREWELL_MS 1000
// Clients and peers counted at once for the limits per client: 40 bytes each, allocated when such a limit is set. When
// full, newcomers are refused.
#define LIMIT_QUOTA_KEYS 65536
// Lines about refused connections that one worker writes in a second; the rest is counted and summed up.
#define LIMIT_REFUSAL_LINES_PER_S 10
// A PROXY header with all its TLVs. What proxies send is below 536 bytes; certificates in TLVs make it larger.
#define LIMIT_PROXY_HEADER_BYTES 4096

// ---- targets of a proxy ---------------------------------------------------------------------------------------------

// Routes are looked through for every connection; names by exact match, so this bounds the wildcards' cost too.
#define LIMIT_ROUTES 256
// Targets of one route: a connection remembers in one word which of them it has tried.
#define LIMIT_TARGETS_PER_ROUTE 32
// One certificate for each kind of key is useful: ML-DSA in three sizes, ECDSA in three, RSA, Ed25519.
#define LIMIT_CERTIFICATES 8

// ---- the sidecar ---------------------------------------------------------------------------------------------------

// Lines about connections that have ended, that one worker writes in a second; the rest is counted and summed up.
#define LIMIT_CONNECTION_LINES_PER_S 100
// Connections of a proxy that have yet to prove something; when there are so many the oldest goes. As many clients as
// this may come back at once: before its first byte each is a socket and less than a KiB, in its handshake some 60 KiB.
#define LIMIT_STRANGERS 8192
// Certificates judged again at a time after a reload: about a tenth of a millisecond each.
#define LIMIT_JUDGED_PER_TURN 64
// And so many are looked at, which may have been judged already: some ten nanoseconds each.
#define LIMIT_LOOKS_PER_TURN 4096
// Names of targets that are counted separately, also those that a reload has taken away: 2 KiB each.
#define LIMIT_TALLIES 1024

// ---- UDP -----------------------------------------------------------------------------------------------------------

// The largest datagram IPv4 has (65 535 less 20 and 8). Larger ones, which only IPv6 knows, are dropped and counted.
#define LIMIT_DATAGRAM_BYTES 65507
// System calls (of up to DATAGRAM_BATCH messages) for one UDP socket before others get their turn: a flood costs a
// worker well below a millisecond at a time, and what is more stays in the kernel, which drops it for nothing.
#define LIMIT_DATAGRAM_BATCHES_PER_TURN 4
// Datagrams of one association that leave in a turn before others get theirs. A peer says an empty one in two bytes,
// and each costs a system call's work: a unit of them would hold a worker up for a tenth of a second.
#define LIMIT_INWARD_DATAGRAMS_PER_TURN 2048
// What the kernel may keep of a port of source, and of an association's target; it cuts both to net.core.rmem_max.
#define LIMIT_UDP_PORT_BUFFER_BYTES (4 * 1024 * 1024)
#define LIMIT_UDP_TARGET_BUFFER_BYTES (1024 * 1024)
// New associations of a source node per second, and at once after a quiet time. Each costs a handshake of about half a
// millisecond on either end, so a flood from invented addresses takes half a core at most. At once: together with the
// dials of flows (LIMIT_DIALS) no more than one worker of dest keeps of strangers, or a burst of datagrams would push
// out the handshakes of flows.
#define LIMIT_UDP_NEW_PER_S 1000
#define LIMIT_UDP_NEW_AT_ONCE 1000
// A client whose association dest refused is not asked about again for so long.
#define LIMIT_UDP_REFUSED_MS 2000
// An association that has ended here waits so long for the end from there, so that what is under way arrives.
#define LIMIT_UDP_ENDING_MS 2000
// Services that one SOCKS client may speak to at once through its relay.
#define LIMIT_UDP_RELAY_SERVICES 32

// ---- the small CA --------------------------------------------------------------------------------------------------

// The index of a CA: about 150 000 certificates; a larger CA wants another tool.
#define LIMIT_INDEX_BYTES (64 * 1024 * 1024)
// One line of it: the texts of identity_describe and some.
#define LIMIT_INDEX_LINE_BYTES 2048
// Another process holds the index for milliseconds; one that holds it so long is stuck.
#define LIMIT_INDEX_LOCK_MS 30000
// Names in a request or a certificate we make: a server that needs more wants a wildcard. It must fit a handshake.
#define LIMIT_CERTIFICATE_NAMES 256

// ---- the life of certificates --------------------------------------------------------------------------------------

// Certificates and revocation lists whose end a node watches: a proxy's own with an intermediate each, whom it
// believes, and their lists.
#define LIMIT_LIFETIMES 24
// A request for a renewal, and its answer, as PEM: three or more ML-DSA-87 signatures and keys of 10 KiB each.
#define LIMIT_RENEWAL_BYTES 65536
// Requests that a CA takes out of its drop folder before its connections get their turn; each costs some milliseconds.
#define LIMIT_RENEWALS_PER_TURN 4
// Names in a drop folder that are looked at in a turn, whatever they are.
#define LIMIT_DROP_LOOKS 256
// Requests that `qanat cert serve --once` answers at most, so that it ends whoever goes on writing.
#define LIMIT_RENEWALS_PER_RUN 10000
// Connections to a CA that answers over the network, 68 KiB each while a request comes; the answer takes milliseconds.
#define LIMIT_RENEWAL_CLIENTS 64
// From accept to the answer's last byte.
#define LIMIT_RENEWAL_REQUEST_MS 10000
// Certificates of the same subject, names and usage that are valid at once before a CA that answers by itself wants a
// person: a node that loses its answers asks again and again, and each costs a line of the index.
#define LIMIT_LIVE_TWINS 16
// Names of files in a drop folder, without ".csr".
#define LIMIT_DROP_NAME_BYTES 64
// Files that node.watch_files looks at: configuration, CA, certificate, key, and revocation lists. Two folders for each
// at most; inotify's own limit is 8192 watches or more per user.
#define LIMIT_WATCHED_FILES 64

// ---- layer-3 tunnels -----------------------------------------------------------------------------------------------

// IPv6 extension headers of one packet that are walked: RFC 8200 4.1 recommends at most one of each of seven.
#define LIMIT_EXTENSION_HEADERS 8

// Payload of each segment of a super-packet that a peer sends: the least that TCP announces (TCP_MIN_SND_MSS of the
// kernel). Of single bytes one unit would stand for 65 536 packets; so it is never more than twice what it says.
#define LIMIT_SEGMENT_BYTES 48
// Frames sealed before one send, bytes asked for by one receive. Two units: a super-packet of 64 KiB becomes somewhat
// more as frames, and a second one is worth waiting for. A receive must hold the largest frame beside an earlier part.
#define LIMIT_FRAMES_BYTES (2 * LIMIT_UNIT_BYTES + 16384)
// Turns of one direction before the other events of the loop get theirs.
#define LIMIT_FRAMES_PER_TURN 8
// Frames that wait in the kernel for their first transmission: what a new small packet has to queue behind.
#define LIMIT_FRAMES_UNSENT_BYTES (256 * 1024)
// Connections that have not yet proved the pre-shared key; each holds less than 4 KiB. When full, or when one source
// has its part, one by chance is closed (policy/lobby).
#define LIMIT_GREETINGS 64
#define LIMIT_GREETINGS_PER_SOURCE 16
// Key exchanges a second for hellos of the hybrid wire, which whoever recorded them can send again; each costs a third
// of a millisecond. Honest clients need one an hour.
#define LIMIT_HELLOS_PER_SECOND 32
// Lines a second about handshakes of strangers that failed.
#define LIMIT_GREETING_LINES_PER_SECOND 5
// A pre-shared key: longer ones add nothing; a file that is longer is another file.
#define LIMIT_PSK_BYTES 4096

// Data connections that carry packets of one vpn: the range of rust-vpn. Each holds two buffers of 272 KiB together.
#define LIMIT_LANES 100
// Connections that a peer may have for one of them at once: the one that carries packets, the one before while its rest
// is read, and another one while its link is replaced as well. More are refused, and may be dialled again.
#define LIMIT_LANES_PER_NUMBER 3
// Beside those, per link: refused ones that have not gone yet, and what is in its handshake.
#define LIMIT_LANES_SPARE 16
// Packets that wait to be passed to the worker of their data connection: the first ones of a flow, before the kernel
// has learned which queue is its, and flows that only go one way. Twice so much for each worker.
#define LIMIT_LANES_PASSED_BYTES (512 * 1024)
// Clients of one vpn server. Each may have as many data connections as there are lanes, with their buffers.
#define LIMIT_VPN_CLIENTS 1024
// Addresses of a pool that are handed out: some 300 bytes each once they were.
#define LIMIT_VPN_LEASES 16384
// Networks that a vpn server tells a client, as many as one may write down: 18 bytes each in HELLO.
#define LIMIT_GRANT_ROUTES 64
// Addresses of one TUN device: two, and as many again that a server gives.
#define LIMIT_TUN_ADDRESSES 4
// Routes of ended processes that one start takes back or leaves; the next start sees to what is more.
#define LIMIT_LEFT_ROUTES 512

// ---- fleets --------------------------------------------------------------------------------------------------------

// Links that one device may bring up in a window; then it is told to wait, because two agents with one identity would
// throw each other out for ever. Each costs a handshake, two sockets and a line in the log.
#define LIMIT_DEVICE_UPS 8
#define LIMIT_DEVICE_UPS_MS 60000
#define LIMIT_DEVICE_REST_MS 30000
// Devices a hub knows at most, those that are away included: some 500 bytes each.
#define LIMIT_DEVICES 65536
// Services that get a socket of their own on a hub, for each device: each is a descriptor.
#define LIMIT_DEVICE_SERVICES 16
// TCP ports that lead to devices on one hub: each is a descriptor, and there for good.
#define LIMIT_DEVICE_PORTS 1024
// Lines of the audit log that wait for the disk, and their length: 8 MiB at most, usually a tenth. More are dropped and
// counted.
#define LIMIT_AUDIT_LINES 4096
#define LIMIT_AUDIT_LINE_BYTES 2048
// A file of pinned names or of denied devices: some 100 000 lines.
#define LIMIT_DEVICE_FILE_BYTES (16 * 1024 * 1024)
// Devices in one answer of the control socket: about 200 KiB.
#define LIMIT_DEVICES_PER_ANSWER 500
