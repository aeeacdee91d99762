/*
 * Hyperscan: all literals in one database, each packet a block.
 *
 *     cc -O2 -o hyperscan hyperscan.c $(pkg-config --cflags --libs libhs)
 *
 * It asks for no offsets and stops at the first hit.
 */
#define _POSIX_C_SOURCE 200809L

#include <hs.h>

#include "scan.h"

struct scanner {
    hs_database_t *database;
    hs_scratch_t *scratch;
};

static int on_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *context)
{
    (void)id, (void)from, (void)to, (void)flags;
    *(int *)context = 1;
    return 1;
}

static int scan(void *scanner, struct scan_packet *packet)
{
    struct scanner *s = (struct scanner *)scanner;
    int hit = 0;
    hs_error_t error =
        hs_scan(s->database, (const char *)packet->bytes, (unsigned)packet->len, 0, s->scratch, on_match, &hit);
    if (error != HS_SUCCESS && error != HS_SCAN_TERMINATED)
        scan_fail("failed", "hs_scan");
    return hit;
}

int main(int argc, char **argv)
{
    struct scan_input input = scan_read(argc, argv);
    unsigned *flags = (unsigned *)scan_allocate(NULL, input.literal_count * sizeof *flags);
    struct scanner scanner = {NULL, NULL};
    hs_compile_error_t *error;
    char version[64];

    for (size_t at = 0; at < input.literal_count; at++)
        flags[at] = HS_FLAG_DOTALL | HS_FLAG_SINGLEMATCH;
    if (hs_compile_multi((const char *const *)input.literals, flags, NULL, (unsigned)input.literal_count, HS_MODE_BLOCK,
                         NULL, &scanner.database, &error) != HS_SUCCESS)
        scan_fail(error->message, argv[0]);
    if (hs_alloc_scratch(scanner.database, &scanner.scratch) != HS_SUCCESS)
        scan_fail("out of memory", argv[0]);
    snprintf(version, sizeof version, "%s", hs_version());
    if (strchr(version, ' '))
        *strchr(version, ' ') = 0; /* the date follows */
    return scan_serve(&input, "hyperscan", version, SCAN_READS, scan, &scanner);
}
