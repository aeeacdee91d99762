/*
 * re2c: HTTP requests cut down to their request lines, by hand around a scanner with a tag.
 *
 *     re2c -o re2c_requests.c re2c_requests.re && cc -O2 -o re2c_requests re2c_requests.c
 *
 * A hit is an Ethernet frame with IPv4 without options and TCP to port 80, whose payload begins with a request line. It
 * becomes the same frame without what is behind that line, its lengths and checksums made anew. Other packets stay as
 * they are.
 */
#define _POSIX_C_SOURCE 200809L

#include "scan.h"

enum { IP = 14, TCP = IP + 20 };

/* The end of the request line that begins here, or NULL. */
static const unsigned char *request_line(const unsigned char *YYCURSOR, const unsigned char *YYLIMIT)
{
    const unsigned char *YYMARKER = NULL, *end;
    /*!stags:re2c format = 'const unsigned char *@@{tag} = NULL;'; */
    /*!re2c
        re2c:define:YYCTYPE = "unsigned char";
        re2c:yyfill:enable = 0;
        re2c:eof = 0;
        re2c:flags:tags = 1;

        method = "GET " | "POST " | "HEAD ";
        line   = ([^\r] | [\r]+ [^\r\n])* [\r]+ [\n];

        method line @end { return end; }
        *                { return NULL; }
        $                { return NULL; }
    */
}

/* The bytes added up in words of 16 bits, big endian. */
static uint64_t add_words(uint64_t sum, const unsigned char *bytes, size_t len)
{
    for (; 4 <= len; bytes += 4, len -= 4)
        sum += (uint64_t)bytes[0] << 24 | (uint64_t)bytes[1] << 16 | (uint64_t)bytes[2] << 8 | bytes[3];
    if (2 <= len)
        sum += (uint64_t)bytes[0] << 8 | bytes[1];
    if (len % 2 != 0)
        sum += (uint64_t)bytes[len - 1] << 8;
    return sum;
}

static void put_checksum(unsigned char *field, uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    field[0] = (unsigned char)(~sum >> 8);
    field[1] = (unsigned char)~sum;
}

static int scan(void *scanner, struct scan_packet *packet)
{
    unsigned char *p = packet->bytes;
    size_t tcp_header, tcp_len;
    const unsigned char *end;
    (void)scanner;
    if (packet->len < TCP + 20 || p[12] != 0x08 || p[13] != 0x00 || p[IP] != 0x45 || (p[IP + 6] & 0x1f) != 0 ||
        p[IP + 7] != 0 || p[IP + 9] != 6 || p[TCP + 2] != 0 || p[TCP + 3] != 80)
        return 0;
    tcp_header = (size_t)(p[TCP + 12] >> 4) * 4;
    if (tcp_header < 20 || packet->len < TCP + tcp_header)
        return 0;
    end = request_line(p + TCP + tcp_header, p + packet->len);
    if (!end)
        return 0;
    packet->len = (size_t)(end - p);
    tcp_len = packet->len - TCP;
    p[IP + 2] = (unsigned char)((packet->len - IP) >> 8);
    p[IP + 3] = (unsigned char)(packet->len - IP);
    p[IP + 10] = p[IP + 11] = 0;
    put_checksum(p + IP + 10, add_words(0, p + IP, 20));
    p[TCP + 16] = p[TCP + 17] = 0;
    put_checksum(p + TCP + 16, add_words(add_words(6 + tcp_len, p + IP + 12, 8), p + TCP, tcp_len));
    return 1;
}

int main(int argc, char **argv)
{
    struct scan_input input = scan_read(argc, argv);
    return scan_serve(&input, "re2c", RE2C_VERSION, SCAN_WRITES, scan, NULL);
}
