/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * octroi.h: a network stack of one's own on Octroi. Made from the Rust sources; do not edit.
 *
 * A program opens a session, registers tuples (protocol, local address, local port), and receives and sends their packets
 * through channels: one for each of the daemon's workers, numbered from 0. Packets of one flow come by one channel.
 *
 * Every function returns 0, or what it was asked for, or the negative of an errno(3). These mean the same everywhere:
 *
 *   -EFAULT           a pointer is null
 *   -ECHRNG           the session has no such channel
 *   -EBUSY            another thread is using this channel
 *   -ENOTCONN         the daemon is gone, or breaks the rules of its rings. octroi_event() tries to come back. What
 *                     this channel had lent is void, and its packets are lost: each channel says so at least once,
 *                     before it works again
 *   -ESHUTDOWN        the session is over. What this channel had lent is void, and nothing will ever come
 *   -ETIMEDOUT        the daemon did not answer
 *   -EPROTO           the daemon says what this library does not understand
 *   -ENOTRECOVERABLE  a bug of this library was met; what it was at work on is not used again
 *
 * Threads: each channel is used by one thread at a time, different channels by different threads; all other functions may
 * be called from any thread. There are no callbacks. A pointer must be null or good, nothing may be used after
 * octroi_close(), and a process that forks uses the session in one of the two only.
 */

#ifndef OCTROI_H
#define OCTROI_H

#include <stddef.h>
#include <stdint.h>

// Packets begin with their IP header; the daemon writes the Ethernet header.
#define OCTROI_IP 0

// Packets bring an Ethernet header of their own, where the daemon's policy allows it.
#define OCTROI_ETHERNET 1

// octroi_tuple.family: any local address. Otherwise AF_INET (2) or AF_INET6 (10).
#define OCTROI_ANY 0

// octroi_tuple.flags: while no daemon runs, its packets are dropped. With neither of the two the administrator decides.
#define OCTROI_ON_CRASH_DROP 1

// octroi_tuple.flags: while no daemon runs, its packets go to the OS.
#define OCTROI_ON_CRASH_PASS 2

// octroi_tuple.flags: deliver ICMP errors that quote it. Without it the OS has them.
#define OCTROI_ICMP 4

// octroi_wait: packets were received.
#define OCTROI_RX 1

// octroi_wait: there is room for packets to be sent.
#define OCTROI_TX 2

// octroi_wait: do not sleep, ask to be rung. For those who poll octroi_fd() themselves.
#define OCTROI_ARM 4

// octroi_fd: instead of a channel's number. Readable when octroi_event() may have something to say.
#define OCTROI_CONTROL 4294967295

// octroi_frame.flags: the first fragment of a datagram.
#define OCTROI_FRAME_FRAG_FIRST 1

// octroi_frame.flags: a later fragment of a datagram, which has no transport header.
#define OCTROI_FRAME_FRAG_LATER 2

// octroi_frame.flags: an ICMP error about a packet of this tuple.
#define OCTROI_FRAME_ICMP_ERROR 4

// octroi_frame.flags: VLAN tags stand between the Ethernet and the IP header.
#define OCTROI_FRAME_TAGGED 8

// octroi_frame.flags: IPv6.
#define OCTROI_FRAME_IPV6 16

// octroi_frame.flags: the IP header has options or extension headers behind it.
#define OCTROI_FRAME_OPTIONS 32

// octroi_frame.flags: sent by an application on this host and handed over without a wire.
#define OCTROI_FRAME_HAIRPIN 256

// octroi_frame.flags: its TCP or UDP checksum may be incomplete, because its sender may be on this host: do not verify it.
#define OCTROI_FRAME_CSUM_PARTIAL 32768

// octroi_frame.traffic_class: none.
#define OCTROI_CLASS_NONE 65535

// octroi_event.kind: the tuple is gone, for the reason given.
#define OCTROI_EVENT_REVOKED 1

// octroi_event.kind: the session is over, for the reason given. Nothing comes after this.
#define OCTROI_EVENT_OVER 2

// octroi_event.kind: the tuple's address is on no served interface any more.
#define OCTROI_EVENT_ADDRESS_GONE 3

// octroi_event.kind: the tuple's address is there again.
#define OCTROI_EVENT_ADDRESS_BACK 4

// octroi_event.kind: the daemon is gone. octroi_event() tries to come back.
#define OCTROI_EVENT_DISCONNECTED 5

// octroi_event.kind: it is back; tuples that it no longer has follow as OCTROI_EVENT_REVOKED.
#define OCTROI_EVENT_RECONNECTED 6

