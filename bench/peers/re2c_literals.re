/*
 * re2c: all literals as one scanner in C, made at run time.
 *
 *     re2c -o re2c_literals.c -I DIRECTORY_OF_LITERALS re2c_literals.re && cc -O2 -o re2c_literals re2c_literals.c
 *
 * literals.re holds one definition, `literal = "\x66\x6f\x6f" | ...;`. It tries at each byte in turn and stops at the first
 * hit, as its manual shows it. One automaton for `[^]* literal` is no faster, and takes a compiler minutes.
 */
#define _POSIX_C_SOURCE 200809L

#include "scan.h"

static int scan(void *scanner, struct scan_packet *packet)
{
    const unsigned char *YYCURSOR = packet->bytes, *YYLIMIT = packet->bytes + packet->len, *YYMARKER = NULL;
    (void)scanner;
    for (;;) {
        /*!include:re2c "literals.re" */
        /*!re2c
            re2c:define:YYCTYPE = "unsigned char";
            re2c:yyfill:enable = 0;
            re2c:eof = 0;

            literal { return 1; }
            *       { continue; }
            $       { return 0; }
        */
    }
}

int main(int argc, char **argv)
{
    struct scan_input input = scan_read(argc, argv);
    return scan_serve(&input, "re2c", RE2C_VERSION, SCAN_READS, scan, NULL);
}
