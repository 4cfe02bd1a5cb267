/* The floor of ingest: what any program must do. For each camera's socket: receive (recvmmsg), put the payloads of
 * its packets one after the other, and write what came together once it is a fragment's size. A thread syncs each
 * file every 5 s, and has the system forget what was synced the last time, as the product does.
 *
 *   ingest FIRST_PORT CAMERAS WARM_UP SECONDS FRAGMENT_BYTES DIRECTORY
 *
 * Prints "ready"; counts for SECONDS, from WARM_UP seconds after the first packet on; then prints: packets, bytes
 * written, CPU µs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, SIZE = 2048, RTP_AND_FU = 14 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

struct camera {
    int socket, file;
    size_t filled;
    off_t end, synced, cold;
    char *fragment;
};

static struct camera *cameras;
static int count;

static void *sync_files(void *unused) {
    (void)unused;
    for (int i = 0;; i = (i + 1) % count) {
        usleep(5000000 / count);
        struct camera *c = &cameras[i];
        off_t end = c->end;
        fdatasync(c->file);
        if (c->synced > c->cold) posix_fadvise(c->file, c->cold, c->synced - c->cold, POSIX_FADV_DONTNEED);
        c->cold = c->synced;
        c->synced = end;
    }
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    int first = atoi(argv[1]);
    count = atoi(argv[2]);
    double warm_up = atof(argv[3]), seconds = atof(argv[4]);
    size_t limit = strtoul(argv[5], NULL, 10);
    cameras = calloc(count, sizeof *cameras);
    int poll = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        struct camera *c = &cameras[i];
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(first + 2 * i)};
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        c->socket = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        int room = 4 << 20;
        if (setsockopt(c->socket, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
            setsockopt(c->socket, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        if (bind(c->socket, (struct sockaddr *)&a, sizeof a)) fail("bind");
        char path[4096];
        snprintf(path, sizeof path, "%s/%d", argv[6], i);
        c->file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (c->file < 0) fail(path);
        c->fragment = malloc(limit + BATCH * SIZE);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, c->socket, &e);
    }
    static char buffers[BATCH][SIZE];
    struct iovec vectors[BATCH];
    struct mmsghdr messages[BATCH];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){buffers[i], SIZE};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, sync_files, NULL)) return 1;
    puts("ready");
    fflush(stdout);
    unsigned long packets = 0, written = 0;
    double begin = 0, end = 0, cpu = 0;
    struct epoll_event events[128];
    for (;;) {
        int ready = epoll_wait(poll, events, 128, 100);
        double t = now();
        if (!begin && ready > 0) begin = t + warm_up;
        if (!end && begin && t >= begin) end = t + seconds, cpu = cpu_us(), packets = written = 0;
        if (end && t >= end) break;
        for (int k = 0; k < ready; k++) {
            struct camera *c = &cameras[events[k].data.u32];
            int got;
            do {
                got = recvmmsg(c->socket, messages, BATCH, 0, NULL);
                for (int i = 0; i < got; i++) {
                    size_t size = messages[i].msg_len;
                    if (size <= RTP_AND_FU) continue;
                    memcpy(c->fragment + c->filled, buffers[i] + RTP_AND_FU, size - RTP_AND_FU);
                    c->filled += size - RTP_AND_FU;
                }
                if (got > 0) packets += got;
                if (c->filled >= limit) {
                    if (write(c->file, c->fragment, c->filled) != (ssize_t)c->filled) fail("write");
                    written += c->filled;
                    c->end += c->filled;
                    c->filled = 0;
                }
            } while (got == BATCH);
        }
    }
    printf("%lu %lu %.0f\n", packets, written, cpu_us() - cpu);
    return 0;
}
