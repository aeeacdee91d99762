/*
 * What the peers that scan packets do alike: read patterns and packets, scan them pass by pass, print what it took.
 *
 *     PEER PATTERNS PACKETS PASSES
 *
 * PATTERNS: one a line. A literal is written as hexadecimal digits; a line that begins with `/` is a regular expression.
 * PACKETS: each is its length, four bytes, the least significant first, and its bytes.
 *
 * A packet is a hit if any pattern occurs anywhere in it. All packets are in memory before the first pass, each followed by
 * a byte 0 for scanners that look for an end. It prints one JSON object: what was compiled how fast, how many packets
 * were hits, and the nanoseconds of every pass. It judges nothing, and warms nothing up: whoever reads it leaves the
 * first passes out.
 *
 * Written in what C and C++ have in common.
 */
#ifndef OCTROI_PEERS_SCAN_H
#define OCTROI_PEERS_SCAN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct scan_packet {
    const unsigned char *bytes;
    size_t len;
};

struct scan_input {
    char **patterns; /* regular expressions; a literal's bytes are \xHH each */
    size_t pattern_count;
    struct scan_packet *packets;
    size_t packet_count;
    unsigned long passes;
};

/* Whether any pattern occurs in these bytes: 1 or 0. */
typedef int scan_one(void *scanner, const unsigned char *bytes, size_t len);

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
static char *scan_pattern(const char *line, const char *name)
{
    size_t len = strlen(line), at;
    char *pattern = (char *)scan_allocate(NULL, 2 * len + 1), *end = pattern;
    if (*line == '/')
        return strcpy(pattern, line + 1);
    if (len % 2 != 0 || strspn(line, "0123456789abcdefABCDEF") != len)
        scan_fail("a line is neither hexadecimal nor begins with `/`", name);
    for (at = 0; at < len; at += 2)
        end += sprintf(end, "\\x%.2s", line + at);
    return pattern;
}

static void scan_read_patterns(struct scan_input *input, const char *name)
{
    size_t len;
    char *text = (char *)scan_read_file(name, &len), *line;
    input->patterns = NULL;
    input->pattern_count = 0;
    for (line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n")) {
        size_t size = (input->pattern_count + 1) * sizeof *input->patterns;
        input->patterns = (char **)scan_allocate(input->patterns, size);
        input->patterns[input->pattern_count++] = scan_pattern(line, name);
    }
    if (input->pattern_count == 0)
        scan_fail("has no pattern", name);
    free(text);
}

static void scan_read_packets(struct scan_input *input, const char *name)
{
    size_t len, at = 0;
    unsigned char *file = scan_read_file(name, &len), *memory = (unsigned char *)scan_allocate(NULL, len);
    input->packets = NULL;
    input->packet_count = 0;
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
    struct scan_input input;
    char *end;
    if (argc != 4)
        scan_fail("usage: PATTERNS PACKETS PASSES", argv[0]);
    scan_read_patterns(&input, argv[1]);
    scan_read_packets(&input, argv[2]);
    input.passes = strtoul(argv[3], &end, 10);
    if (*end || input.passes == 0)
        scan_fail("is no number of passes", argv[3]);
    return input;
}

/* All patterns as one regular expression. */
static inline char *scan_alternation(const struct scan_input *input)
{
    size_t room = 1, at;
    char *all, *end;
    for (at = 0; at < input->pattern_count; at++)
        room += strlen(input->patterns[at]) + 5;
    end = all = (char *)scan_allocate(NULL, room);
    for (at = 0; at < input->pattern_count; at++)
        end += sprintf(end, "%s(?:%s)", at ? "|" : "", input->patterns[at]);
    return all;
}

/* Scans, pass by pass, and prints. */
static int scan_measure(const struct scan_input *input, const char *peer, const char *version, uint64_t compile_ns,
                        scan_one *scan, void *scanner)
{
    uint64_t *took = (uint64_t *)scan_allocate(NULL, input->passes * sizeof *took);
    size_t hits = 0, bytes = 0, at;
    unsigned long pass;
    for (at = 0; at < input->packet_count; at++)
        bytes += input->packets[at].len;
    for (pass = 0; pass < input->passes; pass++) {
        uint64_t start = scan_now();
        hits = 0;
        for (at = 0; at < input->packet_count; at++)
            hits += (size_t)scan(scanner, input->packets[at].bytes, input->packets[at].len);
        took[pass] = scan_now() - start;
    }
    printf("{\"peer\":\"%s\",\"version\":\"%s\",\"compile_ns\":%llu,\"packets\":%zu,\"bytes\":%zu,\"hits\":%zu,", peer,
           version, (unsigned long long)compile_ns, input->packet_count, bytes, hits);
    printf("\"ns_per_pass\":[");
    for (pass = 0; pass < input->passes; pass++)
        printf("%s%llu", pass ? "," : "", (unsigned long long)took[pass]);
    printf("]}\n");
    free(took);
    return fflush(stdout) == 0 ? 0 : 1;
}

#endif
