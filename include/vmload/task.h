/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file task.h
 * Work of the host's that a load waits for: a device that goes on loading
 * beside the stream, from buffers it was given for instance.
 */
#ifndef VMLOAD_TASK_H
#define VMLOAD_TASK_H

#include <vmload/host.h>

G_BEGIN_DECLS

/** VmloadTask: opaque. One piece of work, see below. Since: 0.1 */
typedef struct VmloadTask VmloadTask;

/**
 * VmloadTaskFunc:
 * @task: for the calls below; good until this returns.
 * @opaque: as given.
 * @error: where to put the error.
 *
 * The work, on a thread of its own that runs the host's thread hooks, without
 * the big lock, which it may take for a while. It should look at
 * vmload_task_should_quit() from time to time.
 *
 * Return: true if it is done; false with @error set fails the load, with this
 *     error if it is the first. After it was told to quit the result does not
 *     matter.
 * Since: 0.1
 */
typedef bool (*VmloadTaskFunc)(VmloadTask *task, void *opaque,
                               GError **error);

/**
 * vmload_loader_add_task:
 * @loader: the loader.
 * @name: of the thread, and in messages; copied. Systems show 15 bytes of it.
 * @func: the work.
 * @opaque: passed to @func.
 * @destroy: (nullable): frees @opaque; called exactly once, after @func, on
 *     its thread, or here on failure.
 * @error: (nullable): where to put the error.
 *
 * Starts a task. All tasks have ended before `all_loaded` of the devices and
 * `cpu_sync_post_load` are called, and before `finish` whatever the outcome;
 * the big lock is not held while they are awaited.
 *
 * Return: true if it runs.
 * Errors: VMLOAD_ERROR_FAILED: the load does not run, it waits for its tasks
 *     already or has ended, it runs with VMLOAD_RUN_CALLER_LOCKED, or no
 *     thread could be had.
 * States: running, from `setup` on. Threads: any, also inside of callbacks
 * and tasks. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_loader_add_task(VmloadLoader *loader,
                                          const char *name,
                                          VmloadTaskFunc func, void *opaque,
                                          GDestroyNotify destroy,
                                          GError **error);

/**
 * vmload_task_should_quit:
 * @task: the task.
 *
 * Tells whether the load was cancelled or has failed.
 *
 * Return: true if the task should return soon; it stays so.
 * Errors: none.
 * States: running. Threads: any, while the task runs. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT bool vmload_task_should_quit(VmloadTask *task);

/**
 * vmload_task_get_quit_fd:
 * @task: the task.
 *
 * For waits of the task's own: a descriptor that becomes readable when it
 * should quit, and stays so. Not to be read.
 *
 * Return: (transfer none): the descriptor, good while the task runs.
 * Errors: none.
 * States: running. Threads: any, while the task runs. Blocks: no.
 * Since: 0.1
 */
VMLOAD_EXPORT int32_t vmload_task_get_quit_fd(VmloadTask *task);

G_END_DECLS

#endif
