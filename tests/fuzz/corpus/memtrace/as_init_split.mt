memtrace 1
# SPDX-License-Identifier: BSD-3-Clause
# The same, but the new address space reaches that view only through what is
# pending: the transaction has to be split.
region 1 io 0x10000 one
region 2 io 0x1000 dev
region 3 container 0x10000 root
region 4 alias 0x10000 a target=1 offset=0x0
as_init 1 1 memory
publish 1 as_init 1 1 1 1 1 1 0
view 1 1 1 0 0 0
r 0x0 0x10000 1 0x0 0 1 0 0
use 1 1
end 1
begin 1
add 1 2 0x0 0 0
add 3 4 0x0 0 0
as_init 2 3 x
publish 2 as_init 1 1 1 1 2 1 1
use 2 1
end 2
commit 0
publish 3 topology 1 1 1 1 2 1 2
view 2 1 2 0 0 0
r 0x0 0x1000 2 0x0 0 1 0 0
r 0x1000 0xf000 1 0x1000 0 1 0 0
use 1 2
use 2 2
end 3
eof
