/* SPDX-License-Identifier: BSD-3-Clause */
/* The tasks of one load. */
#ifndef VMLOAD_LOADER_TASK_H
#define VMLOAD_LOADER_TASK_H

#include <vmload/task.h>
#include "host/cancel.h"

/*
 * @quit: fired when tasks shall return; any thread.
 * @mutex: a leaf; guards what is below.
 * @threads: not joined yet.
 * @open: tasks may be added.
 * @error: of the first that failed by itself.
 */
typedef struct {
    VmloadCancel *quit;
    GMutex mutex;
    GPtrArray *threads;
    bool open;
    GError *error;
} VmloadTasks;

bool vmload_tasks_init(VmloadTasks *tasks, GError **error);
/* All are joined, or none ever ran. */
void vmload_tasks_clear(VmloadTasks *tasks);

/* From now on tasks may be added. */
void vmload_tasks_open(VmloadTasks *tasks);

/*
 * Waits for all, those included that they add themselves; then none may be
 * added any more. False with the error of the first that failed.
 */
bool vmload_tasks_join(VmloadTasks *tasks, GError **error);

#endif
