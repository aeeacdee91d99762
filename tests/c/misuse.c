/*
 * What a C program may do wrong with octroi.h, done: every mistake is told by the errno that the header promises.
 *
 *     misuse SOCKET PORT
 *
 * It ends with 0 if all is as promised, and is meant to run under a tool that sees what it must not: reads and writes
 * of memory that is not there. After `ready` the daemon must go down.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <netinet/in.h>
#include <octroi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int checks, failures;

static void expect(int line, const char *call, int given, int wanted)
{
    checks++;
    if (given == wanted)
        return;
    failures++;
    printf("line %d: %s: %d (%s), not %d\n", line, call, given, strerror(abs(given)), wanted);
}

#define EXPECT(call, wanted) expect(__LINE__, #call, call, wanted)

static struct octroi_options options = {.name = "misuse", .rx_slots = 64, .tx_slots = 64};
static struct octroi_tuple tuple = {.protocol = IPPROTO_UDP, .family = OCTROI_ANY};
static struct octroi_frame frame;
static struct octroi_slot slot;
static struct octroi_event event;
static uint16_t id;

static void null_pointers(const char *path, struct octroi_stack *stack)
{
    struct octroi_options nameless = {.name = NULL};
    struct octroi_stack *other;

    EXPECT(octroi_open(NULL, &options, &other), -EFAULT);
    EXPECT(octroi_open(path, NULL, &other), -EFAULT);
    EXPECT(octroi_open(path, &nameless, &other), -EFAULT);
    EXPECT(octroi_open(path, &options, NULL), -EFAULT);
    EXPECT(octroi_channels(NULL), -EFAULT);
    EXPECT(octroi_register(NULL, &tuple, -1, &id), -EFAULT);
    EXPECT(octroi_register(stack, NULL, -1, &id), -EFAULT);
    EXPECT(octroi_register(stack, &tuple, -1, NULL), -EFAULT);
    EXPECT(octroi_release(NULL, 1), -EFAULT);
    EXPECT(octroi_rx_next(NULL, 0, &frame), -EFAULT);
    EXPECT(octroi_rx_next(stack, 0, NULL), -EFAULT);
    EXPECT(octroi_rx_release(NULL, 0), -EFAULT);
    EXPECT(octroi_fd(NULL, 0), -EFAULT);
    EXPECT(octroi_tx_next(NULL, 0, &slot), -EFAULT);
    EXPECT(octroi_tx_next(stack, 0, NULL), -EFAULT);
    EXPECT(octroi_tx_commit(NULL, 0, 28, OCTROI_IP), -EFAULT);
    EXPECT(octroi_flush(NULL, 0), -EFAULT);
    EXPECT(octroi_wait(NULL, 0, OCTROI_RX, 0), -EFAULT);
    EXPECT(octroi_event(NULL, &event), -EFAULT);
    EXPECT(octroi_event(stack, NULL), -EFAULT);
    octroi_close(NULL);
}

static void numbers_out_of_range(const char *path, struct octroi_stack *stack)
{
    struct octroi_options odd_slots = {.name = "x", .rx_slots = 100}, odd_frames = {.name = "x", .frames = 2};
    struct octroi_tuple odd = tuple;
    struct octroi_stack *other;
    unsigned channels = (unsigned)octroi_channels(stack);

    EXPECT(octroi_open("/nowhere/at/all", &options, &other), -ECONNREFUSED);
    EXPECT(octroi_open(path, &odd_slots, &other), -EINVAL);
    EXPECT(octroi_open(path, &odd_frames, &other), -EINVAL);
    odd.protocol = IPPROTO_ICMP;
    EXPECT(octroi_register(stack, &odd, -1, &id), -EINVAL);
    odd = tuple, odd.port = 0;
    EXPECT(octroi_register(stack, &odd, -1, &id), -EINVAL);
    odd = tuple, odd.flags = 0x80;
    EXPECT(octroi_register(stack, &odd, -1, &id), -EINVAL);
    odd.flags = OCTROI_ON_CRASH_DROP | OCTROI_ON_CRASH_PASS;
    EXPECT(octroi_register(stack, &odd, -1, &id), -EINVAL);
    odd = tuple, odd.family = AF_UNIX;
    EXPECT(octroi_register(stack, &odd, -1, &id), -EINVAL);
    odd = tuple, odd.family = AF_INET, odd.address[0] = 127, odd.address[3] = 1;
    EXPECT(octroi_register(stack, &odd, -1, &id), -EINVAL);
    odd.address[0] = 192, odd.address[1] = 0, odd.address[2] = 2;
    EXPECT(octroi_register(stack, &odd, -1, &id), -EADDRNOTAVAIL);
    EXPECT(octroi_register(stack, &tuple, 999999, &id), -EBADF);
    for (unsigned c = channels; c <= 65; c++) {
        EXPECT(octroi_rx_next(stack, c, &frame), -ECHRNG);
        EXPECT(octroi_rx_release(stack, c), -ECHRNG);
        EXPECT(octroi_fd(stack, c), -ECHRNG);
        EXPECT(octroi_tx_next(stack, c, &slot), -ECHRNG);
        EXPECT(octroi_tx_commit(stack, c, 28, OCTROI_IP), -ECHRNG);
        EXPECT(octroi_flush(stack, c), -ECHRNG);
        EXPECT(octroi_wait(stack, c, OCTROI_RX, -1), -ECHRNG);
    }
    EXPECT(octroi_rx_next(stack, OCTROI_CONTROL, &frame), -ECHRNG);
    EXPECT(octroi_wait(stack, 0, 0, -1), -EINVAL);
    EXPECT(octroi_wait(stack, 0, 8, -1), -EINVAL);
}

static void tuples(struct octroi_stack *stack)
{
    int socket_fd = socket(AF_INET, SOCK_DGRAM, 0);

    /* A socket that is bound to nothing does not fit. */
    EXPECT(octroi_register(stack, &tuple, socket_fd, &id), -EINVAL);
    close(socket_fd);
    EXPECT(octroi_register(stack, &tuple, -1, &id), 0);
    uint16_t first = id;
    EXPECT(octroi_register(stack, &tuple, -1, &id), -EBUSY);
    EXPECT(octroi_release(stack, first), 0);
    EXPECT(octroi_release(stack, first), -ENOENT);
    EXPECT(octroi_release(stack, 0xFFFF), -ENOENT);
}

