/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watches every GMutex of a program that is linked with the library's objects
 * and with --wrap for the functions below: which a thread holds, and in which
 * order they are taken.
 */
#ifndef VMLOAD_TESTS_LOCK_RECORDER_H
#define VMLOAD_TESTS_LOCK_RECORDER_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Forgets all. @big_lock: the one that callbacks may be called with. */
void lock_recorder_reset(GMutex *big_lock);

/* In a callback: counts a failure if this thread holds any other mutex. */
void lock_recorder_in_callback(const char *name);

/* Failures so far, and how often any mutex but the big lock was taken. */
uint32_t lock_recorder_failures(void);
uint32_t lock_recorder_taken(void);

#endif
