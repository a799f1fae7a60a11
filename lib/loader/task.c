/* SPDX-License-Identifier: BSD-3-Clause */
#include "internal.h"

#include "error.h"

struct VmloadTask {
    VmloadLoader *loader; /* borrowed: it joins the thread */
    char *name;
    VmloadTaskFunc func;
    void *opaque;
    GDestroyNotify destroy;
};

bool vmload_tasks_init(VmloadTasks *tasks, GError **error)
{
    tasks->quit = vmload_cancel_new(error);
    if (tasks->quit == NULL) {
        return false;
    }
    g_mutex_init(&tasks->mutex);
    tasks->threads = g_ptr_array_new();
    return true;
}

void vmload_tasks_clear(VmloadTasks *tasks)
{
    if (tasks->quit != NULL) {
        vmload_cancel_free(tasks->quit);
        g_mutex_clear(&tasks->mutex);
        g_ptr_array_unref(tasks->threads);
        g_clear_error(&tasks->error);
    }
}

void vmload_tasks_open(VmloadTasks *tasks)
{
    g_mutex_lock(&tasks->mutex);
    tasks->open = true;
    g_mutex_unlock(&tasks->mutex);
}

/* Frees @task and what is the host's. */
static void task_free(VmloadTask *task)
{
    if (task->destroy != NULL) {
        task->destroy(task->opaque);
    }
    g_free(task->name);
    g_free(task);
}

/* The first failure ends the others, and the wait for the stream's bytes. */
static void task_failed(VmloadTask *task, GError *error)
{
    VmloadLoader *loader = task->loader;
    VmloadTasks *tasks = &loader->tasks;
    bool first;

    g_prefix_error(&error, "task '%s': ", task->name);
    g_mutex_lock(&tasks->mutex);
    first = !vmload_cancel_is_set(tasks->quit);
    if (first) {
        tasks->error = error;
        vmload_cancel_fire(tasks->quit);
    }
    g_mutex_unlock(&tasks->mutex);
    if (first) {
        vmload_channel_shutdown(loader->channel, VMLOAD_DIRECTION_READ, NULL);
    } else {
        g_error_free(error);
    }
}

static void *task_thread(void *data)
{
    VmloadTask *task = data;
    const VmloadHostOps *ops = &task->loader->ops;
    void *opaque = task->loader->opaque;
    GError *local = NULL;
    GError *error = NULL;

    if (ops->thread_enter != NULL) {
        ops->thread_enter(opaque, task->name);
    }
    if (!vmload_callback_result(task->func(task, task->opaque, &local), &local,
                                &error)) {
        task_failed(task, error);
    }
    task_free(task);
    if (ops->thread_leave != NULL) {
        ops->thread_leave(opaque);
    }
    return NULL;
}

/* Under the mutex: whoever joins sees the thread, or nobody is let in. */
static bool tasks_start(VmloadTasks *tasks, VmloadTask *task, GError **error)
{
    GError *local = NULL;
    GThread *thread;

    if (!tasks->open) {
        return vmload_fail(error, VMLOAD_ERROR_FAILED,
                           "task '%s': expected a load that runs and does not "
                           "wait for its tasks yet", task->name);
    }
    thread = g_thread_try_new(task->name, task_thread, task, &local);
    if (thread == NULL) {
        vmload_fail(error, VMLOAD_ERROR_FAILED, "no thread: %s",
                    local->message);
        g_error_free(local);
        return false;
    }
    g_ptr_array_add(tasks->threads, thread);
    return true;
}

bool vmload_loader_add_task(VmloadLoader *loader, const char *name,
                            VmloadTaskFunc func, void *opaque,
                            GDestroyNotify destroy, GError **error)
{
    VmloadTask *task;
    bool ok;

    g_return_val_if_fail(loader != NULL && name != NULL && func != NULL,
                         false);
    task = g_new0(VmloadTask, 1);
    task->loader = loader;
    task->name = g_strdup(name);
    task->func = func;
    task->opaque = opaque;
    task->destroy = destroy;
    g_mutex_lock(&loader->tasks.mutex);
    ok = tasks_start(&loader->tasks, task, error);
    g_mutex_unlock(&loader->tasks.mutex);
    if (!ok) {
        task_free(task);
    }
    return ok;
}

/* One that is not joined; NULL: none, and none may come. */
static GThread *tasks_next(VmloadTasks *tasks)
{
    GThread *thread = NULL;

    g_mutex_lock(&tasks->mutex);
    if (tasks->threads->len > 0) {
        thread = g_ptr_array_remove_index(tasks->threads,
                                          tasks->threads->len - 1);
    } else {
        tasks->open = false;
    }
    g_mutex_unlock(&tasks->mutex);
    return thread;
}

bool vmload_tasks_join(VmloadTasks *tasks, GError **error)
{
    GThread *thread;

    while ((thread = tasks_next(tasks)) != NULL) {
        g_thread_join(thread);
    }
    if (tasks->error == NULL) {
        return true;
    }
    g_propagate_error(error, g_steal_pointer(&tasks->error));
    return false;
}

bool vmload_task_should_quit(VmloadTask *task)
{
    g_return_val_if_fail(task != NULL, true);
    return vmload_cancel_is_set(task->loader->tasks.quit);
}

int32_t vmload_task_get_quit_fd(VmloadTask *task)
{
    g_return_val_if_fail(task != NULL, -1);
    return vmload_cancel_get_fd(task->loader->tasks.quit);
}