// octroi_event.reason: there is none to give.
#define OCTROI_REASON_NONE 0

// octroi_event.reason: somebody who may released it.
#define OCTROI_REASON_RELEASED 1

// octroi_event.reason: this program broke the rules of its rings.
#define OCTROI_REASON_VIOLATION 2

// octroi_event.reason: a socket of the OS took the port while no daemon ran.
#define OCTROI_REASON_PORT_TAKEN 3

// octroi_event.reason: its interface is no longer served.
#define OCTROI_REASON_INTERFACE_GONE 4

// octroi_event.reason: the daemon goes down.
#define OCTROI_REASON_SHUTDOWN 5

// octroi_event.reason: a new daemon does not take it back.
#define OCTROI_REASON_NOT_TAKEN_BACK 6

// A session. Only the library knows what is in it.
struct octroi_stack;

// What a session is to have.
struct octroi_options {
  // What people see in lists.
  const char *name;
  // Slots of each Rx ring: a power of two from 64 to 4096, or 0 for the default.
  uint32_t rx_slots;
  // Slots of each Tx ring: the same.
  uint32_t tx_slots;
  // OCTROI_IP, or OCTROI_ETHERNET if packets to be sent may be of either form.
  uint32_t frames;
};

// What is registered: a protocol, a local address and a local port.
struct octroi_tuple {
  // The transport protocol's number: IPPROTO_UDP, IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_DCCP or IPPROTO_UDPLITE.
  uint8_t protocol;
  // AF_INET, AF_INET6 or OCTROI_ANY.
  uint8_t family;
  // The port, in the host's byte order. Not 0: to let the OS choose, bind a socket, ask getsockname(2), and lend the
  // socket to octroi_register().
  uint16_t port;
  // OCTROI_ON_CRASH_DROP or OCTROI_ON_CRASH_PASS, OCTROI_ICMP.
  uint32_t flags;
  // The address as it is in a packet: 4 bytes of it for AF_INET, 16 for AF_INET6, none for OCTROI_ANY.
  uint8_t address[16];
};

// A received packet.
struct octroi_frame {
  // The frame from its Ethernet header on.
  const uint8_t *bytes;
  // Bytes of the frame.
  size_t len;
  // The tuple that it is for.
  uint16_t tuple;
  // OCTROI_FRAME_ bits.
  uint16_t flags;
  // Where the IP header is, in bytes from the first.
  uint16_t l3;
  // Where the transport header is; 0 in a later fragment, which has none.
  uint16_t l4;
  // The class that a rule set gave it, or OCTROI_CLASS_NONE.
  uint16_t traffic_class;
};

// Room for a packet to be sent.
struct octroi_slot {
  // To be written from the first byte on. What an earlier packet left is still there.
  uint8_t *bytes;
  // Bytes that there is room for.
  size_t len;
};

