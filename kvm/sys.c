/* SPDX-License-Identifier: BSD-3-Clause */
#include "kvm/sys.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static int real_ioctl(void *opaque, int fd, unsigned long request,
		      uintptr_t arg)
{
	int result = ioctl(fd, request, arg);

	(void)opaque;
	return result < 0 ? -errno : result;
}

static int real_map(void *opaque, int fd, uint64_t offset, size_t len,
		    void **out)
{
	void *host = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			  (off_t)offset);

	(void)opaque;
	if (host == MAP_FAILED)
		return -errno;
	*out = host;
	return 0;
}

static void real_unmap(void *opaque, void *host, size_t len)
{
	(void)opaque;
	munmap(host, len);
}

const struct mpl_kvm_sys_ops mpl_kvm_sys_real = {
	.ioctl = real_ioctl,
	.map = real_map,
	.unmap = real_unmap,
};
