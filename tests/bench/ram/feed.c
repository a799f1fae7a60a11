/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sender of the RAM benchmark: what a source has sent before, as fast as
 * it is taken.
 *
 *   feed [--pause=BYTE,MS] ADDRESS FILE...
 *
 * ADDRESS is unix:PATH, tcp:PORT or fd:NUMBER. With several files each has a
 * connection and a thread; the first file's connection is made first, as the
 * main channel's is. Everything is mapped before anybody connects, so that
 * what is measured is not the sender's page cache. Prints when it began. With
 * --pause the last file's connection is silent for MS milliseconds at BYTE.
 */
#include "common.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct {
    pthread_t thread;
    const uint8_t *data;
    size_t size;
    int fd;
    unsigned long pause_at;
    unsigned long pause_ms;
} Feed;

static void *feed_one(void *data)
{
    const Feed *feed = data;

    size_t first = feed->pause_at < feed->size ? feed->pause_at : feed->size;

    if (feed->pause_ms > 0) {
        write_exactly(feed->fd, feed->data, first);
        usleep((useconds_t)feed->pause_ms * 1000u);
        write_exactly(feed->fd, feed->data + first, feed->size - first);
    } else {
        write_exactly(feed->fd, feed->data, feed->size);
    }
    close(feed->fd);
    return NULL;
}

int main(int argc, char **argv)
{
    Feed pause = {0};
    Feed *feeds;
    size_t n;
    size_t i;

    if (argc > 1 && sscanf(argv[1], "--pause=%lu,%lu", &pause.pause_at,
                           &pause.pause_ms) == 2) {
        argc--;
        argv++;
    }
    n = argc > 2 ? (size_t)argc - 2 : 0;
    feeds = calloc(n + 1, sizeof(*feeds));
    if (n == 0 || feeds == NULL) {
        fprintf(stderr, "usage: feed [--pause=BYTE,MS] ADDRESS FILE...\n");
        return 2;
    }
    feeds[n - 1].pause_at = pause.pause_at;
    feeds[n - 1].pause_ms = pause.pause_ms;
    for (i = 0; i < n; i++) {
        feeds[i].data = map_file(argv[i + 2], &feeds[i].size);
    }
    printf("{\"begin_ns\": %llu}\n", (unsigned long long)now_ns());
    fflush(stdout);
    for (i = 0; i < n; i++) {
        feeds[i].fd = connect_to(argv[1]);
    }
    for (i = 0; i < n; i++) {
        if (pthread_create(&feeds[i].thread, NULL, feed_one, &feeds[i]) !=
            0) {
            fail("thread", "cannot be made");
        }
    }
    for (i = 0; i < n; i++) {
        pthread_join(feeds[i].thread, NULL);
    }
    free(feeds);
    return 0;
}
