/*
 * UDP echo on Octroi: a network stack of one protocol, in a process of its own, beside the operating system's.
 *
 *     cc -o echo echo.c $(pkg-config --cflags --libs octroi) -pthread
 *     ./echo /run/octroi/main/control.sock 7
 *
 * It answers every datagram to this port, at every address that the daemon serves. It needs no privilege but the
 * daemon's leave. One thread for each channel receives, answers and sends; the main thread hears what happens to the
 * session, and ends it at SIGINT or SIGTERM. When the daemon is restarted, everything goes on where it was.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netinet/in.h>
#include <octroi.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_CHANNELS = 64,
    UDP_HEADER = 8,
    HOPS = 64,
    PATIENCE_MS = 100, /* between two looks at whether it is time to stop */
};

/* A UDP datagram in a received packet. */
struct datagram {
    int version;
    const uint8_t *source, *destination; /* addresses, of the family's length */
    const uint8_t *udp;                  /* its header, and what it carries */
    size_t len;                          /* of both */
};

struct channel {
    struct octroi_stack *stack;
    unsigned number;
};

/* Set by signals, and read by every thread. */
static atomic_bool stopping;

static void stop(int signal)
{
    (void)signal;
    stopping = true;
}

/* Says one line at once, whoever listens. */
static void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Adds bytes to an internet checksum (RFC 1071), which is folded later. */
static uint64_t sum(uint64_t sum, const uint8_t *bytes, size_t len)
{
    for (; len >= 2; bytes += 2, len -= 2)
        sum += get16(bytes);
    return len ? sum + ((unsigned)bytes[0] << 8) : sum;
}

static unsigned fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xFFFF) + (sum >> 16);
    return (unsigned)sum;
}

static size_t address_len(int version)
{
    return version == 4 ? 4 : 16;
}

/* The sum of a datagram and its pseudo header: 0xFFFF once folded if the checksum in it is right. */
static uint64_t udp_sum(const struct datagram *it)
{
    size_t len = address_len(it->version);
    uint64_t pseudo = sum(sum(0, it->source, len), it->destination, len) + IPPROTO_UDP + it->len;
    return sum(pseudo, it->udp, it->len);
}

/*
 * Finds the datagram in a frame; 0 if there is one that can be answered. The daemon has found the headers and has
 * checked that of IPv4; what the packet says of its own length is the stack's to check.
 */
static int parse(const struct octroi_frame *frame, struct datagram *it)
{
    const uint8_t *ip = frame->bytes + frame->l3;

    /* Fragments would have to be put together first. */
    if (frame->flags & (OCTROI_FRAME_FRAG_FIRST | OCTROI_FRAME_FRAG_LATER))
        return -1;
    if (frame->len < (size_t)frame->l4 + UDP_HEADER)
        return -1;
    it->version = frame->flags & OCTROI_FRAME_IPV6 ? 6 : 4;
    it->source = ip + (it->version == 4 ? 12 : 8);
    it->destination = it->source + address_len(it->version);
    it->udp = frame->bytes + frame->l4;
    it->len = get16(it->udp + 4);
    if (it->len < UDP_HEADER || frame->len - frame->l4 < it->len)
        return -1;
    /* No checksum at all is legal over IPv4, and a sender on this host may have left it to hardware that there is not. */
    if (frame->flags & OCTROI_FRAME_CSUM_PARTIAL || (it->version == 4 && get16(it->udp + 6) == 0))
        return 0;
    return fold(udp_sum(it)) == 0xFFFF ? 0 : -1;
}

/* Writes the answer, an IP packet, and returns its length; 0 if there is no room for it. */
static size_t answer(const struct datagram *it, uint8_t *ip, size_t room)
{
    size_t header = it->version == 4 ? 20 : 40;
    size_t address = address_len(it->version);
    struct datagram back = {it->version, NULL, NULL, ip + header, it->len};
    uint8_t *udp = ip + header;

    if (room < header + it->len)
        return 0;
    memset(ip, 0, header);
    if (it->version == 4) {
        ip[0] = 0x45;
        put16(ip + 2, (unsigned)(header + it->len));
        put16(ip + 6, 0x4000); /* never to be fragmented, and so without a number */
        ip[8] = HOPS;
        ip[9] = IPPROTO_UDP;
        back.source = ip + 12;
    } else {
        ip[0] = 0x60;
        put16(ip + 4, (unsigned)it->len);
        ip[6] = IPPROTO_UDP;
        ip[7] = HOPS;
        back.source = ip + 8;
    }
    back.destination = back.source + address;
    memcpy(ip + (back.source - ip), it->destination, address);
    memcpy(ip + (back.destination - ip), it->source, address);
    if (it->version == 4)
        put16(ip + 10, ~fold(sum(0, ip, header)) & 0xFFFF);

    memcpy(udp, it->udp + 2, 2); /* the ports, exchanged */
    memcpy(udp + 2, it->udp, 2);
    put16(udp + 4, (unsigned)it->len);
    put16(udp + 6, 0);
    memcpy(udp + UDP_HEADER, it->udp + UDP_HEADER, it->len - UDP_HEADER);
    /* 0 would mean that there is none. */
    unsigned checksum = ~fold(udp_sum(&back)) & 0xFFFF;
    put16(udp + 6, checksum ? checksum : 0xFFFF);
    return header + it->len;
}

