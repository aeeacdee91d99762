/*
 * RE2: all patterns as one set; bytes, not UTF-8.
 *
 *     c++ -O2 -o re2 re2.cc -DRE2_VERSION="$(pkg-config --modversion re2)" -lre2
 *
 * It asks for no captures and not which pattern it was.
 */
#include <re2/re2.h>
#include <re2/set.h>

#include "scan.h"

#define TEXT_OF(word) #word
#define TEXT(word) TEXT_OF(word)

static int scan(void *scanner, const unsigned char *bytes, size_t len)
{
    re2::StringPiece packet(reinterpret_cast<const char *>(bytes), len);
    return static_cast<RE2::Set *>(scanner)->Match(packet, nullptr);
}

int main(int argc, char **argv)
{
    struct scan_input input = scan_read(argc, argv);
    uint64_t start = scan_now();
    RE2::Options options(RE2::Latin1);
    options.set_dot_nl(true);
    options.set_log_errors(false);
    options.set_max_mem(256 << 20);
    RE2::Set set(options, RE2::UNANCHORED);
    for (size_t at = 0; at < input.pattern_count; at++) {
        std::string error;
        if (set.Add(input.patterns[at], &error) < 0)
            scan_fail(error.c_str(), argv[1]);
    }
    if (!set.Compile())
        scan_fail("the patterns do not compile", argv[1]);
    return scan_measure(&input, "re2", TEXT(RE2_VERSION), scan_now() - start, scan, &set);
}
