/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stand-in for libibverbs and librdmacm: all that the library calls of
 * them, without a device, and behind it a source that says what a test tells
 * it. It counts objects, watches their order of death, and can refuse any
 * call. One at a time; all functions from any thread.
 */
#ifndef VMLOAD_TESTS_VERBS_DOUBLE_H
#define VMLOAD_TESTS_VERBS_DOUBLE_H

#include <glib.h>
#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdint.h>

/* Connections in the order in which the source made them. */
enum {
    VD_MAIN = 0,
    VD_BACK = 1,
    VD_MAX = 6,
};

/* Forgets all; no object may be alive. */
void vd_reset(void);

/* --- what is refused ------------------------------------------------------ */

/* The call number @nth from now on, from 0, fails; -1: none does. */
void vd_fail_nth(int nth);
/* Did that come to pass? */
bool vd_has_failed(void);
/* Every call of this name fails with this errno, as often as @times. */
void vd_fail_call(const char *name, int errnum, int times);
/* And every one of this name, without end, from the next vd_reset() on. */
void vd_fail_next_reset(const char *name);

/*
 * Guest memory: the registrations number @first to @first + @n - 1, from 0,
 * fail with this errno.
 */
void vd_fail_registrations(int first, int n, int errnum);
/* So many of its keys are 0 from now on. */
void vd_make_zero_keys(int n);
/* Registering guest memory takes until this is over, or this long. */
void vd_hold_registrations(bool hold);
void vd_delay_registrations(uint64_t us);

/* --- what the source does ------------------------------------------------- */

/* Asks to connect; @length bytes of private data, NULL allowed. */
int vd_connect(const void *data, uint8_t length);
/* As a source with these flags would. */
int vd_connect_source(uint32_t flags);
/*
 * The source is not who came first, but this connection; the next one is its
 * return path, or this. Before they come.
 */
void vd_change_main(int connection);
void vd_change_back(int connection);
/* Who connects from now on does it from 192.0.2.@host; 7 at first. */
void vd_set_peer(uint8_t host);
/* An event of a connection. ESTABLISHED comes by itself, unless it is held. */
void vd_event(int connection, enum rdma_cm_event_type type);
void vd_hold_established(bool hold);

/*
 * The next message on the main connection, given for one READY. @data is
 * copied. Headers are made, but for raw ones.
 */
void vd_queue(uint32_t type, uint32_t repeat, const void *data,
              uint32_t length);
void vd_queue_file(const GByteArray *stream);
void vd_queue_raw(const void *data, uint32_t length);
/* In place of a message: this completion of the receive. */
void vd_queue_status(enum ibv_wc_status status);
/* In place of a message: this event. */
void vd_queue_event(enum rdma_cm_event_type type);
/* The next message waits until guest memory was registered so often. */
void vd_queue_await(int registrations);
/* In place of a message: DISCONNECTED and this before it is looked at. */
void vd_queue_last(const GByteArray *stream);
/* Now, with or without a credit. */
void vd_send_now(int connection, uint32_t type, uint32_t repeat,
                 const void *data, uint32_t length);
/* The next READY of ours ends like this. */
void vd_fail_ready(enum ibv_wc_status status);
/* The return path's source gives no credits. */
void vd_hold_credits(bool hold);
/* After the return path's SHUT, the source leaves. */
void vd_leave_after_shut(bool leave);

/* --- what was seen -------------------------------------------------------- */

/* Messages of ours on the main connection, as "READY REGISTER_RESULT ". */
char *vd_get_log(void);
/* Bytes of ours on the return path. */
GByteArray *vd_get_back(void);
/* The data of the last message of this type. */
GByteArray *vd_get_last(uint32_t type);
bool vd_is_refused(int connection);
bool vd_is_accepted(int connection);
bool vd_is_disconnected(int connection);
uint32_t vd_get_accepted_flags(int connection);
/* Is a thread held by vd_hold_registrations()? */
bool vd_is_held(void);
/* Guest memory that is open for writing to somebody, bytes. */
uint64_t vd_get_open(void);
/* Is all of it inside of these? @n ranges were opened by the library. */
bool vd_was_open_only_in(const void *memory, uint64_t length);
/* Objects that are alive. */
int vd_count_alive(void);
/* The first broken rule of the interface; NULL: none. */
const char *vd_get_wrong(void);

#endif
