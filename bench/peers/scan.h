/*
 * What the peers that scan packets do alike: read packets and literals, then scan as often as they are told to.
 *
 *     PEER PACKETS [LITERALS]
 *
 * PACKETS: each is its length, four bytes, the least significant first, and its bytes.
 * LITERALS: one a line, in hexadecimal digits.
 *
 * All packets are in memory before the first pass, each followed by a byte 0 for scanners that look for an end. A peer says
 * `ready NAME VERSION`, then reads numbers of passes from its input, one a line, and answers each with the nanoseconds of
 * all these passes, how many packets one of them hit, and a sum over what it left in memory. At the end of its input it
 * ends. Who asks can so take turns with it. It judges nothing and warms nothing up.
 *
 * Written in what C and C++ have in common.
 */
#ifndef OCTROI_PEERS_SCAN_H
#define OCTROI_PEERS_SCAN_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct scan_packet {
    unsigned char *bytes;
    size_t len;
};

struct scan_input {
    struct scan_packet *packets;
    size_t packet_count;
    char **literals; /* as regular expressions: each byte is \xHH */
    size_t literal_count;
};

/* Whether scanning changes packets. */
enum scan_effect { SCAN_READS, SCAN_WRITES };

/* Whether this packet is a hit: 1 or 0. */
typedef int scan_one(void *scanner, struct scan_packet *packet);

static void scan_fail(const char *what, const char *which)
{
    fprintf(stderr, "%s: %s\n", which, what);
    exit(1);
}

static void *scan_allocate(void *old, size_t size)
{
    void *memory = realloc(old, size ? size : 1);
    if (!memory)
        scan_fail("out of memory", "scan");
    return memory;
}

static uint64_t scan_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A file's bytes, with a 0 behind them. */
static unsigned char *scan_read_file(const char *name, size_t *len)
{
    size_t room = 1 << 16, used = 0, got;
    unsigned char *bytes = (unsigned char *)scan_allocate(NULL, room + 1);
    FILE *file = fopen(name, "rb");
    if (!file)
        scan_fail("cannot be opened", name);
    while ((got = fread(bytes + used, 1, room - used, file)) != 0) {
        used += got;
        if (used == room)
            bytes = (unsigned char *)scan_allocate(bytes, (room *= 2) + 1);
    }
    if (ferror(file))
        scan_fail("cannot be read", name);
    fclose(file);
    bytes[used] = 0;
    *len = used;
    return bytes;
}

/* One line as a regular expression. */
static char *scan_literal(const char *line, const char *name)
{
    size_t len = strlen(line), at;
    char *literal = (char *)scan_allocate(NULL, 2 * len + 1), *end = literal;
    if (len % 2 != 0 || strspn(line, "0123456789abcdefABCDEF") != len)
        scan_fail("a line is not hexadecimal", name);
    for (at = 0; at < len; at += 2)
        end += sprintf(end, "\\x%.2s", line + at);
    return literal;
}

static void scan_read_literals(struct scan_input *input, const char *name)
{
    size_t len;
    char *text = (char *)scan_read_file(name, &len), *line;
    for (line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        size_t size = (input->literal_count + 1) * sizeof *input->literals;
        input->literals = (char **)scan_allocate(input->literals, size);
        input->literals[input->literal_count++] = scan_literal(line, name);
    }
    if (input->literal_count == 0)
        scan_fail("has no literal", name);
    free(text);
}

static void scan_read_packets(struct scan_input *input, const char *name)
{
    size_t len, at = 0;
    unsigned char *file = scan_read_file(name, &len), *memory = (unsigned char *)scan_allocate(NULL, len);
    while (at < len) {
        const unsigned char *l = file + at;
        size_t size, left = len - at;
        struct scan_packet *packet;
        if (left < 4)
            scan_fail("ends within a length", name);
        size = l[0] | (size_t)l[1] << 8 | (size_t)l[2] << 16 | (size_t)l[3] << 24;
        if (left - 4 < size)
            scan_fail("ends within a packet", name);
        if ((input->packet_count & (input->packet_count + 1)) == 0) {
            size_t room = 2 * (input->packet_count + 1) * sizeof *input->packets;
            input->packets = (struct scan_packet *)scan_allocate(input->packets, room);
        }
        packet = &input->packets[input->packet_count++];
        packet->bytes = memory;
        packet->len = size;
        memcpy(memory, l + 4, size);
        memory += size;
        *memory++ = 0; /* the four bytes of a length are room enough */
        at += 4 + size;
    }
    if (input->packet_count == 0)
        scan_fail("has no packet", name);
    free(file);
}