static void slots_and_packets(struct octroi_stack *stack)
{
    EXPECT(octroi_rx_next(stack, 0, &frame), -EAGAIN);
    EXPECT(octroi_rx_release(stack, 0), 0);
    EXPECT(octroi_rx_release(stack, 0), 0);
    EXPECT(octroi_tx_commit(stack, 0, 28, OCTROI_IP), -EBADSLT);
    EXPECT(octroi_tx_next(stack, 0, &slot), 0);
    memset(slot.bytes, 0, slot.len);
    EXPECT(octroi_tx_commit(stack, 0, slot.len + 1, OCTROI_IP), -EMSGSIZE);
    EXPECT(octroi_tx_commit(stack, 0, (size_t)-1, OCTROI_IP), -EMSGSIZE);
    EXPECT(octroi_tx_commit(stack, 0, 28, 2), -EINVAL);
    /* Packets that the daemon refuses, all of them, until the ring is full: they hurt nobody. */
    EXPECT(octroi_tx_commit(stack, 0, slot.len, OCTROI_IP), 0);
    EXPECT(octroi_tx_commit(stack, 0, 28, OCTROI_IP), -EBADSLT);
    for (unsigned n = 1; n < options.tx_slots; n++) {
        EXPECT(octroi_tx_next(stack, 0, &slot), 0);
        memset(slot.bytes, 0xFF, slot.len);
        EXPECT(octroi_tx_commit(stack, 0, 28, OCTROI_IP), 0);
    }
    EXPECT(octroi_tx_next(stack, 0, &slot), -EAGAIN);
    EXPECT(octroi_flush(stack, 0), 0);
    EXPECT(octroi_wait(stack, 0, OCTROI_TX, 10000), OCTROI_TX);
    EXPECT(octroi_tx_next(stack, 0, &slot), 0);
}

static void after_the_end(struct octroi_stack *stack)
{
    int told;

    while ((told = octroi_event(stack, &event)) == -EAGAIN)
        octroi_wait(stack, 0, OCTROI_RX, 10);
    EXPECT(told, 0);
    EXPECT((int)event.kind, OCTROI_EVENT_OVER);
    EXPECT((int)event.reason, OCTROI_REASON_SHUTDOWN);
    EXPECT(octroi_event(stack, &event), -ESHUTDOWN);
    EXPECT(octroi_register(stack, &tuple, -1, &id), -ESHUTDOWN);
    EXPECT(octroi_release(stack, id), -ESHUTDOWN);
    EXPECT(octroi_rx_next(stack, 0, &frame), -ESHUTDOWN);
    EXPECT(octroi_rx_release(stack, 0), -ESHUTDOWN);
    EXPECT(octroi_tx_commit(stack, 0, 28, OCTROI_IP), -ESHUTDOWN);
    EXPECT(octroi_tx_next(stack, 0, &slot), -ESHUTDOWN);
    EXPECT(octroi_flush(stack, 0), -ESHUTDOWN);
    EXPECT(octroi_wait(stack, 0, OCTROI_RX, -1), -ESHUTDOWN);
    EXPECT(octroi_fd(stack, 0), -ESHUTDOWN);
    EXPECT(octroi_fd(stack, OCTROI_CONTROL), -ESHUTDOWN);
}

int main(int argc, char **argv)
{
    struct octroi_stack *stack;

    if (argc != 3)
        return 2;
    tuple.port = (uint16_t)strtoul(argv[2], NULL, 10);
    EXPECT(octroi_open(argv[1], &options, &stack), 0);
    if (failures)
        return 1;
    null_pointers(argv[1], stack);
    numbers_out_of_range(argv[1], stack);
    tuples(stack);
    slots_and_packets(stack);
    EXPECT(octroi_register(stack, &tuple, -1, &id), 0);
    puts("ready");
    fflush(stdout);
    after_the_end(stack);
    octroi_close(stack);
    printf("%d checks, %d failures\n", checks, failures);
    return failures ? 1 : 0;
}