/* Answers one packet. Where there is no room the answer is lost, as datagrams may be. */
static void echo(const struct channel *channel, const struct octroi_frame *frame)
{
    struct datagram datagram;
    struct octroi_slot slot;

    if (parse(frame, &datagram) != 0 || octroi_tx_next(channel->stack, channel->number, &slot) != 0)
        return;
    size_t len = answer(&datagram, slot.bytes, slot.len);
    if (len > 0)
        octroi_tx_commit(channel->stack, channel->number, len, OCTROI_IP);
}

/* One channel's thread. */
static void *serve(void *argument)
{
    const struct channel *channel = argument;

    while (!stopping) {
        /* Sends what was committed, then sleeps. */
        int ready = octroi_wait(channel->stack, channel->number, OCTROI_RX, PATIENCE_MS);
        if (ready == -ENOTCONN)
            continue; /* the daemon is gone: the main thread brings it back */
        if (ready < 0)
            break; /* the session is over, or the new daemon has fewer channels */
        struct octroi_frame frame;
        while (octroi_rx_next(channel->stack, channel->number, &frame) == 0)
            echo(channel, &frame);
        octroi_rx_release(channel->stack, channel->number);
    }
    return NULL;
}

/* Starts a thread for each channel that has none yet, and returns how many there are. */
static int start(struct octroi_stack *stack, struct channel *channels, pthread_t *threads, int started)
{
    int wanted = octroi_channels(stack);

    for (; started < wanted && started < MAX_CHANNELS; started++) {
        channels[started] = (struct channel){stack, (unsigned)started};
        if (pthread_create(&threads[started], NULL, serve, &channels[started]) != 0)
            break;
    }
    return started;
}

/* Hears everything that happened; -1 once there is nothing left to do. */
static int hear(struct octroi_stack *stack)
{
    struct octroi_event event;

    while (octroi_event(stack, &event) == 0) {
        switch (event.kind) {
        case OCTROI_EVENT_DISCONNECTED:
            say("disconnected");
            break;
        case OCTROI_EVENT_RECONNECTED:
            say("reconnected");
            break;
        case OCTROI_EVENT_REVOKED:
            /* The only tuple that there is. */
            say("revoked");
            return -1;
        case OCTROI_EVENT_OVER:
            say("over");
            return -1;
        default: /* an address went or came: the others are still served */
            break;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct channel channels[MAX_CHANNELS];
    static pthread_t threads[MAX_CHANNELS];
    struct octroi_options options = {.name = "echo"};
    struct octroi_tuple tuple = {.protocol = IPPROTO_UDP, .family = OCTROI_ANY};
    struct sigaction action = {.sa_handler = stop};
    struct octroi_stack *stack;
    uint16_t id;
    int failed, started = 0, over = 0;

    if (argc != 3) {
        fprintf(stderr, "usage: %s SOCKET PORT\n", argv[0]);
        return 2;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    failed = octroi_open(argv[1], &options, &stack);
    if (failed) {
        fprintf(stderr, "no session at %s: %s\n", argv[1], strerror(-failed));
        return 1;
    }
    tuple.port = (uint16_t)strtoul(argv[2], NULL, 10);
    failed = octroi_register(stack, &tuple, -1, &id);
    if (failed) {
        fprintf(stderr, "UDP port %s: %s\n", argv[2], strerror(-failed));
        octroi_close(stack);
        return 1;
    }
    say("ready");

    while (!stopping && !over) {
        started = start(stack, channels, threads, started);
        /* While the daemon is gone this is negative, which poll() takes for a pause. */
        struct pollfd control = {.fd = octroi_fd(stack, OCTROI_CONTROL), .events = POLLIN};
        poll(&control, 1, PATIENCE_MS);
        over = hear(stack);
    }
    stopping = true;
    while (started > 0)
        pthread_join(threads[--started], NULL);
    octroi_close(stack);
    return over ? 1 : 0;
}