static struct scan_input scan_read(int argc, char **argv)
{
    struct scan_input input = {NULL, 0, NULL, 0};
    if (argc < 2 || 3 < argc)
        scan_fail("usage: PACKETS [LITERALS]", argv[0]);
    scan_read_packets(&input, argv[1]);
    if (argc == 3)
        scan_read_literals(&input, argv[2]);
    return input;
}

/* All literals as one regular expression. */
static inline char *scan_alternation(const struct scan_input *input)
{
    size_t room = 1, at;
    char *all, *end;
    for (at = 0; at < input->literal_count; at++)
        room += strlen(input->literals[at]) + 1;
    end = all = (char *)scan_allocate(NULL, room);
    *end = 0;
    for (at = 0; at < input->literal_count; at++)
        end += sprintf(end, "%s%s", at ? "|" : "", input->literals[at]);
    return all;
}

/* FNV-1a of every packet's length and bytes, 64 bits. */
static uint64_t scan_sum(const struct scan_input *input)
{
    uint64_t sum = 0xcbf29ce484222325u;
    size_t packet, at;
    for (packet = 0; packet < input->packet_count; packet++) {
        const struct scan_packet *p = &input->packets[packet];
        for (at = 0; at < 4; at++)
            sum = (sum ^ (p->len >> 8 * at & 0xff)) * 0x100000001b3u;
        for (at = 0; at < p->len; at++)
            sum = (sum ^ p->bytes[at]) * 0x100000001b3u;
    }
    return sum;
}

/* Packets as they were before anything was written into them. */
struct scan_copy {
    struct scan_packet *packets;
    unsigned char *bytes;
    size_t size;
};

static struct scan_copy scan_keep(const struct scan_input *input)
{
    const struct scan_packet *first = input->packets, *last = first + input->packet_count - 1;
    struct scan_copy copy;
    copy.size = (size_t)(last->bytes + last->len - first->bytes);
    copy.packets = (struct scan_packet *)scan_allocate(NULL, input->packet_count * sizeof *first);
    copy.bytes = (unsigned char *)scan_allocate(NULL, copy.size);
    memcpy(copy.packets, first, input->packet_count * sizeof *first);
    memcpy(copy.bytes, first->bytes, copy.size);
    return copy;
}

static void scan_restore(const struct scan_input *input, const struct scan_copy *copy)
{
    memcpy(input->packets, copy->packets, input->packet_count * sizeof *input->packets);
    memcpy(input->packets->bytes, copy->bytes, copy->size);
}

/* Answers until the input ends. What a scanner writes into packets is undone before the next pass, in nobody's time. */
static int scan_serve(const struct scan_input *input, const char *peer, const char *version, enum scan_effect effect,
                      scan_one *scan, void *scanner)
{
    struct scan_copy copy = scan_keep(input);
    char line[32];
    printf("ready %s %s\n", peer, version);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        unsigned long passes = strtoul(line, NULL, 10), pass;
        uint64_t took = 0, start;
        size_t hits = 0, at;
        if (passes == 0)
            scan_fail("is no number of passes", line);
        for (pass = 0; pass < passes; pass++) {
            if (effect == SCAN_WRITES)
                scan_restore(input, &copy);
            hits = 0;
            start = scan_now();
            for (at = 0; at < input->packet_count; at++)
                hits += (size_t)scan(scanner, &input->packets[at]);
            took += scan_now() - start;
        }
        printf("%" PRIu64 " %zu %" PRIu64 "\n", took, hits, scan_sum(input));
        fflush(stdout);
    }
    return 0;
}

#endif
