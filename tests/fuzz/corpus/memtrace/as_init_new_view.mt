memtrace 1
# SPDX-License-Identifier: BSD-3-Clause
# An as_init inside a transaction, whose view is new: it is rendered from the
# tree as it is now.  The other address space is told of only at the end.
region 1 container 0x10000 one
region 2 io 0x1000 dev
region 3 io 0x2000 other
as_init 1 1 memory
publish 1 as_init 1 1 1 1 1 1 0
view 1 0 0 0 0 0
use 1 1
end 1
begin 1
add 1 2 0x0 0 0
as_init 2 3 x
publish 2 as_init 1 1 1 1 2 2 1
view 2 3 1 0 0 0
r 0x0 0x2000 3 0x0 0 1 0 0
use 2 2
end 2
commit 0
publish 3 topology 1 1 1 1 2 2 2
view 3 1 1 0 0 0
r 0x0 0x1000 2 0x0 0 1 0 0
use 1 3
end 3
eof
