memtrace 1
# SPDX-License-Identifier: BSD-3-Clause
# Dirty masks of memory and of an iommu region, and accesses (iommu.acc) to
# memory, through the iommu region, to nothing, and of an unknown space.
region 1 io 0x10000000000000000 - valid=0:0:0:1 rd=none wr=none
region 2 container 0x10000000000000000 system
region 3 ram 0x1000 ram
region 4 iommu 0x1000 iommu
region 5 romd 0x1000 flash
add 2 3 0x0 0 0
add 2 4 0x1000 0 0
add 2 5 0x2000 0 0
as_init 1 2 memory
publish 1 as_init 1 1 1 1 1 1 3
view 1 2 3 0 0 0
r 0x0 0x1000 3 0x0 0 1 0 0
r 0x1000 0x1000 4 0x0 0 1 0 0
r 0x2000 0x1000 5 0x0 0 1 0 0
use 1 1
end 1
migratable 3 1
global_dirty 1
code_log 1
publish 2 topology 1 1 1 1 1 1 3
view 2 2 3 0 0 0
r 0x0 0x1000 3 0x0 0 1 0 6
r 0x1000 0x1000 4 0x0 0 1 0 4
r 0x2000 0x1000 5 0x0 0 1 0 2
use 1 2
end 2
set_log 3 0 1
publish 3 topology 1 1 1 1 1 1 3
view 3 2 3 2 0 2
r 0x0 0x1000 3 0x0 0 1 0 7
use 1 3
end 3
set_log 3 0 1
set_log 3 0 0
begin 1
set_log 3 0 0
set_romd 5 0
commit 0
publish 4 topology 1 1 1 1 1 1 3
view 4 2 3 3 0 0
r 0x0 0x1000 3 0x0 0 1 0 6
r 0x1000 0x1000 4 0x0 0 1 0 4
r 0x2000 0x1000 5 0x0 0 0 0 2
use 1 4
end 4
set_enabled 0 1
publish 5 topology 1 1 1 1 1 1 3
end 5
some_new_record 1 2 3
eof
