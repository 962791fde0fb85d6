/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memplane: the guest-physical memory map of a virtual machine, rebuilt by a
 * control thread and looked up by vCPU threads without a lock.
 *
 * In the order of the flow:
 */
#ifndef MEMPLANE_H
#define MEMPLANE_H

#include "memplane/types.h"
#include "memplane/plane.h"    /* all state of one virtual machine */
#include "memplane/ram.h"      /* host memory */
#include "memplane/region.h"   /* what there is */
#include "memplane/txn.h"      /* changing it */
#include "memplane/space.h"    /* seeing it as a whole: flat views */
#include "memplane/listener.h" /* hearing of differences */
#include "memplane/reader.h"   /* threads that look addresses up */
#include "memplane/dispatch.h" /* the look-up, inline */
#include "memplane/access.h"   /* reads and writes */
#include "memplane/dirty.h"    /* which pages were written */
#include "memplane/iommu.h"    /* regions that translate */
#include "memplane/dma.h"      /* guest memory that is held */
#include "memplane/stats.h"    /* counting all that */
#include "memplane/kvm.h"      /* the kernel's mirror of the map */
#include "memplane/vcpu.h"     /* KVM_RUN, exits, parking */
#include "memplane/eal.h"      /* what hashes of doorbells need */

#endif
