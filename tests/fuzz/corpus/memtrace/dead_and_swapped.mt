memtrace 1
# SPDX-License-Identifier: BSD-3-Clause
# A range of 2^64-1 bytes, a dead region with a child, and ioeventfds of a
# little-endian device in a big-endian machine: ordered by the swapped value.
meta target_big_endian 1
region 1 container 0x10000000000000000 root
region 2 io 0x10000000000000000 all
region 3 io 0x1 byte
add 1 2 0x0 -1 1
as_init 1 1 memory
publish 1 as_init 1 1 1 1 1 1 1
view 1 2 1 0 0 0
r 0x0 0x10000000000000000 2 0x0 0 1 0 0
use 1 1
end 1
add 1 3 0x0 0 0
publish 2 topology 1 1 1 1 1 1 2
view 2 1 2 0 0 0
r 0x0 0x1 3 0x0 0 1 0 0
r 0x1 0xffffffffffffffff 2 0x1 0 1 0 0
use 1 2
end 2
region 4 container 0x100 bar
region 5 io 0x100 reg valid=1:4:0:0 impl=1:4:0 endian=little
add 4 5 0x0 0 0
publish 3 topology 1 1 1 1 1 1 2
end 3
add 1 4 0x1000 1 1
publish 4 topology 1 1 1 1 1 1 4
view 3 1 4 2 1 0
r 0x1 0xfff 2 0x1 0 1 0 0
r 0x1000 0x100 5 0x0 0 1 0 0
r 0x1100 0xffffffffffffef00 2 0x1100 0 1 0 0
use 1 3
end 4
begin 1
add_ioeventfd 5 0x0 2 1 0x100 1
add_ioeventfd 5 0x0 2 1 0x1 2
commit 0
publish 5 ioeventfd 1 0 1 0 1 1 4
ioeventfds 1 2
f 0x1000 2 1 0x1 2
f 0x1000 2 1 0x100 1
end 5
begin 1
del_ioeventfd 5 0x0 2 1 0x100 1
del_ioeventfd 5 0x0 2 1 0x1 2
del 1 4
destroy 4
del 4 5
commit 0
publish 6 topology 1 1 1 1 1 1 2
view 4 1 2 3 1 0
r 0x1 0xffffffffffffffff 2 0x1 0 1 0 0
use 1 4
ioeventfds 1 0
end 6
eof
