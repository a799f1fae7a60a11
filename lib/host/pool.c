/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool.h"

#include "error.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The kernel shows this much of a thread's name, and a NUL. */
#define THREAD_NAME_SIZE 16

struct VmloadPool {
    const VmloadHostOps *ops;
    void *opaque;
    const char *name;
    uint32_t max_threads;
    GPtrArray *threads;
    GMutex mutex; /* leaf: guards the three below, not held in a job */
    GCond cond;   /* of the workers: the queue has grown, or stop is set */
    GQueue queue; /* of VmloadJob */
    bool stop;
    int done_fd; /* counts jobs that are done */
};

typedef struct {
    VmloadPool *pool;
    char name[THREAD_NAME_SIZE];
} Worker;

VmloadPool *vmload_pool_new(const VmloadHostOps *ops, void *opaque,
                            const char *name, uint32_t max_threads,
                            GError **error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    VmloadPool *pool;

    if (fd < 0) {
        vmload_fail_errno(error, errno, "eventfd");
        return NULL;
    }
    pool = g_new0(VmloadPool, 1);
    pool->ops = ops;
    pool->opaque = opaque;
    pool->name = name;
    pool->max_threads = max_threads;
    pool->threads = g_ptr_array_new();
    g_mutex_init(&pool->mutex);
    g_cond_init(&pool->cond);
    g_queue_init(&pool->queue);
    pool->done_fd = fd;
    return pool;
}

static void run_job(VmloadPool *pool, VmloadJob *job)
{
    const uint64_t one = 1;
    ssize_t written;

    job->func(job);
    g_atomic_int_set(&job->done, 1);
    /* Last: whoever waits may free the job as soon as it is done. */
    written = write(pool->done_fd, &one, sizeof(one));
    (void)written;
}

/* NULL: no job is left, and none will come. */
static VmloadJob *next_job(VmloadPool *pool)
{
    VmloadJob *job;

    g_mutex_lock(&pool->mutex);
    while (g_queue_is_empty(&pool->queue) && !pool->stop) {
        g_cond_wait(&pool->cond, &pool->mutex);
    }
    job = g_queue_pop_head(&pool->queue);
    g_mutex_unlock(&pool->mutex);
    return job;
}

static void *worker_thread(void *data)
{
    Worker *worker = data;
    VmloadPool *pool = worker->pool;
    VmloadJob *job;

    if (pool->ops->thread_enter != NULL) {
        pool->ops->thread_enter(pool->opaque, worker->name);
    }
    while ((job = next_job(pool)) != NULL) {
        run_job(pool, job);
    }
    if (pool->ops->thread_leave != NULL) {
        pool->ops->thread_leave(pool->opaque);
    }
    g_free(worker);
    return NULL;
}

static void add_worker(VmloadPool *pool)
{
    Worker *worker = g_new0(Worker, 1);
    GThread *thread;

    worker->pool = pool;
    g_snprintf(worker->name, sizeof(worker->name), "%s-%u", pool->name,
               pool->threads->len);
    thread = g_thread_try_new(worker->name, worker_thread, worker, NULL);
    if (thread == NULL) {
        g_free(worker);
        return;
    }
    g_ptr_array_add(pool->threads, thread);
}

void vmload_pool_free(VmloadPool *pool)
{
    guint i;

    if (pool == NULL) {
        return;
    }
    g_mutex_lock(&pool->mutex);
    pool->stop = true;
    g_cond_broadcast(&pool->cond);
    g_mutex_unlock(&pool->mutex);
    for (i = 0; i < pool->threads->len; i++) {
        g_thread_join(g_ptr_array_index(pool->threads, i));
    }
    g_ptr_array_unref(pool->threads);
    g_queue_clear(&pool->queue);
    g_cond_clear(&pool->cond);
    g_mutex_clear(&pool->mutex);
    close(pool->done_fd);
    g_free(pool);
}

void vmload_pool_push(VmloadPool *pool, VmloadJob *job)
{
    job->done = 0;
    if (pool->threads->len < pool->max_threads) {
        add_worker(pool);
    }
    if (pool->threads->len == 0) {
        run_job(pool, job);
        return;
    }
    g_mutex_lock(&pool->mutex);
    g_queue_push_tail(&pool->queue, job);
    g_cond_signal(&pool->cond);
    g_mutex_unlock(&pool->mutex);
}

bool vmload_job_is_done(const VmloadJob *job)
{
    return g_atomic_int_get(&job->done) != 0;
}

bool vmload_pool_wait(VmloadPool *pool, const VmloadJob *job,
                      const VmloadCancel *cancel, GError **error)
{
    struct pollfd fds[2] = {
        {.fd = pool->done_fd, .events = POLLIN},
        {.fd = vmload_cancel_get_fd(cancel), .events = POLLIN},
    };
    uint64_t count;
    ssize_t got;

    while (!vmload_job_is_done(job)) {
        if (!vmload_cancel_check(cancel, error)) {
            return false;
        }
        if (poll(fds, G_N_ELEMENTS(fds), -1) > 0 && fds[0].revents != 0) {
            /* Reset, then look at the job again: no wake-up is lost. */
            got = read(pool->done_fd, &count, sizeof(count));
            (void)got;
        }
    }
    return true;
}
