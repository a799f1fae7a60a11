/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file vmload.h
 * Everything; start reading at loader.h.
 *
 * Before version 1.0 the ABI may change with the minor version.
 */
#ifndef VMLOAD_VMLOAD_H
#define VMLOAD_VMLOAD_H

#include <vmload/channel.h>
#include <vmload/device.h>
#include <vmload/dirty-bitmap.h>
#include <vmload/dispatch.h>
#include <vmload/error.h>
#include <vmload/host.h>
#include <vmload/limits.h>
#include <vmload/listener.h>
#include <vmload/loader.h>
#include <vmload/mapped.h>
#include <vmload/prefault.h>
#include <vmload/multifd.h>
#include <vmload/ram.h>
#include <vmload/reader.h>
#include <vmload/stats.h>
#include <vmload/task.h>
#include <vmload/version.h>
#include <vmload/vmdesc.h>
#include <vmload/vmstate.h>

#endif