// Something that happened to a session.
struct octroi_event {
  // OCTROI_EVENT_.
  uint32_t kind;
  // OCTROI_REASON_, with OCTROI_EVENT_REVOKED and OCTROI_EVENT_OVER.
  uint32_t reason;
  // The tuple, where the kind speaks of one.
  uint16_t tuple;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Connects to the daemon that listens at `path` and opens a session.
//
// Returns 0 and the session, which octroi_close() ends, or
// -EFAULT for a null pointer, also in the options; -EINVAL for a number or a name that cannot be;
// -ECONNREFUSED if no daemon listens there; -EACCES if this user may not; -ENOSPC if a limit of this user's is reached;
// -EPROTO if the daemon does not speak as this library does; -ETIMEDOUT if it does not answer.
int octroi_open(const char *path,
                const struct octroi_options *options,
                struct octroi_stack **stack);

// Ends a session: all its tuples are released, and everything that was lent of it is gone. No other call may be under
// way or follow. A null pointer is no session, and nothing happens.
void octroi_close(struct octroi_stack *stack);

// Channels of the session, numbered from 0. There may be more or fewer after OCTROI_EVENT_RECONNECTED.
//
// Returns their number, or -EFAULT for a null pointer.
int octroi_channels(struct octroi_stack *stack);

// Registers a tuple: from now on its packets come to the channels, and packets from it may be sent.
//
// `fd` is -1, and the daemon keeps the port from the OS, or it is a socket of this program's that is bound to the tuple
// and neither connected nor listening: the daemon keeps a duplicate of it, and the caller may close its own.
//
// Returns 0 and the tuple's number within the session, or
// -EFAULT for a null pointer; -EINVAL for a number that is not listed, port 0, an address that cannot be registered, a
// socket that does not fit; -EBADF if `fd` is no descriptor; -EACCES if the daemon's policy says no; -EBUSY if it is
// somebody else's; -EADDRINUSE if a socket of the OS has it; -EADDRNOTAVAIL if no served interface has the address;
// -ENETDOWN if it is going; -ENOSPC if a limit is reached; -ENOTCONN, -ESHUTDOWN, -ETIMEDOUT, -EPROTO.
int octroi_register(struct octroi_stack *stack,
                    const struct octroi_tuple *tuple,
                    int fd,
                    uint16_t *id);

// Gives a tuple back: after this nothing of it is delivered.
//
// Returns 0, or -EFAULT for a null pointer; -ENOENT if the session has no such tuple, or none any more; -ENOTCONN,
// -ESHUTDOWN, -ETIMEDOUT, -EPROTO.
int octroi_release(struct octroi_stack *stack,
                   uint16_t id);

// The next received packet of channel `c`. It stays readable until octroi_rx_release().
//
// Returns 0 and the packet, or -EAGAIN if none has come; -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN,
// -ESHUTDOWN.
int octroi_rx_next(struct octroi_stack *stack,
                   unsigned int c,
                   struct octroi_frame *frame);

// Gives back every packet that octroi_rx_next() has handed out on channel `c`, so that others can come. To keep one,
// copy it.
//
// Returns 0, also if there is none to give back, or -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN.
int octroi_rx_release(struct octroi_stack *stack,
                      unsigned int c);

// What to poll(2) for reading, to be rung: see OCTROI_ARM of octroi_wait(). With OCTROI_CONTROL instead of a channel:
// readable when octroi_event() may have something to say. The library closes it, and it is another after
// OCTROI_EVENT_RECONNECTED.
//
// Returns the descriptor, or -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN.
int octroi_fd(struct octroi_stack *stack,
              unsigned int c);

// Room for the next packet to be sent on channel `c`: to be written, then committed. It stays writable until then; to
// give it up, leave it, and the next call returns it again.
//
// Returns 0 and the room, or -EAGAIN if the ring is full: flush, and wait for OCTROI_TX; -EFAULT for a null pointer;
// -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN.
int octroi_tx_next(struct octroi_stack *stack,
                   unsigned int c,
                   struct octroi_slot *slot);

// Has the first `len` bytes of what octroi_tx_next() returned sent at the next octroi_flush() or octroi_wait().
// `form` says how they begin: OCTROI_IP, or OCTROI_ETHERNET in a session that was opened with it. Checksums must be
// complete: nothing fills them in.
//
// Returns 0, or -EBADSLT if there is no such room; -EMSGSIZE if it is smaller, and stays; -EINVAL for another form;
// -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN. What the daemon does not let out it counts.
int octroi_tx_commit(struct octroi_stack *stack,
                     unsigned int c,
                     size_t len,
                     unsigned int form);

// Shows the daemon what was committed on channel `c`, and wakes it if it sleeps. Once for many packets.
//
// Returns 0, or -EFAULT for a null pointer; -ECHRNG, -EBUSY, -ENOTCONN, -ESHUTDOWN.
int octroi_flush(struct octroi_stack *stack,
                 unsigned int c);

// Flushes channel `c`, then sleeps until there is something of `what` (OCTROI_RX, OCTROI_TX or both) or `ms`
// milliseconds are over; a negative `ms` is for ever. A signal does not end it.
//
// With OCTROI_ARM in `what` it does not sleep: if it returns 0, octroi_fd() becomes readable once there is something.
// Call it before each poll(2).
//
// Returns what there is, 0 if nothing, or -EINVAL for another `what`; -EFAULT for a null pointer; -ECHRNG, -EBUSY,
// -ESHUTDOWN; -ENOTCONN, after 10 ms at most while the daemon is away: call octroi_event() meanwhile.
int octroi_wait(struct octroi_stack *stack,
                unsigned int c,
                unsigned int what,
                int ms);

// The next thing that happened to the session. Never waits for the daemon to speak. While there is no daemon it tries
// to come back, after 10 ms at first and at last once a second: call it now and then.
//
// Returns 0 and the event, or -EAGAIN if nothing happened; -ESHUTDOWN if nothing ever will, after OCTROI_EVENT_OVER;
// -EFAULT for a null pointer.
int octroi_event(struct octroi_stack *stack,
                 struct octroi_event *event);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OCTROI_H */
