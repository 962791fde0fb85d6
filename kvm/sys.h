/* SPDX-License-Identifier: BSD-3-Clause */
/* System calls by way of a table: mpl_kvm_config.sys, or the real ones. */
#ifndef MEMPLANE_KVM_SYS_H
#define MEMPLANE_KVM_SYS_H

#include <memplane/kvm.h>

extern const struct mpl_kvm_sys_ops mpl_kvm_sys_real;

#endif
