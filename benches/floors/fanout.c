/* The floor of live fan-out: the frames' datagrams are ready in memory, each run of equal sizes leaves by one send
 * with UDP_SEGMENT to each viewer; or with "single" each packet by a sendto of its own, as programs do that know
 * nothing of it.
 *
 *   fanout FIRST_PORT VIEWERS SEGMENT ROUNDS INTERVAL_MS [single] < frames
 *
 * Input: frames as a 4-byte run count, then runs as a 4-byte length and the bytes (native order), until the end.
 * All frames are sent ROUNDS times, a frame every INTERVAL_MS. Prints: packets, CPU µs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { MOST = 4096 };

static double cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

struct frame {
    uint32_t runs;
    uint32_t sizes[64];
    char *bytes[64];
};

int main(int argc, char **argv) {
    if (argc != 6 && argc != 7) return 2;
    int single = argc == 7;
    int first = atoi(argv[1]), viewers = atoi(argv[2]), segment = atoi(argv[3]), rounds = atoi(argv[4]);
    long interval = atof(argv[5]) * 1e6;
    static struct frame frames[MOST];
    int count = 0;
    for (uint32_t runs; count < MOST && fread(&runs, 4, 1, stdin) == 1; count++) {
        if (runs > 64) return 1;
        frames[count].runs = runs;
        for (uint32_t r = 0; r < runs; r++) {
            if (fread(&frames[count].sizes[r], 4, 1, stdin) != 1) return 1;
            frames[count].bytes[r] = malloc(frames[count].sizes[r]);
            if (fread(frames[count].bytes[r], frames[count].sizes[r], 1, stdin) != 1) return 1;
        }
    }
    int *sockets = calloc(viewers, sizeof *sockets);
    struct sockaddr_in *addresses = calloc(viewers, sizeof *addresses);
    for (int v = 0; v < viewers; v++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(first + 2 * v)};
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        sockets[v] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        addresses[v] = a;
        if (!single && connect(sockets[v], (struct sockaddr *)&a, sizeof a)) return 1;
        if (!single && setsockopt(sockets[v], IPPROTO_UDP, 103, &segment, sizeof segment)) return 3;
    }
    unsigned long packets = 0;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    double cpu = cpu_us();
    for (int round = 0; round < rounds; round++)
        for (int f = 0; f < count; f++) {
            for (int v = 0; v < viewers; v++)
                for (uint32_t r = 0; r < frames[f].runs; r++)
                    if (single) {
                        for (uint32_t at = 0; at < frames[f].sizes[r]; at += segment) {
                            uint32_t left = frames[f].sizes[r] - at, size = left < (uint32_t)segment ? left : (uint32_t)segment;
                            if (sendto(sockets[v], frames[f].bytes[r] + at, size, 0, (void *)&addresses[v], sizeof *addresses) > 0)
                                packets++;
                        }
                    } else if (send(sockets[v], frames[f].bytes[r], frames[f].sizes[r], 0) > 0)
                        packets += (frames[f].sizes[r] + segment - 1) / segment;
            next.tv_nsec += interval;
            while (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        }
    printf("%lu %.0f\n", packets, cpu_us() - cpu);
    return 0;
}
