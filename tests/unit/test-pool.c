/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "host/pool.h"

#define JOBS 20

typedef struct {
    GMutex mutex; /* guards the members below */
    GCond cond;
    int entered;
    int left;
    int ran;
    bool gate; /* jobs wait until it is open */
    bool blocked;
} Shared;

typedef struct {
    VmloadJob job;
    Shared *shared;
    GThread *thread;
} Job;

static void shared_init(Shared *shared, bool gate)
{
    memset(shared, 0, sizeof(*shared));
    g_mutex_init(&shared->mutex);
    g_cond_init(&shared->cond);
    shared->gate = gate;
}

static void shared_clear(Shared *shared)
{
    g_cond_clear(&shared->cond);
    g_mutex_clear(&shared->mutex);
}

static void open_gate(Shared *shared)
{
    g_mutex_lock(&shared->mutex);
    shared->gate = true;
    g_cond_broadcast(&shared->cond);
    g_mutex_unlock(&shared->mutex);
}

static void job_run(VmloadJob *base)
{
    Job *job = (Job *)base;
    Shared *shared = job->shared;

    g_mutex_lock(&shared->mutex);
    shared->blocked = true;
    g_cond_broadcast(&shared->cond);
    while (!shared->gate) {
        g_cond_wait(&shared->cond, &shared->mutex);
    }
    shared->ran++;
    g_mutex_unlock(&shared->mutex);
    job->thread = g_thread_self();
}

static void pool_enter(void *opaque, const char *name)
{
    Shared *shared = opaque;

    assert_true(g_str_has_prefix(name, "vmload-test-"));
    g_mutex_lock(&shared->mutex);
    shared->entered++;
    g_mutex_unlock(&shared->mutex);
}

static void pool_leave(void *opaque)
{
    Shared *shared = opaque;

    g_mutex_lock(&shared->mutex);
    shared->left++;
    g_mutex_unlock(&shared->mutex);
}

static const VmloadHostOps ops = {
    VMLOAD_HOST_OPS_INIT,
    .thread_enter = pool_enter,
    .thread_leave = pool_leave,
};

static VmloadPool *make_pool(Shared *shared, uint32_t threads)
{
    VmloadPool *pool =
        vmload_pool_new(&ops, shared, "vmload-test", threads, NULL);

    assert_non_null(pool);
    return pool;
}

/* All run, on at most so many threads, whose hooks are called in pairs. */
static void test_runs(void **state)
{
    VmloadCancel *cancel = vmload_cancel_new(NULL);
    Job jobs[JOBS];
    Shared shared;
    VmloadPool *pool;
    size_t i;

    (void)state;
    shared_init(&shared, true);
    pool = make_pool(&shared, 3);
    for (i = 0; i < JOBS; i++) {
        jobs[i] = (Job){{job_run, 0}, &shared, NULL};
        vmload_pool_push(pool, &jobs[i].job);
    }
    for (i = 0; i < JOBS; i++) {
        assert_true(vmload_pool_wait(pool, &jobs[i].job, cancel, NULL));
        assert_true(vmload_job_is_done(&jobs[i].job));
    }
    vmload_pool_free(pool);
    assert_int_equal(shared.ran, JOBS);
    assert_in_range(shared.entered, 1, 3);
    assert_int_equal(shared.entered, shared.left);
    for (i = 0; i < JOBS; i++) {
        assert_ptr_not_equal(jobs[i].thread, g_thread_self());
    }
    shared_clear(&shared);
    vmload_cancel_free(cancel);
}

/* Where no thread can be had the caller does the work. */
static void test_no_threads(void **state)
{
    Job job = {{job_run, 0}, NULL, NULL};
    Shared shared;
    VmloadPool *pool;

    (void)state;
    shared_init(&shared, true);
    job.shared = &shared;
    pool = make_pool(&shared, 0);
    vmload_pool_push(pool, &job.job);
    assert_true(vmload_job_is_done(&job.job));
    assert_ptr_equal(job.thread, g_thread_self());
    vmload_pool_free(pool);
    assert_int_equal(shared.entered, 0);
    shared_clear(&shared);
}

static void *fire(void *opaque)
{
    g_usleep(20000);
    vmload_cancel_fire(opaque);
    return NULL;
}

/* The wait ends, the job does not. */
static void test_cancel(void **state)
{
    VmloadCancel *cancel = vmload_cancel_new(NULL);
    Job job = {{job_run, 0}, NULL, NULL};
    GError *error = NULL;
    GThread *thread;
    Shared shared;
    VmloadPool *pool;

    (void)state;
    shared_init(&shared, false);
    job.shared = &shared;
    pool = make_pool(&shared, 1);
    vmload_pool_push(pool, &job.job);
    thread = g_thread_new("fire", fire, cancel);
    assert_false(vmload_pool_wait(pool, &job.job, cancel, &error));
    assert_unit_error(&error, VMLOAD_ERROR_CANCELLED, "cancelled");
    assert_false(vmload_job_is_done(&job.job));
    /* A level: the next wait ends as well. */
    assert_false(vmload_pool_wait(pool, &job.job, cancel, NULL));
    open_gate(&shared);
    vmload_pool_free(pool);
    assert_true(vmload_job_is_done(&job.job));
    g_thread_join(thread);
    shared_clear(&shared);
    vmload_cancel_free(cancel);
}

/* What was pushed runs, also when nobody waits for it. */
static void test_free_runs_all(void **state)
{
    Job jobs[JOBS];
    Shared shared;
    VmloadPool *pool;
    size_t i;

    (void)state;
    shared_init(&shared, false);
    pool = make_pool(&shared, 2);
    for (i = 0; i < JOBS; i++) {
        jobs[i] = (Job){{job_run, 0}, &shared, NULL};
        vmload_pool_push(pool, &jobs[i].job);
    }
    g_mutex_lock(&shared.mutex);
    while (!shared.blocked) {
        g_cond_wait(&shared.cond, &shared.mutex);
    }
    assert_int_equal(shared.ran, 0);
    g_mutex_unlock(&shared.mutex);
    open_gate(&shared);
    vmload_pool_free(pool);
    assert_int_equal(shared.ran, JOBS);
    assert_int_equal(shared.entered, shared.left);
    shared_clear(&shared);
    vmload_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_no_threads),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_free_runs_all),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
