/*
 * RE2: all literals as one set; bytes, not UTF-8.
 *
 *     c++ -O2 -o re2 re2.cc -lre2
 *
 * It asks for no captures and not which literal it was. It does not know its own version.
 */
#include <re2/re2.h>
#include <re2/set.h>

#include "scan.h"

static int scan(void *scanner, struct scan_packet *packet)
{
    re2::StringPiece bytes(reinterpret_cast<const char *>(packet->bytes), packet->len);
    return static_cast<RE2::Set *>(scanner)->Match(bytes, nullptr);
}

int main(int argc, char **argv)
{
    struct scan_input input = scan_read(argc, argv);
    RE2::Options options(RE2::Latin1);
    options.set_dot_nl(true);
    options.set_log_errors(false);
    options.set_max_mem(256 << 20);
    RE2::Set set(options, RE2::UNANCHORED);
    for (size_t at = 0; at < input.literal_count; at++) {
        std::string error;
        if (set.Add(input.literals[at], &error) < 0)
            scan_fail(error.c_str(), argv[0]);
    }
    if (!set.Compile())
        scan_fail("the literals do not compile", argv[0]);
    return scan_serve(&input, "re2", "", SCAN_READS, scan, &set);
}
