/*
 * PCRE2 with its JIT compiler: all literals as one alternation, the fast path that checks nothing.
 *
 *     cc -O2 -o pcre2_jit pcre2_jit.c -lpcre2-8
 *
 * It asks for no captures and stops at the first hit.
 */
#define _POSIX_C_SOURCE 200809L
#define PCRE2_CODE_UNIT_WIDTH 8

#include <pcre2.h>

#include "scan.h"

struct scanner {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static int scan(void *scanner, struct scan_packet *packet)
{
    struct scanner *s = (struct scanner *)scanner;
    int found = pcre2_jit_match(s->code, packet->bytes, packet->len, 0, 0, s->match, s->context);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        scan_fail("a limit was met", "pcre2_jit_match");
    return 0 <= found;
}

int main(int argc, char **argv)
{
    struct scan_input input = scan_read(argc, argv);
    char *pattern = scan_alternation(&input), version[64];
    struct scanner scanner;
    int error;
    PCRE2_SIZE where;

    scanner.code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_DOTALL, &error, &where, NULL);
    if (!scanner.code)
        scan_fail("the literals do not compile", argv[0]);
    if (pcre2_jit_compile(scanner.code, PCRE2_JIT_COMPLETE) != 0)
        scan_fail("there is no JIT here", argv[0]);
    scanner.match = pcre2_match_data_create(1, NULL);
    scanner.context = pcre2_match_context_create(NULL);
    if (!scanner.match || !scanner.context)
        scan_fail("out of memory", argv[0]);
    pcre2_jit_stack_assign(scanner.context, NULL, pcre2_jit_stack_create(32 * 1024, 1024 * 1024, NULL));
    pcre2_config(PCRE2_CONFIG_VERSION, version);
    *strchr(version, ' ') = 0; /* the date follows */
    return scan_serve(&input, "pcre2-jit", version, SCAN_READS, scan, &scanner);
}
